"""Reads COCO and YouTube-VIS: compressed and plain run lengths, polygons, crowds, videos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from autolabel.types import RLE

COCO_SECTIONS = ("images", "annotations", "categories")
YTVIS_SECTIONS = ("videos", "annotations", "categories")


class _JsonReader:
    """What COCO and YouTube-VIS share: categories, and annotations by what they belong to."""

    def __init__(
        self, path: Path, pictures: Pictures, problems: Problems, sections: tuple[str, ...]
    ) -> None:
        self._path = _only_json(path)
        self._pictures, self._problems = pictures, problems
        data = load_json(self._path)
        if not isinstance(data, dict) or any(not isinstance(data.get(s), list) for s in sections):
            raise FormatError(f"{self._path}: expected JSON with the lists {', '.join(sections)}")
        self._data: dict[str, Any] = data
        self.classes: list[tuple[str, str | None]] = []
        self._class_of: dict[int, int] = {}
        for index, entry in enumerate(data["categories"]):
            with problems.guard(self._place("categories", index), "a category that is wrong"):
                key = whole(entry["id"], "id")
                if key in self._class_of:
                    raise ValueError(f"id {key} is there twice")
                self._class_of[key] = len(self.classes)
                self.classes.append((str(entry["name"]), None))

    def _place(self, section: str, index: int) -> str:
        """Return where an entry is."""
        return f"{self._path}: {section}[{index}]"

    def _entries(self, section: str) -> dict[int, tuple[int, dict[str, Any]]]:
        """Return a section's entries by id, with their places."""
        found: dict[int, tuple[int, dict[str, Any]]] = {}
        for index, entry in enumerate(self._data[section]):
            place = self._place(section, index)
            with self._problems.guard(place, f"an entry of {section} that is wrong"):
                key = whole(entry["id"], "id")
                if key in found:
                    raise ValueError(f"id {key} is there twice")
                found[key] = (index, entry)
        return found

    def _by_owner(self, key: str, owners: Any) -> dict[int, list[tuple[int, dict[str, Any]]]]:
        """Return the annotations by image or video."""
        found: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        seen: set[int] = set()
        for index, entry in enumerate(self._data["annotations"]):
            place = self._place("annotations", index)
            with self._problems.guard(place, "an annotation that is wrong"):
                owner = whole(entry[key], key)
                if owner not in owners:
                    raise ValueError(f"{key} {owner} doesn't exist")
                uid = whole(entry.get("id", -1 - index), "id", -(2**53))
                if uid in seen:
                    raise ValueError(f"id {uid} is there twice")
                seen.add(uid)
                found[owner].append((index, entry))
        return found

    def _class(self, entry: dict[str, Any]) -> int:
        """Return an annotation's class."""
        category = whole(entry["category_id"], "category_id")
        if category not in self._class_of:
            raise ValueError(f"category_id {category} doesn't exist")
        return self._class_of[category]


class CocoReader(_JsonReader):
    """Reads a COCO file; frames of a video that is there become that video's labels."""

    def __init__(self, path: Path, pictures: Pictures, problems: Problems) -> None:
        super().__init__(path, pictures, problems, COCO_SECTIONS)

    def media(self) -> Iterator[ReadMedia]:
        """Yield each picture or video with its labels."""
        images = self._entries("images")
        owned = self._by_owner("image_id", images)
        videos: dict[str, tuple[dict[str, Any], list[ReadObject]]] = {}
        known = {
            one.get("id"): one for one in self._data.get("videos") or () if isinstance(one, dict)
        }
        for key, (index, entry) in images.items():
            place = self._place("images", index)
            with self._problems.guard(place, "an image that is wrong"):
                height, width = (whole(entry[name], name, 1) for name in ("height", "width"))
                video = known.get(entry.get("video_id")) if "video_id" in entry else None
                if video and self._pictures.find(str(video.get("name"))):
                    frame = whole(entry.get("frame_index"), "frame_index")
                    _, found = videos.setdefault(str(video["name"]), (video, []))
                    found += self._objects(owned[key], height, width, frame)
                    continue
                item = self._pictures.find(str(entry["file_name"]))
                if item is None:
                    name = entry["file_name"]
                    self._problems.add(place, "a picture that isn't there", repr(name))
                    continue
                yield ReadMedia(item, height, width, self._objects(owned[key], height, width, 0))
        for name, (video, found) in videos.items():
            item = self._pictures.find(name)
            assert item is not None
            length = video.get("length")
            yield ReadMedia(item, video.get("height"), video.get("width"), found, length)

    def _objects(
        self, entries: list[tuple[int, dict[str, Any]]], height: int, width: int, frame: int
    ) -> list[ReadObject]:
        """Return an image's labels."""
        found = []
        for index, entry in entries:
            place = self._place("annotations", index)
            with self._problems.guard(place, "an annotation that is wrong"):
                found.append(read_label(entry, self._class(entry), (height, width), frame, place))
        return found


class YtvisReader(_JsonReader):
    """Reads a YouTube-VIS file; a video is a file of its name, or the folder of its frames."""

    def __init__(self, path: Path, pictures: Pictures, problems: Problems) -> None:
        super().__init__(path, pictures, problems, YTVIS_SECTIONS)

    def media(self) -> Iterator[ReadMedia]:
        """Yield each video with its labels, frame by frame."""
        videos = self._entries("videos")
        owned = self._by_owner("video_id", videos)
        for key, (index, entry) in videos.items():
            place = self._place("videos", index)
            with self._problems.guard(place, "a video that is wrong"):
                files = [str(name) for name in entry["file_names"]]
                item = self._pictures.find(str(entry.get("name", "")))
                item = item or self._pictures.frames_of(files)
                if item is None:
                    name = entry.get("name", files[:1])
                    self._problems.add(place, "a video that isn't there", repr(name))
                    continue
                height, width = (whole(entry[name], name, 1) for name in ("height", "width"))
                found = self._tracks(owned[key], height, width, len(files))
                yield ReadMedia(item, height, width, found, len(files))

    def _tracks(
        self, entries: list[tuple[int, dict[str, Any]]], height: int, width: int, length: int
    ) -> list[ReadObject]:
        """Return a video's labels in the order of their frames."""
        found: list[ReadObject] = []
        for number_, (index, entry) in enumerate(entries, 1):
            place = self._place("annotations", index)
            with self._problems.guard(place, "an annotation that is wrong"):
                if entry.get("track_id") is None:
                    entry["track_id"] = number_
                class_id = self._class(entry)
                found += read_track(entry, class_id, (height, width, length), place, self._problems)
        return sorted(found, key=lambda one: one.frame_index)


def read_label(
    entry: dict[str, Any], class_id: int, size: tuple[int, int], frame: int, place: str
) -> ReadObject:
    """Return one of COCO's annotations.

    Args:
        entry: The annotation.
        class_id: Its class.
        size: Height and width of the picture.
        frame: The frame that the picture is, 0 for none.
        place: Where it is in the file.

    Raises:
        ValueError: If it is wrong.
    """
    mask = segmentation(entry.get("segmentation"), *size)
    return ReadObject(
        class_id=class_id,
        box=_box(entry.get("bbox")) if mask is None else None,
        mask=mask,
        score=_score(entry),
        track_id=_track(entry),
        frame_index=frame,
        crowd=bool(entry.get("iscrowd")),
        place=place,
    )


def read_track(
    entry: dict[str, Any],
    class_id: int,
    size: tuple[int, int, int],
    place: str,
    problems: Problems,
) -> Iterator[ReadObject]:
    """Yield the labels of one of YouTube-VIS's annotations, a frame each.

    Args:
        entry: The annotation.
        class_id: Its class.
        size: Height, width and number of frames of the video.
        place: Where it is in the file.
        problems: Where a frame that is wrong is told: only that one is left out.

    Raises:
        ValueError: If the whole of it is wrong.
    """
    height, width, length = size
    segments = entry["segmentations"]
    boxes = entry.get("bboxes") or [None] * len(segments)
    if len(segments) != length or len(boxes) != length:
        raise ValueError(f"found {len(segments)} segmentations, the video has {length} frames")
    track, score = _track(entry), _score(entry)
    for frame, (segment, box) in enumerate(zip(segments, boxes, strict=True)):
        if not segment and not box:
            continue
        where = f"{place}: frame {frame}"
        with problems.guard(where, "a frame of a track that is wrong"):
            mask = segmentation(segment, height, width)
            yield ReadObject(
                class_id=class_id,
                box=_box(box) if mask is None else None,
                mask=mask,
                score=score,
                track_id=track,
                frame_index=frame,
                place=where,
            )


def segmentation(value: Any, height: int, width: int) -> RLE | None:
    """Return COCO's segmentation as a mask: run lengths or polygons; None where there is none.

    Raises:
        ValueError: If it is neither, or wrong.
    """
    if not value:
        return None
    if isinstance(value, list):
        return masks.from_polygons(value, height, width)
    if not isinstance(value, dict):
        raise ValueError(f"segmentation: found {type(value).__name__}")
    size, counts = value["size"], value["counts"]
    if list(size) != [height, width]:
        raise ValueError(f"segmentation: found size {size}, the picture has {[height, width]}")
    if isinstance(counts, str):
        return masks.validate(RLE(height, width, counts))
    return masks.from_runs(counts, height, width)


def _box(value: Any) -> tuple[float, float, float, float]:
    """Return COCO's x, y, width, height as corners."""
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"bbox: found {value!r}, expected x, y, width, height, or a segmentation")
    x, y, across, down = (number(one, "bbox") for one in value)
    return x, y, x + across, y + down


def _score(entry: dict[str, Any]) -> float | None:
    """Return an annotation's score."""
    score = entry.get("score")
    return None if score is None else number(score, "score")


def _track(entry: dict[str, Any]) -> int | None:
    """Return an annotation's track."""
    track = entry.get("track_id")
    return None if track is None else whole(track, "track_id", 1)


def _only_json(path: Path) -> Path:
    """Return the JSON file: itself, or the only one in a folder."""
    if not path.is_dir():
        return path
    named = path / "annotations.json"
    found = (
        [named]
        if named.is_file()
        else [p for p in sorted(path.rglob("*.json")) if p.name[0] != "."]
    )
    if len(found) != 1:
        raise FormatError(f"{path}: expected one JSON file, found {len(found)}: name it")
    return found[0]
