"""How much of the labels an export kept: what was read back beside what the project has."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from autolabel import masks
from autolabel.formats.back import Back
from autolabel.formats.media_files import Names, Picture, pictures
from autolabel.formats.reading import ReadObject
from autolabel.types import Instance, MediaRecord

PROMISED = 0.98
"""The lowest IoU that passes without a note."""

Labelled = Iterable[tuple[MediaRecord, Iterable[Instance]]]
BackOf = Callable[[MediaRecord], tuple[Back, Names, str]]
"""Gives, for an input, what reads its part of the export, its names there, and the part."""


@dataclass(slots=True)
class Overlap:
    """The IoUs of many labels with what was read of them, without keeping each.

    Attributes:
        count: How many.
        total: Their sum.
        lowest: The lowest; 1 where there are none.
        where: The picture that has the lowest.
    """

    count: int = 0
    total: float = 0.0
    lowest: float = 1.0
    where: str = ""

    @property
    def mean(self) -> float:
        """The mean; 1 where there are none."""
        return self.total / self.count if self.count else 1.0

    def add(self, value: float, where: str) -> None:
        """Count one more."""
        self.count += 1
        self.total += value
        if value < self.lowest:
            self.lowest, self.where = value, where

    def __str__(self) -> str:
        """Return both figures, cut and not rounded: 1.0000 means every pixel."""
        return f"IoU mean {_cut(self.mean)}, lowest {_cut(self.lowest)}"


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What an export that was read back has of the labels that went in.

    Attributes:
        objects: Labels written.
        lost: Those that were not found again.
        extra: Objects that were read but belong to no label.
        changed: Labels found again with another class or track.
        masks: IoU of the masks.
        boxes: IoU of the boxes, for labels that have no mask in the export.
    """

    objects: int
    lost: int
    extra: int
    changed: int
    masks: Overlap
    boxes: Overlap

    def __str__(self) -> str:
        """Return the report's line."""
        parts = [f"read back: {self.objects} objects, {self.lost or 'none'} lost"]
        if self.masks.count or not self.boxes.count:
            parts.append(f"mask {self.masks}")
        if self.boxes.count:
            parts.append(f"box {self.boxes} ({self.boxes.count} boxes)")
        return "; ".join(parts)

    def notes(self, explained: bool = False) -> list[str]:
        """Return what the export doesn't keep, one line each.

        Args:
            explained: The writer has said already that masks are not as they were.
        """
        lines = []
        for count, what in (
            (self.lost, "lost: written, but not found when read back"),
            (self.extra, "too many: read back, but no label of the project"),
            (self.changed, "changed: another class or track when read back"),
        ):
            lines += [f"{count} {what}"] if count else []
        for kind, found in (("mask", self.masks), ("box", self.boxes)):
            if found.lowest < PROMISED and not (explained and kind == "mask"):
                lines.append(f"the lowest {kind} IoU is {_cut(found.lowest)}, in {found.where!r}")
        return lines


def compare(labelled: Labelled, back_of: BackOf, written: int | None = None) -> Fidelity:
    """Return how well what is read back fits the labels, picture by picture.

    Args:
        labelled: The labels that went into the export, in the same order.
        back_of: What reads them.
        written: How many labels the writer says it wrote; None: all count.

    Raises:
        FormatError: If the export can't be read at all.
    """
    compared = _Comparison()
    backs: list[Back] = []
    for media, instances in labelled:
        back, names, part = back_of(media)
        backs += [back] if back not in backs else []
        for picture, wanted in pictures(media, instances, names):
            compared.add(picture, wanted, back.objects(picture, part))
    read = sum(back.rest() for back in backs)
    objects = compared.wanted if written is None else written
    return Fidelity(
        objects,
        max(0, objects - compared.found),
        max(0, read - compared.found),
        compared.changed,
        compared.masks,
        compared.boxes,
    )


class _Comparison:
    """Counts over all pictures."""

    def __init__(self) -> None:
        self.wanted = self.found = self.changed = 0
        self.masks, self.boxes = Overlap(), Overlap()

    def add(self, picture: Picture, wanted: list[Instance], found: Sequence[ReadObject]) -> None:
        """Count one picture's labels."""
        self.wanted += len(wanted)
        where = picture.media.name
        if picture.media.kind != "image":
            where += f", frame {picture.frame_index}"
        for one, other in _pairs(wanted, found):
            masked = one.mask is not None and other.mask is not None
            (self.masks if masked else self.boxes).add(_iou(one, other), where)
            self.found += 1
            self.changed += not _same(one, other)


def _pairs(
    wanted: Sequence[Instance], found: Sequence[ReadObject]
) -> list[tuple[Instance, ReadObject]]:
    """Return labels with what was read of them, one to one: equal ones, then by best IoU."""
    equal: dict[object, list[ReadObject]] = defaultdict(list)
    for other in reversed(found):
        equal[other.class_id, other.mask].append(other)
    pairs, left, used = [], [], set()
    for one in wanted:
        candidates = equal.get((one.class_id, one.mask)) if one.mask is not None else None
        if not candidates:
            left.append(one)
            continue
        # Equal masks are told apart by their track.
        best = next((c for c in reversed(candidates) if _same(one, c)), candidates[-1])
        candidates.remove(best)
        used.add(id(best))
        pairs.append((one, best))
    rest = [other for other in found if id(other) not in used]
    if left and rest:
        pairs += [(left[i], rest[j]) for i, j in _assigned(left, rest)]
    return pairs


def _assigned(wanted: list[Instance], found: list[ReadObject]) -> list[tuple[int, int]]:
    """Return pairs of places that overlap, those of one class and track first."""
    values = _ious(wanted, found)
    same = np.array([[_same(one, other) for other in found] for one in wanted])
    values = np.where(values > 0, values + same, 0.0)
    rows, columns = linear_sum_assignment(values, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if values[i, j] > 0]


def _same(one: Instance, other: ReadObject) -> bool:
    """Return whether class and track agree; formats without tracks say nothing of them."""
    tracks = one.track_id is None or other.track_id is None or one.track_id == other.track_id
    return one.class_id == other.class_id and tracks


def _ious(wanted: list[Instance], found: list[ReadObject]) -> NDArray[np.float64]:
    """Return each label's IoU with each object: of the masks where both have one."""
    values = np.array([[_box_iou(_box(one), _box(other)) for other in found] for one in wanted])
    a = [i for i, one in enumerate(wanted) if one.mask is not None]
    b = [j for j, other in enumerate(found) if other.mask is not None]
    given = [mask for i in a if (mask := wanted[i].mask) is not None]
    read = [mask for j in b if (mask := found[j].mask) is not None]
    if a and b:
        one_size = len({(mask.height, mask.width) for mask in (*given, *read)}) == 1
        values[np.ix_(a, b)] = masks.iou(given, read) if one_size else 0.0
    return values


def _iou(one: Instance, other: ReadObject) -> float:
    """Return the IoU of a label and what was read of it."""
    if one.mask is not None and one.mask == other.mask:
        return 1.0
    return float(_ious([one], [other])[0, 0])


def _box(one: Instance | ReadObject) -> tuple[float, float, float, float]:
    """Return a box: what is given, else the mask's."""
    if one.box is not None:
        return one.box
    tight = masks.tight_box(one.mask) if one.mask is not None else None
    x1, y1, x2, y2 = tight or (0, 0, 0, 0)
    return float(x1), float(y1), float(x2), float(y2)


def _box_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Return two boxes' IoU."""
    across, down = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    shared = max(0.0, across) * max(0.0, down)
    whole = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared
    return shared / whole if whole > 0 else 0.0


def _cut(value: float) -> str:
    """Return an IoU with four digits, cut: 0.99999 is not 1."""
    return f"{math.floor(value * 10_000 + 1e-9) / 10_000:.4f}"
