"""Reads CVAT for images 1.1 and CVAT for video 1.1: masks, polygons and boxes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

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
from autolabel.formats.shapes import from_row_runs, uncrop
from autolabel.types import RLE

SHAPES = ("box", "mask", "polygon")
OTHERS = ("cuboid", "ellipse", "points", "polyline", "skeleton", "tag")
UNTRACKED = 1_000_000_000


class CvatImagesReader:
    """Reads one file of images."""

    def __init__(self, path: Path, pictures: Pictures, problems: Problems) -> None:
        self._path = _only_xml(path)
        self._pictures, self._problems = pictures, problems
        self.classes, self._class_of = _labels(self._path)

    def media(self) -> Iterator[ReadMedia]:
        """Yield each picture with its labels."""
        for element in read_xml(self._path, ("image",)):
            place = f"{self._path}: image {element.get('id')}"
            with self._problems.guard(place, "an image that is wrong"):
                height, width = (whole(element.get(n), n, 1) for n in ("height", "width"))
                name = str(element.get("name"))
                item = self._pictures.find(name)
                item = item or self._pictures.find_stem(name.rsplit(".", 1)[0])
                if item is None:
                    self._problems.add(place, "a picture that isn't there", repr(name))
                    continue
                yield ReadMedia(item, height, width, self._objects(element, height, width, place))

    def _objects(self, element: Element, height: int, width: int, place: str) -> list[ReadObject]:
        """Return an image's labels."""
        found = []
        for index, shape in enumerate(element):
            if shape.tag in OTHERS:
                self._problems.notes[f"{shape.tag} shapes, which are not read"] += 1
                continue
            where = f"{place}, shape {index}"
            with self._problems.guard(where, "a shape that is wrong"):
                box, mask = geometry(shape, height, width)
                found.append(
                    ReadObject(
                        class_id=_class(shape.get("label"), self._class_of),
                        box=box,
                        mask=mask,
                        source=_source(shape),
                        place=where,
                    )
                )
        return found


class CvatVideoReader:
    """Reads the tracks of videos, a file each; boxes between keyframes are interpolated."""

    def __init__(self, path: Path, pictures: Pictures, problems: Problems) -> None:
        self._paths = sorted(path.rglob("*.xml")) if path.is_dir() else [path]
        if not self._paths:
            raise FormatError(f"{path}: has no XML file")
        self._pictures, self._problems = pictures, problems
        self.classes: list[tuple[str, str | None]] = []
        self._class_of: dict[str, int] = {}
        for one in self._paths:
            for name, color in _labels(one)[0]:
                if name not in self._class_of:
                    self._class_of[name] = len(self.classes)
                    self.classes.append((name, color))

    def media(self) -> Iterator[ReadMedia]:
        """Yield each video with its labels in the order of frames."""
        videos = [item for item in self._pictures.items.values() if item.kind == "video"]
        for path in self._paths:
            item = self._pictures.find_stem(path.parent.name)
            if item is None and len(self._paths) == len(videos) == 1:
                item = videos[0]
            if item is None:
                item = self._pictures.frames_of(_numbered(self._pictures, path.parent.name))
            if item is None:
                self._problems.add(f"{path}", "a video that isn't there", path.parent.name)
                continue
            height, width, frames = _video_size(path)
            found = sorted(self._tracks(path, height, width, frames), key=lambda o: o.frame_index)
            yield ReadMedia(item, height, width, found, frames)

    def _tracks(self, path: Path, height: int, width: int, frames: int) -> Iterator[ReadObject]:
        """Yield a file's labels, track by track."""
        for element in read_xml(path, ("track",)):
            place = f"{path}: track {element.get('id')}"
            with self._problems.guard(place, "a track that is wrong"):
                class_id = _class(element.get("label"), self._class_of)
                uid = whole(element.get("id"), "id")
                # Ids from 0 (CVAT's own) become ids from 1; ours are those of the project.
                track = None if uid >= UNTRACKED else uid if uid else frames + 1_000_000
                shapes = [shape for shape in element if shape.tag in SHAPES]
                if len(shapes) < len(element):
                    others = len(element) - len(shapes)
                    self._problems.notes["other shapes of tracks, which are not read"] += others
                yield from self._shapes(shapes, class_id, track, (height, width, frames), place)

    def _shapes(
        self,
        shapes: list[Element],
        class_id: int,
        track: int | None,
        size: tuple[int, int, int],
        place: str,
    ) -> Iterator[ReadObject]:
        """Yield a track's labels, those between keyframes included."""
        height, width, frames = size
        keys: list[tuple[int, bool, tuple[float, ...] | None, RLE | None, str | None]] = []
        for shape in shapes:
            frame = whole(shape.get("frame"), "frame")
            with self._problems.guard(f"{place}, frame {frame}", "a shape that is wrong"):
                if frame >= frames:
                    raise ValueError(f"the video has {frames} frames")
                if keys and frame <= keys[-1][0]:
                    raise ValueError("frames have to go up")
                box, mask = geometry(shape, height, width)
                keys.append((frame, shape.get("outside") == "1", box, mask, _source(shape)))
        ends = (frames, True, None, None, None)
        for key, after in pairwise([*keys, ends]):
            if key[1]:
                continue
            for frame in range(key[0], after[0]):
                box, mask = _between(key, after, frame)
                yield ReadObject(
                    class_id=class_id,
                    box=box,
                    mask=mask,
                    track_id=track,
                    frame_index=frame,
                    source=key[4],
                    place=f"{place}, frame {frame}",
                )


def _between(key: tuple, after: tuple, frame: int) -> tuple:  # type: ignore[type-arg]
    """Return a track's box and mask between two keyframes: a box moves evenly, a mask stays."""
    box, mask = key[2], key[3]
    if frame > key[0] and mask is None and box is not None and not after[1] and after[2]:
        share = (frame - key[0]) / (after[0] - key[0])
        box = tuple(a + (b - a) * share for a, b in zip(box, after[2], strict=True))
    return box, mask


def geometry(
    shape: Element, height: int, width: int
) -> tuple[tuple[float, float, float, float] | None, RLE | None]:
    """Return a shape's box, or its mask.

    Raises:
        ValueError: If it is wrong.
    """
    if shape.tag == "box":
        if number(shape.get("rotation", "0"), "rotation"):
            raise ValueError("a rotated box is not read")
        x1, y1, x2, y2 = (number(shape.get(n), n) for n in ("xtl", "ytl", "xbr", "ybr"))
        return (x1, y1, x2, y2), None
    if shape.tag == "mask":
        left, top = (whole(shape.get(n), n) for n in ("left", "top"))
        across, down = (whole(shape.get(n), n, 1) for n in ("width", "height"))
        if left + across > width or top + down > height:
            raise ValueError("mask: its box leaves the picture")
        try:
            runs = np.array([int(run) for run in str(shape.get("rle")).split(",")], np.int64)
        except (ValueError, OverflowError):
            raise ValueError("mask: rle is not a list of whole numbers") from None
        inside = from_row_runs(runs, down, across)
        return None, uncrop((left, top, left + across, top + down), inside, height, width)
    pairs = [pair.split(",") for pair in str(shape.get("points")).split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("polygon: points have to be x,y;x,y;...")
    flat = [number(value, "polygon") for pair in pairs for value in pair]
    return None, masks.from_polygons([flat], height, width)


def _labels(path: Path) -> tuple[list[tuple[str, str | None]], dict[str, int]]:
    """Return the classes that a file declares."""
    classes: list[tuple[str, str | None]] = []
    for meta in read_xml(path, ("meta",)):
        for label in meta.iter("label"):
            color = label.findtext("color")
            classes.append((label.findtext("name") or "", color))
        break
    if not classes:
        raise FormatError(f"{path}: expected CVAT's XML with labels under meta, found none")
    return classes, {name: index for index, (name, _) in enumerate(classes)}


def _video_size(path: Path) -> tuple[int, int, int]:
    """Return a video's height, width and number of frames by its file."""
    for meta in read_xml(path, ("meta",)):
        size = meta.find(".//original_size")
        try:
            if size is not None:
                height, width = (whole(size.findtext(n), n, 1) for n in ("height", "width"))
                return height, width, whole(meta.findtext(".//size"), "size", 1)
        except ValueError as error:
            raise FormatError(f"{path}: meta: {error}") from error
        break
    raise FormatError(f"{path}: meta has no original_size: is it CVAT for video 1.1?")


def _numbered(pictures: Pictures, folder: str) -> list[str]:
    """Return the names of the pictures in a folder of that name."""
    return [
        name
        for name, item in sorted(pictures.items.items())
        if item.kind == "image" and Path(item.path).parent.name == folder
    ]


def _class(label: str | None, class_of: dict[str, int]) -> int:
    """Return a label's class."""
    if label not in class_of:
        raise ValueError(f"label {label!r} is not declared in meta")
    return class_of[label]


def _source(shape: Element) -> str | None:
    """Return who made a shape."""
    source = shape.get("source")
    return None if source is None else "model" if source in ("auto", "semi-auto") else "human"


def _only_xml(path: Path) -> Path:
    """Return the XML file: itself, or the one in a folder."""
    if not path.is_dir():
        return path
    found = sorted(path.rglob("*.xml"))
    if len(found) != 1:
        raise FormatError(f"{path}: expected one XML file, found {len(found)}: name it")
    return found[0]
