"""Reads Labelme's JSON files: polygons, rectangles, circles and masks.

Shapes of one label and ``group_id`` in a picture are one object, as Labelme means it.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from autolabel import masks
from autolabel.errors import FormatError
from autolabel.formats.reading import (
    Pictures,
    Problems,
    ReadMedia,
    ReadObject,
    load_json,
    number,
    whole,
)
from autolabel.formats.shapes import uncrop
from autolabel.types import RLE

Geometry = tuple[tuple[float, float, float, float] | None, RLE | None]


class LabelmeReader:
    """Reads every JSON file of a folder."""

    def __init__(self, path: Path, pictures: Pictures, problems: Problems) -> None:
        self._pictures, self._problems = pictures, problems
        self._folder = path if path.is_dir() else path.parent
        self._files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        self._files = [p for p in self._files if p.name[0] != "." and p.name != "name_map.json"]
        if not self._files:
            raise FormatError(f"{path}: has no JSON files")
        self.classes: list[tuple[str, str | None]] = [(name, None) for name in self._names()]
        self._class_of = {name: i for i, (name, _) in enumerate(self.classes)}

    def media(self) -> Iterator[ReadMedia]:
        """Yield each picture with its labels."""
        for path in self._files:
            data = self._load(path)
            with self._problems.guard(f"{path}", "a file that is wrong"):
                if data is None:
                    continue
                height, width = (whole(data[n], n, 1) for n in ("imageHeight", "imageWidth"))
                folder = path.relative_to(self._folder).parent
                name = PurePosixPath(str(data["imagePath"]).replace("\\", "/")).name
                item = self._pictures.find((folder / name).as_posix())
                if item is None:
                    self._problems.add(f"{path}", "a picture that isn't there", repr(name))
                    continue
                found = list(self._objects(data["shapes"], path, height, width))
                yield ReadMedia(item, height, width, found)

    def _load(self, path: Path) -> dict[str, Any] | None:
        """Return a file's data; None where it is broken."""
        try:
            data = load_json(path)
        except FormatError as error:
            self._problems.add(str(error), "a file that is not JSON")
            return None
        if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
            self._problems.add(f"{path}", "a file without Labelme's shapes")
            return None
        return data

    def _names(self) -> list[str]:
        """Return the classes: labels.txt's, then others by name."""
        path = self._folder / "labels.txt"
        known = (
            [line.strip() for line in path.read_text("utf-8").splitlines()]
            if path.is_file()
            else []
        )
        names = [name for name in known if name and name not in ("__ignore__", "_background_")]
        others: set[str] = set()
        for file in self._files:
            data = self._load(file) if not self._problems.skip else _quietly(file)
            shapes = data["shapes"] if data else []
            others |= {str(one.get("label")) for one in shapes if isinstance(one, dict)}
        return [*names, *sorted(others - set(names))]

    def _objects(
        self, shapes: list[Any], path: Path, height: int, width: int
    ) -> Iterator[ReadObject]:
        """Yield a picture's labels, grouped shapes as one."""
        groups: dict[Any, list[tuple[dict[str, Any], Geometry]]] = {}
        for index, shape in enumerate(shapes):
            with self._problems.guard(f"{path}: shapes[{index}]", "a shape that is wrong"):
                geometry = _geometry(shape, height, width)
                if geometry is None:
                    kind = shape.get("shape_type")
                    self._problems.notes[f"{kind} shapes, which are not read"] += 1
                    continue
                group = shape.get("group_id")
                key = index if group is None else (shape["label"], str(group))
                groups.setdefault(key, []).append((shape, geometry))
        for number_, found in enumerate(groups.values()):
            place = f"{path}: object {number_}"
            with self._problems.guard(place, "a shape that is wrong"):
                yield self._object(found, place)

    def _object(self, found: list[tuple[dict[str, Any], Geometry]], place: str) -> ReadObject:
        """Return one or several shapes as a label."""
        shape, (box, _) = found[0]
        parts = [mask for _, (_, mask) in found if mask is not None]
        score = shape.get("score")
        group = shape.get("group_id")
        return ReadObject(
            class_id=self._class_of[str(shape["label"])],
            box=None if parts else box,
            mask=masks.merge(parts) if parts else None,
            score=None if score is None else number(score, "score"),
            track_id=whole(group, "group_id", 1) if isinstance(group, int) and group > 0 else None,
            place=place,
        )


def _geometry(shape: dict[str, Any], height: int, width: int) -> Geometry | None:
    """Return a shape's box or mask; None for kinds that enclose nothing."""
    kind = shape.get("shape_type", "polygon")
    points = np.array([[number(v, "points") for v in pair] for pair in shape["points"]], float)
    if kind in ("polygon", "rectangle", "mask", "circle") and points.shape[1:] != (2,):
        raise ValueError("points: expected pairs of x and y")
    if kind == "polygon":
        return None, masks.from_polygons([points.ravel().tolist()], height, width)
    if kind == "rectangle":
        low, high = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return (low[0], low[1], high[0], high[1]), None
    if kind == "mask":
        return None, _mask(shape["mask"], points, height, width)
    if kind == "circle":
        turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        radius = float(np.hypot(*(points[1] - points[0])))
        ring = points[0] + radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        return None, masks.from_polygons([ring.ravel().tolist()], height, width)
    return None


def _mask(text: str, points: np.ndarray[Any, Any], height: int, width: int) -> RLE:
    """Return a mask that is a PNG in base64, laid at its box (both ends inclusive)."""
    from PIL import Image

    from autolabel.media.pictures import open_picture

    try:
        data = base64.b64decode(text, validate=True)
        with open_picture(io.BytesIO(data), formats=("PNG",)) as picture:
            inside = np.array(picture.convert("L")) > 0
    except (binascii.Error, OSError, TypeError, Image.DecompressionBombError) as error:
        raise ValueError(f"mask: not a PNG in base64 ({error})") from None
    x, y = np.round(points.min(axis=0)).astype(int).tolist()
    return uncrop((x, y, x + inside.shape[1], y + inside.shape[0]), inside, height, width)


def _quietly(path: Path) -> dict[str, Any] | None:
    """Return a file's data for its class names; what is wrong is told later."""
    try:
        data = load_json(path)
    except FormatError:
        return None
    fine = isinstance(data, dict) and isinstance(data.get("shapes"), list)
    return data if fine else None
