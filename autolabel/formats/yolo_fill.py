"""The mask that Ultralytics draws for a polygon: whole pixels, filled, its outline included.

Source: ``ultralytics.data.utils.polygon2mask``, ``cv2.fillPoly``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel import masks
from autolabel.formats.contours import Places
from autolabel.formats.yolo_ring import Points
from autolabel.types import RLE


def fill_pixels(points: Points, height: int, width: int) -> RLE:
    """Return the mask that Ultralytics draws for a polygon.

    Args:
        points: float (K, 2), x and y in pixels.
        height: Rows of the picture.
        width: Columns of the picture.

    Raises:
        ValueError: If there are fewer than three points, or they are not numbers.
    """
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(f"polygon: found {len(points)} points, expected at least three numbers")
    walk = np.clip(points, -1e6, 1e6).astype(np.int64)
    line = _lines(walk)
    low, high = line.min(axis=0), line.max(axis=0)
    low, high = np.maximum(low, 0), np.minimum(high, [width - 1, height - 1])
    drawn = np.zeros((height, width), np.bool_)
    if (high < low).any():
        return masks.encode(drawn)
    inside = _inside(walk, low, high)
    seen = line[((line >= low) & (line <= high)).all(axis=1)] - low
    inside[seen[:, 1], seen[:, 0]] = True
    drawn[low[1] : high[1] + 1, low[0] : high[0] + 1] = inside
    return masks.encode(drawn)


def _lines(walk: Places) -> Places:
    """Return the pixels of the closed polygon's sides."""
    way = np.roll(walk, -1, axis=0) - walk
    counts = np.abs(way).max(axis=1) + 1
    begin = np.cumsum(counts) - counts
    along = np.arange(int(counts.sum())) - np.repeat(begin, counts)
    share = along / np.repeat(np.maximum(counts - 1, 1), counts)
    steps = np.repeat(way, counts, axis=0) * share[:, None]
    pixels: Places = np.rint(np.repeat(walk, counts, axis=0) + steps).astype(np.int64)
    return pixels


def _inside(walk: Places, low: Places, high: Places) -> NDArray[np.bool_]:
    """Return which pixels from ``low`` to ``high`` an odd number of sides lies left of."""
    other = np.roll(walk, -1, axis=0)
    up = walk[:, 1] > other[:, 1]
    first, last = np.where(up[:, None], other, walk), np.where(up[:, None], walk, other)
    top, bottom = np.maximum(first[:, 1], low[1]), np.minimum(last[:, 1], high[1] + 1)
    counts = np.maximum(bottom - top, 0)
    side = np.repeat(np.arange(len(walk)), counts)
    rows = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts) + top[side]
    tall = (last[:, 1] - first[:, 1])[side]
    crossing = first[side, 0] + (last - first)[side, 0] * (rows - first[side, 1]) / tall
    columns = np.clip(np.ceil(crossing).astype(np.int64) - low[0], 0, high[0] - low[0] + 1)
    toggles = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 2), np.bool_)
    np.logical_xor.at(toggles, (rows - low[1], columns), True)
    found: NDArray[np.bool_] = np.logical_xor.accumulate(toggles, axis=1)[:, :-1]
    return found
