"""Which pictures and videos a command's inputs stand for.

An input is a file, a folder (with everything below it) or a glob; an existing file wins
over a glob, so ``a[1].jpg`` can be given as it is. Only local files: no addresses.

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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from autolabel.errors import UsageError
from autolabel.types import MediaItem

IMAGE_EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What counts as a picture in a folder, in lower case; upper case counts as well."""
VIDEO_EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
"""What counts as a video."""

_MAGIC = re.compile(r"[*?\[]")
_File: TypeAlias = tuple[str, str | None]
"""A file's absolute path and its kind, None where it is neither picture nor video."""
_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True, slots=True)
class _Found:
    """One item before it has its name: absolute path, and how many last parts name it."""

    path: str
    parts: int
    kind: str


def list_inputs(
    inputs: Sequence[str | Path],
    *,
    frame_folders: bool = False,
    exclude: Sequence[str | Path] = (),
) -> list[MediaItem]:
    """Return what the inputs stand for, sorted by name, each file once.

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
        inputs: Files, folders and globs (``*``, ``?``, ``[a-c]``, ``**`` over folders).
        frame_folders: Take folders of numbered pictures as videos.
        exclude: Folders to leave out, such as the project's own.

    Raises:
        UsageError: If nothing is given, a path doesn't exist (near names are suggested),
            or a folder or glob has no picture or video.
    """
    if not inputs:
        raise UsageError("no input given: name files, folders or globs")
    skip = {os.path.realpath(folder) for folder in exclude}
    found: dict[str, _Found] = {}
    for given in inputs:
        for item in _find(os.path.expanduser(str(given)), skip):
            known = found.setdefault(item.path, item)
            if item.parts > known.parts:  # the longer name, whichever input came first
                found[item.path] = item
    items = sorted(found.values(), key=lambda item: item.path)
    if frame_folders:
        items = _join_frames(items)
    named = zip(_unique_names(items), items, strict=True)
    return sorted(
        (MediaItem(name, _storable(item.path), item.kind) for name, item in named),
        key=lambda item: item.name,
    )


def _find(given: str, skip: set[str]) -> list[_Found]:
    """Return what one input stands for, or raise UsageError."""
    if os.path.isdir(given):
        return _in_folder(given, skip)
    if os.path.lexists(given):
        path = os.path.abspath(given)
        return [_Found(path, 1, _kind(path) or "image")]
    if _MAGIC.search(given):
        return _in_glob(given, skip)
    raise UsageError(_missing(given))


def _in_folder(folder: str, skip: set[str]) -> list[_Found]:
    """Return the pictures and videos under a folder."""
    base = os.path.abspath(folder)
    try:
        os.listdir(base)
    except OSError as error:
        raise UsageError(f"{folder}: this folder can't be listed ({error.strerror})") from error
    files = list(_walk(base, skip))
    items = [_Found(path, _depth(path) - _depth(base), kind) for path, kind in files if kind]
    if not items:
        raise UsageError(f"{folder}: no picture or video in this folder {_looked_for(len(files))}")
    return items


def _in_glob(pattern: str, skip: set[str]) -> list[_Found]:
    """Return the pictures and videos that a glob matches; folders that match are walked."""
    parts = Path(os.path.abspath(pattern)).parts
    fixed = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    files: list[_File] = []
    if "**" in parts:  # not glob's own: it walks in circles where links do
        base = os.path.join(*parts[:fixed])
        walked = _walk(base, skip) if os.path.isdir(base) else iter(())
        files += [file for file in walked if _matches(Path(file[0]).parts[fixed:], parts[fixed:])]
    else:
        for match in glob.glob(os.path.join(*parts)):
            files += _walk(match, skip) if os.path.isdir(match) else [(match, _kind(match))]
    items = [_Found(path, _depth(path) - fixed, kind) for path, kind in files if kind]
    if not items:
        raise UsageError(f"{pattern}: matches no picture or video {_looked_for(len(files))}")
    return items


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
    """Yield all files under a folder that aren't hidden, with their kinds.

    Each folder is visited once, real ones before links: a link into the same tree adds
    nothing and a loop ends. A folder below that can't be listed is yielded as a picture:
    reading it fails with the reason, so the run goes on and has it on record.
    """
    seen = set(skip)
    links = [base]
    while links:
        folders = [links.pop(0)]
        while folders:
            folder = folders.pop()
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                yield folder, "image"
                continue
            entries = [entry for entry in entries if not entry.name.startswith(".")]
            folders += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            links += [entry.path for entry in entries if entry.is_symlink() and entry.is_dir()]
            yield from ((entry.path, _kind(entry.path)) for entry in entries if not entry.is_dir())
        links.sort()


def _kind(path: str) -> str | None:
    """Return "image" or "video" by the extension, None for other files."""
    extension = os.path.splitext(path)[1].lower()
    if extension in IMAGE_EXTENSIONS:
        return "image"
    return "video" if extension in VIDEO_EXTENSIONS else None


def _join_frames(items: list[_Found]) -> list[_Found]:
    """Return the items with each folder of numbered pictures as one item."""
    items = sorted(items, key=lambda item: (os.path.dirname(item.path), item.path))
    joined: list[_Found] = []
    for folder, group in groupby(items, key=lambda item: os.path.dirname(item.path)):
        members = list(group)
        if _is_video(folder, members):
            joined.append(_Found(folder, max(1, members[0].parts - 1), "frames"))
        else:
            joined += members
    return joined


def _is_video(folder: str, members: list[_Found]) -> bool:
    """Return whether a folder is a video's frames by the rule of ``list_inputs``."""
    with os.scandir(folder) as entries:
        names = [entry for entry in entries if not entry.name.startswith(".")]
    pictures = [entry.name for entry in names if _kind(entry.name) == "image"]
    if len(members) < 2 or len(pictures) != len(members) or any(e.is_dir() for e in names):
        return False
    matches = [_NUMBERED.fullmatch(os.path.splitext(name)[0]) for name in pictures]
    return len({match and match[1] for match in matches}) == 1 and matches[0] is not None


def _unique_names(items: Sequence[_Found]) -> list[str]:
    """Return one name an item: its last parts, as many as tell it from the others."""
    split = [Path(item.path).parts for item in items]
    parts = [item.parts for item in items]
    while True:
        names = [_name(path, count) for path, count in zip(split, parts, strict=True)]
        uses = Counter(names)
        grown = [
            min(count + 1, len(path)) if uses[name] > 1 else count
            for name, path, count in zip(names, split, parts, strict=True)
        ]
        if grown == parts:
            return _numbered(names)
        parts = grown


def _name(parts: Sequence[str], count: int) -> str:
    """Return the last parts with forward slashes."""
    return _storable("/".join(part.strip("/\\") for part in parts[-count:]).lstrip("/"))


def _numbered(names: list[str]) -> list[str]:
    """Return the names with a counter where even whole paths don't tell them apart."""
    uses: Counter[str] = Counter()
    result = []
    for name in names:
        uses[name] += 1
        result.append(name if uses[name] == 1 else f"{name}~{uses[name]}")
    return result


def _storable(text: str) -> str:
    """Return the text with bytes that are no UTF-8 written out by their numbers.

    Linux allows such names, SQLite and JSON don't. The path then names no file, so such an
    item fails when it is read, and is listed by a name that a person can find.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _depth(path: str) -> int:
    """Return how many parts a path has."""
    return len(Path(path).parts)


def _looked_for(others: int) -> str:
    """Return the end of an error that says what was looked for, and what else there was."""
    there = f"; found {others} other file{'' if others == 1 else 's'}" if others else ""
    return f"(looked for {' '.join(IMAGE_EXTENSIONS + VIDEO_EXTENSIONS)}{there})"


def _missing(given: str) -> str:
    """Return the message for a path that doesn't exist, with near names."""
    if re.match(r"[a-z][a-z0-9+.-]+://", given):
        return f"{given}: only local files are read; download it first"
    part, folder = given.rstrip("/"), os.path.dirname(given.rstrip("/"))
    while folder and not os.path.isdir(folder):
        part, folder = folder, os.path.dirname(folder)
    there = sorted(os.listdir(folder or "."))
    near = difflib.get_close_matches(os.path.basename(part), there, n=3)
    hint = " or ".join(os.path.join(folder, name) for name in near)
    return f"{given}: no such file or folder." + (f" Did you mean {hint}?" if hint else "")
