"""Videos as PNGs with a track's number at every pixel: ``mots`` (16 bit) and ``davis`` (8 bit).

One pixel has one object: where masks overlap, the smaller one is on top, and the report says
how many lost pixels. Every frame of a video has a PNG, empty ones too. ``tracks.json`` says
which number is which track and class.

- MOTS: ``instances/VIDEO/000000.png`` has class x 1000 + number, both from 1, as KITTI MOTS;
  ``instances/labels.txt`` lists the classes. https://www.vision.rwth-aachen.de/page/mots
- DAVIS 2017: ``Annotations/Full-Resolution/VIDEO/00000.png`` has the number, from 1, with a
  colour table; ``ImageSets/2017/PART.txt`` lists the videos. https://davischallenge.org
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.media_files import Names, Picture, Placer, frame_name
from autolabel.formats.shapes import stack
from autolabel.formats.voc import save_indexed
from autolabel.types import RLE, Instance, MediaRecord

FILE = "tracks.json"
Numbers: TypeAlias = dict[tuple[int, int | None, int], tuple[int, str]]
"""(group, track, spare number of a label without track) -> its number and class."""


class PngTracksWriter:
    """Writes PNGs frame by frame; what differs between the formats is below."""

    limit = 255
    digits = 5
    masks = "Annotations/Full-Resolution"
    pictures = "JPEGImages/Full-Resolution"
    lists = "ImageSets/2017"

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Keep what is needed."""
        self._out, self._classes, self._options, self._tally = out, classes, options, tally
        self._names = Names()
        self._placer = Placer(out / self.pictures, options, tally)
        self._file = (out / FILE).open("w", encoding="utf-8", newline="\n")
        self._file.write("{")
        self._videos = 0
        self._part = "train"

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write one video."""
        if media.kind == "image":
            self._tally.skipped["pictures: this format is for videos"] += 1
            return
        if self._options.splitter:
            self._part = self._options.splitter.part(media)
        name = str(PurePosixPath(self._names.claim(media.name)).with_suffix(""))
        numbers: Numbers = {}
        for index, found in _every_frame(media, instances):
            values = [(self._number(one, numbers), one.mask) for one in found]
            self._frame(media, name, index, [(v, mask) for v, mask in values if v and mask])
            self._place(media, name, index)
        self._placer.finish()
        self._describe(name, numbers)

    def close(self) -> None:
        """End ``tracks.json``."""
        self._file.write("\n}\n")
        self._file.close()
        self._names.write(self._out, self._tally)

    def _frame(
        self, media: MediaRecord, name: str, index: int, found: list[tuple[int, RLE]]
    ) -> None:
        """Write one frame's PNG."""
        pixels, hidden = stack(found, media.height, media.width)
        if hidden:
            self._tally.affected["masks under others: one pixel has one object in a PNG"] += len(
                hidden
            )
        path = self._out / self.masks / name / f"{index:0{self.digits}d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._save(path, pixels)
        self._tally.pictures += 1
        self._tally.instances += len(found)

    def _place(self, media: MediaRecord, name: str, index: int) -> None:
        """Put a frame's picture there, by the same name as its PNG."""
        if self._options.images == "none":
            return
        suffix = PurePosixPath(frame_name(media, index)).suffix
        file = f"{name}/{index:0{self.digits}d}{suffix}"
        self._placer.place(Picture(file, media, index))

    def _number(self, one: Instance, numbers: Numbers) -> int:
        """Return a label's value in the PNG; 0 where it has none."""
        if one.mask is None:
            self._tally.skipped["labels without a mask"] += 1
            return 0
        # A label without a track is an object of its own.
        spare = len(numbers) if one.track_id is None else 0
        key = (self._group(one), one.track_id, spare)
        if key not in numbers:
            used = sum(other[0] == key[0] for other in numbers)
            numbers[key] = used + 1, self._classes[one.class_id][0]
        value = self._value(one, numbers[key][0])
        if not value:
            self._tally.skipped[f"labels beyond the {self.limit} objects that a PNG holds"] += 1
        return value

    def _group(self, one: Instance) -> int:
        """Return what numbers count within: DAVIS numbers a video's objects."""
        return 0

    def _value(self, one: Instance, number: int) -> int:
        """Return a pixel's value, 0 if it doesn't fit."""
        return number if number <= self.limit else 0

    def _save(self, path: Path, pixels: NDArray[np.uint16]) -> None:
        """Write a PNG with a colour table."""
        save_indexed(path, pixels.astype(np.uint8))

    def _describe(self, name: str, numbers: Numbers) -> None:
        """Write which number is which track."""
        tracks = [
            {"number": number, "track_id": track, "class": label}
            for (_, track, _), (number, label) in numbers.items()
        ]
        self._videos += 1
        entry = f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(tracks, ensure_ascii=False)}"
        self._file.write(("\n" if self._videos == 1 else ",\n") + entry)
        if not self.lists:
            return
        path = self._out / self.lists / f"{self._part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(name + "\n")


class DavisWriter(PngTracksWriter):
    """Writes DAVIS 2017."""


class MotsWriter(PngTracksWriter):
    """Writes KITTI MOTS."""

    limit = 999
    digits = 6
    masks = "instances"
    pictures = "images"
    lists = ""

    def close(self) -> None:
        """Write the classes."""
        super().close()
        folder = self._out / self.masks
        folder.mkdir(exist_ok=True)
        text = "".join(f"{name}\n" for name, _ in self._classes)
        (folder / "labels.txt").write_text(text, encoding="utf-8")

    def _group(self, one: Instance) -> int:
        """Return the class: its objects are numbered from 1."""
        return one.class_id

    def _value(self, one: Instance, number: int) -> int:
        value = (one.class_id + 1) * 1000 + number
        return value if number <= self.limit and value < 2**16 else 0

    def _save(self, path: Path, pixels: NDArray[np.uint16]) -> None:
        """Write a PNG of 16 bits."""
        Image.fromarray(pixels).save(path)


def _every_frame(
    media: MediaRecord, instances: Iterable[Instance]
) -> Iterator[tuple[int, list[Instance]]]:
    """Yield every frame of a video with its labels, also those without any."""
    groups = groupby(instances, key=attrgetter("frame_index"))
    labelled, found = next(groups, (-1, iter(())))
    for index in range(media.frames):
        if index != labelled:
            yield index, []
            continue
        yield index, list(found)
        labelled, found = next(groups, (-1, iter(())))
