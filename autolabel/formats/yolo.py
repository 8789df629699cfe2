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
from numpy.typing import NDArray

from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.contours import Pixels
from autolabel.formats.media_files import Names, Picture, PictureWriter, Placer
from autolabel.formats.yolo_ring import INSET, Points, pixel_rings
from autolabel.types import Instance, MediaRecord

BRIDGED_SHARE = 0.02
"""Bridges that draw more than this share of a mask are counted in the report."""


class YoloWriter(PictureWriter):
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
        super().add(media, instances)

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

    def _beside(self) -> Path:
        """Return the folder of the part's pictures."""
        return self._out / "images" / self._part

    def _taken(self, stem: str) -> bool:
        """Return whether a picture of another extension has the label file already."""
        folder = self._labels / self._part
        return (folder / f"{stem}.txt").exists() or (folder / stem).is_dir()

    def _write(self, picture: Picture, found: list[Instance]) -> None:
        """Write one text file."""
        height, width = picture.media.height, picture.media.width
        lines = (
            self._polygons(found, height, width)
            if self.masks
            else self._boxes(found, height, width)
        )
        path = self._labels / self._part / f"{picture.stem}.txt"
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders = {path.parent}  # inputs come by name: the next is there too
        path.write_bytes(b"".join(lines))
        self._tally.pictures += 1
        self._tally.instances += len(lines)

    def _polygons(self, found: list[Instance], height: int, width: int) -> list[bytes]:
        """Return the labels' lines; an empty mask has none."""
        rings = pixel_rings([one.mask for one in found if one.mask is not None])
        texts = _shares(rings.pixels, height, width)
        lines, place = [], 0
        for one in found:
            if one.mask is None:
                self._tally.affected["labels without a mask: written as rectangles"] += 1
                lines.append(_line(one.class_id, _rectangle(one, height, width)))
                continue
            if rings.areas[place]:
                text = texts[rings.begins[place] : rings.begins[place + 1]].tobytes()
                if place in rings.off_middle:
                    text = _text(rings.off_middle[place] / (width, height))
                lines.append(_line(one.class_id, text))
                self._count_drawn(rings.drawn[place], rings.areas[place])
            else:
                self._tally.skipped["labels whose mask is empty"] += 1
            place += 1
        return lines

    def _count_drawn(self, drawn: int, area: int) -> None:
        """Count a mask whose bridges show."""
        if drawn > BRIDGED_SHARE * area:
            self._tally.affected[
                "masks of separate parts: the line that joins them is drawn by Ultralytics "
                f"and covers over {BRIDGED_SHARE:.0%} of the mask"
            ] += 1

    def _boxes(self, found: list[Instance], height: int, width: int) -> list[bytes]:
        """Return the boxes' lines."""
        lines = []
        for one in found:
            x1, y1, x2, y2 = one.box
            x1, x2 = (min(max(x, 0.0), width) / width for x in (x1, x2))
            y1, y2 = (min(max(y, 0.0), height) / height for y in (y1, y2))
            values = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
            text = " ".join(f"{value:.7f}" for value in values)
            lines.append(f"{one.class_id} {text}\n".encode())
        return lines


def _line(class_id: int, text: bytes) -> bytes:
    """Return a label's line from its class and shares, each with a blank behind it."""
    return b"%d %b\n" % (class_id, text[:-1])


def _rectangle(one: Instance, height: int, width: int) -> bytes:
    """Return a box's corners as shares."""
    x1, y1, x2, y2 = one.box
    corners = np.clip([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], 0, [width, height])
    return _text(corners.astype(np.float64) / (width, height))


def _text(shares: Points) -> bytes:
    """Return shares of the picture as text, each with a blank behind it."""
    return "".join(f"{value:.6f} " for value in shares.ravel().tolist()).encode()


def _shares(pixels: Pixels, height: int, width: int) -> NDArray[np.uint8]:
    """Return the text of points in the middle of pixels, uint8 (K, 2 x 9)."""
    texts = np.empty((pixels.shape[1], 2, 9), np.uint8)
    for axis, side in enumerate((width, height)):
        texts[:, axis] = _middles(side)[pixels[axis]]
    return texts.reshape(-1, 18)


@lru_cache(64)
def _middles(side: int) -> NDArray[np.uint8]:
    """Return the text of each pixel's middle as a share of a side, "0.123456 ", uint8 (side, 9)."""
    millionths = np.rint((np.arange(side) + INSET) * (1_000_000 / side)).astype(np.int64)
    digits = millionths[:, None] // 10 ** np.arange(6, -1, -1) % 10 + ord("0")
    texts = np.full((side, 9), ord(" "), np.uint8)
    texts[:, 0], texts[:, 1], texts[:, 2:8] = digits[:, 0], ord("."), digits[:, 1:]
    return texts


class YoloBoxWriter(YoloWriter):
    """Writes boxes."""

    masks = False
