"""Masks cut to their boxes: cheap to keep and to compare; and what their pixels look like."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from autolabel.types import Image, Mask

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels, exclusive end."""
Look = tuple[float, ...]
"""Shares of the pixels in each of 64 colours (4 levels each of red, green and blue)."""
_LOOKED_AT = 4096
"""Pixels of a large region that its look is taken from, about."""


@dataclass(frozen=True, slots=True)
class Region:
    """The pixels of one mask that isn't empty.

    Attributes:
        box: x1, y1, x2, y2 in pixels, exclusive end: the tight box.
        crop: bool (y2 - y1, x2 - x1).
        area: Number of pixels.
    """

    box: Box
    crop: Mask
    area: int

    @classmethod
    def of(cls, mask: Mask, corner: tuple[int, int] = (0, 0)) -> Region | None:
        """The region of a mask bool (H, W) whose first pixel is at (x, y); None if it is empty."""
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            return None
        y1, y2 = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(mask[y1:y2].any(axis=0))
        x1, x2 = int(columns[0]), int(columns[-1]) + 1
        crop = mask[y1:y2, x1:x2].copy()
        x, y = corner
        return cls((x + x1, y + y1, x + x2, y + y2), crop, int(crop.sum()))

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box, x and y."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    def reaches_edge(self, height: int, width: int) -> bool:
        """Whether it ends where a picture of that size does."""
        x1, y1, x2, y2 = self.box
        return x1 == 0 or y1 == 0 or x2 == width or y2 == height

    def moved(self, dx: int, dy: int) -> Region:
        """The same pixels elsewhere; they may leave the picture."""
        x1, y1, x2, y2 = self.box
        return Region((x1 + dx, y1 + dy, x2 + dx, y2 + dy), self.crop, self.area)

    def within(self, box: Box) -> Mask:
        """The pixels that lie in a box, bool (y2 - y1, x2 - x1)."""
        x1, y1, x2, y2 = box
        mask = np.zeros((y2 - y1, x2 - x1), np.bool_)
        common = common_box(self.box, box)
        if common is not None:
            cx1, cy1, cx2, cy2 = common
            mask[cy1 - y1 : cy2 - y1, cx1 - x1 : cx2 - x1] = self._cut(common)
        return mask

    def mask(self, height: int, width: int) -> Mask:
        """The region as a mask bool (height, width)."""
        return self.within((0, 0, width, height))

    def without(self, others: Iterable[Region]) -> Region | None:
        """The region without the pixels of others; None where nothing is left."""
        left = self.crop.copy()
        for other in others:
            left &= ~other.within(self.box)
        return Region.of(left, self.box[:2])

    def joined(self, other: Region) -> Region:
        """The pixels of either of two regions."""
        x1, y1 = min(self.box[0], other.box[0]), min(self.box[1], other.box[1])
        x2, y2 = max(self.box[2], other.box[2]), max(self.box[3], other.box[3])
        crop = self.within((x1, y1, x2, y2)) | other.within((x1, y1, x2, y2))
        return Region((x1, y1, x2, y2), crop, int(crop.sum()))

    def _cut(self, box: Box) -> Mask:
        """The pixels in a box that lies in this region's own."""
        x1, y1, x2, y2 = box
        x, y = self.box[:2]
        return self.crop[y1 - y : y2 - y, x1 - x : x2 - x]


def common_box(a: Box, b: Box) -> Box | None:
    """What two boxes have in common; None if that is nothing."""
    x1, y1 = max(a[0], b[0]), max(a[1], b[1])
    x2, y2 = min(a[2], b[2]), min(a[3], b[3])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def intersection(a: Region, b: Region) -> int:
    """Number of pixels that two regions share."""
    common = common_box(a.box, b.box)
    return 0 if common is None else int(np.count_nonzero(a._cut(common) & b._cut(common)))


def iou(a: Region, b: Region) -> float:
    """Intersection over union of two regions."""
    shared = intersection(a, b)
    return shared / (a.area + b.area - shared)


def share(a: Region, b: Region) -> float:
    """How much of the smaller of two regions lies in the other."""
    return intersection(a, b) / min(a.area, b.area)


def look(image: Image, region: Region) -> Look:
    """The colours of a region's pixels in ``image``; the shares add up to 1.

    Of a large region every second, third, ... pixel and row is taken: some thousands will do.
    """
    x1, y1, x2, y2 = region.box
    step = max(1, math.isqrt(region.area // _LOOKED_AT))
    crop = region.crop[::step, ::step]
    pixels = image[y1:y2:step, x1:x2:step][crop]
    if not len(pixels):  # thinner than the steps
        pixels = image[y1:y2, x1:x2][region.crop]
    return _colours(pixels)


def _colours(pixels: NDArray[np.uint8]) -> Look:
    """The shares of colours of pixels (N, 3); one between levels counts for both in part."""
    levels = np.clip(pixels.astype(np.float32) / 64 - 0.5, 0, 3)
    low = np.minimum(levels.astype(np.int64), 2)
    high = levels - low
    counts = np.zeros(64)
    for corner in product((0, 1), repeat=3):
        weights = np.where(corner, high, 1 - high).prod(axis=1)
        bins = (low + corner) @ np.array([16, 4, 1])
        counts += np.bincount(bins, weights, minlength=64)
    return tuple(float(count) / len(pixels) for count in counts)


def likeness(a: Look, b: Look) -> float:
    """How much of two looks is the same, in [0, 1] (histogram intersection)."""
    return math.fsum(min(x, y) for x, y in zip(a, b, strict=True))
