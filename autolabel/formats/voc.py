"""Pascal VOC: boxes in XML, masks as PNGs, a label map, and the lists of pictures.

``Annotations/NAME.xml`` has boxes as VOC has them (from 1, both ends inclusive).
``SegmentationClass/NAME.png`` and ``SegmentationObject/NAME.png`` have the colour table's
index of the class and of the object (its place in the XML, from 1) at every pixel, 0 for
background. One pixel has one object: where masks overlap, the smaller one is on top and the
report says how many lost pixels. ``labelmap.txt`` is Datumaro's and CVAT's: name, colour.
Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.media_files import Names, Picture, PictureWriter, Placer
from autolabel.formats.shapes import number, stack
from autolabel.types import Instance, MediaRecord

MAX_INDEX = 254
"""Objects a picture and classes that a PNG can tell apart: 0 is background, 255 is "ignore"."""


class VocWriter(PictureWriter):
    """Writes an XML file and two PNGs a picture, as they come."""

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Make the folders and the label map."""
        self._out, self._options, self._tally = out, options, tally
        self._xml = out / "Annotations"
        self._names = Names(lambda stem: (self._xml / f"{stem}.xml").exists())
        self._placer = Placer(out / "JPEGImages", options, tally)
        self._part = "default"
        given = [name for name, _ in classes]
        self._labels = label_names(given)
        if changed := sum(a != b for a, b in zip(given, self._labels, strict=True)):
            tally.affected["class names that a label map can't hold: written otherwise"] += changed
        names = ["background", *self._labels]
        lines = ["# label:color_rgb:parts:actions"]
        for index, name in enumerate(names):
            red, green, blue = color(index)
            lines.append(f"{name}:{red},{green},{blue}::")
        (out / "labelmap.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (out / "ImageSets" / "Main").mkdir(parents=True)
        (out / "ImageSets" / "Segmentation").mkdir()

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write a picture, or the labelled frames of a video as pictures."""
        if self._options.splitter:
            self._part = self._options.splitter.part(media)
        super().add(media, instances)

    def close(self) -> None:
        """Write the names that were changed."""
        self._names.write(self._out, self._tally)

    def _write(self, picture: Picture, found: list[Instance]) -> None:
        """Write one picture's files."""
        path = self._xml / f"{picture.stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        masked = self._write_masks(picture, found)
        path.write_text(self._annotation(picture, found, masked), encoding="utf-8")
        self._list("Main", picture.stem)
        if masked:
            self._list("Segmentation", picture.stem)
        self._tally.pictures += 1
        self._tally.instances += len(found)

    def _list(self, kind: str, line: str) -> None:
        """Add a picture to the list of its part."""
        path = self._out / "ImageSets" / kind / f"{self._part}.txt"
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")

    def _annotation(self, picture: Picture, found: list[Instance], masked: bool) -> str:
        """Return the XML file's text."""
        media = picture.media
        objects = "".join(self._object(one) for one in found)
        return (
            "<annotation>\n  <folder>JPEGImages</folder>\n"
            f"  <filename>{escape(picture.name)}</filename>\n"
            "  <source><database>autolabel</database></source>\n"
            f"  <size><width>{media.width}</width><height>{media.height}</height>"
            f"<depth>3</depth></size>\n  <segmented>{int(masked)}</segmented>\n"
            f"{objects}</annotation>\n"
        )

    def _object(self, one: Instance) -> str:
        """Return one object element; 1-based inclusive corners."""
        x1, y1, x2, y2 = one.box
        corners = zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2), strict=True)
        box = "".join(f"<{name}>{number(value)}</{name}>" for name, value in corners)
        return (
            f"  <object>\n    <name>{escape(self._labels[one.class_id])}</name>\n"
            "    <pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>\n"
            f"    <bndbox>{box}</bndbox>\n  </object>\n"
        )

    def _write_masks(self, picture: Picture, found: list[Instance]) -> bool:
        """Write the two PNGs of a picture that has masks; return whether it has."""
        masked = [(i, one) for i, one in enumerate(found, 1) if one.mask is not None]
        fits = [(i, one) for i, one in masked if max(i, one.class_id + 1) <= MAX_INDEX]
        if len(fits) < len(masked):
            self._tally.affected[
                f"labels beyond the {MAX_INDEX} objects or classes of a PNG: box only"
            ] += len(masked) - len(fits)
        if not fits:
            return False
        media = picture.media
        given = [(i, one.mask) for i, one in fits if one.mask is not None]
        objects, hidden = stack(given, media.height, media.width)
        if hidden:
            self._tally.affected["masks under others: one pixel has one object in a PNG"] += len(
                hidden
            )
        table = np.zeros(MAX_INDEX + 1, np.uint8)
        for i, one in fits:
            table[i] = one.class_id + 1
        for folder, pixels in (
            ("SegmentationObject", objects.astype(np.uint8)),
            ("SegmentationClass", table[objects]),
        ):
            save_indexed(self._out / folder / f"{picture.stem}.png", pixels)
        return True


def label_names(names: Sequence[str]) -> list[str]:
    """Return class names that a label map can hold, all different; as they are where they can.

    A colon separates there, "#" begins a remark, and "background" is what no object covers.
    """

    def fits(name: str) -> bool:
        return ":" not in name and name[:1] != "#" and name != "background"

    taken = {name for name in names if fits(name)} | {"background"}
    found = []
    for name in names:
        chosen = clean = name if fits(name) else name.replace(":", "_").replace("#", "_", 1)
        number_ = 1
        while not fits(name) and chosen in taken:
            number_ += 1
            chosen = f"{clean}_{number_}"
        taken.add(chosen)
        found.append(chosen)
    return found


@cache
def color(index: int) -> tuple[int, int, int]:
    """Return VOC's colour of an index, red, green, blue (VOClabelcolormap in the devkit)."""
    red = green = blue = 0
    for bit in range(8):
        red |= ((index >> 3 * bit) & 1) << (7 - bit)
        green |= ((index >> (3 * bit + 1)) & 1) << (7 - bit)
        blue |= ((index >> (3 * bit + 2)) & 1) << (7 - bit)
    return red, green, blue


def save_indexed(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 (H, W) as a PNG with VOC's colour table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels, mode="L")
    picture.putpalette([value for index in range(256) for value in color(index)])
    picture.save(path)
