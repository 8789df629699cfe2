"""YOLO as Ultralytics trains on it: ``yolo-seg`` (polygons) and ``yolo`` (boxes).

``data.yaml`` names the classes and the folders; ``labels/NAME.txt`` has one line an object:
the class from 0, then the polygon's points or the box's centre, width and height, as shares
of the picture's width and height. A picture without labels has an empty file. With
``--images`` the pictures are under ``images/`` by the same names; with ``--split`` both have
a folder a part. A mask is one polygon (``autolabel.formats.yolo_ring``), never several.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.media_files import Names, Picture, Placer, pictures
from autolabel.formats.yolo_ring import INSET, Pixels, pixel_ring
from autolabel.types import Instance, MediaRecord

BRIDGED_SHARE = 0.02
"""Bridges that draw more than this share of a mask are counted in the report."""


class YoloWriter:
    """Writes polygons (``masks``) or boxes, a text file a picture as they come."""

    masks = True

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Make the folders."""
        self._out, self._classes, self._options, self._tally = out, classes, options, tally
        self._labels = out / "labels"
        self._labels.mkdir()
        self._part = ""
        # Ultralytics finds labels by the last "images" in a picture's path.
        self._names = Names(self._taken, reserved=("images", "labels"))
        self._placer = Placer(out / "images", options, tally)
        self._folders: set[Path] = set()

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write the file of a picture, or of each labelled frame of a video."""
        self._part = self._options.splitter.part(media) if self._options.splitter else ""
        for picture, found in pictures(media, instances, self._names):
            self._write(picture, found)
            self._placer.place(picture, self._out / "images" / self._part)
        self._placer.finish()

    def close(self) -> None:
        """Write ``data.yaml``, which has no absolute path: the folder can be moved."""
        parts = self._options.splitter.names if self._options.splitter else ()
        lines = ["# Written by autolabel. Paths are relative to this file's folder."]
        for part in parts:
            lines.append(f"{part}: images/{part}")
            (self._labels / part).mkdir(parents=True, exist_ok=True)
        if not parts:
            lines += ["train: images", "val: images"]
        elif "val" not in parts:  # Ultralytics insists on one
            lines.append(f"val: images/{parts[-1]}")
        if parts and "train" not in parts:
            lines.append(f"train: images/{parts[0]}")
        lines += [f"nc: {len(self._classes)}", "names:"]
        for index, (name, _) in enumerate(self._classes):
            lines.append(f"  {index}: {json.dumps(name, ensure_ascii=False)}")
        (self._out / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._names.write(self._out, self._tally)

    def _taken(self, stem: str) -> bool:
        """Return whether a picture of another extension has the label file already."""
        folder = self._labels / self._part
        return (folder / f"{stem}.txt").exists() or (folder / stem).is_dir()

    def _write(self, picture: Picture, found: list[Instance]) -> None:
        """Write one text file."""
        height, width = picture.media.height, picture.media.width
        line = self._polygon if self.masks else self._box
        lines = [text for one in found if (text := line(one, height, width))]
        path = self._labels / self._part / f"{picture.stem}.txt"
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders = {path.parent}  # inputs come by name: the next is there too
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write("".join(lines))
        self._tally.pictures += 1
        self._tally.instances += len(lines)

    def _polygon(self, one: Instance, height: int, width: int) -> str:
        """Return a label's line, "" for an empty mask."""
        if one.mask is None:
            self._tally.affected["labels without a mask: written as rectangles"] += 1
            x1, y1, x2, y2 = one.box
            corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
            points = np.clip(corners, 0, [width, height]).astype(np.float64)
        else:
            ring = pixel_ring(one.mask)
            if ring is None:
                self._tally.skipped["labels whose mask is empty"] += 1
                return ""
            if ring.drawn > BRIDGED_SHARE * ring.area:
                self._tally.affected[
                    "masks of separate parts: the line that joins them is drawn by Ultralytics "
                    f"and covers over {BRIDGED_SHARE:.0%} of the mask"
                ] += 1
            if ring.pixels is not None:
                return f"{one.class_id} {_shares_text(ring.pixels, height, width)}\n"
            points = ring.points
        values = (points / (width, height)).ravel().tolist()
        return f"{one.class_id} {' '.join(f'{value:.6f}' for value in values)}\n"

    def _box(self, one: Instance, height: int, width: int) -> str:
        """Return a box's line."""
        x1, y1, x2, y2 = one.box
        x1, x2 = (min(max(x, 0.0), width) / width for x in (x1, x2))
        y1, y2 = (min(max(y, 0.0), height) / height for y in (y1, y2))
        values = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        return f"{one.class_id} {' '.join(f'{value:.7f}' for value in values)}\n"


def _shares_text(pixels: Pixels, height: int, width: int) -> str:
    """Return vertices in the middle of pixels as shares of the picture, from ready texts."""
    words = [""] * (2 * len(pixels))
    words[0::2] = map(_middles(width).__getitem__, pixels[:, 0].tolist())
    words[1::2] = map(_middles(height).__getitem__, pixels[:, 1].tolist())
    return " ".join(words)


@lru_cache(16)
def _middles(side: int) -> list[str]:
    """Return the text of each pixel's middle as a share of a side."""
    return [f"{(pixel + INSET) / side:.6f}" for pixel in range(side)]


class YoloBoxWriter(YoloWriter):
    """Writes boxes."""

    masks = False
