"""Which label is which truth: right, confused with another class, double, or about nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autolabel import masks
from autolabel.evaluate.truth import rle

MATCH_IOU = 0.5
"""A label is right when it overlaps an unclaimed truth of its class at least so much."""

Entry = dict[str, Any]


@dataclass(slots=True)
class Pairing:
    """One picture's labels and truths (without crowds), and what became of each.

    Attributes:
        image_id: The picture.
        labels: COCO results, best score first.
        truths: COCO annotations.
        right: Pairs (label, truth) of one class.
        confused: Pairs of different classes.
        double: Labels on a truth of their class that a better label has claimed.
        spurious: Labels on nothing else; those in a crowd of their class are in no list.
        missed: Truths without any label.
    """

    image_id: int
    labels: list[Entry]
    truths: list[Entry]
    right: list[tuple[int, int]] = field(default_factory=list)
    confused: list[tuple[int, int]] = field(default_factory=list)
    double: list[int] = field(default_factory=list)
    spurious: list[int] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)

    @property
    def mistakes(self) -> int:
        """How much a human would have to correct."""
        parts = (self.confused, self.double, self.spurious, self.missed)
        return sum(len(part) for part in parts)


def pair_all(annotations: Sequence[Entry], labels: Sequence[Entry]) -> list[Pairing]:
    """Return a pairing for every picture that has a label or a truth, by id.

    Labels claim truths greedily, best score first: those of their class, then what is left.
    A crowd region needn't be found, and labels mostly inside one are neither right nor wrong.
    """
    truths: dict[int, list[Entry]] = defaultdict(list)
    crowds: dict[int, list[Entry]] = defaultdict(list)
    found: dict[int, list[Entry]] = defaultdict(list)
    for one in annotations:
        (crowds if one["iscrowd"] else truths)[one["image_id"]].append(one)
    for one in sorted(labels, key=lambda one: -float(one["score"])):
        found[one["image_id"]].append(one)
    return [
        _pair(Pairing(image, found[image], truths[image]), crowds[image])
        for image in sorted({*truths, *found})
    ]


def _pair(pairing: Pairing, crowds: Sequence[Entry]) -> Pairing:
    """Fill in what became of each label and truth."""
    free = dict.fromkeys(range(len(pairing.truths)))
    left = []
    for number, label in enumerate(pairing.labels):
        best = _best(label, pairing.truths, free, same_class=True)
        if best is not None:
            del free[best]
            pairing.right.append((number, best))
        elif not _in_crowd(label, crowds):
            left.append(number)
    for number in left:
        label = pairing.labels[number]
        best = _best(label, pairing.truths, free, same_class=False)
        if best is not None:
            del free[best]
            pairing.confused.append((number, best))
        elif _best(label, pairing.truths, range(len(pairing.truths)), same_class=True) is not None:
            pairing.double.append(number)
        else:
            pairing.spurious.append(number)
    pairing.missed.extend(free)
    return pairing


def _best(label: Entry, truths: Sequence[Entry], among: Any, *, same_class: bool) -> int | None:
    """Return which of these truths a label overlaps most, if it is enough."""
    best, most = None, MATCH_IOU
    for index in among:
        truth = truths[index]
        if same_class and truth["category_id"] != label["category_id"]:
            continue
        overlap = iou(truth["bbox"], label["bbox"])
        if overlap > most or (overlap == most and best is None):
            best, most = index, overlap
    return best


def _in_crowd(label: Entry, crowds: Sequence[Entry]) -> bool:
    """Return whether a label lies mostly in a crowd region of its class."""
    return any(
        share(label["bbox"], crowd["bbox"]) >= MATCH_IOU
        for crowd in crowds
        if crowd["category_id"] == label["category_id"]
    )


def _overlap(a: list[float], b: list[float]) -> float:
    """Return the area that two boxes x, y, w, h share."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def iou(a: list[float], b: list[float]) -> float:
    """Return the IoU of two boxes x, y, w, h."""
    overlap = _overlap(a, b)
    union = a[2] * a[3] + b[2] * b[3] - overlap
    return overlap / union if union > 0 else 0.0


def share(box: list[float], other: list[float]) -> float:
    """Return how much of a box lies in another."""
    area = box[2] * box[3]
    return _overlap(box, other) / area if area > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Precision, recall and F1 of one class at the thresholds in use; None: not measurable."""

    name: str
    truths: int
    labels: int
    right: int

    @property
    def precision(self) -> float | None:
        """Share of the labels that are right."""
        return self.right / self.labels if self.labels else None

    @property
    def recall(self) -> float | None:
        """Share of the truths that were found."""
        return self.right / self.truths if self.truths else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        both = self.truths + self.labels
        return 2 * self.right / both if both else None


def class_scores(pairings: Sequence[Pairing], names: dict[int, str]) -> tuple[ClassScore, ...]:
    """Return the counts of each class, in the order of ``names`` (by category id)."""
    truths, labels, right = (dict.fromkeys(names, 0) for _ in range(3))
    for one in pairings:
        for truth in one.truths:
            truths[truth["category_id"]] += 1
        for number, _ in one.right:
            right[one.labels[number]["category_id"]] += 1
        counted = [n for n, _ in (*one.right, *one.confused)] + one.double + one.spurious
        for number in counted:
            labels[one.labels[number]["category_id"]] += 1
    return tuple(ClassScore(names[c], truths[c], labels[c], right[c]) for c in names)


@dataclass(frozen=True, slots=True)
class Matches:
    """How well right labels fit, and what the wrong ones are.

    Attributes:
        mask_iou: Mean mask IoU of right labels with their truths, by class name; None where
            there is none with both masks.
        mean_mask_iou: The same over all classes.
        names: Of the classes.
        confusion: Rows are truths' classes, columns labels'; the last row counts labels on
            nothing (or double), the last column truths that were missed.
        duplicates: Labels on a truth that a better one of their class has, by class name.
    """

    mask_iou: dict[str, float | None]
    mean_mask_iou: float | None
    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    duplicates: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "mask_iou": {"mean": self.mean_mask_iou, "classes": self.mask_iou},
            "confusion": {
                "classes": list(self.names),
                "matrix": [list(row) for row in self.confusion],
            },
            "duplicates": {"count": sum(self.duplicates.values()), "classes": self.duplicates},
        }

    def mixed_up(self) -> list[tuple[str, str, int]]:
        """Return (truth's class, label's class, count) of what is confused, most first."""
        found = [
            (self.names[row], self.names[column], count)
            for row, counts in enumerate(self.confusion[:-1])
            for column, count in enumerate(counts[:-1])
            if count and row != column
        ]
        return sorted(found, key=lambda one: (-one[2], one[0], one[1]))


def summarise(pairings: Sequence[Pairing], names: dict[int, str]) -> Matches:
    """Return mask IoU, confusion and duplicates of these pairings."""
    place = {category: index for index, category in enumerate(names)}
    nothing = len(names)
    confusion = [[0] * (nothing + 1) for _ in range(nothing + 1)]
    fits: dict[int, list[float]] = {category: [] for category in names}
    doubles = dict.fromkeys(names, 0)
    for one in pairings:
        for number, truth in (*one.right, *one.confused):
            was = one.truths[truth]["category_id"]
            confusion[place[was]][place[one.labels[number]["category_id"]]] += 1
        for number, truth in one.right:
            overlap = _mask_iou(one.labels[number], one.truths[truth])
            if overlap is not None:
                fits[one.truths[truth]["category_id"]].append(overlap)
        for number in (*one.double, *one.spurious):
            confusion[nothing][place[one.labels[number]["category_id"]]] += 1
        for number in one.double:
            doubles[one.labels[number]["category_id"]] += 1
        for truth in one.missed:
            confusion[place[one.truths[truth]["category_id"]]][nothing] += 1
    every = [value for values in fits.values() for value in values]
    return Matches(
        {names[c]: _mean(values) for c, values in fits.items()},
        _mean(every),
        tuple(names.values()),
        tuple(tuple(row) for row in confusion),
        {names[c]: count for c, count in doubles.items()},
    )


def _mask_iou(label: Entry, truth: Entry) -> float | None:
    """Return the IoU of both masks; None where one is missing."""
    ours, theirs = rle(label), rle(truth)
    if ours is None or theirs is None:
        return None
    return float(masks.iou([theirs], [ours])[0, 0])


def _mean(values: Sequence[float]) -> float | None:
    """Return the mean, None of nothing."""
    return sum(values) / len(values) if values else None
