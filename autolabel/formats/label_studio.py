"""Label Studio: ``tasks.json`` with pre-annotations, and the labelling config they need.

Masks are brush strokes in Label Studio's own run lengths (default), or polygons: one ring
along pixel edges with bridges. Import ``config.xml`` as the project's labelling interface,
then ``tasks.json``. The pictures are looked for in local storage (``/data/local-files/?d=``
and the name): set LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT to the folder of the pictures.
Source: label_studio_converter/brush.py and @thi.ng/rle-pack for the run lengths.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from autolabel import masks
from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.media_files import Names, Picture, PictureWriter, Placer
from autolabel.formats.shapes import row_runs
from autolabel.types import RLE, Instance, MediaRecord

FILE = "tasks.json"
CONFIG = "config.xml"
_LENGTHS = ((8, 3, 0), (16, 4, 1), (256, 8, 2), (65536, 16, 3))  # up to, bits, which
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class LabelStudioWriter(PictureWriter):
    """Writes one list of tasks as the pictures stream by."""

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Write the labelling config and begin the tasks."""
        self._out, self._options, self._tally = out, options, tally
        self._classes = [name for name, _ in classes]
        self._names = Names()
        self._placer = Placer(out / "images", options, tally)
        self._tasks = 0
        (out / CONFIG).write_text(_config(classes, options.polygons), encoding="utf-8")
        self._file = (out / FILE).open("w", encoding="utf-8", newline="\n", buffering=2**16)
        self._file.write("[")

    def close(self) -> None:
        """End the list."""
        self._file.write("\n]\n")
        self._file.close()
        self._names.write(self._out, self._tally)

    def _write(self, picture: Picture, found: list[Instance]) -> None:
        """Write one task."""
        self._tasks += 1
        results = [
            result
            for index, one in enumerate(found, 1)
            if (result := self._result(f"{self._tasks}-{index}", one, picture.media)) is not None
        ]
        prediction: dict[str, Any] = {"model_version": "autolabel", "result": results}
        scores = [one.score for one in found if one.score is not None]
        if scores:
            prediction["score"] = round(sum(scores) / len(scores), 5)
        folder = "images/" if self._options.images != "none" else ""
        address = f"/data/local-files/?d={quote(folder + picture.name)}"
        task = {"data": {"image": address, "name": picture.name}, "predictions": [prediction]}
        self._file.write(("\n" if self._tasks == 1 else ",\n") + _encode(task))
        self._tally.pictures += 1
        self._tally.instances += len(results)

    def _result(self, uid: str, one: Instance, media: MediaRecord) -> dict[str, Any] | None:
        """Return one label; None for an empty mask."""
        label = self._classes[one.class_id]
        if one.mask is not None and not masks.area(one.mask):
            self._tally.skipped["labels whose mask is empty"] += 1
            return None
        value, kind, control = _value(one, label, media, self._options.polygons)
        return {
            "id": uid,
            "type": kind,
            "from_name": control,
            "to_name": "image",
            "original_width": media.width,
            "original_height": media.height,
            "image_rotation": 0,
            "value": value,
            **({} if one.score is None else {"score": round(one.score, 5)}),
        }


def _value(
    one: Instance, label: str, media: MediaRecord, polygons: bool
) -> tuple[dict[str, Any], str, str]:
    """Return a label's value, type and control."""
    scale = np.array([100 / media.width, 100 / media.height])
    if one.mask is None:
        x1, y1, x2, y2 = (np.array(one.box).reshape(2, 2) * scale).ravel().tolist()
        box = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, "rotation": 0}
        return box | {"rectanglelabels": [label]}, "rectanglelabels", "box"
    if polygons:
        ring = np.array(masks.bridged_ring(one.mask), np.float64).reshape(-1, 2) * scale
        points = np.round(ring, 6).tolist()
        return (
            {"points": points, "closed": True, "polygonlabels": [label]},
            "polygonlabels",
            "polygon",
        )
    value = {"format": "rle", "rle": brush_rle(one.mask), "brushlabels": [label]}
    return value, "brushlabels", "brush"


def brush_rle(mask: RLE) -> list[int]:
    """Return a mask as Label Studio's brush bytes: RGBA pixels row by row, packed in bits.

    A run is a bit 1, two bits for which of four lengths' sizes follows, the length less one,
    and the value's eight bits.
    """
    runs = row_runs(masks.decode(mask)) * 4
    bits = [f"{int(runs.sum()):032b}", f"{7:05b}", *(f"{size - 1:04b}" for _, size, _ in _LENGTHS)]
    bits += _run_bits(runs)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _run_bits(runs: NDArray[np.int64]) -> Iterable[str]:
    """Yield the bits of each run; values alternate from 0 to 255."""
    most = _LENGTHS[-1][0]
    for index, run in enumerate(runs.tolist()):
        value = f"{255 if index % 2 else 0:08b}"
        while run > 0:
            part = min(run, most)
            size, which = next((size, which) for upto, size, which in _LENGTHS if part <= upto)
            yield f"1{which:02b}{part - 1:0{size}b}{value}"
            run -= part


def _config(classes: Sequence[tuple[str, str]], polygons: bool) -> str:
    """Return the labelling interface with every class."""
    labels = "".join(
        f"    <Label value={quoteattr(name)} background={quoteattr(color)}/>\n"
        for name, color in classes
    )
    mask = ("PolygonLabels", "polygon") if polygons else ("BrushLabels", "brush")
    controls = "".join(
        f'  <{tag} name="{name}" toName="image">\n{labels}  </{tag}>\n'
        for tag, name in (mask, ("RectangleLabels", "box"))
    )
    return f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n{controls}</View>\n'
