"""What reads an export back: each format's own inverse, a picture at a time.

Unlike the readers for imports these need no pictures: an export is asked for the labels of
one picture after the other, in the order in which they were written. Formats of one file
are read as a stream beside the project's; formats of a file a picture are looked up.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from autolabel.errors import FormatError
from autolabel.formats.media_files import Picture
from autolabel.formats.reading import Pictures, Problems, ReadObject
from autolabel.types import MediaItem

AHEAD = 256
"""Pictures that may be in the export but no longer in the project before one that is in both."""


class Back(Protocol):
    """Reads one export back; made with its folder and where to count what can't be read."""

    classes: list[str]
    """Names of the classes that objects' class ids mean."""

    def objects(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a picture's labels; none where the export hasn't the picture.

        Args:
            picture: Its name in the export, input and frame; in the order of the export.
            part: Which part of a split it is in, "" without a split.
        """
        ...

    def rest(self) -> int:
        """Read what nobody asked for, and return how many objects were read in all."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """One picture or video of an export of one file.

    Attributes:
        name: Its name there.
        frame: The frame's index, where the file says it.
        objects: Its labels.
    """

    name: str
    frame: int | None
    objects: Sequence[ReadObject]


class StreamBack:
    """Reads an export whose pictures come one after the other, as the project's do."""

    classes: list[str]

    def __init__(self, folder: Path, problems: Problems) -> None:
        self.folder, self.problems = folder, problems
        self.classes = self.read_classes()
        self._count = 0
        self._streams: dict[str, Iterator[Record]] = {}
        self._ahead: dict[str, deque[Record]] = defaultdict(deque)

    def read_classes(self) -> list[str]:
        """Return the names of the classes."""
        raise NotImplementedError

    def records(self, part: str) -> Iterator[Record]:
        """Yield each picture of a part."""
        raise NotImplementedError

    def parts(self) -> list[str]:
        """Return the parts that the format itself has."""
        return [""]

    def fits(self, record: Record, picture: Picture) -> bool:
        """Return whether a record is this picture."""
        return record.name == picture.name

    def objects(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a picture's labels; what lies before it in the file is passed."""
        record = self.take(picture, part)
        return record.objects if record else ()

    def take(self, picture: Picture, part: str) -> Record | None:
        """Return a picture's record, None where there is none within the next ``AHEAD``."""
        ahead = self._ahead[part]
        for place in range(AHEAD):
            if place == len(ahead) and (record := self._next(part)) is not None:
                ahead.append(record)
            if place == len(ahead):
                return None
            if self.fits(ahead[place], picture):
                found = ahead[place]
                for _ in range(place + 1):
                    ahead.popleft()
                return found
        return None

    def rest(self) -> int:
        """Read what nobody asked for, and return how many objects were read in all."""
        for part in self.parts():
            while self._next(part) is not None:
                pass
        return self._count

    def _next(self, part: str) -> Record | None:
        """Return the next record of a part."""
        if part not in self._streams:
            self._streams[part] = self.records(part)
        record = next(self._streams[part], None)
        self._count += len(record.objects) if record else 0
        return record


class FileBack:
    """Reads an export that has a file a picture or video."""

    classes: list[str]
    pattern = "*"

    def __init__(self, folder: Path, problems: Problems) -> None:
        self.folder, self.problems = folder, problems
        self.classes = self.read_classes()
        self.count = 0
        self._asked = False

    def read_classes(self) -> list[str]:
        """Return the names of the classes."""
        raise NotImplementedError

    def read(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a picture's labels."""
        raise NotImplementedError

    def objects(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a picture's labels, and count them."""
        self._asked = True
        found = self.read(picture, part)
        self.count += len(found)
        return found

    def rest(self) -> int:
        """Return how many objects were read; without a project to ask by, read every file."""
        if not self._asked:
            self.count = sum(len(found) for found in self.everything())
        return self.count

    def everything(self) -> Iterator[Sequence[ReadObject]]:
        """Yield every file's labels."""
        raise NotImplementedError


class AnyPictures(Pictures):
    """Pictures for a reader where only the names in the labels count."""

    def __init__(self) -> None:
        self.items = {}

    def find(self, name: str) -> MediaItem | None:
        """Return an item of that name."""
        return MediaItem(name, "")

    def find_stem(self, stem: str) -> MediaItem | None:
        """Return an item of that name."""
        return MediaItem(stem, "")


def lines_of(path: Path, section: str) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a list in a JSON file that has each on a line of its own.

    Args:
        path: The file, as this project's writers lay it out.
        section: The list's key; "" for a file that is the list.

    Raises:
        FormatError: If the list isn't there, has no end, or a line is no JSON.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            wanted = f'"{section}":[\n' if section else "[\n"
            if not any(line == wanted for line in file):
                raise FormatError(f"{path}: has no {section or 'list'}")
            for number, line in enumerate(file):
                if line[0] in "]}":
                    return
                yield f"{path}: {section}[{number}]", json.loads(line.rstrip("\n,"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: can't be read back: {error}") from error
    raise FormatError(f"{path}: ends inside {section or 'the list'}")


def folder_of(picture: Picture) -> str:
    """Return the name of a video's folder in an export, from the name of its frame."""
    return str(PurePosixPath(picture.name).parent)
