"""What a format's reader gives, and what all readers share: problems, pictures, safe parsing.

Label files are untrusted. Names in them are only looked up among the pictures that are there,
never joined to a path; XML with a DTD is refused, so no entity is ever expanded; a zip's
entries are checked before one is written.
"""

from __future__ import annotations

import json
import math
import os
import stat
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from xml.etree.ElementTree import Element
from xml.parsers import expat

from autolabel.errors import FormatError, InputError
from autolabel.media.inputs import list_inputs
from autolabel.types import RLE, MediaItem

MAX_ZIP_BYTES = 8 * 2**30
MAX_DEPTH = 50
_CHUNK = 2**16


@dataclass(frozen=True, slots=True)
class ReadObject:
    """One label as a file has it.

    Attributes:
        class_id: Into the reader's classes.
        box: x1, y1, x2, y2; None: the mask's.
        mask: At the picture's full size, or None.
        score: None for a label without.
        track_id: Identity through a video, or None.
        frame_index: 0 for pictures.
        source: "human", "model", or None where the file doesn't say.
        crowd: A region of many objects (COCO's iscrowd).
        place: Where in the file, for errors.
    """

    class_id: int
    box: tuple[float, float, float, float] | None = None
    mask: RLE | None = None
    score: float | None = None
    track_id: int | None = None
    frame_index: int = 0
    source: str | None = None
    crowd: bool = False
    place: str = ""


@dataclass(frozen=True, slots=True)
class ReadMedia:
    """One picture or video as a file has it.

    Attributes:
        item: The file that was found for it.
        height: Rows by the label file; None where it doesn't say.
        width: Columns by the label file.
        objects: Its labels.
        frames: Number of frames by the label file; None where it doesn't say.
    """

    item: MediaItem
    height: int | None
    width: int | None
    objects: Sequence[ReadObject]
    frames: int | None = None


@dataclass(slots=True)
class Problems:
    """What was wrong with the files: raised, or with ``skip`` counted.

    Attributes:
        skip: Leave out what is wrong and go on.
        skipped: How often each thing was left out.
        first: Where each was seen first.
        notes: What is worth saying though nothing was wrong.
    """

    skip: bool = False
    skipped: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, place: str, kind: str, detail: str = "") -> None:
        """Report something wrong.

        Raises:
            FormatError: Unless ``skip`` is set.
        """
        if not self.skip:
            raise FormatError(f"{place}: {kind}{': ' if detail else ''}{detail}")
        self.skipped[kind] += 1
        self.first.setdefault(kind, f"{place}{': ' if detail else ''}{detail}")

    @contextmanager
    def guard(self, place: str, kind: str) -> Iterator[None]:
        """Report the ValueErrors and lookups that fail inside, and go on if allowed."""
        try:
            yield
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            if isinstance(error, TypeError):
                what = f"found a value of another kind than can be here ({error})"
            self.add(place, kind, what)


class Reader(Protocol):
    """Reads one format; made with the path, the pictures and the problems."""

    classes: list[tuple[str, str | None]]
    """Each class's name, and "#rrggbb" where the file says."""

    def media(self) -> Iterator[ReadMedia]:
        """Yield each picture or video with its labels."""
        ...


class Pictures:
    """The pictures and videos that label files may speak of, found by name.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.items = {item.name: item for item in list_inputs([folder])}
        self._tails: dict[str, list[MediaItem]] = defaultdict(list)
        self._stems: dict[str, list[MediaItem]] = defaultdict(list)
        for item in self.items.values():
            path = PurePosixPath(item.name)
            self._tails[path.name].append(item)
            self._stems[path.stem].append(item)

    def find(self, name: str) -> MediaItem | None:
        """Return what a name means: itself, else the only one whose path ends like it."""
        clean = name.replace("\\", "/")
        if clean in self.items:
            return self.items[clean]
        path = PurePosixPath(clean)
        fits = [item for item in self._tails[path.name] if _tail(path, PurePosixPath(item.name))]
        return fits[0] if len(fits) == 1 else None

    def find_stem(self, stem: str) -> MediaItem | None:
        """Return what a name without extension means, likewise."""
        path = PurePosixPath(stem)
        fits = [
            item
            for item in self._stems[path.name]
            if _tail(path, PurePosixPath(item.name).with_suffix(""))
        ]
        exact = [item for item in fits if str(PurePosixPath(item.name).with_suffix("")) == stem]
        fits = exact or fits
        return fits[0] if len(fits) == 1 else None

    def frames_of(self, names: Sequence[str]) -> MediaItem | None:
        """Return the folder of numbered pictures that are a video's frames, if all are there."""
        found = [self.find(name) for name in names]
        if not found or any(item is None for item in found):
            return None
        folders = {os.path.dirname(item.path) for item in found if item}
        if len(folders) != 1 or found[0] is None:
            return None
        name = str(PurePosixPath(found[0].name).parent)
        folder = folders.pop()
        return MediaItem(name if name != "." else os.path.basename(folder), folder, "frames")


def _tail(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Return whether one path is the end of the other."""
    short = min(len(one.parts), len(other.parts))
    return one.parts[-short:] == other.parts[-short:]


def load_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        FormatError: If it can't be read or isn't JSON.
    """

    def refuse(word: str) -> float:
        raise ValueError(f"found {word}, which is no number")

    try:
        return json.loads(path.read_bytes(), parse_constant=refuse)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: expected JSON, found something else: {error}") from error


def read_xml(path: Path, wanted: Collection[str]) -> Iterator[Element]:
    """Yield the outermost elements of the wanted names, as they are complete.

    Raises:
        FormatError: If it can't be read, isn't XML, has a DTD (entities), or is too deep.
    """
    parser = _XmlParser(wanted)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                parser.expat.Parse(chunk)
                yield from parser.take()
            parser.expat.Parse(b"", True)
            yield from parser.take()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    except (expat.ExpatError, ValueError) as error:
        raise FormatError(f"{path}: not XML that is read: {error}") from error


class _XmlParser:
    """Expat with handlers that build the wanted elements and refuse declarations."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = wanted
        self._open: list[Element] = []
        self._inside = 0
        self._done: list[Element] = []
        self.expat = expat.ParserCreate()
        self.expat.buffer_text = True
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end
        self.expat.CharacterDataHandler = self._text
        self.expat.StartDoctypeDeclHandler = self._refuse
        self.expat.EntityDeclHandler = self._refuse

    def take(self) -> list[Element]:
        """Return the elements that are complete, once."""
        done, self._done = self._done, []
        return done

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes)
        if len(self._open) >= MAX_DEPTH:
            raise ValueError(f"line {self.expat.CurrentLineNumber}: nested too deep")
        if self._inside:
            self._open[-1].append(element)
        self._inside += bool(self._inside or tag in self._wanted)
        self._open.append(element)

    def _end(self, _tag: str) -> None:
        element = self._open.pop()
        if self._inside == 1:
            self._done.append(element)
        self._inside = max(0, self._inside - 1)

    def _text(self, data: str) -> None:
        if self._inside:
            self._open[-1].text = (self._open[-1].text or "") + data

    def _refuse(self, *_: object) -> None:
        line = self.expat.CurrentLineNumber
        raise ValueError(f"line {line}: a DTD or entity, which is not read for safety")


@contextmanager
def unpacked(path: Path, suffixes: Collection[str], problems: Problems) -> Iterator[Path]:
    """Give the folder or file itself, or a zip's label files in a temporary folder.

    Raises:
        FormatError: If the zip is damaged, too large, or an entry leaves the folder.
    """
    if path.suffix.lower() != ".zip":
        if not path.exists():
            raise FormatError(f"{path}: no such file or folder")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="autolabel-import-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _extract(archive, Path(folder), suffixes, f"{path}", problems)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise FormatError(f"{path}: not a zip that can be read: {error}") from error
        try:
            yield Path(folder)
        except FormatError as error:  # the folder's name would tell nobody anything
            raise FormatError(str(error).replace(folder, str(path))) from error
        for what, place in problems.first.items():
            problems.first[what] = place.replace(folder, str(path))


def _extract(
    archive: zipfile.ZipFile,
    folder: Path,
    suffixes: Collection[str],
    place: str,
    problems: Problems,
) -> None:
    """Write the entries with the wanted suffixes into the folder."""
    left = MAX_ZIP_BYTES
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        drive = any(part.endswith(":") for part in path.parts[:1])
        leaves = path.is_absolute() or ".." in path.parts or drive
        if leaves or stat.S_ISLNK(entry.external_attr >> 16):
            problems.add(f"{place}: {entry.filename!r}", "a zip entry that leaves the folder")
            continue
        if entry.is_dir() or path.suffix.lower() not in suffixes:
            continue
        left -= entry.file_size
        if left < 0:
            raise FormatError(f"{place}: holds over {MAX_ZIP_BYTES:,} bytes of labels")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("wb") as file:
            copied = 0  # what the header says may be a lie
            while chunk := source.read(_CHUNK):
                copied += len(chunk)
                if copied > entry.file_size:
                    raise FormatError(f"{place}: {entry.filename!r} is larger than it says")
                file.write(chunk)


def number(value: object, what: str) -> float:
    """Return a finite number.

    Raises:
        ValueError: If it isn't one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{what}: found {value!r}, expected a number")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{what}: found {value!r}, expected a number") from None
    if not math.isfinite(result):
        raise ValueError(f"{what}: found {value!r}, expected a number")
    return result


def whole(value: object, what: str, least: int = 0) -> int:
    """Return a whole number from ``least`` on.

    Raises:
        ValueError: If it isn't one.
    """
    result = number(value, what)
    if result != int(result) or not least <= result < 2**53:
        raise ValueError(f"{what}: found {value!r}, expected a whole number from {least}")
    return int(result)


def picture_size(item: MediaItem, problems: Problems) -> tuple[int, int] | None:
    """Return a picture's displayed height and width, or None if it can't be read."""
    from autolabel.media.pictures import probe_size

    try:
        return probe_size(item.path)
    except InputError as error:
        problems.add(str(error), "a picture that can't be read")
        return None
