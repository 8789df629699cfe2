"""Masks cut to their boxes: cheap to keep and to compare; and what their pixels look like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from autolabel.types import Image, Mask

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

    box: tuple[int, int, int, int]
    crop: Mask
    area: int

    @classmethod
    def of(cls, mask: Mask) -> Region | None:
        """The region of a mask bool (H, W); None where it is empty."""
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            return None
        y1, y2 = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(mask[y1:y2].any(axis=0))
        x1, x2 = int(columns[0]), int(columns[-1]) + 1
        crop = mask[y1:y2, x1:x2].copy()
        return cls((x1, y1, x2, y2), crop, int(crop.sum()))

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

    def mask(self, height: int, width: int) -> Mask:
        """The region as a mask bool (height, width), in which it lies wholly."""
        x1, y1, x2, y2 = self.box
        mask = np.zeros((height, width), np.bool_)
        mask[y1:y2, x1:x2] = self.crop
        return mask


def intersection(a: Region, b: Region) -> int:
    """Number of pixels that two regions share."""
    x1, y1 = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    x2, y2 = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    if x1 >= x2 or y1 >= y2:
        return 0
    parts = [r.crop[y1 - r.box[1] : y2 - r.box[1], x1 - r.box[0] : x2 - r.box[0]] for r in (a, b)]
    return int(np.count_nonzero(parts[0] & parts[1]))


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
