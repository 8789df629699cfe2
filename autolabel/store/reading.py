"""What can be asked of an open project; ``Project`` adds what changes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from autolabel.errors import UsageError
from autolabel.store import rows
from autolabel.store.database import ReadOnly, errors_told
from autolabel.store.stats import Stats, read_stats
from autolabel.types import Candidates, Instance, MediaRecord

EXPORTED = ("accepted", "pending")
"""The statuses of labels that count; a rejected label stays in the store but goes nowhere."""

_LABELLED = "(m.status = 'done' OR m.status = 'failed' AND m.state IS NOT NULL)"
"""Which media m have labels that count: a video that broke off keeps a state to go on from."""

_STORED = "name, path, status, size_bytes, mtime_ns"


class Stored(NamedTuple):
    """What the project knows of an input's file, as it was when it was read."""

    name: str
    path: str
    status: str
    size_bytes: int
    mtime_ns: int


class Reader:
    """The questions. What streams has a connection of its own and sees one moment."""

    folder: Path
    _db: sqlite3.Connection
    _reader: ReadOnly

    def meta(self) -> dict[str, str]:
        """Return the run's record: empty for a new project."""
        return dict(self._rows("SELECT key, value FROM meta ORDER BY key"))

    def classes(self) -> list[tuple[str, str]]:
        """Return each class's name and color, in class id order."""
        return list(self._rows("SELECT name, color FROM classes ORDER BY id"))

    def class_names(self) -> tuple[str, ...]:
        """Return each class's name, in class id order."""
        return tuple(name for name, _ in self.classes())

    def prompts(self) -> list[str]:
        """Return the prompts in the order asked."""
        return [text for (text,) in self._rows("SELECT text FROM prompts ORDER BY id")]

    def state(self, name: str) -> bytes | None:
        """Return what the last ``append`` of this medium left as its state, or None."""
        for (state,) in self._rows("SELECT state FROM media WHERE name = ?", rows.text(name)):
            return bytes(state) if state is not None else None
        return None

    def find_content(self, key: str, kind: str = "image") -> MediaRecord | None:
        """Return an input that is done and has the same content, or None."""
        found = self._rows(
            f"SELECT {rows.MEDIA} FROM media WHERE key = ? AND kind = ? AND status = 'done' "
            "ORDER BY id LIMIT 1",
            key,
            kind,
        )
        return next((MediaRecord(*row) for row in found), None)

    def find(self, name: str) -> MediaRecord | None:
        """Return the input of this name, or None."""
        found = self._rows(f"SELECT {rows.MEDIA} FROM media WHERE name = ?", rows.text(name))
        return next((MediaRecord(*row) for row in found), None)

    def media(self, status: str | None = None) -> Iterator[MediaRecord]:
        """Yield the inputs by name, streaming; only those of ``status`` if it is given."""
        where = "WHERE status = ?" if status else ""
        with errors_told(self.folder), closing(self._reader.connect()) as db:
            for row in db.execute(
                f"SELECT {rows.MEDIA} FROM media {where} ORDER BY name", (status,) if status else ()
            ):
                yield MediaRecord(*row)

    def stored(self, name: str) -> Stored | None:
        """Return what is known of the file of the input of this name, or None."""
        found = self._rows(f"SELECT {_STORED} FROM media WHERE name = ?", rows.text(name))
        return Stored(*found[0]) if found else None

    def all_stored(self) -> Iterator[Stored]:
        """Yield what is known of every input's file, by name, streaming."""
        with errors_told(self.folder), closing(self._reader.connect()) as db:
            yield from map(Stored._make, db.execute(f"SELECT {_STORED} FROM media ORDER BY name"))

    def failures(self) -> Iterator[MediaRecord]:
        """Yield the inputs that failed, by name; ``reason`` says why."""
        return self.media("failed")

    def instances(self, name: str, since: int = 0) -> list[Instance]:
        """Return an input's labels, rejected ones included, in the order of ``labelled``.

        Args:
            name: The input.
            since: Of a video, the first frame whose labels are wanted.
        """
        media = self._known(name)
        return list(
            rows.read_instances(
                media,
                self._rows(
                    f"SELECT {rows.INSTANCE} FROM labels l {rows.LABEL_CANDIDATE} WHERE l.media_id "
                    "= (SELECT id FROM media WHERE name = ?) AND l.frame_index >= ? "
                    "ORDER BY l.frame_index",
                    rows.text(name),
                    since,
                ),
            )
        )

    def candidates(self, name: str) -> dict[int, Candidates]:
        """Return what was found in an input, by frame index; frames with nothing are absent."""
        media = self._known(name)
        found = self._rows(
            f"SELECT {rows.CANDIDATE} FROM candidates WHERE media_id = "
            "(SELECT id FROM media WHERE name = ?) ORDER BY frame_index, idx",
            rows.text(name),
        )
        prompts = self._prompts_asked()
        return {
            index: rows.read_candidates(media, list(frame), prompts)
            for index, frame in groupby(found, key=itemgetter(0))
        }

    def labelled(
        self, statuses: Collection[str] = EXPORTED
    ) -> Iterator[tuple[MediaRecord, Iterator[Instance]]]:
        """Yield every input that is done with its labels, by name, in one pass.

        Videos that broke off are among them, as far as they were labelled: their status is
        "failed", and ``frames`` says how far.

        Inputs without labels are included. The labels come by frame, then track, then best
        score first, whatever order they were stored in; they stream, so read them before
        the next input. Memory doesn't grow with the project nor with a video's length.
        """
        marks = ",".join("?" * len(statuses))
        with errors_told(self.folder), closing(self._reader.connect()) as db:
            db.execute("BEGIN")  # both queries see the same moment
            media_rows = db.execute(
                f"SELECT id, {rows.MEDIA} FROM media m WHERE {_LABELLED} ORDER BY name"
            )
            label_rows = db.execute(
                f"""SELECT {rows.INSTANCE}, m.id FROM media m CROSS JOIN labels l
                ON l.media_id = m.id {rows.LABEL_CANDIDATE}
                WHERE {_LABELLED} AND l.status IN ({marks}) ORDER BY m.name, l.frame_index""",
                tuple(statuses),
            )
            for (_, *values), labels in rows.with_labels(media_rows, label_rows):
                media = MediaRecord(*values)
                yield media, rows.read_instances(media, labels)

    def iter_labelled(
        self, statuses: Collection[str] = EXPORTED
    ) -> Iterator[tuple[MediaRecord, list[Instance]]]:
        """Yield as ``labelled`` does, each input's labels as a list (all of a video's too)."""
        for media, instances in self.labelled(statuses):
            yield media, list(instances)

    def count_labels(self) -> int:
        """Return the number of labels that are not rejected."""
        return int(self._rows("SELECT count(*) FROM labels WHERE status <> 'rejected'")[0][0])

    def stats(self) -> Stats:
        """Return counts, score histogram and times, computed by the database."""
        with errors_told(self.folder):
            return read_stats(self._db)

    def _rows(self, sql: str, *values: object) -> list[rows.Row]:
        """Return all rows of a query that gives few."""
        with errors_told(self.folder):
            return self._db.execute(sql, values).fetchall()

    def _prompts_asked(self) -> int:
        """Return how many prompts there are."""
        return int(self._rows("SELECT count(*) FROM prompts")[0][0])

    def _pictures(self, db: sqlite3.Connection) -> Iterator[tuple[int, MediaRecord, Candidates]]:
        """Yield each picture that has candidates, in the order of the store."""
        prompts = self._prompts_asked()
        media_columns = ", ".join(f"m.{name}" for name in rows.MEDIA.split(", "))
        found = db.execute(
            f"""SELECT {rows.CANDIDATE}, m.id, {media_columns} FROM media m
            CROSS JOIN candidates c ON c.media_id = m.id
            WHERE m.kind = 'image' AND m.status = 'done' ORDER BY m.id, c.frame_index, c.idx"""
        )
        for media_id, group in groupby(found, key=itemgetter(10)):
            frame = list(group)
            media = MediaRecord(*frame[0][11:])
            yield media_id, media, rows.read_candidates(media, frame, prompts)

    def _known(self, name: str) -> MediaRecord:
        """Return the input of this name, or raise UsageError."""
        media = self.find(name)
        if media is None:
            raise UsageError(f"{self.folder} has no input named {name!r}")
        return media
