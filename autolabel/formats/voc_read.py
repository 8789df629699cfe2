"""Reads Pascal VOC: boxes from XML, masks from SegmentationObject where there are any.

An object's mask is the pixels with its number, its place in the XML from 1, as VOC and this
project's own export have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from autolabel import masks
from autolabel.errors import FormatError
from autolabel.formats.reading import (
    Pictures,
    Problems,
    ReadMedia,
    ReadObject,
    number,
    read_xml,
    whole,
)
from autolabel.types import RLE


class VocReader:
    """Reads a data set's folder, or one of XML files."""

    def __init__(self, path: Path, pictures: Pictures, problems: Problems) -> None:
        self._pictures, self._problems, self._path = pictures, problems, path
        self._xml = path / "Annotations" if (path / "Annotations").is_dir() else path
        self._files = sorted(self._xml.rglob("*.xml"))
        if not self._files:
            raise FormatError(f"{path}: has no XML files in Annotations")
        self.classes: list[tuple[str, str | None]] = [(n, None) for n in self._names()]
        self._class_of = {name: i for i, (name, _) in enumerate(self.classes)}

    def media(self) -> Iterator[ReadMedia]:
        """Yield each picture with its labels."""
        for path in self._files:
            yield from self.read(path)

    def read(self, path: Path) -> Iterator[ReadMedia]:
        """Yield the picture of one XML file, if it can be read."""
        roots = list(self._root(path))
        with self._problems.guard(f"{path}", "an annotation file that is wrong"):
            if not roots:
                raise ValueError("has no annotation element")
            stem = path.relative_to(self._xml).with_suffix("").as_posix()
            name = roots[0].findtext("filename") or ""
            folder = PurePosixPath(stem).parent
            item = self._pictures.find(name) or self._pictures.find(str(folder / name))
            item = item or self._pictures.find_stem(stem)
            if item is None:
                self._problems.add(f"{path}", "a picture that isn't there", repr(name))
                return
            height, width = (
                whole(roots[0].findtext(f"size/{n}"), n, 1) for n in ("height", "width")
            )
            found = list(self._objects(roots[0], path, stem, height, width))
            yield ReadMedia(item, height, width, found)

    def _root(self, path: Path) -> Iterator[Element]:
        """Yield the file's root, unless it is broken."""
        try:
            yield from read_xml(path, ("annotation",))
        except FormatError as error:
            self._problems.add(str(error), "a file that is not XML")

    def _objects(
        self, root: Element, path: Path, stem: str, height: int, width: int
    ) -> Iterator[ReadObject]:
        """Yield a picture's labels."""
        pixels = self._pixels(stem, height, width)
        for index, element in enumerate(root.iterfind("object"), 1):
            place = f"{path}: object {index}"
            with self._problems.guard(place, "an object that is wrong"):
                name = (element.findtext("name") or "").strip()
                if name not in self._class_of:
                    raise ValueError(f"class {name!r} is not in labelmap.txt")
                corners = ("xmin", "ymin", "xmax", "ymax")
                x1, y1, x2, y2 = (number(element.findtext(f"bndbox/{n}"), n) for n in corners)
                yield ReadObject(
                    class_id=self._class_of[name],
                    box=(x1 - 1, y1 - 1, x2, y2),
                    mask=_mask(pixels, index),
                    place=place,
                )

    def _pixels(self, stem: str, height: int, width: int) -> NDArray[np.uint8] | None:
        """Return the objects' numbers, uint8 (H, W), or None where there is no PNG."""
        from PIL import Image

        from autolabel.media.pictures import open_picture

        path = self._path / "SegmentationObject" / f"{stem}.png"
        if not path.is_file():
            return None
        try:
            with open_picture(path, formats=("PNG",)) as picture:
                if (picture.height, picture.width) != (height, width):
                    raise ValueError(f"found {picture.size}, the picture has {(width, height)}")
                if picture.mode not in ("P", "L"):
                    raise ValueError(f"found colours ({picture.mode}), expected indices")
                return np.array(picture)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            self._problems.add(f"{path}", "a PNG that can't be read", str(error))
            return None

    def _names(self) -> list[str]:
        """Return the classes: of the label map, else all that occur, by name."""
        path = self._path / "labelmap.txt"
        if path.is_file():
            lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
            names = [line.split(":")[0] for line in lines if line and not line.startswith("#")]
            return [name for name in names if name != "background"]
        found: set[str] = set()
        for file in self._files:
            for root in self._root(file):
                found |= {(one.findtext("name") or "").strip() for one in root.iterfind("object")}
        return sorted(found)


def _mask(pixels: NDArray[np.uint8] | None, index: int) -> RLE | None:
    """Return an object's mask; None where it has no pixels."""
    if pixels is None or index > 254:
        return None
    inside = pixels == index
    return masks.encode(inside) if inside.any() else None
