"""Reads exports back with somebody else's code: pycocotools for COCO, Ultralytics for YOLO."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autolabel import masks
from autolabel.errors import FormatError, MissingExtra
from autolabel.formats.back import Record
from autolabel.formats.back_files import NOMINAL, YoloBack
from autolabel.formats.back_json import FILE, WRONG, CocoBack
from autolabel.formats.coco_read import read_label
from autolabel.formats.media_files import Picture
from autolabel.formats.reading import ReadObject


class PycocotoolsBack(CocoBack):
    """Reads the whole file with ``pycocotools.coco.COCO``, and masks as it draws them."""

    def read_classes(self) -> list[str]:
        """Read the file; return the names of the classes."""
        from pycocotools.coco import COCO

        path = self.folder / FILE
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self._coco: Any = COCO(str(path))
        except (OSError, ValueError, KeyError, AssertionError) as error:
            raise FormatError(f"{path}: pycocotools can't read it: {error}") from error
        return [str(one["name"]) for one in self._coco.loadCats(sorted(self._coco.getCatIds()))]

    def records(self, part: str) -> Iterator[Record]:
        """Yield each image."""
        for key in sorted(self._coco.getImgIds()):
            (image,) = self._coco.loadImgs([key])
            found: list[ReadObject] = []
            for entry in self._coco.loadAnns(self._coco.getAnnIds([key])):
                place = f"annotation {entry['id']}"
                with self.problems.guard(place, WRONG):
                    found.append(self._object(entry, image, place))
            yield Record(image["file_name"], image.get("frame_index"), found)

    def _object(self, entry: dict[str, Any], image: dict[str, Any], place: str) -> ReadObject:
        """Return an annotation, its mask by pycocotools."""
        size = image["height"], image["width"]
        if entry["segmentation"]:
            found = self._coco.annToRLE(entry)
            counts = found["counts"]
            text = counts.decode() if isinstance(counts, bytes) else counts
            entry = {**entry, "segmentation": {"size": list(size), "counts": text}}
        return read_label(entry, entry["category_id"] - 1, size, 0, place)


class UltralyticsBack(YoloBack):
    """Reads a text file as Ultralytics' loader does, and draws its polygons as its training does.

    Its loader repairs damaged JPEGs in place, so it is given blank pictures of the same size.
    """

    def read_classes(self) -> list[str]:
        """Return the classes of ``data.yaml``."""
        os.environ.setdefault("YOLO_OFFLINE", "true")
        os.environ.setdefault("YOLO_AUTOINSTALL", "false")
        try:
            from ultralytics.data import utils
        except ImportError as error:
            raise MissingExtra("ultralytics", "ultralytics") from error
        self._utils: Any = utils
        self._blank = Path(tempfile.mkdtemp(prefix="autolabel-verify-")) / "blank.png"
        self._size = (0, 0)
        return super().read_classes()

    def read(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a picture's labels."""
        path = self.folder / "labels" / part / f"{picture.stem}.txt"
        if not path.is_file():
            return ()
        return self._file(path, picture.media.height, picture.media.width)

    def everything(self) -> Iterator[Sequence[ReadObject]]:
        """Yield every file's labels, as of pictures of some size."""
        for path in (self.folder / "labels").rglob("*.txt"):
            yield self._file(path, NOMINAL, NOMINAL)

    def rest(self) -> int:
        """Return how many objects were read, and remove the blank picture."""
        count = super().rest()
        self._blank.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._blank.parent.rmdir()
        return count

    def _file(self, path: Path, height: int, width: int) -> list[ReadObject]:
        """Return a text file's labels."""
        from PIL import Image

        if self._size != (height, width):
            Image.new("L", (width, height)).save(self._blank)
            self._size = height, width
        job = (str(self._blank), str(path), "", False, len(self.classes), 0, 0, False)
        result = self._utils.verify_image_label(job)
        if result[0] is None:
            self.problems.add(f"{path}", "a label file that Ultralytics refuses", str(result[-1]))
            return []
        size = np.array([width, height], np.float32)
        found = []
        for row, segment in zip(result[1], result[3], strict=True):
            polygon = [(segment * size).reshape(-1)]
            drawn = self._utils.polygon2mask((height, width), polygon).astype(bool)
            found.append(ReadObject(int(row[0]), mask=masks.encode(drawn), place=f"{path}"))
        return found
