"""Which boxes of two answers about one picture are one object: one to one, surest pairs first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.boxes import box_iou
from autolabel.types import Boxes, Proposals

SAME = 0.5
"""Boxes that overlap so much may be one object."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows of two Proposals.

    Attributes:
        first: Rows of the first that have a partner.
        second: Their partners in the second.
        only_first: Rows of the first without one.
        only_second: Rows of the second without one.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    only_first: NDArray[np.intp]
    only_second: NDArray[np.intp]


def paired(one: Proposals, two: Proposals) -> Pairs:
    """Return which boxes are one object.

    Those are paired first that overlap most and whose scores are most alike: where two
    boxes lie on one spot, a heart goes with a heart.
    """
    iou = box_iou(one.boxes, two.boxes)
    rows, columns = np.nonzero(iou >= SAME)
    worth = [
        float(iou[row, column]) + _alike(one.scores[row], two.scores[column])
        for row, column in zip(rows, columns, strict=True)
    ]
    partner = np.full(len(one), -1, np.intp)
    taken = np.zeros(len(two), np.bool_)
    for place in np.lexsort((columns, rows, -np.array(worth))):
        if partner[rows[place]] < 0 and not taken[columns[place]]:
            partner[rows[place]] = columns[place]
            taken[columns[place]] = True
    first = np.flatnonzero(partner >= 0)
    return Pairs(first, partner[first], np.flatnonzero(partner < 0), np.flatnonzero(~taken))


def _alike(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    """Return how alike two rows of scores are, 0 to 1 (the Ruzicka similarity)."""
    return float(np.minimum(one, two).sum() / max(1e-9, float(np.maximum(one, two).sum())))


def mean_boxes(one: Proposals, two: Proposals, pairs: Pairs) -> Boxes:
    """Return the pairs' boxes in the middle, each box weighing as much as its best score.

    After Solovyev et al. 2021, "Weighted boxes fusion", arXiv:1910.13302.
    """
    first = one.scores[pairs.first].max(axis=1, initial=0.0)[:, None]
    second = two.scores[pairs.second].max(axis=1, initial=0.0)[:, None]
    total = np.maximum(first + second, np.float32(1e-9))
    mixed = one.boxes[pairs.first] * first + two.boxes[pairs.second] * second
    return np.asarray(mixed / total, np.float32)


def best_first(found: Proposals, floor: float) -> Proposals:
    """Return the boxes that reach the floor, best first, ties by coordinates."""
    best = found.scores.max(axis=1, initial=0.0)
    order = np.lexsort((*found.boxes.T[::-1], -best))
    return found.take(order[best[order] >= floor])
