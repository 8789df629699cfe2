"""One polygon for a mask as Ultralytics draws it: holes and separate parts on one ring.

Ultralytics cuts coordinates to whole pixels and lets OpenCV fill the polygon, its outline
included. So the polygon has to run through the pixels of the mask's border, not along their
edges, and a bridge to a separate part draws a line one pixel wide: bridges are therefore as
short as can be. Through a hole's rim to the outer border they lie inside the mask and draw
nothing new. (Source: ``ultralytics.data.utils.polygon2mask``, ``cv2.fillPoly``.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from autolabel import masks
from autolabel.outlines import Part, Ring, bridge
from autolabel.types import RLE

INSET = 0.5
"""Where in its pixel a vertex lies. In the middle, a point that is interpolated on a diagonal
changes row and column at once, whichever way the diagonal goes: Ultralytics resamples to
1,000 points before it cuts to whole pixels."""
_PAIRS_LIMIT = 100_000_000  # border pixels squared; beyond, bridges go from corner to corner

Points: TypeAlias = NDArray[np.float64]
Pixels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PixelRing:
    """A mask as one polygon.

    Attributes:
        points: float64 (K, 2), x and y in pixels, K >= 3.
        drawn: Pixels outside the mask that its bridges cover, at most.
        area: Pixels of the mask.
    """

    points: Points
    drawn: int
    area: int


def pixel_ring(rle: RLE) -> PixelRing | None:
    """Return the mask as one polygon for Ultralytics, or None if it is empty.

    Raises:
        ValueError: If the run lengths are not valid.
    """
    parts = masks.to_rings(rle)
    if not parts:
        return None
    rings = [_contour(ring) for part in parts for ring in (part.outer, *part.holes)]
    drawn = 0
    if len(rings) == 1:
        walk = rings[0]
    elif sum(map(_length, rings)) ** 2 > _PAIRS_LIMIT:
        flat = bridge([Part(ring.astype(np.int32)) for ring in rings])
        walk = np.array(flat, np.int64).reshape(-1, 2)
    else:
        walk, drawn = _join([_dense(ring) for ring in rings])
    return PixelRing(_place(_corners(walk)), drawn if len(parts) > 1 else 0, masks.area(rle))


def _contour(ring: Ring) -> Pixels:
    """Return the pixels (K, 2) just inside an outline, where its sides begin and end.

    The mask lies to the right of the way along an outline of ``masks.to_rings``, holes
    included; a side from a to b runs past the pixels between them.
    """
    here = ring.astype(np.int64)
    way = np.roll(here, -1, axis=0) - here
    step = np.sign(way)
    # Going right the pixel is below the side, going down left of it, and so on: in pixel
    # numbers that is -1 along an axis when the way points against it or the mask lies before.
    inside = np.stack([-step[:, 1], step[:, 0]], axis=1)
    first = here + np.minimum(step + inside, 0)
    last = first + way - step
    return np.stack([first, last], axis=1).reshape(-1, 2)


def _length(ring: Pixels) -> int:
    """Return how many pixels a closed contour has."""
    return int(np.abs(np.roll(ring, -1, axis=0) - ring).max(axis=1).sum()) + 1


def _dense(ring: Pixels) -> Pixels:
    """Return every pixel of a closed contour in order."""
    way = np.roll(ring, -1, axis=0) - ring
    counts = np.abs(way).max(axis=1)
    if not counts.any():
        return ring[:1]
    begin = np.cumsum(counts) - counts
    along = np.arange(int(counts.sum())) - np.repeat(begin, counts)
    steps = np.repeat(np.sign(way), counts, axis=0) * along[:, None]
    pixels: Pixels = np.repeat(ring, counts, axis=0) + steps
    return pixels


def _join(rings: list[Pixels]) -> tuple[Pixels, int]:
    """Return one walk around all contours by the shortest bridges, and the pixels between.

    Prim's minimum spanning tree over the contours, by the distance of their nearest pixels.
    """
    points = np.concatenate(rings)
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    begins = np.cumsum([0, *(len(ring) for ring in rings)])
    gap = np.full(len(points), np.inf)
    near = np.zeros(len(points), np.int64)
    todo = np.arange(len(points))
    hangs: dict[int, list[int]] = {}
    drawn, joined = 0, 0
    for _ in range(len(rings) - 1):
        todo = todo[owner[todo] != joined]
        _update(points, todo, begins[joined], begins[joined + 1], gap, near)
        best = int(todo[gap[todo].argmin()])
        hangs.setdefault(int(near[best]), []).append(best)
        drawn += max(0, int(np.abs(points[best] - points[near[best]]).max()) - 1)
        joined = int(owner[best])
    order = _walk(begins.tolist(), owner.tolist(), hangs)
    return points[order], drawn


def _update(
    points: Pixels,
    todo: Pixels,
    begin: int,
    end: int,
    gap: NDArray[np.float64],
    near: Pixels,
) -> None:
    """Bring the distances of the points left up to date with a contour that was joined."""
    ring = points[begin:end]
    step = max(1, 2_000_000 // len(ring))  # distances at a time, so that memory stays small
    for first in range(0, len(todo), step):
        some = todo[first : first + step]
        apart = ((points[some][:, None] - ring[None]) ** 2).sum(axis=2)
        at = apart.argmin(axis=1)
        least = apart[np.arange(len(some)), at]
        better = least < gap[some]
        gap[some[better]] = least[better]
        near[some[better]] = at[better] + begin


def _walk(begins: list[int], owner: list[int], hangs: dict[int, list[int]]) -> list[int]:
    """Return the order in which to visit the points: around each contour, over each bridge."""
    order: list[int] = []

    def around(start: int) -> list[int]:
        begin, end = begins[owner[start]], begins[owner[start] + 1]
        return [start, *range(start - 1, begin - 1, -1), *range(end - 1, start, -1), start]

    stack = [[(point, True) for point in around(0)]]  # reversed ways, taken from the end
    done: set[int] = set()
    while stack:
        if not stack[-1]:
            stack.pop()
            continue
        point, first = stack[-1].pop()
        order.append(point)
        if first and point not in done:
            done.add(point)
            for child in hangs.get(point, ()):
                stack[-1].append((point, False))
                stack.append([(other, True) for other in around(child)])
    return order


def _corners(walk: Pixels) -> Pixels:
    """Return a closed walk without repeated points and points on the way straight on."""
    moved = (walk != np.roll(walk, 1, axis=0)).any(axis=1)
    walk = walk[moved] if moved.any() else walk[:1]
    if len(walk) < 3:
        return walk
    way = walk - np.roll(walk, 1, axis=0)
    step = np.sign(way)
    # Only along rows, columns and exact diagonals can a point be left out unseen.
    even = (np.abs(way).min(axis=1) == 0) | (np.abs(way[:, 0]) == np.abs(way[:, 1]))
    straight = (step == np.roll(step, -1, axis=0)).all(axis=1) & even & np.roll(even, -1)
    corners: Pixels = walk[~straight]
    return corners


def _place(walk: Pixels) -> Points:
    """Return the vertices inside their pixels, at least three, with an extent in x and y."""
    points: Points = walk.astype(np.float64) + INSET
    if len(points) < 3:  # a pixel or a line: there and back
        points = np.concatenate([points, points[::-1], points])[:4]
    # A box without width or height would be dropped from training.
    for axis in (0, 1):
        if np.ptp(points[:, axis]) == 0:
            points[len(points) // 2 :, axis] += INSET / 2
            points[: len(points) // 2, axis] -= INSET / 2
    return points


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


def _lines(walk: Pixels) -> Pixels:
    """Return the pixels of the closed polygon's sides."""
    way = np.roll(walk, -1, axis=0) - walk
    counts = np.abs(way).max(axis=1) + 1
    begin = np.cumsum(counts) - counts
    along = np.arange(int(counts.sum())) - np.repeat(begin, counts)
    share = along / np.repeat(np.maximum(counts - 1, 1), counts)
    steps = np.repeat(way, counts, axis=0) * share[:, None]
    pixels: Pixels = np.rint(np.repeat(walk, counts, axis=0) + steps).astype(np.int64)
    return pixels


def _inside(walk: Pixels, low: Pixels, high: Pixels) -> NDArray[np.bool_]:
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
