"""Opening a project's ``labels.db``: its lock, its checks, and SQLite's errors in our words.

The writer holds ``flock`` on ``autolabel.lock`` for as long as its process lives; the kernel
lets go of it however the process ends. The database is in WAL mode with synchronous NORMAL:
what was committed survives ``kill -9`` at any moment (a power cut may lose the last commits,
but can't damage the file), and readers see a consistent state while a run writes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from autolabel.errors import (
    AutolabelError,
    ProjectBusy,
    ProjectDamaged,
    ProjectError,
    ProjectTooNew,
    StorageError,
)
from autolabel.store.schema import APPLICATION_ID, SCHEMA_VERSION, migrate

DATABASE = "labels.db"
LOCK = "autolabel.lock"
BUSY_SECONDS = 30.0
"""How long a reader waits where SQLite itself needs a moment (recovery after a kill)."""

_MAGIC = b"SQLite format 3\0"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_STORAGE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
)
_held: set[int] = set()


@contextmanager
def errors_told(folder: Path) -> Iterator[None]:
    """Turn SQLite's errors about the file or the disk into autolabel's; bugs pass through."""
    try:
        yield
    except sqlite3.Error as error:
        told = _translate(error, folder)
        if told is None:
            raise
        raise told from error


def _translate(error: sqlite3.Error, folder: Path) -> AutolabelError | None:
    """Return what an error of SQLite means to the user, or None for a bug in a caller."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    missing = code == sqlite3.SQLITE_ERROR and str(error).startswith("no such ")
    if code in _DAMAGED or missing:
        return damaged(folder, str(error))
    if code in _BUSY:
        return ProjectBusy(f"{folder}: another program holds {DATABASE} ({error})")
    if code in _STORAGE:
        return StorageError(
            f"{folder / DATABASE}: {error}. What was committed before is safe: free space or make "
            "the folder writable, then run the same command again to go on."
        )
    return None


def damaged(folder: Path, found: str) -> ProjectDamaged:
    """Return the error that says what to do about a labels.db that can't be read."""
    return ProjectDamaged(
        f"{folder / DATABASE} is damaged or not a project's database ({found}). Nothing was "
        "changed. Restore it from a backup, save what is left with "
        f"`sqlite3 {DATABASE} .recover`, or choose another project folder."
    )


class Lock:
    """The right to write to a project folder, held until closed or until the process ends.

    Raises:
        ProjectBusy: If another process (or another Project in this one) holds it.
        StorageError: If the folder can't be written to.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock, or say who has it."""
        try:
            self._fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 1000, 0)
            os.close(self._fd)
            if isinstance(error, BlockingIOError):
                raise ProjectBusy(_busy_text(folder, holder)) from None
            raise _unwritable(folder, error) from error
        _held.add(self._fd)
        self._sign(folder)

    def _sign(self, folder: Path) -> None:
        """Write who holds the lock, for the message that others get."""
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps({"pid": os.getpid(), "since": since}).encode(), 0)
        except OSError as error:
            self.close()
            raise _unwritable(folder, error) from error

    def close(self) -> None:
        """Let go of the lock; the file stays, since deleting it would race with others."""
        if self._fd in _held:
            _held.discard(self._fd)
            os.close(self._fd)


def _drop_locks_in_child() -> None:
    """Close inherited locks: a forked worker that outlives the run must not keep it busy."""
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_drop_locks_in_child)


def _busy_text(folder: Path, holder: bytes) -> str:
    """Return who holds the folder and since when."""
    try:
        told = json.loads(holder)
        who = f"process {told['pid']} since {told['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return f"{folder} is in use by {who}. Wait for it to finish, or choose another folder."


def _unwritable(folder: Path, error: OSError) -> StorageError:
    """Return the error for a folder that can't be written to."""
    return StorageError(
        f"{folder} can't be written to: {error.strerror or error}. Nothing was changed; free "
        "space or make the folder writable, then run the same command again."
    )


def make_folder(folder: Path) -> None:
    """Create the project's folder where it doesn't exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ProjectError(f"{folder} is a file, not a folder: choose another --out") from None
    except OSError as error:
        raise _unwritable(folder, error) from error


def check_file(folder: Path) -> None:
    """Raise unless the folder holds what looks like a labels.db of ours.

    Raises:
        ProjectError: If there is none.
        ProjectDamaged: If it is something else, judged by its first 100 bytes.
        StorageError: If it can't be read.
    """
    try:
        with open(folder / DATABASE, "rb") as file:
            head = file.read(100)
    except (FileNotFoundError, NotADirectoryError):
        raise ProjectError(
            f"{folder} is not a project: it has no {DATABASE}. `autolabel run` makes one."
        ) from None
    except OSError as error:
        raise StorageError(f"{folder / DATABASE} can't be read: {error.strerror}") from error
    if head and (len(head) < 100 or not head.startswith(_MAGIC)):
        raise damaged(folder, "not an SQLite file")


def connect_writer(folder: Path) -> sqlite3.Connection:
    """Return a connection that writes, its tables brought up to date."""
    with errors_told(folder):
        db = _connect(folder / DATABASE, "rwc")
        try:
            check_version(db, folder)
            db.execute("PRAGMA page_size = 8192")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA journal_size_limit = 67108864")
            if _version(db) < SCHEMA_VERSION:
                db.execute("BEGIN IMMEDIATE")
                migrate(db)
                db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
    return db


def bring_up_to_date(folder: Path) -> None:
    """Give a project of an older autolabel today's tables, unless a run or the disk forbids it."""
    with open(folder / DATABASE, "rb") as file:
        version = int.from_bytes(file.read(64)[60:], "big")  # SQLite's header: user_version
    if not 0 < version < SCHEMA_VERSION:
        return
    with suppress(ProjectBusy, StorageError), closing(Lock(folder)):
        connect_writer(folder).close()


def check_version(db: sqlite3.Connection, folder: Path) -> None:
    """Raise unless this is our database, or an empty one, and not newer than this code."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise damaged(folder, "an SQLite database of another program")
    if tables and _version(db) == 0:
        raise damaged(folder, "it has tables but no version")
    if _version(db) > SCHEMA_VERSION:
        raise ProjectTooNew(
            f"{folder / DATABASE} has format {_version(db)}, this autolabel reads up to "
            f"{SCHEMA_VERSION}. Nothing was changed; upgrade with: pip install -U autolabel"
        )


def _version(db: sqlite3.Connection) -> int:
    """Return how many migrations have been applied."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


class ReadOnly:
    """Opens connections that only read, on folders that may be read-only themselves.

    A WAL database needs its two side files to be read. Where they can't be made, the file is
    opened as immutable; where a killed run left a WAL that can't be worked off in place, a
    private copy is read.
    """

    def __init__(self, folder: Path) -> None:
        """Find out how the folder can be read."""
        self.folder = folder
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._path = folder / DATABASE
        self._mode = self._find_mode()

    def connect(self) -> sqlite3.Connection:
        """Return a connection that refuses to write."""
        with errors_told(self.folder):
            db = _connect(self._path, self._mode)
            try:
                db.execute("PRAGMA query_only = ON")
                check_version(db, self.folder)
                self._check_old(_version(db))
            except BaseException:
                db.close()
                raise
        return db

    def _check_old(self, version: int) -> None:
        """Raise if the tables are older than this code, since a reader can't change them."""
        if version < SCHEMA_VERSION:
            raise ProjectError(
                f"{self.folder} has format {version}, older than this autolabel's "
                f"{SCHEMA_VERSION}: run `autolabel run` on it once to bring it up to date"
            )

    def close(self) -> None:
        """Remove the private copy, if one was made."""
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def _find_mode(self) -> str:
        """Return how the file is to be opened: like a writer where that is possible."""
        if os.access(self.folder, os.W_OK) and os.access(self._path, os.W_OK):
            return "rw"
        wal = Path(f"{self._path}-wal")
        if not wal.exists() or wal.stat().st_size == 0:
            return "ro&immutable=1"
        with suppress(sqlite3.Error):
            db = _connect(self._path, "ro")
            try:
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
                return "ro"
            finally:
                db.close()
        self._copy = tempfile.TemporaryDirectory(prefix="autolabel-")
        for file in (self._path, wal):
            shutil.copyfile(file, Path(self._copy.name) / file.name)
        self._path = Path(self._copy.name) / DATABASE
        return "rw"


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Return a connection without implicit transactions; one thread at a time may use it."""
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
