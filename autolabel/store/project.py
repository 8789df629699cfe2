"""A project folder: every input, candidate and label in one SQLite file, safe at any moment.

``autolabel.store.schema`` documents the tables, for people who read them with other tools.
One process writes at a time; any number may read meanwhile, and each reader sees the state
of one moment. A ``Project`` may be used from any thread, but from one at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autolabel.errors import StorageError, UsageError
from autolabel.store import rows
from autolabel.store.database import (
    Lock,
    ReadOnly,
    bring_up_to_date,
    check_file,
    connect_writer,
    errors_told,
    make_folder,
)
from autolabel.store.human import HumanEdits
from autolabel.store.reading import EXPORTED
from autolabel.store.stats import Stats
from autolabel.types import Candidates, Instance, MediaRecord

__all__ = ["EXPORTED", "Project", "Result", "Stats"]

Reselect = Callable[[MediaRecord, Candidates], Sequence[Instance]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run made of one input, or of one window of a video.

    Attributes:
        media: The input; its status says whether it is done, failed or (a video) partial.
        size_bytes: The file's size when it was read.
        mtime_ns: The file's time of change when it was read.
        candidates: What was found, by frame index ({0: found} for a picture).
        instances: The labels. One with a ``detector_box`` belongs to the candidate with
            that box; a mask equal to the candidate's is stored once.
        seconds: Where the time went, by stage.
        copy_of: The name of a stored input of the same content whose candidates and labels
            to take over, in place of ``candidates`` and ``instances``.
    """

    media: MediaRecord
    size_bytes: int = 0
    mtime_ns: int = 0
    candidates: Mapping[int, Candidates] = field(default_factory=dict)
    instances: Sequence[Instance] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    copy_of: str | None = None


class Project(HumanEdits):
    """An open project folder. Use ``Project.open``, and as a context manager.

    Attributes:
        folder: The project folder.
        readonly: True if it was opened for reading only.
    """

    def __init__(
        self, folder: Path, db: sqlite3.Connection, lock: Lock | None, reader: ReadOnly
    ) -> None:
        """Hold what ``Project.open`` opened."""
        self.folder = folder
        self.readonly = lock is None
        self._db = db
        self._lock = lock
        self._reader = reader

    @classmethod
    def open(cls, folder: str | Path, *, create: bool = False, readonly: bool = False) -> Project:
        """Return the project in ``folder``.

        Args:
            folder: The project folder.
            create: Make the folder and its database where there is none.
            readonly: Don't take the writer's lock; works beside a run and on read-only disks.

        Raises:
            ProjectError: If there is no project and ``create`` is False.
            ProjectBusy: If another process writes to it.
            ProjectDamaged: If its labels.db is not a readable database of ours.
            ProjectTooNew: If a newer autolabel wrote it.
            StorageError: If the disk is full, read-only or failing.
        """
        folder = Path(folder)
        if create and not readonly:
            make_folder(folder)
        if not create or readonly or (folder / "labels.db").exists():
            check_file(folder)
        if readonly:
            bring_up_to_date(folder)
            reader = ReadOnly(folder)
            return cls(folder, reader.connect(), None, reader)
        lock = Lock(folder)
        try:
            db = connect_writer(folder)
            return cls(folder, db, lock, ReadOnly(folder))
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        """Close the database and let go of the lock."""
        self._db.close()
        self._reader.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Project:
        """Return the project itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    # What the project was made with

    def set_run(
        self,
        meta: Mapping[str, str],
        classes: Sequence[tuple[str, str]],
        prompts: Sequence[str],
    ) -> None:
        """Record what the project is made with, in one transaction.

        Args:
            meta: Keys to set; others stay as they are.
            classes: (name, "#rrggbb") in the ontology's order.
            prompts: All prompts in the order asked, negative ones included.
        """
        with self._transaction():
            self._set_run(meta, classes, prompts)

    def restart(
        self,
        meta: Mapping[str, str],
        classes: Sequence[tuple[str, str]],
        prompts: Sequence[str],
    ) -> None:
        """Drop what the models said and record what the project is made with from now on.

        One transaction. Every input is to be labelled again; what a human made, changed,
        accepted or rejected stays.

        Raises:
            UsageError: If a label that stays has a class that is not among ``classes``.
        """
        with self._transaction():
            self._db.execute(f"DELETE FROM labels WHERE {rows.FROM_MODEL}")
            self._db.execute(rows.OWN_MASKS)
            self._db.execute("DELETE FROM candidates")
            self._renumber(classes)
            self._db.execute(
                "UPDATE media SET status = 'failed', reason = 'to be labelled again', state = NULL"
            )
            self._db.execute("DELETE FROM meta")
            self._set_run(meta, classes, prompts)

    def set_meta(self, meta: Mapping[str, str]) -> None:
        """Set some keys of the run's record; others stay as they are."""
        with self._transaction():
            self._set_meta(meta)

    # Writing

    def commit(self, results: Sequence[Result]) -> None:
        """Store what a batch gave, all or nothing; an input that is there is replaced.

        What a human made, changed, accepted or rejected in it stays.

        Raises:
            StorageError: If the disk is full or failing; then nothing of the batch is stored.
            ValueError: If a mask isn't of its picture's size, or scores don't fit the prompts.
        """
        with self._transaction():
            for result in results:
                self._replace(result)

    def append(
        self,
        result: Result,
        state: bytes | None = None,
        track_classes: Mapping[int, int] | None = None,
    ) -> None:
        """Add one window of a video to what is stored of it, in one transaction.

        Args:
            result: The window's candidates and labels, and the medium as it is now: status
                "partial" until the last window, then "done". Seconds are added up.
            state: Where to go on after an interruption; see ``state``.
            track_classes: The class that each track has by now, by track id: what was stored
                of it before takes that class, except where a human has decided.
        """
        with self._transaction():
            seconds = dict(result.seconds)
            for stage, value in self._rows(
                "SELECT j.key, j.value FROM media m, json_each(m.seconds) j WHERE m.name = ?",
                rows.text(result.media.name),
            ):
                seconds[stage] = seconds.get(stage, 0.0) + value
            media_id = self._put_media(result, seconds, state)
            self._add_found(media_id, result)
            self._db.executemany(
                f"UPDATE labels SET class_id = ?1 WHERE media_id = ?2 AND track_id = ?3 "
                f"AND class_id <> ?1 AND {rows.FROM_MODEL}",
                [(new, media_id, track) for track, new in (track_classes or {}).items()],
            )

    def clear(self, name: str, start: int = 0) -> None:
        """Drop what the models said of an input, from a frame on; a human's labels stay."""
        with self._transaction():
            self._delete_model(name, start)

    def remove(self, names: Iterable[str]) -> int:
        """Forget these inputs and all that was found in them; return how many there were."""
        with self._transaction():
            return sum(self._remove(name) for name in names)

    def reselect(
        self,
        select: Reselect,
        meta: Mapping[str, str],
        classes: Sequence[tuple[str, str]] | None = None,
    ) -> int:
        """Choose the labels of all pictures anew from their candidates; return how many.

        One transaction: a kill leaves all the old labels and ``meta``, or all the new ones.
        What a human changed, accepted or rejected stays, and its candidate isn't labelled
        again. Labels without a candidate (imported, tracked in a video) stay too.

        Args:
            select: Called with each picture and its candidates; returns the labels.
            meta: Keys of the run's record that go with the new labels.
            classes: (name, "#rrggbb") of the classes from now on, where they changed.

        Raises:
            UsageError: If a label that stays has a class that is not among ``classes``.
        """
        written = 0
        with self._transaction(), closing(self._reader.connect()) as reader:
            self._db.execute(
                f"""DELETE FROM labels WHERE {rows.FROM_MODEL} AND candidate_idx IS NOT NULL
                AND media_id IN (SELECT id FROM media WHERE kind = 'image')"""
            )
            if classes is not None:
                self._renumber(classes)
                self._set_classes(classes)
            for media_id, media, found in self._pictures(reader):
                written += self._relabel(media_id, {0: found}, select(media, found))
                written -= self._drop_doubles(media_id)
            self._set_meta(meta)
        return written

    # Inside

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing of it."""
        if self.readonly:
            raise StorageError(f"{self.folder} was opened for reading only")
        with errors_told(self.folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise

    def _set_run(
        self,
        meta: Mapping[str, str],
        classes: Sequence[tuple[str, str]],
        prompts: Sequence[str],
    ) -> None:
        """Replace the classes and prompts, and set some keys of the record."""
        self._set_meta(meta)
        self._set_classes(classes)
        self._db.execute("DELETE FROM prompts")
        self._db.executemany("INSERT INTO prompts VALUES (?,?)", enumerate(prompts))

    def _set_classes(self, classes: Sequence[tuple[str, str]]) -> None:
        """Replace the classes."""
        self._db.execute("DELETE FROM classes")
        self._db.executemany(
            "INSERT INTO classes VALUES (?,?,?)",
            [(index, name, color) for index, (name, color) in enumerate(classes)],
        )

    def _renumber(self, classes: Sequence[tuple[str, str]]) -> None:
        """Give the labels that stay the ids that their classes' names have from now on."""
        names = [name for name, _ in self.classes()]
        place = {name: index for index, (name, _) in enumerate(classes)}
        moved = {old: place.get(name) for old, name in enumerate(names)}
        if all(old == new for old, new in moved.items()):
            return
        used = [old for (old,) in self._rows("SELECT DISTINCT class_id FROM labels ORDER BY 1")]
        if kept := [names[old] for old in used if moved.get(old) is None]:
            raise UsageError(
                f"{self.folder}: the ontology lacks {', '.join(map(repr, kept))}, but labels that "
                "were tracked, or confirmed by a human, have that class: keep it in the ontology"
            )
        self._db.create_function("moved", 1, moved.get, deterministic=True)
        self._db.execute(
            "UPDATE labels SET class_id = moved(class_id), runner_up_class = moved(runner_up_class)"
        )

    def _set_meta(self, meta: Mapping[str, str]) -> None:
        """Set keys of the run's record inside a transaction."""
        self._db.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?,?)",
            [(key, rows.text(value)) for key, value in meta.items()],
        )

    def _put_media(self, result: Result, seconds: dict[str, float], state: bytes | None) -> int:
        """Insert or update the medium's row; return its id."""
        values = rows.media_row(result.media, result.size_bytes, result.mtime_ns, seconds, state)
        return int(self._db.execute(rows.INSERT_MEDIA, values).fetchone()[0])

    def _replace(self, result: Result) -> None:
        """Store one input in place of what was stored under its name."""
        same = result.copy_of == result.media.name  # only the file's time or place changed
        if not same:
            self._delete_model(result.media.name)
        media_id = self._put_media(result, dict(result.seconds), None)
        if result.copy_of is None:
            self._add_found(media_id, result)
        elif not same:
            self._copy(result.copy_of, media_id)
            self._drop_doubles(media_id)

    def _add_found(self, media_id: int, result: Result) -> None:
        """Insert a result's candidates and labels."""
        prompts = self._prompts_asked()
        for index, found in result.candidates.items():
            asked = found.proposals.scores.shape[1]
            if asked != prompts:
                raise ValueError(
                    f"{result.media.name}: expected the scores of {prompts} prompts "
                    f"(see set_run), found {asked}"
                )
            rows.check_sizes(result.media, found.masks)
            self._db.executemany(rows.INSERT_CANDIDATE, rows.candidate_rows(media_id, index, found))
        rows.check_sizes(result.media, (one.mask for one in result.instances))
        labels = rows.label_rows(media_id, result.instances, dict(result.candidates))
        self._db.executemany(rows.INSERT_LABEL, (row for _, row in labels))
        frames = [one.frame_index for one in result.instances]
        if frames:
            self._drop_doubles(media_id, (min(frames), max(frames)))

    def _copy(self, name: str, media_id: int) -> None:
        """Give a medium the candidates and labels of another."""
        source = self._rows("SELECT id FROM media WHERE name = ?", rows.text(name))
        if not source:
            raise UsageError(f"{self.folder} has no input named {name!r} to copy from")
        self._db.execute(rows.COPY_CANDIDATES, (media_id, source[0][0]))
        self._db.execute(rows.COPY_LABELS, (media_id, source[0][0]))

    def _delete_found(self, name: str) -> None:
        """Delete the candidates and labels of a medium, if it is there."""
        for (media_id,) in self._rows("SELECT id FROM media WHERE name = ?", rows.text(name)):
            self._db.execute("DELETE FROM candidates WHERE media_id = ?", (media_id,))
            self._db.execute("DELETE FROM labels WHERE media_id = ?", (media_id,))

    def _delete_model(self, name: str, start: int = 0) -> None:
        """Delete what the models said of a medium; a human's labels get masks of their own."""
        for (media_id,) in self._rows("SELECT id FROM media WHERE name = ?", rows.text(name)):
            self._db.execute(
                f"DELETE FROM labels WHERE media_id = ? AND frame_index >= ? AND {rows.FROM_MODEL}",
                (media_id, start),
            )
            self._db.execute(f"{rows.OWN_MASKS} AND media_id = ?", (media_id,))
            self._db.execute(
                "DELETE FROM candidates WHERE media_id = ? AND frame_index >= ?", (media_id, start)
            )

    def _remove(self, name: str) -> int:
        """Delete a medium and all that belongs to it; return 1 if it was there."""
        self._delete_found(name)
        return self._db.execute("DELETE FROM media WHERE name = ?", (rows.text(name),)).rowcount

    def _relabel(
        self, media_id: int, found: dict[int, Candidates], instances: Sequence[Instance]
    ) -> int:
        """Insert a picture's new labels except where a human decided; return how many."""
        if any(one.detector_box is None for one in instances):
            raise ValueError("expected labels with the detector_box of a candidate, found none")
        taken = {
            idx
            for (idx,) in self._db.execute(
                "SELECT candidate_idx FROM labels WHERE media_id = ?", (media_id,)
            )
        }
        labels = [
            row for idx, row in rows.label_rows(media_id, instances, found) if idx not in taken
        ]
        self._db.executemany(rows.INSERT_LABEL, labels)
        return len(labels)
