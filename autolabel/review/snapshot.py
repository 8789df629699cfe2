"""What was loaded into the app: the state against which a human's edits show.

Each input has its last loads here, by generation; the app's copy says which one it is. A load
writes here first, into the app then, and drops the older generation last, so that whatever is
killed in between, what is in the app is always compared with what it was loaded as.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from autolabel.review.places import Places

State = dict[str, Any]
"""One label as the app has it: see ``autolabel.review.states``."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """One input as it was loaded.

    Attributes:
        generation: Which load it was.
        fingerprint: What its labels were in the project.
        tags: The input's own tags.
        labels: Frame index and state of each label, by its id in the app.
    """

    generation: int
    fingerprint: str
    tags: tuple[str, ...]
    labels: dict[str, tuple[int, State]]


class Snapshot:
    """The file of what was loaded. One that is damaged is made anew: all is loaded again."""

    def __init__(self, places: Places) -> None:
        self._path = places.snapshot
        try:
            self._db = self._open()
        except sqlite3.DatabaseError:
            self._path.unlink()
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        """Return the database with its table."""
        db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(
            """CREATE TABLE IF NOT EXISTS loaded (media_id INTEGER, generation INTEGER,
            fingerprint TEXT, tags TEXT, labels TEXT, PRIMARY KEY (media_id, generation))"""
        )
        return db

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):
            self._db.close()

    def next_generation(self) -> int:
        """Return a number that no load had before, even if this file was lost in between."""
        (last,) = self._db.execute("SELECT coalesce(max(generation), 0) FROM loaded").fetchone()
        return max(int(last) + 1, int(time.time() * 1000))

    def get(self, media_id: int, generation: int) -> Loaded | None:
        """Return one input as it was loaded then, or None."""
        found = self._db.execute(
            "SELECT generation, fingerprint, tags, labels FROM loaded "
            "WHERE media_id = ? AND generation = ?",
            (media_id, generation),
        ).fetchone()
        if found is None:
            return None
        labels = {oid: (frame, state) for oid, frame, state in json.loads(found[3])}
        return Loaded(found[0], found[1], tuple(json.loads(found[2])), labels)

    def fingerprints(self) -> dict[tuple[int, int], str]:
        """Return the fingerprint of every input's loads, by input and generation."""
        found = self._db.execute("SELECT media_id, generation, fingerprint FROM loaded")
        return {(media, generation): text for media, generation, text in found}

    def put(self, loads: Iterable[tuple[int, Loaded]]) -> None:
        """Write loads, all or nothing."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT OR REPLACE INTO loaded VALUES (?,?,?,?,?)",
            [
                (
                    media_id,
                    one.generation,
                    one.fingerprint,
                    json.dumps(one.tags),
                    json.dumps(
                        [(oid, frame, state) for oid, (frame, state) in one.labels.items()],
                        separators=(",", ":"),
                    ),
                )
                for media_id, one in loads
            ],
        )
        self._db.execute("COMMIT")

    def forget(self, media_ids: Iterable[int], before: int) -> None:
        """Drop the generations of these inputs before this one."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "DELETE FROM loaded WHERE media_id = ? AND generation < ?",
            [(media_id, before) for media_id in media_ids],
        )
        self._db.execute("COMMIT")

    def clear(self) -> None:
        """Forget everything."""
        self._db.execute("DELETE FROM loaded")
