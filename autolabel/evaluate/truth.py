"""A COCO file as the truth, checked entry by entry, matched to a project's inputs by name."""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from autolabel import masks
from autolabel.errors import FormatError
from autolabel.types import RLE

SECTIONS = ("images", "annotations", "categories")
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Truth:
    """A COCO data set as parsed and checked, with the file it came from.

    Every annotation has a ``bbox`` of four numbers and an ``area``, and a mask is there only as
    compressed run lengths in ``segmentation``.
    """

    path: Path
    data: dict[str, Any]

    @property
    def categories(self) -> dict[str, int]:
        """Category names and their ids."""
        return {str(one["name"]): int(one["id"]) for one in self.data["categories"]}

    @property
    def pictures(self) -> dict[str, Entry]:
        """The entries of pictures (not of videos' frames) by file name."""
        return {one["file_name"]: one for one in self.data["images"] if one["video_id"] is None}

    @property
    def videos(self) -> dict[str, Entry]:
        """The entries of videos by file name."""
        return {one["file_name"]: one for one in self.data["videos"]}


def load_truth(path: Path) -> Truth:
    """Return the COCO data set in a file.

    Masks may be polygons, plain or compressed run lengths; an annotation without a ``bbox`` gets
    its mask's.

    Raises:
        FormatError: If it can't be read, isn't JSON, lacks a section, or has an entry that is
            wrong, which the message names.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: expected COCO JSON, found something else: {error}") from error
    if not isinstance(data, dict) or any(not isinstance(data.get(s), list) for s in SECTIONS):
        raise FormatError(f"{path}: expected COCO JSON with the lists {', '.join(SECTIONS)}")
    if not isinstance(data.setdefault("videos", []), list):
        raise FormatError(f"{path}: videos: expected a list")
    if not data["images"]:
        raise FormatError(f"{path}: has no images: nothing can be measured")
    _check(path, data)
    return Truth(path, data)


def _check(path: Path, data: dict[str, Any]) -> None:
    """Check every entry and bring it into one form."""
    known: dict[str, dict[int, Entry]] = {}
    for section, check in (("categories", _category), ("videos", _video), ("images", _image)):
        entries = known[section] = {}
        names: set[object] = set()
        for place, one in _entries(path, section, data[section]):
            with _told(place):
                name = check(one, known)
                if one["id"] in entries:
                    raise ValueError(f"id {one['id']} is there twice")
                if name in names:
                    raise ValueError(f"{name!r} is there twice")
                entries[one["id"]] = one
                names.add(name)
    seen: set[int] = set()
    for place, one in _entries(path, "annotations", data["annotations"]):
        with _told(place):
            _annotation(one, known)
            if "id" in one and _whole(one, "id") in seen:
                raise ValueError(f"id {one['id']} is there twice")
            seen.add(one.get("id", -1))


def _entries(path: Path, section: str, entries: list[Any]) -> Iterator[tuple[str, Entry]]:
    """Yield a section's entries with their places."""
    for number, one in enumerate(entries):
        place = f"{path}: {section}[{number}]"
        if not isinstance(one, dict):
            raise FormatError(f"{place}: expected an object, found {type(one).__name__}")
        yield place, one


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Name the place of what is wrong inside."""
    try:
        yield
    except KeyError as error:
        raise FormatError(f"{place} has no {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{place}: {error}") from error


def _category(one: Entry, known: dict[str, dict[int, Entry]]) -> object:
    """Check a category; return its name."""
    _whole(one, "id")
    return _text(one, "name")


def _video(one: Entry, known: dict[str, dict[int, Entry]]) -> object:
    """Check a video, whose name may be in ``name`` instead of ``file_name``; return it."""
    _whole(one, "id")
    one["file_name"] = _text(one, "file_name" if "file_name" in one else "name")
    return one["file_name"]


def _image(one: Entry, known: dict[str, dict[int, Entry]]) -> object:
    """Check an image; return what no other may have: its name, or its frame of its video."""
    _whole(one, "id")
    _text(one, "file_name")
    _whole(one, "height", 1)
    _whole(one, "width", 1)
    if one.setdefault("video_id") is None or not known["videos"]:
        one["video_id"] = None  # where no videos are listed, it's a picture like any other
        return one["file_name"]
    if _whole(one, "video_id") not in known["videos"]:
        raise ValueError(f"video_id {one['video_id']} doesn't exist in videos")
    return f"video {one['video_id']}, frame_index {_whole(one, 'frame_index', 0)}"


def _annotation(one: Entry, known: dict[str, dict[int, Entry]]) -> None:
    """Check an annotation; bring its mask, box and area into one form."""
    image = known["images"].get(_whole(one, "image_id"))
    if image is None:
        raise ValueError(f"image_id {one['image_id']} doesn't exist")
    if _whole(one, "category_id") not in known["categories"]:
        raise ValueError(f"category_id {one['category_id']} doesn't exist")
    if one.setdefault("track_id") is not None:
        _whole(one, "track_id")
    mask = _mask(one.pop("segmentation", None), image["height"], image["width"])
    if one.get("bbox") is None:
        if mask is None:
            raise KeyError("bbox")
        x1, y1, x2, y2 = masks.tight_box(mask) or (0, 0, 0, 0)
        one["bbox"] = [x1, y1, x2 - x1, y2 - y1]
    one["bbox"] = _box(one["bbox"])
    one["iscrowd"] = int(bool(one.get("iscrowd", 0)))
    if one.get("area") is None:
        one["area"] = one["bbox"][2] * one["bbox"][3] if mask is None else masks.area(mask)
    one["area"] = _number(one["area"], "area")
    if mask is not None:
        one["segmentation"] = {"size": [mask.height, mask.width], "counts": mask.counts}


def _mask(value: Any, height: int, width: int) -> RLE | None:
    """Return a segmentation as run lengths; None where there is none."""
    if value is None or value == []:
        return None
    if isinstance(value, list):
        return masks.from_polygons(value, height, width)
    if not isinstance(value, dict) or not {"size", "counts"} <= set(value):
        raise ValueError("segmentation: expected polygons, or run lengths with size and counts")
    if value["size"] != [height, width]:
        raise ValueError(
            f"segmentation: found size {value['size']}, the image's is {[height, width]}"
        )
    if isinstance(value["counts"], str):
        return masks.validate(RLE(height, width, value["counts"]))
    return masks.from_runs(value["counts"], height, width)


def _box(value: Any) -> list[float]:
    """Return x, y, width, height."""
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"bbox: expected four numbers, found {value!r:.60}")
    box = [_number(one, "bbox") for one in value]
    if min(box[2:]) < 0:
        raise ValueError(f"bbox: expected a width and height from 0, found {value}")
    return box


def _number(value: Any, name: str) -> float:
    """Return a finite number, as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a number, found {value!r:.60}")
    return value


def _whole(one: Entry, key: str, least: int | None = None) -> int:
    """Return an entry's whole number."""
    value = one[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key}: expected a whole number, found {value!r:.60}")
    if least is not None and value < least:
        raise ValueError(f"{key}: expected {least} or more, found {value}")
    return value


def _text(one: Entry, key: str) -> str:
    """Return an entry's text."""
    value = one[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key}: expected a text, found {value!r:.60}")
    return value


def rle(annotation: Entry) -> RLE | None:
    """Return a checked annotation's mask, or None."""
    found = annotation.get("segmentation")
    return RLE(found["size"][0], found["size"][1], found["counts"]) if found else None


def match_names(found: Iterable[str], wanted: Sequence[str]) -> dict[str, str]:
    """Return which of ``wanted`` each of ``found`` is: equal, or the tail of one another.

    "001.jpg" is "images/001.jpg" if no other wanted name ends like that; names that fit
    several or none are left out, and so are several that would be the same one.
    """
    exact = set(wanted)
    tails: dict[str, list[str]] = defaultdict(list)
    for name in wanted:
        tails[PurePosixPath(name).name].append(name)
    matched = {}
    for name in found:
        if name in exact:
            matched[name] = name
            continue
        fits = [other for other in tails.get(PurePosixPath(name).name, []) if _tail(name, other)]
        if len(fits) == 1:
            matched[name] = fits[0]
    claims = Counter(matched.values())
    return {n: other for n, other in matched.items() if n == other or claims[other] == 1}


def _tail(one: str, other: str) -> bool:
    """Return whether one path is the end of the other."""
    a, b = PurePosixPath(one).parts, PurePosixPath(other).parts
    short = min(len(a), len(b))
    return a[-short:] == b[-short:]


def match_classes(truth: Truth, class_names: Sequence[str]) -> dict[int, int]:
    """Return the truth's category id of each class id that both sides know.

    Raises:
        FormatError: If no class is known to both; near names are suggested.
    """
    categories = truth.categories
    known = {i: categories[name] for i, name in enumerate(class_names) if name in categories}
    if known:
        return known
    pairs = [f"{name} -> {near}" for name in class_names if (near := nearest(name, categories))]
    hint = f" Did you mean: {', '.join(pairs[:8])}?" if pairs else ""
    raise FormatError(
        f"{truth.path}: no class in common. The project has: {', '.join(class_names[:12])}; "
        f"the truth has: {', '.join(list(categories)[:12])}.{hint} "
        "Rename the classes in the ontology or in the truth."
    )


def nearest(name: str, others: Iterable[str]) -> str | None:
    """Return the other name that is most like this one, if any is, case aside."""
    plain = {other.casefold(): other for other in others}
    near = difflib.get_close_matches(name.casefold(), list(plain), 1, 0.5)
    return plain[near[0]] if near else None
