"""From the project into the app: what is new or changed, batch by batch, into its database.

Killed at any moment, the next load goes on: see ``autolabel.review.snapshot``. An input with
edits that were not pulled is left as it is and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from autolabel.errors import InputError
from autolabel.probability import Probabilities
from autolabel.review import documents, playable
from autolabel.review.changes import Taken, app_labels, edited
from autolabel.review.documents import FIELD, MEDIA_ID, Context, Document, object_id, row_id
from autolabel.review.flags import Flags
from autolabel.review.places import Places
from autolabel.review.snapshot import Loaded, Snapshot, State
from autolabel.store import Project, ReviewMedia

BATCH = 100
Collections = Mapping[str, Mapping[str, Any]]
"""What ``autolabel.review.datasets`` made, by kind."""


@dataclass
class LoadReport:
    """What a load did; it grows while the load goes on.

    Attributes:
        total: Inputs that are labelled, and failed ones.
        seen: How many of them were looked at so far.
        loaded: How many of them were put into the app.
        labels: Labels that were put into the app.
        kept: Inputs that changed in the project, but have edits that were not pulled.
        missing: Inputs that can't be shown, with the reason.
    """

    total: int = 0
    seen: int = 0
    loaded: int = 0
    labels: int = 0
    kept: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass
class _Ready:
    """One input, made ready to be written."""

    id: int
    kind: str
    sample: Document
    frames: list[Document]
    loaded: Loaded
    replaces: bool


class Loader:
    """Brings a project's labels into its data sets.

    Args:
        project: The project.
        db: FiftyOne's database.
        made: The data sets.
        snapshot: What was loaded before.
        places: The review's folders.
        anew: Names of inputs whose edits in the app are given up.
    """

    def __init__(
        self,
        project: Project,
        db: Any,
        made: Collections,
        snapshot: Snapshot,
        places: Places,
        anew: Collection[str] = (),
    ) -> None:
        self._anew = frozenset(anew)
        self._project, self._db, self._made = project, db, made
        self._snapshot, self._places = snapshot, places
        self._present = {kind: self._loaded(kind) for kind in made}
        self._known = snapshot.fingerprints()
        self._taken = Taken(project.reviewed())
        self.report = LoadReport()

    def run(self, flags: Flags) -> Iterator[LoadReport]:
        """Load what is new or changed; yield the report after every batch."""
        context = Context(
            self._project.class_names(),
            flags,
            self._snapshot.next_generation(),
            {kind: ObjectId(one["id"]) for kind, one in self._made.items()},
            Probabilities.from_meta(self._project.meta()),
        )
        done, failed = self._project.media_ids("done"), self._project.media_ids("failed")
        self.report.total = len(done) + len(failed)
        self._drop(set(done.values()))
        batch: list[_Ready] = []
        for media in self._project.for_review():
            self.report.seen += 1
            ready = self._ready(media, context)
            if ready is not None:
                batch.append(ready)
            if len(batch) >= BATCH:
                yield self._write(batch, context.generation)
                batch = []
        self._write(batch, context.generation)
        # Last, or the grid would begin with what can't be shown.
        self._fail(failed)
        self.report.seen += len(failed)
        self._count()
        yield self.report

    def _loaded(self, kind: str) -> dict[int, int]:
        """Return the generation of every input that the app has, by the project's row id."""
        found = self._samples(kind).find({}, {"loaded": 1})
        pairs = ((row_id(MEDIA_ID, one["_id"]), one.get("loaded")) for one in found)
        return {row: generation or 0 for row, generation in pairs if row is not None}

    def _samples(self, kind: str) -> Any:
        return self._db[self._made[kind]["samples"]]

    def _frames(self) -> Any:
        return self._db[self._made["video"]["frames"]]

    def _drop(self, known: set[int]) -> None:
        """Take out of the app what is not labelled in the project any more."""
        for kind, present in self._present.items():
            gone = [object_id(MEDIA_ID, row) for row in present if row not in known]
            self._samples(kind).delete_many({"_id": {"$in": gone}})
            if kind == "video" and gone:
                self._frames().delete_many({"_sample_id": {"$in": gone}})

    def _fail(self, failed: Mapping[str, int]) -> None:
        """List the inputs that failed, with the reason."""
        if not failed:
            return
        ids = {kind: ObjectId(one["id"]) for kind, one in self._made.items()}
        context = Context((), _NO_FLAGS, 0, ids)
        for media in self._project.failures():
            found = ReviewMedia(failed[media.name], media, (documents.FAILED,), [])
            kind = "image" if media.kind == "image" else "video"
            kind = kind if kind in self._made else next(iter(self._made))
            document = documents.sample_document(found, context, media.path, {})
            del document["metadata"]
            document |= {
                "failure": media.reason,
                "_media_type": kind,
                "_dataset_id": context.dataset_ids[kind],
            }
            self._samples(kind).replace_one({"_id": document["_id"]}, document, upsert=True)

    def _count(self) -> None:
        """Make the numbers of documents right that mongod keeps, and the app shows.

        A kill brings the documents back from mongod's journal, but not their number: see
        "Unclean Shutdown" in MongoDB's page on ``estimatedDocumentCount``.
        """
        for made in self._made.values():
            for name in filter(None, (made["samples"], made["frames"])):
                documents = self._db[name]
                if documents.estimated_document_count() != documents.count_documents({}):
                    self._db.command("validate", name)

    def _ready(self, media: ReviewMedia, context: Context) -> _Ready | None:
        """Return what is to be written for an input; None if the app has it already."""
        kind = "image" if media.media.kind == "image" else "video"
        print_ = _fingerprint(media, context)
        present = self._present[kind].get(media.id)
        if present is not None and media.media.name not in self._anew:
            if self._known.get((media.id, present)) == print_:
                return None
            if self._edited(media, kind, present):
                self.report.kept.append(media.media.name)
                return None
        try:
            return self._build(media, kind, context, print_, present is not None)
        except InputError as error:
            self.report.missing.append(f"{media.media.name}: {error}")
            return None

    def _edited(self, media: ReviewMedia, kind: str, generation: int) -> bool:
        """Return whether the app has edits of this input that were not pulled."""
        base = self._snapshot.get(media.id, generation)
        if base is None:
            return False
        sample = self._samples(kind).find_one({"_id": object_id(MEDIA_ID, media.id)})
        if sample is None:
            return False
        frames = self._frames() if kind == "video" else None
        return edited(media, app_labels(sample, frames), sample, base, self._taken)

    def _build(
        self, media: ReviewMedia, kind: str, context: Context, print_: str, replaces: bool
    ) -> _Ready:
        """Return an input's documents and the state to compare with later."""
        labels: list[tuple[int, Document]] = []
        states: dict[str, tuple[int, State]] = {}
        for found in media.labels:
            document, state = documents.label_document(found, media, context)
            labels.append((found.instance.frame_index, document))
            states[str(document["_id"])] = (found.instance.frame_index, state)
        loaded = Loaded(context.generation, print_, media.tags, states)
        if kind == "image":
            shown = playable.picture(media.media, self._places)
            metadata = documents.image_metadata(media)
            sample = documents.sample_document(media, context, shown.path, metadata)
            sample[FIELD] = documents.labels_document([document for _, document in labels])
            return _Ready(media.id, kind, sample, [], loaded, replaces)
        shown = playable.video(media.media, self._places)
        metadata = documents.video_metadata(media, shown.fps, shown.frames)
        sample = documents.sample_document(media, context, shown.path, metadata)
        frames = list(documents.frame_documents(media, context, labels))
        return _Ready(media.id, kind, sample, frames, loaded, replaces)

    def _write(self, batch: list[_Ready], generation: int) -> LoadReport:
        """Write a batch: first what to compare with, then the app's copy."""
        self._snapshot.put((one.id, one.loaded) for one in batch)
        old = [one for one in batch if one.replaces]
        for kind in self._made:
            ids = [one.sample["_id"] for one in batch if one.kind == kind]
            if kind == "video" and ids:
                # The sample comes last: a video without one is not there, whatever frames it has.
                self._samples(kind).delete_many({"_id": {"$in": ids}})
                self._frames().delete_many({"_sample_id": {"$in": ids}})
                frames = [frame for one in batch for frame in one.frames]
                if frames:
                    self._frames().insert_many(frames, ordered=False)
            new = [
                one.sample
                for one in batch
                if one.kind == kind and (kind == "video" or not one.replaces)
            ]
            if new:
                self._samples(kind).insert_many(new, ordered=False)
        for one in old:
            if one.kind == "image":
                key = {"_id": one.sample["_id"]}
                self._samples("image").replace_one(key, one.sample, upsert=True)
        self._snapshot.forget((one.id for one in old), generation)
        self.report.loaded += len(batch)
        self.report.labels += sum(len(one.loaded.labels) for one in batch)
        return self.report


_NO_FLAGS = Flags(frozenset(), frozenset(), 0, {})


def _fingerprint(media: ReviewMedia, context: Context) -> str:
    """Return what tells whether an input or its labels changed since they were loaded."""
    thresholds = sorted(context.flags.thresholds.items())
    seen = hashlib.blake2b(digest_size=12)
    seen.update(repr((media.media, media.tags, thresholds, context.names)).encode())
    for found in media.labels:
        one = found.instance
        seen.update(f"{one.uid} {found.version} {one.score} {one.runner_up_score};".encode())
    return seen.hexdigest()
