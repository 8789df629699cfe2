"""Which boxes of a picture share area: found once, for all that selecting asks about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autolabel.boxes import box_area, shared_area
from autolabel.types import Boxes, Scores

Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of boxes that share area, by (better, worse), in order: all that steps 2-6 need.

    Attributes:
        better: Place of the better box, ascending.
        worse: Place of the worse one.
        iou: Their IoU.
        share: Share of the better box's area that lies in the worse one.
    """

    better: Ints
    worse: Ints
    iou: Scores
    share: Scores

    @classmethod
    def of(cls, boxes: Boxes, iou: float, inside: float) -> Pairs:
        """Return the pairs with this IoU or more, and those where the better lies in a larger one.

        Args:
            boxes: float32 (N, 4), best first.
            iou: The least IoU.
            inside: The share of the better box's area that must lie in the larger.
        """
        area = box_area(boxes)
        least = np.float32(0.999 * min(iou, inside))
        parts = []
        # Row by row block, so that what is at work fits a processor's cache.
        for start in range(0, len(boxes), _BLOCK):
            common = shared_area(boxes[start : start + _BLOCK], boxes[start:])
            # An IoU of t or more is never less than t of either box.
            near = common > least * area[start : start + _BLOCK, None]
            better, worse = np.nonzero(np.triu(near, 1))
            shared = common[better, worse]
            first, second = area[start + better], area[start + worse]
            pairs = cls(
                start + better,
                start + worse,
                shared / (first + second - shared),
                shared / first,
            )
            group = (pairs.share >= inside) & (first < second)
            parts.append(pairs.where((pairs.iou >= iou) | group))
        columns = [(part.better, part.worse, part.iou, part.share) for part in parts]
        if not columns:
            none = np.zeros(0, np.float32)
            return cls(np.zeros(0, np.intp), np.zeros(0, np.intp), none, none)
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def where(self, keep: Bools) -> Pairs:
        """Return those pairs."""
        return Pairs(self.better[keep], self.worse[keep], self.iou[keep], self.share[keep])

    def each(self) -> Iterator[tuple[int, Ints]]:
        """Return each better box with the worse ones it is paired with."""
        if not len(self.better):
            return
        starts = [0, *(np.flatnonzero(np.diff(self.better)) + 1).tolist(), len(self.better)]
        for start, end in pairwise(starts):
            yield int(self.better[start]), self.worse[start:end]
