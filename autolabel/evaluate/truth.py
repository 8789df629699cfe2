"""A COCO file as the truth, matched to a project's pictures and classes by name."""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from autolabel.errors import FormatError

SECTIONS = ("images", "annotations", "categories")


@dataclass(frozen=True, slots=True)
class Truth:
    """A COCO data set as parsed, with the file it came from."""

    path: Path
    data: dict[str, Any]

    @property
    def categories(self) -> dict[str, int]:
        """Category names and their ids."""
        return {str(one["name"]): int(one["id"]) for one in self.data["categories"]}


def load_truth(path: Path) -> Truth:
    """Return the COCO data set in a file.

    Raises:
        FormatError: If it can't be read, isn't JSON, or lacks a section or a key.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: expected COCO JSON, found something else: {error}") from error
    if not isinstance(data, dict) or any(not isinstance(data.get(s), list) for s in SECTIONS):
        raise FormatError(f"{path}: expected COCO JSON with the lists {', '.join(SECTIONS)}")
    _check(path, data)
    return Truth(path, data)


def _check(path: Path, data: dict[str, Any]) -> None:
    """Raise where an entry lacks a key or points nowhere."""
    needed = {
        "images": ("id", "file_name", "height", "width"),
        "annotations": ("id", "image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    for section, keys in needed.items():
        for number, entry in enumerate(data[section]):
            for key in keys:
                if not isinstance(entry, dict) or key not in entry:
                    raise FormatError(f"{path}: {section}[{number}] has no {key!r}")
    images = {one["id"] for one in data["images"]}
    categories = {one["id"] for one in data["categories"]}
    for number, entry in enumerate(data["annotations"]):
        for key, known in (("image_id", images), ("category_id", categories)):
            if entry[key] not in known:
                raise FormatError(
                    f"{path}: annotations[{number}]: {key} {entry[key]!r} doesn't exist"
                )


def match_names(found: Iterable[str], wanted: Sequence[str]) -> dict[str, str]:
    """Return which of ``wanted`` each of ``found`` is: equal, or the tail of one another.

    "001.jpg" is "images/001.jpg" if no other wanted name ends like that; names that fit
    several or none are left out.
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
    return matched


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
    pairs = []
    for name in class_names:
        near = difflib.get_close_matches(name, list(categories), 1, 0.5)
        pairs += [f"{name} -> {near[0]}"] if near else []
    hint = f" Did you mean: {', '.join(pairs[:8])}?" if pairs else ""
    raise FormatError(
        f"{truth.path}: no class in common. The project has: {', '.join(class_names[:12])}; "
        f"the truth has: {', '.join(list(categories)[:12])}.{hint} "
        "Rename the classes in the ontology or in the truth."
    )
