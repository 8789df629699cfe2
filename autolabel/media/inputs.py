"""Which pictures and videos a command's inputs stand for.

An input is a file, a folder (with everything below it) or a glob; an existing file wins
over a glob, so ``a[1].jpg`` can be given as it is. Addresses (``s3://``, ``https://``): see
``autolabel.media.remote``.

Each item's name is its path relative to the input it was found through. Where two inputs
give the same name, those items' names grow to the left by their folders until they differ
(``a/1.jpg`` and ``b/1.jpg``). So names depend on the inputs given, never on the order in
which a file system lists them.
"""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

from autolabel.errors import UsageError
from autolabel.media.remote import find, is_url
from autolabel.media.spool import Folders, Found, Spool
from autolabel.types import MediaItem

IMAGE_EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What counts as a picture in a folder, in lower case; upper case counts as well."""
VIDEO_EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
"""What counts as a video."""

_File: TypeAlias = tuple[str, str | None]
"""A file's absolute path and its kind, None where it is neither picture nor video."""
_NUMBERED = re.compile(r"(.*?)(\d+)")


@contextmanager
def spooled(
    inputs: Sequence[str | Path],
    *,
    frame_folders: bool = False,
    exclude: Sequence[str | Path] = (),
) -> Iterator[Spool]:
    """Give what the inputs stand for, each file once, in memory that doesn't grow with them.

    In folders and globs only files with a known extension count, and what is hidden
    (``.DS_Store``, ``._001.jpg``) doesn't. A file that is given itself always counts, and
    fails when it is read if it isn't a picture or video. Links to folders are followed,
    each folder is visited once.

    A folder of numbered pictures may be a video or a data set; nothing in it says which.
    So folders are pictures unless ``frame_folders`` is set. Then a folder is one item of
    kind "frames" if it holds at least two pictures, no folders, and all its pictures are
    named by one prefix and a number (``00000.jpg``, ``frame_12.png``); whether numbers are
    missing is for the reader to say. It is named like a file would be.

    Args:
        inputs: Files, folders and globs (``*``, ``?``, ``[a-c]``, ``**`` over folders), or
            addresses of them.
        frame_folders: Take folders of numbered pictures as videos.
        exclude: Folders to leave out, such as the project's own.

    Raises:
        UsageError: If nothing is given, a path doesn't exist (near names are suggested),
            or a folder or glob has no picture or video.
        StorageError: If the list doesn't fit into the temporary folder.
    """
    if not inputs:
        raise UsageError("no input given: name files, folders or globs")
    skip = {os.path.realpath(folder) for folder in exclude}
    with closing(Spool()) as spool:
        for given in inputs:
            spool.add(_find(os.path.expanduser(str(given)), skip))
        spool.name_all(_is_clip if frame_folders else None)
        yield spool


def list_inputs(
    inputs: Sequence[str | Path],
    *,
    frame_folders: bool = False,
    exclude: Sequence[str | Path] = (),
) -> list[MediaItem]:
    """Return what the inputs stand for, sorted by name: ``spooled`` as a list, if it is short."""
    with spooled(inputs, frame_folders=frame_folders, exclude=exclude) as spool:
        return list(spool.items())


def _find(given: str, skip: set[str]) -> Iterable[Found]:
    """Return what one input stands for, or raise UsageError, now or when it is read."""
    if is_url(given):
        return find(given, _kind)
    if os.path.isdir(given):
        return _in_folder(given, skip)
    if os.path.lexists(given):
        path = os.path.abspath(given)
        return [Found(path, 1, _kind(path) or "image")]
    if glob.has_magic(given):
        return _in_glob(given, skip)
    raise UsageError(_missing(given))


def _in_folder(folder: str, skip: set[str]) -> Iterator[Found]:
    """Return the pictures and videos under a folder."""
    base = os.path.abspath(folder)
    try:
        os.scandir(base).close()
    except OSError as error:
        raise UsageError(f"{folder}: this folder can't be listed ({error.strerror})") from error
    return _pictured(_walk(base, skip), base, f"{folder}: no picture or video in this folder")


def _in_glob(pattern: str, skip: set[str]) -> Iterator[Found]:
    """Return the pictures and videos that a glob matches; folders that match are walked."""
    parts = Path(os.path.abspath(pattern)).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base, wanted = os.path.join(*parts[:fixed]), parts[fixed:]
    files = _anywhere(base, wanted, skip) if "**" in parts else _matching(base, wanted, skip)
    return _pictured(files, base, f"{pattern}: matches no picture or video")


def _pictured(files: Iterable[_File], base: str, nothing: str) -> Iterator[Found]:
    """Yield the pictures and videos, named from ``base`` on; raise UsageError if there is none."""
    others, empty = 0, True
    for path, kind in files:
        if kind is None:
            others += 1
            continue
        empty = False
        yield Found(path, _depth(path) - _depth(base), kind)
    if empty:
        raise UsageError(f"{nothing} {_looked_for(others)}")


def _anywhere(base: str, pattern: Sequence[str], skip: set[str]) -> Iterator[_File]:
    """Yield the files that match a glob with ``**`` (glob's own walks in circles)."""
    for path, kind in _walk(base, skip) if os.path.isdir(base) else ():
        if _matches(path.split(os.sep)[_depth(base) + 1 :], pattern):
            yield path, kind


def _matching(base: str, pattern: Sequence[str], skip: set[str]) -> Iterator[_File]:
    """Yield the files that match a glob below a folder (glob's own holds all names at once)."""
    for path in _children(base, pattern[0]):
        folder = os.path.isdir(path)
        if len(pattern) > 1:
            yield from _matching(path, pattern[1:], skip) if folder else ()
        elif folder:
            yield from _walk(path, skip)
        else:
            yield path, _kind(path)


def _children(folder: str, pattern: str) -> Iterator[str]:
    """Yield the paths in a folder whose names match; hidden ones only if that is asked for."""
    if not glob.has_magic(pattern):
        path = os.path.join(folder, pattern)
        yield from [path] if os.path.lexists(path) else []
        return
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            asked = pattern.startswith(".") or not entry.name.startswith(".")
            if asked and fnmatchcase(entry.name, pattern):
                yield entry.path


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether a relative path's parts match a glob's; ``**`` is any number of them."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        if len(pattern) == 1:
            return True
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts)))
    if not parts or not fnmatchcase(parts[0], pattern[0]):
        return False
    return _matches(parts[1:], pattern[1:])


def _walk(base: str, skip: set[str]) -> Iterator[_File]:
    """Yield all files under a folder that aren't hidden, with their kinds, in any order.

    Each folder is visited once, real ones before links: a link into the same tree adds
    nothing and a loop ends. A folder below that can't be listed is yielded as a picture:
    reading it fails with the reason, so the run goes on and has it on record.
    """
    with closing(Folders(skip)) as waiting:
        waiting.put(base)
        while (folder := waiting.take()) is not None:
            try:
                yield from _scan(folder, waiting)
            except OSError:
                yield folder, "image"


def _scan(folder: str, waiting: Folders) -> Iterator[_File]:
    """Yield the files of one folder; the folders in it are put with those that wait."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and os.path.isdir(entry.path):
                waiting.put(entry.path, link=True)
            elif entry.is_dir(follow_symlinks=False):
                waiting.put(entry.path)
            else:
                yield entry.path, _kind(entry.name)


def _kind(path: str) -> str | None:
    """Return "image" or "video" by the extension, None for other files."""
    extension = os.path.splitext(path)[1].lower()
    if extension in IMAGE_EXTENSIONS:
        return "image"
    return "video" if extension in VIDEO_EXTENSIONS else None


def _is_clip(folder: str, members: int) -> bool:
    """Return whether a folder is a video's frames by the rule of ``spooled``."""
    pictures = 0
    prefixes: set[str] = set()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                return False
            if _kind(entry.name) == "image":
                match = _NUMBERED.fullmatch(os.path.splitext(entry.name)[0])
                if match is None or prefixes - {match[1]}:
                    return False
                prefixes.add(match[1])
                pictures += 1
    return pictures == members > 1


def _depth(path: str) -> int:
    """Return how many folders and files an absolute path names."""
    return path.rstrip(os.sep).count(os.sep)


def _looked_for(others: int) -> str:
    """Return the end of an error that says what was looked for, and what else there was."""
    there = f"; found {others} other file{'' if others == 1 else 's'}" if others else ""
    return f"(looked for {' '.join(IMAGE_EXTENSIONS + VIDEO_EXTENSIONS)}{there})"


def _missing(given: str) -> str:
    """Return the message for a path that doesn't exist, with near names."""
    part, folder = given.rstrip("/"), os.path.dirname(given.rstrip("/"))
    while folder and not os.path.isdir(folder):
        part, folder = folder, os.path.dirname(folder)
    there = sorted(os.listdir(folder or "."))
    near = difflib.get_close_matches(os.path.basename(part), there, n=3)
    hint = " or ".join(os.path.join(folder, name) for name in near)
    return f"{given}: no such file or folder." + (f" Did you mean {hint}?" if hint else "")
