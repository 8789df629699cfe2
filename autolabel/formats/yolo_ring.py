"""One polygon for a mask as Ultralytics draws it: holes and separate parts on one ring.

Ultralytics cuts coordinates to whole pixels and lets OpenCV fill the polygon, its outline
included. So the polygon has to run through the pixels of the mask's border, not along their
edges, and a bridge to a separate part draws a line one pixel wide: bridges are therefore as
short as can be. Through a hole's rim to the outer border they lie inside the mask and draw
nothing new. (Source: ``ultralytics.data.utils.polygon2mask``, ``cv2.fillPoly``.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from autolabel.formats.contours import Flags, Pixels, Places, contours
from autolabel.types import RLE

INSET = 0.5
"""Where in its pixel a vertex lies. In the middle, a point that is interpolated on a diagonal
changes row and column at once, whichever way the diagonal goes: Ultralytics resamples to
1,000 points before it cuts to whole pixels."""
_LOOKUPS = 20_000_000  # border pixels x outlines; beyond, bridges go to the outline before

Points: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PixelRings:
    """Masks as one polygon each.

    Attributes:
        pixels: int32 (2, K), x and y of the pixels in whose middle the vertices lie, polygon by
            polygon.
        begins: Where each mask's polygon begins in ``pixels``, and the end; an empty mask has
            none.
        off_middle: By a mask's place, float64 (K, 2): its vertices in pixels where they can't
            lie in the middle of pixels. A polygon has three points and an extent in x and y.
        drawn: Pixels outside each mask that its bridges cover, at most.
        areas: Pixels of each mask.
    """

    pixels: Pixels
    begins: list[int]
    off_middle: dict[int, Points]
    drawn: list[int]
    areas: list[int]

    def points(self, place: int) -> Points:
        """Return a polygon as float64 (K, 2), x and y in pixels."""
        if place in self.off_middle:
            return self.off_middle[place]
        return _middles(self.pixels[:, self.begins[place] : self.begins[place + 1]])


def pixel_rings(rles: Sequence[RLE]) -> PixelRings:
    """Return masks of one size as one polygon each for Ultralytics.

    Raises:
        ValueError: If run lengths are not valid, or sizes differ.
    """
    found = contours(rles)
    drawn = [0] * len(rles)
    points, begins, owners = found.points, found.begins, found.owners
    if len(set(owners)) < len(owners):
        points, begins, owners = _one_each(points, begins, owners, drawn)
    areas = found.areas.tolist()
    if not owners:
        return PixelRings(points, [0] * (len(rles) + 1), {}, drawn, areas)
    pixels, ends = _corners(points, np.array(begins))
    off = {owners[i]: _place(pixels[:, ends[i] : ends[i + 1]]) for i in _narrow(pixels, ends)}
    counts = np.zeros(len(rles) + 1, np.int64)
    counts[np.array(owners) + 1] = np.diff(ends)
    return PixelRings(pixels, np.cumsum(counts).tolist(), off, drawn, areas)


def _one_each(
    points: Pixels, begins: list[int], owners: list[int], drawn: list[int]
) -> tuple[Pixels, list[int], list[int]]:
    """Return one walk a mask, with the separate parts of each joined.

    Args:
        points: The pixels of all walks.
        begins: Where each begins, and the end.
        owners: Each walk's mask.
        drawn: Where to put the pixels that a mask's bridges draw.
    """
    walks, masks_of, place = [], [], 0
    for owner, group in groupby(owners):
        count = len(list(group))
        parts = [points[:, begins[i] : begins[i + 1]] for i in range(place, place + count)]
        place += count
        if count > 1:
            joined, drawn[owner] = _join([_dense(one.T.astype(np.int64)) for one in parts])
            parts = [joined.T.astype(np.int32)]
        walks.append(parts[0])
        masks_of.append(owner)
    ends = np.cumsum([0, *(walk.shape[1] for walk in walks)]).tolist()
    return np.concatenate(walks, axis=1), ends, masks_of


def _dense(ring: Places) -> Places:
    """Return every pixel of a closed contour in order."""
    way = np.concatenate([ring[1:], ring[:1]]) - ring
    counts = np.maximum(np.abs(way[:, 0]), np.abs(way[:, 1]))  # faster than max(axis=1)
    if not counts.any():
        return ring[:1]
    along = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    steps = np.repeat(np.sign(way), counts, axis=0) * along[:, None]
    pixels: Places = np.repeat(ring, counts, axis=0) + steps
    return pixels


def _join(rings: list[Places]) -> tuple[Places, int]:
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


def _corners(points: Pixels, begins: Places) -> tuple[Pixels, Places]:
    """Return closed walks without repeated points and points on the way straight on.

    Args:
        points: int32 (2, K), all walks.
        begins: Where each begins, and the end; none is empty.
    """
    starts, lasts = begins[:-1], begins[1:] - 1
    step = np.empty_like(points)
    np.subtract(points[:, 1:], points[:, :-1], out=step[:, 1:])
    step[:, starts] = points[:, starts] - points[:, lasts]
    moved = (step[0] | step[1]) != 0
    still = ~np.logical_or.reduceat(moved, starts)
    moved[starts[still]] = True  # of a single pixel one point stays
    points, (across, down) = points[:, moved], step[:, moved]
    begins = _kept(moved, starts)
    starts, lasts = begins[:-1], begins[1:] - 1
    # Only along rows, columns and exact diagonals can a point be left out unseen.
    odd = (across != 0) & (down != 0) & (np.abs(across) != np.abs(down))
    direction = np.where(odd, 9, 3 * np.sign(across) + np.sign(down))
    after = np.empty_like(direction)
    after[:-1] = direction[1:]
    after[lasts] = direction[starts]
    kept = (direction != after) | odd
    for small in np.flatnonzero(np.diff(begins) < 3).tolist():
        kept[begins[small] : begins[small + 1]] = True
    return points[:, kept], _kept(kept, starts)


def _kept(kept: Flags, starts: Places) -> Places:
    """Return where walks begin among the points that are kept, and the end."""
    counts = np.add.reduceat(kept, starts, dtype=np.int64)
    return np.concatenate([[0], np.cumsum(counts)])


def _narrow(pixels: Pixels, begins: Places) -> list[int]:
    """Return which polygons have fewer than three points, or no extent in x or y."""
    low = np.minimum.reduceat(pixels, begins[:-1], axis=1)
    flat = (np.maximum.reduceat(pixels, begins[:-1], axis=1) == low).any(axis=0)
    found: list[int] = np.flatnonzero(flat | (np.diff(begins) < 3)).tolist()
    return found


def _middles(pixels: Pixels) -> Points:
    """Return the middles of pixels, float64 (K, 2)."""
    points: Points = pixels.T + np.float64(INSET)
    return points


def _place(walk: Pixels) -> Points:
    """Return the vertices inside their pixels, at least three, with an extent in x and y."""
    points = _middles(walk)
    if len(points) < 3:  # a pixel or a line: there and back
        points = np.concatenate([points, points[::-1], points])[:4]
    # A box without width or height would be dropped from training.
    flat = points.max(axis=0) == points.min(axis=0)
    if flat.any():
        points[len(points) // 2 :, flat] += INSET / 2
        points[: len(points) // 2, flat] -= INSET / 2
    return points
