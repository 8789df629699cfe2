"""COCO: one ``annotations.json`` with run lengths or polygons, written as the labels stream by.

- ``images``: id from 1 in name order, file_name the input's own name, height, width. Pictures
  without labels are there too. Of a video, each frame that has labels is an image named
  ``VIDEO/000123.jpg`` with ``video_id`` and ``frame_index``; ``videos`` lists the videos. With
  ``--images`` these frames are written as pictures, under ``images/`` by the same names.
- ``annotations``: id from 1, category_id from 1 in the ontology's order, bbox ``[x, y, w, h]``
  tight around the mask, area its number of pixels, iscrowd 0, score (none for a human's
  label), and in videos video_id and track_id. segmentation is compressed RLE, or with
  ``polygons`` one ring of pixel-edge points that joins holes and separate parts by bridges of
  no width, so that every reader of COCO draws the very same mask. Boxes without a mask have an
  empty segmentation.

The same labels give the same bytes: no dates, numbers rounded to a fixed place.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, TextIO

from autolabel import masks
from autolabel.formats.base import ExportOptions, Tally, place_image
from autolabel.formats.media_files import FrameFolders, Picture, Placer, frame_suffix
from autolabel.types import RLE, Instance, MediaRecord

FILE = "annotations.json"
PIXEL_DIGITS = 2
SCORE_DIGITS = 5

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class CocoWriter:
    """Writes COCO. Annotations wait in a second file until the images are all there."""

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Start ``annotations.json`` with what is known before the first picture."""
        self._out, self._options, self._tally = out, options, tally
        self._images, self._labels, self._videos = 0, 0, 0
        self._folders = FrameFolders()
        self._placer = Placer(out / "images", options, tally)
        self._file = _write(out / FILE)
        self._part = _write(out / "annotations.part")
        self._video_part = _write(out / "videos.part")
        categories = [
            {"id": index, "name": name, "supercategory": ""}
            for index, (name, _) in enumerate(classes, 1)
        ]
        self._file.write('{"info":{"description":"Labelled by autolabel"},\n"categories":')
        self._file.write(_encode(categories) + ',\n"images":[')

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write a picture, or the labelled frames of a video."""
        if media.kind == "image":
            self._add_image({"file_name": media.name}, media, instances, {})
            place_image(media, self._out / "images", self._options, self._tally)
        else:
            self._add_video(media, instances)

    def close(self) -> None:
        """Join the parts to one file."""
        self._file.write('\n],\n"annotations":[')
        self._append(self._part)
        if self._videos:
            self._file.write('\n],\n"videos":[')
        self._append(self._video_part)
        self._file.write("\n]}\n")
        self._file.close()

    def _add_video(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write a video's entry, and an image for each frame that has labels."""
        self._videos += 1
        video = {
            "id": self._videos,
            "name": media.name,
            "file_name": media.name,
            "height": media.height,
            "width": media.width,
            "length": media.frames,
        }
        _put(self._video_part, video, self._videos)
        folder = self._folders.claim(media.name)
        ids = {"video_id": self._videos}
        suffix = frame_suffix(media)
        for index, frame in groupby(instances, key=attrgetter("frame_index")):
            name = f"{folder}/{index:06d}{suffix}"
            self._add_image({"file_name": name, **ids, "frame_index": index}, media, frame, ids)
            self._placer.place(Picture(name, media, index))
        self._placer.finish()

    def _add_image(
        self,
        entry: dict[str, Any],
        media: MediaRecord,
        instances: Iterable[Instance],
        ids: dict[str, int],
    ) -> None:
        """Write one image and its annotations."""
        self._images += 1
        self._tally.pictures += 1
        image = {"id": self._images, **entry, "height": media.height, "width": media.width}
        _put(self._file, image, self._images)
        found = list(instances)
        areas = iter(masks.areas([one.mask for one in found if one.mask is not None]))
        for one in found:
            annotation = self._annotation(one, None if one.mask is None else next(areas))
            if annotation is not None:
                self._labels += 1
                self._tally.instances += 1
                head = {"id": self._labels, "image_id": self._images}
                _put(self._part, head | annotation | ids, self._labels)

    def _annotation(self, one: Instance, area: float | None) -> dict[str, Any] | None:
        """Return a label as COCO has it, without ids; None for an empty mask."""
        x1, y1, x2, y2 = one.box
        if area is None:
            area = (x2 - x1) * (y2 - y1)
        elif not area:
            self._tally.skipped["labels whose mask is empty"] += 1
            return None
        annotation = {
            "category_id": one.class_id + 1,
            "bbox": [_pixels(value) for value in (x1, y1, x2 - x1, y2 - y1)],
            "area": _pixels(area),
            "iscrowd": 0,
            "segmentation": self._segmentation(one.mask),
        }
        if one.score is not None:
            annotation["score"] = round(one.score, SCORE_DIGITS)
        if one.track_id is not None:
            annotation["track_id"] = one.track_id
        return annotation

    def _segmentation(self, mask: RLE | None) -> Any:
        """Return a mask as the user wants it; no mask is an empty list of polygons."""
        if mask is None:
            return []
        if self._options.polygons:
            return [masks.bridged_ring(mask)]
        return {"size": [mask.height, mask.width], "counts": mask.counts}

    def _append(self, part: TextIO) -> None:
        """Move a part's text to the end of the file."""
        part.close()
        self._file.flush()
        path = Path(part.name)
        with path.open("rb") as data:
            shutil.copyfileobj(data, self._file.buffer)
        path.unlink()


def _write(path: Path) -> TextIOWrapper:
    """Return a text file for writing whose bytes don't depend on the system."""
    return path.open("w", encoding="utf-8", newline="\n", buffering=2**16)


def _put(file: TextIO, value: dict[str, Any], number: int) -> None:
    """Write the ``number``-th entry of a list, a line each."""
    file.write(("\n" if number == 1 else ",\n") + _encode(value))


def _pixels(value: float) -> float:
    """Return a length in pixels as short as it can be said: 12, not 12.0."""
    if value == (whole := int(value)):  # most are: masks end where pixels do
        return whole
    rounded = round(value, PIXEL_DIGITS)
    return int(rounded) if rounded == int(rounded) else rounded
