"""Parquet: one row a picture, as Hugging Face ``datasets`` lays out object detection.

``data/PART-00000-of-00003.parquet`` with image (path, and with ``--images copy`` the file's
bytes), image_id, name, width, height, and ``objects``: lists of id, category (0-based),
bbox ``[x, y, w, h]``, area, segmentation (COCO compressed RLE: size and counts, null for a
box), score, track_id and source. The file's metadata tells ``datasets`` the class names and
that the column is an image. Frames of videos have video and frame_index.
Source: https://huggingface.co/docs/datasets/image_dataset
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from autolabel import masks
from autolabel.errors import FormatError, MissingExtra
from autolabel.formats.back import Record, StreamBack
from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.media_files import Names, Picture, pictures
from autolabel.formats.reading import ReadObject
from autolabel.types import RLE, Instance, MediaRecord

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtra("pyarrow", "parquet") from error

ROWS = 1_000
BYTES = 64 * 2**20
"""Rows, or bytes of pictures, that are written at a time: only these are held in memory."""
FILE_BYTES = 500 * 2**20
"""A file ends after this many bytes of pictures, as the Hub recommends."""
_ENDING = "-00000-of-00000.parquet"

_LISTS: dict[str, Any] = {
    "id": pa.int64(),
    "category": pa.int64(),
    "bbox": pa.list_(pa.float64()),
    "area": pa.float64(),
    "segmentation": pa.struct({"size": pa.list_(pa.int64()), "counts": pa.string()}),
    "score": pa.float64(),
    "track_id": pa.int64(),
    "source": pa.string(),
}
_COLUMNS: dict[str, Any] = {
    "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    "image_id": pa.int64(),
    "name": pa.string(),
    "width": pa.int64(),
    "height": pa.int64(),
    "video": pa.string(),
    "frame_index": pa.int64(),
    "objects": pa.struct({name: pa.list_(kind) for name, kind in _LISTS.items()}),
}


class _Part:
    """The files of one part of a split, written a few rows at a time."""

    def __init__(self, folder: Path, name: str, schema: Any) -> None:
        self._folder, self._name, self._schema = folder, name, schema
        self._rows: list[dict[str, Any]] = []
        self._held = self._written = self._files = 0
        self._file: Any = None

    def add(self, row: dict[str, Any], size: int) -> None:
        """Add a row that holds a picture of ``size`` bytes."""
        self._rows.append(row)
        self._held += size
        if len(self._rows) >= ROWS or self._held >= BYTES:
            self._flush()
        if self._written >= FILE_BYTES:
            self._end()

    def close(self) -> None:
        """Write the rest, and say in each name how many files there are."""
        if self._rows or not self._files:
            self._flush()
        self._end()
        for index in range(self._files):
            last = f"{self._name}-{index:05d}-of-{self._files:05d}.parquet"
            self._path(index).rename(self._folder / last)

    def _path(self, index: int) -> Path:
        return self._folder / f"{self._name}-{index:05d}"

    def _flush(self) -> None:
        """Write the rows that wait."""
        if self._file is None:
            self._file = pq.ParquetWriter(self._path(self._files), self._schema)
            self._files += 1
        self._file.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []
        self._written += self._held
        self._held = 0

    def _end(self) -> None:
        """End the file at hand."""
        if self._file is not None:
            self._file.close()
        self._file, self._written = None, 0


class ParquetWriter:
    """Writes rows as they come; each part of a split has its own files."""

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Make the folder."""
        self._options, self._tally = options, tally
        self._folder = out / "data"
        self._folder.mkdir()
        schema = pa.schema(_COLUMNS).with_metadata(
            {"huggingface": json.dumps(_features([name for name, _ in classes]))}
        )
        self._names = Names()
        self._pictures = self._labels = 0
        names = options.splitter.names if options.splitter else ("train",)
        self._parts = {name: _Part(self._folder, name, schema) for name in names}

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Add a picture's row, or one for each labelled frame of a video."""
        part = self._options.splitter.part(media) if self._options.splitter else "train"
        for picture, found in pictures(media, instances, self._names):
            data = self._read(picture)
            self._parts[part].add(self._row(picture, found, data), len(data or b""))

    def close(self) -> None:
        """Write what is left."""
        for part in self._parts.values():
            part.close()

    def _read(self, picture: Picture) -> bytes | None:
        """Return the picture's file, if the user wants it inside."""
        if self._options.images != "copy":
            return None
        path = Path(picture.media.path)
        if picture.media.kind != "image" or not path.is_file():
            self._tally.affected["pictures without their bytes: a video's frame, or moved"] += 1
            return None
        return path.read_bytes()

    def _row(self, picture: Picture, found: list[Instance], data: bytes | None) -> dict[str, Any]:
        """Return a picture's row."""
        media = picture.media
        self._pictures += 1
        self._tally.pictures += 1
        video = media.kind != "image"
        return {
            "image": {"bytes": data, "path": media.path if data is None else picture.name},
            "image_id": self._pictures,
            "name": picture.name if video else media.name,
            "width": media.width,
            "height": media.height,
            "video": media.name if video else None,
            "frame_index": picture.frame_index if video else None,
            "objects": self._objects(found),
        }

    def _objects(self, found: list[Instance]) -> dict[str, list[Any]]:
        """Return a picture's labels as lists."""
        objects: dict[str, list[Any]] = {name: [] for name in _LISTS}
        for one in found:
            x1, y1, x2, y2 = one.box
            mask, area = one.mask, (x2 - x1) * (y2 - y1)
            if mask is not None:
                area = masks.area(mask)
                if not area:
                    self._tally.skipped["labels whose mask is empty"] += 1
                    continue
            self._labels += 1
            self._tally.instances += 1
            counts = mask and {"size": [mask.height, mask.width], "counts": mask.counts}
            box = [x1, y1, x2 - x1, y2 - y1]
            values = (
                *(self._labels, one.class_id, box, float(area), counts),
                *(one.score, one.track_id, one.source),
            )
            for name, value in zip(objects, values, strict=True):
                objects[name].append(value)
        return objects


def _features(classes: list[str]) -> dict[str, Any]:
    """Return what ``datasets`` wants to know of the columns."""

    def value(kind: str) -> dict[str, str]:
        return {"dtype": kind, "_type": "Value"}

    def many(feature: dict[str, Any]) -> dict[str, Any]:
        return {"feature": feature, "_type": "List"}

    objects: dict[str, Any] = {
        "id": many(value("int64")),
        "category": many({"names": classes, "_type": "ClassLabel"}),
        "bbox": many(many(value("float64"))),
        "area": many(value("float64")),
        "segmentation": many({"size": many(value("int64")), "counts": value("string")}),
        "score": many(value("float64")),
        "track_id": many(value("int64")),
        "source": many(value("string")),
    }
    columns: dict[str, Any] = {"image": {"_type": "Image"}}
    columns |= {name: value("int64") for name in ("image_id", "width", "height", "frame_index")}
    columns |= {name: value("string") for name in ("name", "video")}
    ordered = {name: columns.get(name, objects) for name in _COLUMNS}
    return {"info": {"features": ordered}}


class ParquetBack(StreamBack):
    """Reads the rows back, a few at a time."""

    def read_classes(self) -> list[str]:
        """Return the classes that the metadata tells ``datasets``."""
        self._data = self.folder / "data"
        for path in sorted(self._data.glob("*.parquet")):
            told = json.loads(pq.read_schema(path).metadata[b"huggingface"])
            names = told["info"]["features"]["objects"]["category"]["feature"]["names"]
            return [str(name) for name in names]
        raise FormatError(f"{self._data}: has no parquet files")

    def parts(self) -> list[str]:
        """Return the parts there are."""
        return sorted({path.name[: -len(_ENDING)] for path in self._data.glob("*.parquet")})

    def take(self, picture: Picture, part: str) -> Record | None:
        """Return a picture's record; without a split the only part is "train"."""
        return super().take(picture, part or "train")

    def records(self, part: str) -> Iterator[Record]:
        """Yield each row."""
        columns = ["name", "video", "frame_index", "objects"]
        for path in sorted(self._data.glob(f"{part}-*.parquet")):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(100, columns=columns):
                    for row in batch.to_pylist():
                        found = list(self._labels(row["objects"], f"{path}: {row['name']!r}"))
                        yield Record(row["video"] or row["name"], row["frame_index"], found)

    def fits(self, record: Record, picture: Picture) -> bool:
        """Return whether a record is this picture, or frame of a video."""
        media = picture.media
        frame = None if media.kind == "image" else picture.frame_index
        return (record.name, record.frame) == (media.name, frame)

    def _labels(self, objects: dict[str, list[Any]], place: str) -> Iterator[ReadObject]:
        """Yield a row's labels."""
        for category, bbox, counts, track in zip(
            *(objects[name] for name in ("category", "bbox", "segmentation", "track_id")),
            strict=True,
        ):
            with self.problems.guard(place, "objects that can't be read back"):
                mask = None
                if counts:
                    height, width = counts["size"]
                    mask = masks.validate(RLE(height, width, counts["counts"]))
                x, y, across, down = bbox
                box = None if mask else (x, y, x + across, y + down)
                yield ReadObject(category, box, mask, track_id=track)
