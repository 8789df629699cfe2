"""Inputs by the million, kept in temporary databases on disk instead of in memory.

SQLite keeps a database that has no name in a file that has none either: it lies in
``SQLITE_TMPDIR``, else ``TMPDIR``, else ``/var/tmp``, and is gone with the process, however
that ends. What fits into a small cache is never written at all. Sorting is done there too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from autolabel.errors import StorageError
from autolabel.store.rows import text
from autolabel.types import MediaItem

CACHE_KB = 1024
"""Memory that one temporary database may use for its pages; a sort takes about as much."""

_SHARED = "SELECT name FROM inputs GROUP BY name HAVING count(*) > 1"


class Found(NamedTuple):
    """One input before it has its name: absolute path, and how many last parts name it."""

    path: str
    parts: int
    kind: str


def temporary() -> sqlite3.Connection:
    """Return a database of its own that is gone when it is closed; for one thread at a time."""
    with disk_errors_told():
        db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA temp_store = FILE")
        db.execute("PRAGMA journal_mode = OFF")  # nothing is rolled back, nothing survives
        db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
    return db


@contextmanager
def disk_errors_told() -> Iterator[None]:
    """Turn SQLite's errors about the temporary file into a StorageError that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"the list of inputs can't be kept in the temporary folder ({error}): free space "
            "there (some 500 bytes an input), or set SQLITE_TMPDIR to a folder that has it"
        ) from error


class Folders:
    """Folders that wait to be walked: real ones before links, in order, each one once.

    Args:
        skip: Real paths of folders that are not to be walked.
    """

    def __init__(self, skip: Iterable[str]) -> None:
        self._db = temporary()
        self._db.execute(
            "CREATE TABLE waiting (link INTEGER, path BLOB, PRIMARY KEY (link, path)) WITHOUT ROWID"
        )
        self._db.execute("CREATE TABLE seen (real BLOB PRIMARY KEY) WITHOUT ROWID")
        for folder in skip:
            self._is_new(folder)

    def put(self, path: str, link: bool = False) -> None:
        """Add a folder."""
        with disk_errors_told():
            self._db.execute(
                "INSERT OR IGNORE INTO waiting VALUES (?,?)", (link, os.fsencode(path))
            )

    def take(self) -> str | None:
        """Return the next folder that hasn't been taken under any path, None at the end."""
        with disk_errors_told():
            while row := self._db.execute(
                "SELECT link, path FROM waiting ORDER BY link, path LIMIT 1"
            ).fetchone():
                self._db.execute("DELETE FROM waiting WHERE link = ? AND path = ?", row)
                path = os.fsdecode(row[1])
                if self._is_new(os.path.realpath(path)):
                    return path
        return None

    def _is_new(self, real: str) -> bool:
        """Return whether a folder is seen for the first time."""
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        return self._db.execute(insert, (os.fsencode(real),)).rowcount == 1

    def close(self) -> None:
        """Let go of the temporary file."""
        self._db.close()


class Spool:
    """What a run's inputs stand for: fill it with ``add``, then ``name_all``, then read it.

    Paths are kept as bytes, since Linux allows names that are no UTF-8. They are given out as
    the store spells them; see ``rows.text``.
    """

    def __init__(self) -> None:
        self._db = temporary()
        self._db.create_function("tail", 2, _tail, deterministic=True)
        self._db.create_function("folder", 1, os.path.dirname, deterministic=True)
        self._db.execute("CREATE TABLE found (path BLOB, parts INTEGER, kind TEXT)")
        self._db.execute(
            "CREATE TABLE inputs (id INTEGER PRIMARY KEY, path BLOB, parts INTEGER, kind TEXT, "
            "name TEXT)"
        )

    def add(self, found: Iterable[Found]) -> None:
        """Take in files in any order; the same file may come several times."""
        with disk_errors_told():
            self._db.executemany(
                "INSERT INTO found VALUES (?,?,?)",
                ((os.fsencode(path), parts, kind) for path, parts, kind in found),
            )

    def name_all(self, is_clip: Callable[[str, int], bool] | None = None) -> None:
        """Keep each file once, by its longest name, and lengthen names until all differ.

        Args:
            is_clip: Says whether a folder, of which so many pictures were added, is a video's
                frames. Such a folder becomes one input in place of its pictures.
        """
        with disk_errors_told():
            self._db.execute(
                "INSERT INTO inputs (path, parts, kind, name) "
                "SELECT path, max(parts), kind, tail(path, max(parts)) FROM found GROUP BY path"
            )
            self._db.execute("DROP TABLE found")
            if is_clip is not None:
                self._join_clips(is_clip)
            self._db.execute("CREATE INDEX by_name ON inputs (name)")
            self._tell_apart()

    def items(self, limit: int | None = None) -> Iterator[MediaItem]:
        """Yield the inputs by name, streaming; the first ``limit`` only if it is given."""
        with disk_errors_told():
            for name, path, kind in self._db.execute(
                "SELECT name, path, kind FROM inputs ORDER BY name LIMIT ?",
                (-1 if limit is None else limit,),
            ):
                yield MediaItem(name, text(os.fsdecode(path)), kind)

    def has(self, name: str) -> bool:
        """Return whether an input has this name."""
        with disk_errors_told():
            found = self._db.execute("SELECT 1 FROM inputs WHERE name = ?", (name,)).fetchone()
        return found is not None

    def close(self) -> None:
        """Let go of the temporary file."""
        self._db.close()

    def _join_clips(self, is_clip: Callable[[str, int], bool]) -> None:
        """Replace the pictures of each folder that is a clip by the folder."""
        self._db.execute("CREATE TABLE clips (path BLOB PRIMARY KEY, parts INTEGER) WITHOUT ROWID")
        folders = self._db.execute(
            "SELECT folder(path), parts, count(*), min(path) FROM inputs GROUP BY 1 "
            "HAVING count(*) > 1 AND min(kind = 'image')"
        )
        self._db.executemany(
            "INSERT INTO clips VALUES (?,?)",
            (
                (folder, max(1, parts - 1))
                for folder, parts, count, _ in folders
                if is_clip(os.fsdecode(folder), count)
            ),
        )
        self._db.execute("DELETE FROM inputs WHERE folder(path) IN (SELECT path FROM clips)")
        self._db.execute(
            "INSERT INTO inputs (path, parts, kind, name) "
            "SELECT path, parts, 'frames', tail(path, parts) FROM clips"
        )

    def _tell_apart(self) -> None:
        """Let names that are shared grow by their folders until none can; number the rest."""
        grow = f"""UPDATE inputs SET parts = parts + 1, name = tail(path, parts + 1)
            WHERE name IN ({_SHARED}) AND name <> tail(path, parts + 1)"""
        while self._db.execute(grow).rowcount:
            pass
        self._db.execute(
            f"""UPDATE inputs SET name = name || '~' || same.place FROM
            (SELECT id, row_number() OVER (PARTITION BY name ORDER BY path) AS place
            FROM inputs WHERE name IN ({_SHARED})) AS same
            WHERE same.id = inputs.id AND same.place > 1"""
        )


def _tail(path: bytes, parts: int) -> str:
    """Return the last parts of a path, with forward slashes, as the store spells them."""
    return text("/".join(os.fsdecode(path).strip(os.sep).split(os.sep)[-parts:]))
