"""Labelme: ``NAME.json`` beside ``NAME.jpg``, as Labelme 5 and X-AnyLabeling open them.

A mask is one polygon along pixel edges; bridges join its holes and separate parts, so one
object stays one shape. A label without a mask is a rectangle. ``group_id`` is the track;
``score`` is read by X-AnyLabeling and kept by Labelme.
Source: https://github.com/wkentaro/labelme/blob/main/labelme/_label_file.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from autolabel import masks
from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.media_files import Names, Picture, PictureWriter, Placer
from autolabel.types import Instance

VERSION = "5.5.0"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class LabelmeWriter(PictureWriter):
    """Writes a JSON file a picture, as they come."""

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Write the list of classes, which Labelme takes with ``--labels``."""
        self._out, self._options, self._tally = out, options, tally
        self._classes = [name for name, _ in classes]
        self._names = Names(lambda stem: (out / f"{stem}.json").exists())
        self._placer = Placer(out, options, tally)
        text = "\n".join(["__ignore__", "_background_", *self._classes])
        (out / "labels.txt").write_text(text + "\n", encoding="utf-8")

    def close(self) -> None:
        """Write the names that were changed, where no reader takes them for labels."""
        self._names.write(self._out, self._tally, "renamed")

    def _write(self, picture: Picture, found: list[Instance]) -> None:
        """Write one picture's file."""
        shapes = [shape for one in found if (shape := self._shape(one)) is not None]
        data: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": PurePosixPath(picture.name).name,
            "imageData": None,
            "imageHeight": picture.media.height,
            "imageWidth": picture.media.width,
        }
        path = self._out / f"{picture.stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_encode(data) + "\n", encoding="utf-8")
        self._tally.pictures += 1
        self._tally.instances += len(shapes)

    def _shape(self, one: Instance) -> dict[str, Any] | None:
        """Return a label as a shape; None for an empty mask."""
        if one.mask is None or self._options.boxes:
            kind, points = "rectangle", [list(one.box[:2]), list(one.box[2:])]
        else:
            flat = masks.bridged_ring(one.mask)
            kind, points = "polygon", [[x, y] for x, y in zip(flat[::2], flat[1::2], strict=True)]
        if not points:
            self._tally.skipped["labels whose mask is empty"] += 1
            return None
        return {
            "label": self._classes[one.class_id],
            "points": points,
            "group_id": one.track_id,
            "description": "",
            "shape_type": kind,
            "flags": {},
            "score": None if one.score is None else round(one.score, 5),
        }
