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
from scipy.spatial import cKDTree

from autolabel import masks
from autolabel.types import RLE

INSET = 0.5
"""Where in its pixel a vertex lies. In the middle, a point that is interpolated on a diagonal
changes row and column at once, whichever way the diagonal goes: Ultralytics resamples to
1,000 points before it cuts to whole pixels."""
_LOOKUPS = 20_000_000  # border pixels x outlines; beyond, bridges go to the outline before
_SPLICED = 64
"""Outlines of one part that are searched for the side left of a hole one by one."""

Points: TypeAlias = NDArray[np.float64]
Pixels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PixelRing:
    """A mask as one polygon.

    Attributes:
        points: float64 (K, 2), x and y in pixels, K >= 3.
        drawn: Pixels outside the mask that its bridges cover, at most.
        area: Pixels of the mask.
        pixels: int64 (K, 2), the pixels in whose middle the points lie; None where some are
            off the middle.
    """

    points: Points
    drawn: int
    area: int
    pixels: Pixels | None = None


def pixel_ring(rle: RLE) -> PixelRing | None:
    """Return the mask as one polygon for Ultralytics, or None if it is empty.

    Raises:
        ValueError: If the run lengths are not valid.
    """
    runs = masks.to_runs(rle)
    area = int(runs[1::2].sum())
    if not area:
        return None
    rings, parts = _outlines(runs, rle.height)
    contours = [_contour(ring) for ring in rings]
    if len(contours) == 1:
        corners, drawn = _corners(contours[0]), 0
    elif parts == 1 and len(contours) <= _SPLICED:
        corners, drawn = _corners(_splice(rings, contours)), 0
    else:
        walk, drawn = _join([_dense(one) for one in contours])
        corners = _corners(walk)
    if _wide(corners):
        middles: Points = corners + np.float64(INSET)
        return PixelRing(middles, drawn if parts > 1 else 0, area, corners)
    points = _place(corners)
    middle = len(points) == len(corners) and bool((points == corners + INSET).all())
    return PixelRing(points, drawn if parts > 1 else 0, area, corners if middle else None)


def _outlines(runs: NDArray[np.int64], height: int) -> tuple[list[Pixels], int]:
    """Return a mask's outlines along pixel edges, the mask to their right, and its parts.

    As ``autolabel.outlines.trace``, but straight from the run lengths and many times faster:
    corners are where a column's runs begin or end otherwise than those of the next column.
    Pixels that touch only at a corner belong to separate outlines.
    """
    columns, tops, bottoms = _column_runs(runs, height)
    tall = height + 1
    # 2 * (place) + 1 where a run begins and + 0 where one ends: at a place with both, two
    # pixels touch at a corner, and the end belongs to the side above, the beginning below.
    ends = np.concatenate([2 * (columns * tall + tops) + 1, 2 * (columns * tall + bottoms)])
    both = np.concatenate([ends, ends + 2 * tall])
    both.sort()
    twice = both[1:] == both[:-1]  # there in both columns: no corner
    once = np.ones(len(both), np.bool_)
    once[1:] ^= twice
    once[:-1] ^= twice
    corners = both[once]
    places, begins = corners >> 1, (corners & 1).astype(np.bool_)
    x, y = places // tall, places % tall
    # Down a column's edge corners pair up in order; along a row, those of one kind do.
    order = np.argsort((2 * y + begins) * (int(x[-1]) + 1) + x, kind="stable")
    along = np.empty(len(order), np.int64)
    along[order[0::2]], along[order[1::2]] = order[1::2], order[0::2]
    points = np.stack([x, y], axis=1)
    rings, parts = [], 0
    for cycle in _cycles(along.tolist()):
        outer = bool(begins[cycle[0]])  # its leftmost top side lies above the mask
        parts += outer
        rings.append(points[cycle if outer else cycle[::-1]])
    return rings, parts


def _column_runs(runs: NDArray[np.int64], height: int) -> tuple[Pixels, Pixels, Pixels]:
    """Return the column, first row and row after the last of each run, none over two columns."""
    ends = np.cumsum(runs)[1::2]
    starts = ends - runs[1::2]
    columns = starts // height
    counts = (ends - 1) // height - columns + 1
    tops, bottoms = starts - columns * height, ends - columns * height
    if int(counts.max()) > 1:
        first = np.repeat(np.cumsum(counts) - counts, counts)
        nth = np.arange(int(counts.sum())) - first
        tops = np.where(nth == 0, np.repeat(tops, counts), 0)
        bottoms = np.minimum(np.repeat(bottoms, counts) - nth * height, height)
        columns = np.repeat(columns, counts) + nth
    return columns, tops, bottoms


def _cycles(along: list[int]) -> list[list[int]]:
    """Return the rings that sides along a row and down a column (``corner ^ 1``) close."""
    seen = bytearray(len(along))
    rings = []
    for start in range(0, len(along), 2):
        if seen[start]:
            continue
        ring: list[int] = []
        corner = start
        while not seen[corner]:
            across = along[corner]
            seen[corner] = seen[across] = 1
            ring += (corner, across)
            corner = across ^ 1
        rings.append(ring)
    return rings


def _contour(ring: Pixels) -> Pixels:
    """Return the pixels (K, 2) just inside an outline, where its sides begin and end.

    The mask lies to the right of the way; a side from a to b runs past the pixels between.
    """
    way = np.concatenate([ring[1:], ring[:1]]) - ring
    step = np.sign(way)
    # Going right the pixel is below the side, going down left of it, and so on.
    shift = np.minimum(step, 0)
    shift[:, 0] += np.minimum(-step[:, 1], 0)
    shift[:, 1] += np.minimum(step[:, 0], 0)
    both = np.empty((len(ring), 4), np.int64)
    both[:, :2] = ring + shift
    both[:, 2:] = both[:, :2] + way - step
    return both.reshape(-1, 2)


def _splice(rings: list[Pixels], contours: list[Pixels]) -> Pixels:
    """Return one walk around all contours of a connected mask; its bridges draw nothing new.

    Each hole hangs on the next side to the left of its leftmost one, by a bridge along the
    row, which is inside the mask. That side's outline begins further left, so there is no
    circle, and going from the right, what hangs on a hole is there before the hole is hung.
    """
    points = np.concatenate(rings)
    after = np.concatenate([np.concatenate([ring[1:], ring[:1]]) for ring in rings])
    upright = np.flatnonzero(points[:, 0] == after[:, 0])
    x, y, beneath = points[upright, 0], points[upright, 1], after[upright, 1]
    tops, bottoms = np.minimum(y, beneath), np.maximum(y, beneath)
    begins = np.cumsum([0, *(len(ring) for ring in rings)])
    owner = np.searchsorted(begins, upright, side="right") - 1
    side = upright - begins[owner]
    leftmost = [int(ring[:, 0].min()) for ring in rings]
    hangs: dict[int, list[tuple[int, int, Pixels]]] = {}
    walk = contours[0]
    for ring in sorted(range(len(rings)), key=lambda one: -leftmost[one]):
        own = np.flatnonzero((owner == ring) & (x == leftmost[ring]))[0]
        row = int(tops[own])
        left = np.flatnonzero((x < leftmost[ring]) & (tops <= row) & (row < bottoms))
        if not len(left):  # the outer one, last
            return _hung(contours[ring], hangs.get(ring, []))
        walk = _hung(contours[ring], hangs.get(ring, []), int(side[own]), row)
        near = left[x[left].argmax()]
        bridge = np.array([[x[near], row]])
        hung = np.concatenate([bridge, walk, bridge])
        hangs.setdefault(int(owner[near]), []).append((int(side[near]), row, hung))
    return walk


def _hung(
    contour: Pixels, hanging: list[tuple[int, int, Pixels]], start: int = -1, row: int = 0
) -> Pixels:
    """Return a contour with what hangs on it.

    Args:
        contour: Two pixels a side, where it begins and ends.
        hanging: The side, the row, and the walk to insert there.
        start: The side to begin and end on, in ``row``; -1 for the contour as it is.
        row: See ``start``.
    """
    pieces: list[Pixels] = []
    place = 0
    down = {side: contour[2 * side + 1, 1] >= contour[2 * side, 1] for side, _, _ in hanging}
    if start >= 0:
        begin = np.array([[contour[2 * start, 0], row]])
        contour = np.concatenate([contour[2 * start + 1 :], contour[: 2 * start + 1]])
        shift, count = 2 * start + 1, len(contour)
    else:
        begin, shift, count = contour[:0], 0, len(contour)

    def order(one: tuple[int, int, Pixels]) -> tuple[int, int]:
        return (2 * one[0] + 1 - shift) % count, one[1] if down[one[0]] else -one[1]

    for one in sorted(hanging, key=order):
        at = order(one)[0]
        pieces += [contour[place:at], one[2]]
        place = at
    return np.concatenate([begin, *pieces, contour[place:], begin])


def _dense(ring: Pixels) -> Pixels:
    """Return every pixel of a closed contour in order."""
    way = np.concatenate([ring[1:], ring[:1]]) - ring
    counts = np.maximum(np.abs(way[:, 0]), np.abs(way[:, 1]))  # faster than max(axis=1)
    if not counts.any():
        return ring[:1]
    along = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    steps = np.repeat(np.sign(way), counts, axis=0) * along[:, None]
    pixels: Pixels = np.repeat(ring, counts, axis=0) + steps
    return pixels


def _join(rings: list[Pixels]) -> tuple[Pixels, int]:
    """Return one walk around all contours by the shortest bridges, and the pixels between.

    Prim's minimum spanning tree over the contours, by the distance of their nearest pixels.
    Where that would take too long each contour hangs on those before it, which is not always
    the shortest.
    """
    points = np.concatenate(rings)
    begins = np.cumsum([0, *(len(ring) for ring in rings)])
    owner = np.repeat(np.arange(len(rings)), np.diff(begins))
    gap = np.full(len(points), np.inf)
    near = np.zeros(len(points), np.int64)
    left = np.arange(len(points))
    hangs: dict[int, list[tuple[int, int]]] = {}
    exact = len(points) * len(rings) <= _LOOKUPS
    drawn, joined = 0, 0
    for step in range(1, len(rings)):
        left = left[owner[left] != joined] if exact else np.arange(begins[step], begins[step + 1])
        begin, end = (
            (begins[joined], begins[joined + 1]) if exact else (begins[step - 1], begins[step])
        )
        apart, at = cKDTree(points[begin:end]).query(points[left])
        closer = apart < gap[left]
        nearer = left[closer]
        gap[nearer], near[nearer] = apart[closer], at[closer] + begin
        best = int(left[gap[left].argmin()])
        anchor, joined = int(near[best]), int(owner[best])
        hangs.setdefault(int(owner[anchor]), []).append((anchor, best))
        drawn += max(0, int(np.abs(points[best] - points[anchor]).max()) - 1)
    return points[_walk(begins.tolist(), owner.tolist(), hangs)], drawn


def _walk(
    begins: list[int], owner: list[int], hangs: dict[int, list[tuple[int, int]]]
) -> NDArray[np.int64]:
    """Return the order in which to visit the points: around each contour, over each bridge.

    Args:
        begins: Where each contour's points begin, and the end.
        owner: Each point's contour.
        hangs: Each contour's bridges: its own point, and the one of another contour.
    """
    order: list[NDArray[np.int64]] = []

    def around(start: int) -> list[tuple[int, int] | int]:
        """Return what to do, last first: slices to walk, and contours to walk around."""
        ring = owner[start]
        begin, end = begins[ring], begins[ring + 1]
        todo: list[tuple[int, int] | int] = []
        place = start
        turn = end - begin
        for anchor, other in sorted(hangs.get(ring, ()), key=lambda b: (b[0] - start) % turn):
            todo += _slices(place, anchor, begin, end)
            todo.append(other)
            place = anchor
        # Back to the start, over the end of the array if need be, and the start once more.
        if place >= start:
            todo += [(place, end), (begin, start + 1)]
        else:
            todo.append((place, start + 1))
        return todo[::-1]

    stack = around(0)
    while stack:
        step = stack.pop()
        if isinstance(step, int):
            stack += around(step)
        else:
            order.append(np.arange(*step))
    return np.concatenate(order)


def _slices(place: int, last: int, begin: int, end: int) -> list[tuple[int, int] | int]:
    """Return the slices of a contour from a point to another one, both included."""
    return [(place, last + 1)] if last >= place else [(place, end), (begin, last + 1)]


def _corners(walk: Pixels) -> Pixels:
    """Return a closed walk without repeated points and points on the way straight on."""
    x, y = np.ascontiguousarray(walk.T)
    across, down = x - np.concatenate([x[-1:], x[:-1]]), y - np.concatenate([y[-1:], y[:-1]])
    moved = np.flatnonzero(across | down)
    if not len(moved):
        return walk[:1]
    if len(moved) < 3:
        return walk[moved]
    across, down = across[moved], down[moved]
    # Only along rows, columns and exact diagonals can a point be left out unseen.
    even = (across == 0) | (down == 0) | (np.abs(across) == np.abs(down))
    direction = np.where(even, 3 * np.sign(across) + np.sign(down), 9)
    after = np.concatenate([direction[1:], direction[:1]])
    corners: Pixels = walk[moved[(direction != after) | (direction == 9)]]
    return corners


def _wide(corners: Pixels) -> bool:
    """Return whether the first corners show that the polygon has an extent in x and y."""
    first = corners[:3].tolist()
    return len(first) == 3 and all(len({one[axis] for one in first}) > 1 for axis in (0, 1))


def _place(walk: Pixels) -> Points:
    """Return the vertices inside their pixels, at least three, with an extent in x and y."""
    points: Points = walk.astype(np.float64) + INSET
    if len(points) < 3:  # a pixel or a line: there and back
        points = np.concatenate([points, points[::-1], points])[:4]
    # A box without width or height would be dropped from training.
    flat = points.max(axis=0) == points.min(axis=0)
    if flat.any():
        points[len(points) // 2 :, flat] += INSET / 2
        points[: len(points) // 2, flat] -= INSET / 2
    return points
