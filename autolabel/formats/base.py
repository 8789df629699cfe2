"""What a format must offer, and what is the same for all: options, counts, pictures beside labels.

A writer is opened once, gets every input in name order, and is closed; it must not hold the
data set in memory. It writes into a temporary folder: ``autolabel.formats.folder`` puts that
in the place of the real one when everything is there.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from autolabel.errors import UsageError
from autolabel.types import Instance, MediaRecord

IMAGES = ("none", "link", "copy")


class Splits(Protocol):
    """Says which part of a split data set an input goes to (``autolabel.formats.split``)."""

    names: tuple[str, ...]

    def part(self, media: MediaRecord) -> str:
        """Return one of ``names``."""
        ...


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a user may choose; a format says in the registry which of these it heeds.

    Attributes:
        polygons: Masks as one polygon each instead of run lengths.
        boxes: Boxes instead of masks.
        images: "none", or put the pictures beside the labels: "link" (symbolic) or "copy".
        splitter: Says which part each input goes to; None for one part.
    """

    polygons: bool = False
    boxes: bool = False
    images: str = "none"
    splitter: Splits | None = None

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        if self.images not in IMAGES:
            raise UsageError(f"images: expected one of {', '.join(IMAGES)}, found {self.images!r}")
        if self.polygons and self.boxes:
            raise UsageError("polygons and boxes can't both be asked for")


@dataclass(slots=True)
class Tally:
    """What a writer has written and left out so far.

    Attributes:
        pictures: Pictures, and frames of videos.
        instances: Labels.
        skipped: Labels or pictures left out, by reason.
        affected: Labels or pictures that are there, but not as they were, by what happened.
    """

    pictures: int = 0
    instances: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    affected: Counter[str] = field(default_factory=Counter)


class LabelSource(Protocol):
    """What an export reads; ``autolabel.store.Project`` is one."""

    def classes(self) -> list[tuple[str, str]]:
        """Return each class's name and "#rrggbb", in class id order."""
        ...

    def meta(self) -> dict[str, str]:
        """Return the project's record."""
        ...

    def labelled(
        self, statuses: Collection[str] = ...
    ) -> Iterator[tuple[MediaRecord, Iterator[Instance]]]:
        """Yield every input that is done, by name, with its labels by frame, streaming."""
        ...

    def media(self, status: str | None = None) -> Iterator[MediaRecord]:
        """Yield the inputs of a status, by name."""
        ...


class Writer(Protocol):
    """Writes one format; made without arguments, used for one export."""

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Start writing.

        Args:
            out: An empty folder.
            classes: Each class's name and "#rrggbb", in class id order.
            options: What the user chose.
            tally: Where to count what is written and what is left out.
        """
        ...

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write one input and its labels.

        Args:
            media: A picture or video; inputs come in name order.
            instances: Its labels by frame index; they stream and can be read only once.
        """
        ...

    def close(self) -> None:
        """Write what comes last and close the files."""
        ...


def place_image(media: MediaRecord, folder: Path, options: ExportOptions, tally: Tally) -> None:
    """Link or copy a picture to ``folder`` under its own name, if the user asked for that."""
    if options.images == "none" or media.kind != "image":
        return
    name = PurePosixPath(media.name)
    if name.is_absolute() or ".." in name.parts:
        tally.skipped["the picture's name leaves the folder: not copied"] += 1
        return
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.isfile(media.path):
        tally.skipped["the picture is no longer where it was: not copied"] += 1
    elif options.images == "link":
        target.symlink_to(media.path)
    else:
        shutil.copyfile(media.path, target)
