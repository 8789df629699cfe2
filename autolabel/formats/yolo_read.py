"""Reads YOLO as Ultralytics does: ``data.yaml`` and a text file a picture.

Polygons become the masks that Ultralytics draws from them (whole pixels, outline included).
A picture without a text file has no labels. Only pictures in ``--images`` count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from autolabel.errors import FormatError
from autolabel.formats.reading import (
    Pictures,
    Problems,
    ReadMedia,
    ReadObject,
    number,
    picture_size,
    whole,
)
from autolabel.formats.yolo_fill import fill_pixels


class YoloReader:
    """Reads the labels of every picture."""

    def __init__(self, path: Path, pictures: Pictures, problems: Problems) -> None:
        self._pictures, self._problems = pictures, problems
        self._path = _yaml(path)
        names = _names(self._path)
        self.classes: list[tuple[str, str | None]] = [(name, None) for name in names]

    def media(self) -> Iterator[ReadMedia]:
        """Yield each picture with its labels; the size is the picture's own."""
        files = self._label_files()
        seen: set[str] = set()
        for item in self._pictures.items.values():
            if item.kind != "image":
                continue
            stem = str(PurePosixPath(item.name).with_suffix(""))
            path = _best(files.get(PurePosixPath(stem).name, []), stem)
            size = picture_size(item, self._problems)
            if size is None:
                continue
            if path is not None:
                seen.add(str(path))
            found = list(self.objects(path, *size)) if path else []
            yield ReadMedia(item, size[0], size[1], found)
        for paths in files.values():
            for path in paths:
                if str(path) not in seen:
                    self._problems.add(f"{path}", "labels of a picture that isn't there")

    def _label_files(self) -> dict[str, list[Path]]:
        """Return the text files by their names without extension."""
        folder = self._path.parent
        labels = folder / "labels"
        files: dict[str, list[Path]] = {}
        for path in sorted((labels if labels.is_dir() else folder).rglob("*.txt")):
            files.setdefault(path.stem, []).append(path)
        return files

    def objects(self, path: Path, height: int, width: int) -> Iterator[ReadObject]:
        """Yield the labels in a text file, for a picture of that size."""
        try:
            lines = path.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self._problems.add(f"{path}", "a label file that can't be read", str(error))
            return
        for index, line in enumerate(lines, 1):
            if line.strip():
                with self._problems.guard(f"{path}:{index}", "a line that is wrong"):
                    yield self._object(line.split(), height, width, f"{path}:{index}")

    def _object(self, words: list[str], height: int, width: int, place: str) -> ReadObject:
        """Return a line's label."""
        class_id = whole(words[0], "class")
        if class_id >= len(self.classes):
            raise ValueError(f"class {class_id} doesn't exist, there are {len(self.classes)}")
        values = [number(word, "coordinate") for word in words[1:]]
        if len(values) in (4, 5):  # a fifth is a score, as Ultralytics saves predictions
            score = values[4] if len(values) == 5 else None
            x, y, across, down = (
                v * side for v, side in zip(values, (width, height) * 2, strict=False)
            )
            box = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
            return ReadObject(class_id, box, score=score, place=place)
        if len(values) < 6 or len(values) % 2:
            raise ValueError(f"found {len(values)} numbers, expected a box or three points")
        if min(values) < -0.01 or max(values) > 1.01:
            raise ValueError("found points outside 0 to 1: they have to be shares of the picture")
        points = np.array(values).reshape(-1, 2) * (width, height)
        return ReadObject(class_id, mask=fill_pixels(points, height, width), place=place)


def _yaml(path: Path) -> Path:
    """Return the data.yaml: itself or in a folder."""
    if not path.is_dir():
        return path
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (path / name).is_file():
            return path / name
    raise FormatError(f"{path}: has no data.yaml")


def _names(path: Path) -> list[str]:
    """Return the class names of a data.yaml."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data: Any = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError, RecursionError) as error:
        raise FormatError(f"{path}: not YAML that is read: {error}") from error
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, dict):
        try:
            ordered = sorted((int(key), str(name)) for key, name in names.items())
        except (TypeError, ValueError):
            ordered = []
        if [key for key, _ in ordered] == list(range(len(names))):
            return [name for _, name in ordered]
    if isinstance(names, list) and names:
        return [str(name) for name in names]
    raise FormatError(f"{path}: names: expected a list, or a name for each of 0, 1, 2...")


def _best(paths: list[Path], stem: str) -> Path | None:
    """Return the text file whose folders fit the picture's best."""
    wanted = PurePosixPath(stem).parts

    def common(path: Path) -> int:
        parts = path.with_suffix("").parts
        count = 0
        while count < min(len(parts), len(wanted)) and parts[-1 - count] == wanted[-1 - count]:
            count += 1
        return count

    return max(paths, key=common, default=None)
