"""A folder that appears complete or not at all, and is replaced whole or left as it was."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autolabel.errors import StorageError, UsageError

MARKER = ".autolabel-export"
"""Lies in every export, says its format, and shows that the folder is ours to replace. Its name
doesn't end in ".json": some readers take every such file for labels."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def complete_folder(out: Path, marker: dict[str, object], overwrite: bool) -> Iterator[Path]:
    """Give an empty folder beside ``out`` that takes its place when the block ends well.

    Whatever happens before, a kill included, ``out`` stays as it was; what a killed export
    left beside it is removed by the next one.

    Args:
        out: The folder to make.
        marker: What ``MARKER`` will say, JSON.
        overwrite: Replace an earlier export in ``out``.

    Raises:
        UsageError: If ``out`` is a file, or has files that may not be replaced.
        StorageError: If the disk is full, read-only or failing.
    """
    out = Path(os.path.realpath(out))
    try:
        _check(out, overwrite)
        out.parent.mkdir(parents=True, exist_ok=True)
        _clean(out)
        work, lock = _make(out)
    except OSError as error:
        raise _told(out, error) from error
    try:
        yield work
        text = json.dumps(marker, ensure_ascii=False, indent=1, sort_keys=True)
        (work / MARKER).write_text(text + "\n", encoding="utf-8")
        _swap(work, out)
    except OSError as error:
        raise _told(out, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


def _check(out: Path, overwrite: bool) -> None:
    """Raise UsageError unless ``out`` may be made or replaced."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, not a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise UsageError(f"{out} is not empty: choose another folder, or --overwrite")
    if not (out / MARKER).is_file():
        raise UsageError(
            f"{out} holds files that no export of autolabel wrote, so it is not overwritten: "
            "choose another folder, or empty it"
        )


def _prefix(out: Path) -> str:
    """Return how the names of ``out``'s temporary folders begin."""
    return f".{out.name}.autolabel-"


def _make(out: Path) -> tuple[Path, int]:
    """Return a new folder beside ``out`` and the lock that shows that it is in use."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        lock = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if work.exists():  # else another export took it for a stale one before it was locked
            mask = os.umask(0)
            os.umask(mask)
            work.chmod(0o777 & ~mask)
            return work, lock
        os.close(lock)


def _clean(out: Path) -> None:
    """Remove what killed exports to ``out`` left: folders whose lock nobody holds."""
    for stale in out.parent.iterdir():
        if not stale.name.startswith(_prefix(out)) or not stale.is_dir():
            continue
        with suppress(OSError):
            lock = os.open(stale, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(stale, ignore_errors=True)
            finally:
                os.close(lock)


def _swap(work: Path, out: Path) -> None:
    """Put ``work`` in the place of ``out``; afterwards ``work`` is the old one, or gone."""
    if not out.exists() or not any(out.iterdir()):
        os.rename(work, out)  # also replaces an empty folder, in one step
    elif not _exchange(work, out):
        # Two steps where the system can't do it in one: a kill between them leaves the old
        # export beside it, complete, under the name ".old-PID".
        old = out.with_name(f"{out.name}.old-{os.getpid()}")
        os.rename(out, old)
        os.rename(work, out)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(work: Path, out: Path) -> bool:
    """Swap two folders in one step (Linux, renameat2); return False where that can't be done."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = os.fsencode(work), os.fsencode(out)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(out))


def _told(out: Path, error: OSError) -> StorageError:
    """Return the error for a folder that can't be written."""
    if error.errno in (errno.EBUSY, errno.EXDEV):
        return StorageError(f"{out} is a mount point and can't be replaced: choose a folder in it")
    return StorageError(
        f"{out} can't be written: {error.strerror or error}. Nothing was changed there; free "
        "space or choose another folder."
    )
