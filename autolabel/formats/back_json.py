"""Reads back the exports that are one JSON file, line by line: COCO, YouTube-VIS, Label Studio."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel import masks
from autolabel.errors import FormatError
from autolabel.formats.back import Record, StreamBack, lines_of
from autolabel.formats.coco_read import read_label, read_track
from autolabel.formats.media_files import Picture
from autolabel.formats.reading import Problems, ReadObject, read_xml
from autolabel.formats.shapes import from_row_runs
from autolabel.types import RLE

FILE = "annotations.json"
WRONG = "objects that can't be read back"


class CocoBack(StreamBack):
    """Reads images and their annotations side by side: both are in the same order."""

    def read_classes(self) -> list[str]:
        """Return the names of the classes."""
        return _categories(self.folder / FILE)

    def records(self, part: str) -> Iterator[Record]:
        """Yield each image."""
        path = self.folder / FILE
        labels = lines_of(path, "annotations")
        waiting = next(labels, None)
        for _, image in lines_of(path, "images"):
            size = image["height"], image["width"]
            frame = image.get("frame_index")
            found: list[ReadObject] = []
            while waiting is not None and waiting[1]["image_id"] == image["id"]:
                place, entry = waiting
                with self.problems.guard(place, WRONG):
                    class_id = entry["category_id"] - 1
                    found.append(read_label(entry, class_id, size, frame or 0, place))
                waiting = next(labels, None)
            yield Record(image["file_name"], frame, found)
        if waiting is not None:
            self.problems.add(waiting[0], "annotations of no image, or out of order")

    def fits(self, record: Record, picture: Picture) -> bool:
        """Return whether a record is this picture: frames are in a folder a video."""
        if record.name == picture.name or picture.media.kind == "image":
            return record.name == picture.name
        # Where two videos' names collide, the second keeps its extension.
        folder = record.name.rpartition("/")[0]
        return record.frame == picture.frame_index and folder in (
            picture.media.name,
            picture.name.rpartition("/")[0],
        )


class YtvisBack(StreamBack):
    """Reads videos and their tracks side by side; holds one video's labels."""

    def __init__(self, folder: Path, problems: Problems) -> None:
        super().__init__(folder, problems)
        self._video = ""
        self._frames: dict[int, list[ReadObject]] = {}

    def read_classes(self) -> list[str]:
        """Return the names of the classes."""
        return _categories(self.folder / FILE)

    def records(self, part: str) -> Iterator[Record]:
        """Yield each video."""
        path = self.folder / FILE
        tracks = lines_of(path, "annotations")
        waiting = next(tracks, None)
        for _, video in lines_of(path, "videos"):
            size = video["height"], video["width"], video["length"]
            found: list[ReadObject] = []
            while waiting is not None and waiting[1]["video_id"] == video["id"]:
                place, entry = waiting
                with self.problems.guard(place, WRONG):
                    class_id = entry["category_id"] - 1
                    found += read_track(entry, class_id, size, place, self.problems)
                waiting = next(tracks, None)
            yield Record(video["name"], None, found)
        if waiting is not None:
            self.problems.add(waiting[0], "annotations of no video, or out of order")

    def fits(self, record: Record, picture: Picture) -> bool:
        """Return whether a record is the video that a frame is of."""
        return record.name == picture.media.name

    def objects(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a frame's labels."""
        if picture.media.name != self._video:
            record = self.take(picture, part)
            frames: dict[int, list[ReadObject]] = defaultdict(list)
            for one in record.objects if record else ():
                frames[one.frame_index].append(one)
            self._video, self._frames = picture.media.name, frames
        return self._frames.get(picture.frame_index, ())


class LabelStudioBack(StreamBack):
    """Reads the tasks: brush strokes, polygons and boxes."""

    def read_classes(self) -> list[str]:
        """Return the classes of the labelling interface."""
        tags = read_xml(self.folder / "config.xml", ("BrushLabels", "PolygonLabels"))
        return [one.get("value", "") for tag in tags for one in tag.iter("Label")]

    def records(self, part: str) -> Iterator[Record]:
        """Yield each task."""
        for place, task in lines_of(self.folder / "tasks.json", ""):
            found = []
            for index, result in enumerate(task["predictions"][0]["result"]):
                with self.problems.guard(f"{place}, result {index}", WRONG):
                    found.append(self._object(result))
            yield Record(task["data"]["name"], None, found)

    def _object(self, result: dict[str, Any]) -> ReadObject:
        """Return one result as an object."""
        value, kind = result["value"], result["type"]
        height, width = result["original_height"], result["original_width"]
        class_id = self.classes.index(value[kind][0])
        scale = np.array([width, height]) / 100
        if kind == "brushlabels":
            return ReadObject(class_id, mask=brush_mask(value["rle"], height, width))
        if kind == "polygonlabels":
            ring = (np.array(value["points"]) * scale).ravel().tolist()
            return ReadObject(class_id, mask=masks.from_polygons([ring], height, width))
        corner = np.array([value["x"], value["y"]]) * scale
        far = corner + np.array([value["width"], value["height"]]) * scale
        return ReadObject(class_id, (*corner.tolist(), *far.tolist()))


def brush_mask(data: Sequence[int], height: int, width: int) -> RLE:
    """Return the mask of Label Studio's brush bytes (``label_studio.brush_rle`` says how).

    Raises:
        ValueError: If they don't hold a picture of that size.
    """
    raw = bytes(data)
    bits = bin(int.from_bytes(b"\1" + raw, "big"))[3:]
    total, word = int(bits[:32], 2), int(bits[32:37], 2) + 1
    sizes = [int(bits[at : at + 4], 2) + 1 for at in range(37, 53, 4)]
    place, done = 53, 0
    runs, values = [], []
    while done < total:
        same, size = bits[place] == "1", sizes[int(bits[place + 1 : place + 3], 2)]
        place += 3 + size
        length = int(bits[place - size : place], 2) + 1
        for _ in range(1 if same else length):
            values.append(int(bits[place : place + word], 2))
            runs.append(length if same else 1)
            place += word
        done += length
    alpha = _alpha(np.array(values), np.array(runs))
    lengths = np.diff(np.flatnonzero(np.diff(alpha, prepend=-1)), append=len(alpha))
    if len(alpha) and alpha[0]:
        lengths = np.concatenate([[0], lengths])
    return masks.encode(from_row_runs(lengths.astype(np.int64), height, width))


def _alpha(values: NDArray[np.int64], runs: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return 1 for each pixel that is painted, of RGBA bytes in runs."""
    return (np.repeat(values > 127, runs)[3::4]).astype(np.int8)


def _categories(path: Path) -> list[str]:
    """Return the names of the categories, whose ids count from 1, in the file's head."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            head = [file.readline(), file.readline()][1].strip().rstrip(",")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: can't be read back: {error}") from error
    label, _, text = head.partition(":")
    if label != '"categories"':
        raise FormatError(f"{path}: has no categories in its second line")
    try:
        return [str(one["name"]) for one in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: can't be read back: {error}") from error
