"""Masks as outlines and back, exactly: rings along pixel edges.

A ring is int32 (K, 2), x and y of the corners on integer pixel edges, one vertex a corner,
not closed by a repeated first point. Pixels that touch only at a corner belong to separate
outlines. Outer rings run clockwise on the screen, holes the other way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from autolabel.types import Mask

Ring = NDArray[np.int32]
_NEAREST_LIMIT = 1_000_000  # rings x corners; beyond, bridges go to the ring before


@dataclass(frozen=True, slots=True)
class Part:
    """One connected piece of a mask.

    Attributes:
        outer: Its outline, (K, 2).
        holes: The outlines of the holes in it.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()


def trace(mask: Mask) -> list[Part]:
    """Return the pieces of a mask (H, W), from the top; none when it is empty."""
    # One pixel of background around it, so that every edge has two sides.
    padded = np.pad(mask, 1)
    labels, _ = ndimage.label(padded)
    outers: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for ring in _rings(padded):
        x, y = ring[0]  # the leftmost of the topmost corners
        placed = (ring - 1).astype(np.int32)
        if padded[y, x]:
            outers[int(labels[y, x])] = placed
        else:
            around = np.roll(placed[::-1], 1, axis=0)
            holes.setdefault(int(labels[y - 1, x]), []).append(around)
    return [Part(outer, tuple(holes.get(label, ()))) for label, outer in outers.items()]


def fill(rings: Iterable[Ring], height: int, width: int) -> Mask:
    """Return the bool mask (H, W) that rings enclose (even-odd: holes are cut out).

    Args:
        rings: Outer rings and holes in any order, each int (K, 2), its sides horizontal and
            vertical in turn.
        height: Rows of the picture.
        width: Columns of the picture.

    Raises:
        ValueError: If a ring has other sides or leaves the picture.
    """
    corners = np.zeros((height + 1, width + 1), np.uint8)
    for ring in rings:
        _check_ring(ring, height, width)
        np.bitwise_xor.at(corners, (ring[:, 1], ring[:, 0]), 1)
    # Down each column corners become vertical sides; along each row those open and close.
    sides = np.bitwise_xor.accumulate(corners, axis=0)
    inside = np.bitwise_xor.accumulate(sides, axis=1)
    return inside[:height, :width].astype(np.bool_)


def bridge(parts: Iterable[Part]) -> list[int]:
    """Return one polygon, [x, y, x, y, ...], of all outlines and holes; empty without any.

    Holes and separate parts hang on the first outline by bridges that are walked there and
    back: they enclose nothing, and a drawer that counts crossings meets each twice.
    """
    rings = [ring for part in parts for ring in (part.outer, *part.holes)]
    if not rings:
        return []
    rings.sort(key=lambda ring: (int(ring[0, 1]), int(ring[0, 0])))
    return [value for point in _walk(rings, _hang(rings)) for value in point]


def _rings(mask: Mask) -> list[NDArray[np.intp]]:
    """Return all rings of a mask with a background border, each from its top left corner on.

    A corner is where three of four pixels agree, or, twice, where two pixels touch
    diagonally. Along a row of corners, sides join the first and second, third and fourth...;
    the same down a column.
    """
    corners, saddle = _corners(mask)
    x, y = corners.T
    # A saddle's first copy ends the side from the left, its second begins the one to the right.
    along = np.arange(len(corners)) ^ 1
    # The side from above belongs to the same pixel as the side from the left if that pixel,
    # up and left, is inside; else the second copy takes it.
    above_first = mask[y - 1, x - 1]
    second = np.zeros(len(corners), bool)
    second[1:] = saddle[1:] & (corners[1:] == corners[:-1]).all(axis=1)
    low = np.where(saddle, second == above_first, False)
    order = np.lexsort((low, y, x))
    down = np.empty(len(corners), np.intp)
    down[order[0::2]], down[order[1::2]] = order[1::2], order[0::2]
    return [corners[ring] for ring in _cycles(along.tolist(), down.tolist())]


def _corners(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return corners (K, 2) as x, y by row then column, saddles twice, and which are saddles."""
    bits = mask.view(np.uint8)
    a, b, c, d = bits[:-1, :-1], bits[:-1, 1:], bits[1:, :-1], bits[1:, 1:]
    saddles = (a == d) & (b == c) & (a != b)
    times = (a ^ b ^ c ^ d) + 2 * saddles.astype(np.uint8)
    ys, xs = np.nonzero(times)
    counts = times[ys, xs]
    corners = np.repeat(np.stack([xs, ys], axis=1) + 1, counts, axis=0)
    return corners, np.repeat(counts == 2, counts)


def _cycles(along: list[int], down: list[int]) -> list[list[int]]:
    """Return the rings that following one side along a row, one down a column, ... closes."""
    seen = [False] * len(along)
    rings = []
    for start in range(len(along)):
        ring: list[int] = []
        corner = start
        while not seen[corner]:
            across = along[corner]
            seen[corner] = seen[across] = True
            ring += (corner, across)
            corner = down[across]
        if ring:
            rings.append(ring)
    return rings


def _check_ring(ring: Ring, height: int, width: int) -> None:
    """Raise unless the ring's sides are horizontal and vertical in turn, in the picture."""
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 4 or ring.dtype.kind not in "iu":
        raise ValueError(f"ring: expected int (K, 2) with K >= 4, found {ring.dtype} {ring.shape}")
    if ring.min() < 0 or (ring > np.array([width, height])).any():
        raise ValueError(f"ring: found corners outside the picture ({height} x {width})")
    flat = ring == np.roll(ring, -1, axis=0)
    if (flat[:, 0] == flat[:, 1]).any() or (flat == np.roll(flat, -1, axis=0)).any():
        raise ValueError("ring: expected horizontal and vertical sides in turn")


def _hang(rings: list[Ring]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return the bridges: (ring, vertex) to the later (ring, vertex) pairs that hang there.

    Each ring hangs by the shortest bridge to any earlier one; where there are too many to
    try, by the first corner of the one before.
    """
    bridges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    vertices = np.concatenate(rings).astype(np.float64)
    ends = np.cumsum([len(ring) for ring in rings])
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    for i in range(1, len(rings)):
        if len(rings) * len(vertices) > _NEAREST_LIMIT:
            bridges[i - 1, 0] = [(i, 0)]
            continue
        gaps, nearest = cKDTree(vertices[: ends[i - 1]]).query(rings[i])
        begin = int(gaps.argmin())
        parent = int(owner[nearest[begin]])
        place = int(nearest[begin]) - int(ends[parent]) + len(rings[parent])
        bridges.setdefault((parent, place), []).append((i, begin))
    return bridges


def _walk(
    rings: list[Ring], bridges: dict[tuple[int, int], list[tuple[int, int]]]
) -> list[tuple[int, int]]:
    """Return the points of the walk around the first ring and, at each bridge, a whole ring."""
    points = [[(int(x), int(y)) for x, y in ring] for ring in rings]

    def around(ring: int, begin: int) -> Iterator[tuple[int, int] | list[int]]:
        count = len(points[ring])
        for vertex in (*range(begin, count), *range(begin)):
            yield points[ring][vertex]
            for child in bridges.get((ring, vertex), ()):
                yield list(child)
                yield points[ring][vertex]
        if ring:  # the first closes by itself
            yield points[ring][begin]

    walk: list[tuple[int, int]] = []
    open_rings = [around(0, 0)]  # a stack: thousands of rings may hang on each other
    while open_rings:
        step = next(open_rings[-1], None)
        if step is None:
            open_rings.pop()
        elif isinstance(step, list):
            open_rings.append(around(*step))
        else:
            walk.append(step)
    return walk
