"""From the app back into the project: all a human did, in one transaction, and never twice.

Every label is compared with how it was loaded. What the project changed since is a conflict:
reported, and nothing is overwritten. What was taken home is remembered in the project itself, in
the same transaction, so that a kill leaves all of it or nothing and the next pull goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autolabel.errors import UsageError
from autolabel.review.changes import Comparison, Problem, Taken, app_labels
from autolabel.review.documents import MEDIA_ID, row_id
from autolabel.review.snapshot import Snapshot
from autolabel.store import Edit, Project

Documents = Mapping[str, Any]


@dataclass
class Pull:
    """What a human did since the labels were loaded.

    Attributes:
        edits: What can be taken home.
        problems: What can't, with the reason; conflicts among them.
        unknown: Inputs that are not in the app, or not as they were loaded.
    """

    edits: list[Edit] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def conflicts(self) -> list[str]:
        """Return the inputs with conflicts, by name."""
        return sorted({one.media for one in self.problems if one.conflict})

    def counts(self) -> Counter[str]:
        """Return how many labels were changed in which way."""
        return Counter(action for edit in self.edits for action in edit.actions)


def find_datasets(db: Any, names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the collections of the data sets that are there, by kind.

    Args:
        db: FiftyOne's database.
        names: The data sets' names by kind.
    """
    made = {}
    for kind, name in names.items():
        found = db["datasets"].find_one({"name": name})
        if found is not None:
            samples = found["sample_collection_name"]
            made[kind] = {
                "name": name,
                "id": str(found["_id"]),
                "samples": samples,
                "frames": found.get("frame_collection_name") or f"frames.{samples}",
            }
    return made


def compare(project: Project, db: Any, names: Mapping[str, str], snapshot: Snapshot) -> Pull:
    """Return what a human did in the app; changes nothing.

    Args:
        project: The project.
        db: FiftyOne's database.
        names: The data sets' names by kind.
        snapshot: What was loaded.

    Raises:
        UsageError: If a data set isn't there.
    """
    made = find_datasets(db, names)
    for kind, name in names.items():
        if kind not in made:
            raise UsageError(
                f"the app has no data set {name!r}: it was deleted there, or never loaded. Nothing "
                f"was pulled; `autolabel review {project.folder}` loads the labels again."
            )
    found, taken = Pull(), Taken(project.reviewed())
    class_names = project.class_names()
    samples = {kind: _samples(db, one) for kind, one in made.items()}
    for media in project.for_review():
        kind = "image" if media.media.kind == "image" else "video"
        sample = samples[kind].get(media.id) if kind in samples else None
        base = snapshot.get(media.id, sample.get("loaded") or 0) if sample else None
        if sample is None or base is None:
            found.unknown.append(media.media.name)
            continue
        if kind == "image":
            sample = db[made[kind]["samples"]].find_one({"_id": sample["_id"]}) or sample
        frames = db[made[kind]["frames"]] if kind == "video" else None
        comparison = Comparison(media, class_names, base, taken)
        found.edits += comparison.edits(app_labels(sample, frames), sample)
        found.problems += comparison.problems
    return found


def _samples(db: Any, one: Documents) -> dict[int, dict[str, Any]]:
    """Return which inputs the app has and as of which load, by the project's row id."""
    rows = db[one["samples"]].find({}, {"loaded": 1, "tags": 1})
    return {row: sample for sample in rows if (row := row_id(MEDIA_ID, sample["_id"])) is not None}
