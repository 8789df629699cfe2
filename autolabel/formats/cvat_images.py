"""CVAT for images 1.1: ``annotations.xml`` with masks (default), polygons or boxes.

A mask is run lengths row by row inside its box, zeros first. A polygon is one ring along
pixel edges with bridges to holes and separate parts; CVAT draws the same mask from it.
CVAT finds a task's picture by its name without extension, and refuses labels that the task
doesn't have: ``labels.json`` is for its label editor ("Raw").
Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from autolabel import masks
from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.media_files import Names, Picture, PictureWriter, Placer
from autolabel.formats.shapes import crop, number, row_runs
from autolabel.types import RLE, Instance

FILE = "annotations.xml"
LABELS = "labels.json"


class CvatImagesWriter(PictureWriter):
    """Writes one XML file as the pictures stream by."""

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Write the head with the labels."""
        self._out, self._options, self._tally = out, options, tally
        self._classes = [quoteattr(name) for name, _ in classes]
        self._names = Names()
        self._placer = Placer(out / "images", options, tally)
        self._number = 0
        self._file = (out / FILE).open("w", encoding="utf-8", newline="\n", buffering=2**16)
        self._file.write(head(classes, "annotation"))
        write_labels(out, classes)

    def close(self) -> None:
        """End the file."""
        self._file.write("</annotations>\n")
        self._file.close()
        self._names.write(self._out, self._tally)

    def _write(self, picture: Picture, found: list[Instance]) -> None:
        """Write one image element."""
        media = picture.media
        self._file.write(
            f'  <image id="{self._number}" name={quoteattr(picture.name)} '
            f'width="{media.width}" height="{media.height}">\n'
        )
        self._number += 1
        self._tally.pictures += 1
        for one in found:
            shape = self._shape(one)
            if not shape:
                self._tally.skipped["labels whose mask is empty"] += 1
                continue
            self._tally.instances += 1
            self._file.write(
                f"    {shape} label={self._classes[one.class_id]} source={quoteattr(source(one))} "
                'occluded="0" z_order="0"/>\n'
            )
        self._file.write("  </image>\n")

    def _shape(self, one: Instance) -> str:
        """Return the element's name and geometry; "" for an empty mask."""
        if self._options.boxes or one.mask is None:
            return box_shape(one.box)
        if self._options.polygons:
            return polygon_shape(one.mask)
        return mask_shape(one.mask)


def source(one: Instance) -> str:
    """Return who made a label, in CVAT's words."""
    return "manual" if one.source == "human" else "auto"


def mask_shape(mask: RLE) -> str:
    """Return a mask element without its end; "" for an empty mask."""
    cropped = crop(mask)
    if cropped is None:
        return ""
    (x1, y1, x2, y2), inside = cropped
    runs = ", ".join(map(str, row_runs(inside).tolist()))
    return f'<mask rle="{runs}" left="{x1}" top="{y1}" width="{x2 - x1}" height="{y2 - y1}"'


def polygon_shape(mask: RLE) -> str:
    """Return a polygon element without its end; "" for an empty mask."""
    flat = masks.bridged_ring(mask)
    points = ";".join(f"{x},{y}" for x, y in zip(flat[::2], flat[1::2], strict=True))
    return f'<polygon points="{points}"' if flat else ""


def box_shape(box: tuple[float, float, float, float]) -> str:
    """Return a box element without its end."""
    x1, y1, x2, y2 = (number(value) for value in box)
    return f'<box xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"'


def head(classes: Sequence[tuple[str, str]], mode: str, more: str = "") -> str:
    """Return the file's beginning up to the first image or track."""
    labels = "".join(
        f"      <label><name>{escape(name)}</name><color>{color}</color><type>any</type>"
        "<attributes></attributes></label>\n"
        for name, color in classes
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"  <meta>\n    <task>\n      <name>autolabel</name>\n      <mode>{mode}</mode>\n{more}"
        f"      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
    )


def write_labels(out: Path, classes: Sequence[tuple[str, str]]) -> None:
    """Write the labels as CVAT's label editor takes them ("Raw")."""
    labels = [
        {"name": name, "color": color, "type": "any", "attributes": []} for name, color in classes
    ]
    text = json.dumps(labels, ensure_ascii=False, indent=1)
    (out / LABELS).write_text(text + "\n", encoding="utf-8")
