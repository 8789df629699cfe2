"""The contours of a picture's masks through their border pixels, all masks at once.

Straight from the run lengths, which are laid end to end: one wide mask with a gap between one
and the next. A contour turns where a column's runs begin or end otherwise than those of the
next column. Pixels that touch only at a corner belong to separate contours. Each part of a mask
is one walk: holes hang on it by bridges along a row, inside the mask.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from autolabel import masks
from autolabel.types import RLE

Places: TypeAlias = NDArray[np.int64]
Pixels: TypeAlias = NDArray[np.int32]
"""int32 (2, K), x and y."""
Flags: TypeAlias = NDArray[np.bool_]

_NEAR = 128
"""Sides that are searched at once for the one left of a hole; then four times as many."""


@dataclass(frozen=True, slots=True)
class Contours:
    """The walks around the parts of several masks.

    Attributes:
        points: int32 (2, K), x and y of the pixels where walks turn, some repeated; a walk is
            closed, and the mask lies to its right.
        begins: Where each walk begins in ``points``, and the end.
        owners: The place of each walk's mask, in order.
        areas: int64 (N,), the pixels of each mask.
    """

    points: Pixels
    begins: list[int]
    owners: list[int]
    areas: Places


@dataclass(frozen=True, slots=True)
class _Sides:
    """The upright sides of all outlines, by mask, then x, then top.

    Attributes:
        x: Pixel edges, in the wide mask.
        tops: The first row beside each.
        bottoms: The row after the last one.
        up: Whether the walk goes up, with the mask to its right.
        after: The next side of the walk.
    """

    x: Places
    tops: Places
    bottoms: Places
    up: Flags
    after: Places


def contours(rles: Sequence[RLE]) -> Contours:
    """Return the contours of masks of one size.

    Raises:
        ValueError: If run lengths are not valid, or sizes differ.
    """
    starts, ends = masks.spans(rles)
    height, width = (rles[0].height, rles[0].width) if rles else (1, 1)
    owner = starts // (height * width)
    areas = np.bincount(owner, ends - starts, len(rles)).astype(np.int64)
    if not len(starts):
        return Contours(np.empty((2, 0), np.int32), [0], [], areas)
    sides = _sides(starts, ends, height, width)
    order, begins = _rings(sides.after.tolist())
    heads = order[begins[:-1]]
    stride = width + 1
    points = _points(sides, order, stride)
    begins = [4 * begin for begin in begins]
    outer = sides.up[heads].tolist()
    owners = (sides.x[heads] // stride).tolist()
    if not all(outer):
        points, begins, owners = _spliced(points, begins, owners, outer, order, sides, stride)
    return Contours(points, begins, owners, areas)


def _sides(starts: Places, ends: Places, height: int, width: int) -> _Sides:
    """Return the sides between the runs of pixels of masks end to end."""
    columns, tops, bottoms = _column_runs(starts, ends, height)
    columns += columns // width  # a gap after each mask
    tall = height + 1
    # 2 * (place) + 1 where a run begins and + 0 where one ends: at a place with both, two
    # pixels touch at a corner, and the end belongs to the side above, the beginning below.
    edges = np.empty((len(columns), 2), np.int64)
    edges[:, 0] = 2 * (columns * tall + tops) + 1
    edges[:, 1] = 2 * (columns * tall + bottoms)
    flat = edges.ravel()
    both = np.concatenate([flat, flat + 2 * tall])
    both.sort(kind="stable")  # two sorted halves: it only merges them
    twice = both[1:] == both[:-1]  # there in both columns: no corner
    once = np.ones(len(both), np.bool_)
    once[1:] ^= twice
    once[:-1] ^= twice
    corners = both[once]
    x, y = np.divmod(corners >> 1, tall)
    begins = (corners & 1).astype(np.bool_)
    # Down a column's edge corners pair up in order; along a row, those of one kind do. With
    # the mask to the right, a side below which it lies is walked to the right.
    row = 2 * y + begins
    short = row.astype(np.uint16) if tall < 2**15 else row  # of 16 bits: sorted by counting
    rank = np.argsort(short, kind="stable")  # within a row they stay by x
    left, right = rank[0::2], rank[1::2]
    ahead = begins[left]
    leaves, arrives = np.where(ahead, left, right), np.where(ahead, right, left)
    after, up = np.empty(len(left), np.int64), np.empty(len(left), np.bool_)
    after[leaves >> 1] = arrives >> 1
    up[leaves >> 1] = (leaves & 1) == 0
    return _Sides(x[0::2], y[0::2], y[1::2], up, after)


def _column_runs(starts: Places, ends: Places, height: int) -> tuple[Places, Places, Places]:
    """Return the column, first row and row after the last of each run, none over two columns."""
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


def _rings(after: list[int]) -> tuple[Places, list[int]]:
    """Return the sides ring by ring, each from its first, and where rings begin, and the end."""
    order = array("q")
    walk = order.append
    begins = [0]
    for start, side in enumerate(after):
        if side < 0:  # walked already
            continue
        after[start] = -1
        walk(start)
        while side != start:
            walk(side)
            after[side], side = -1, after[side]
        begins.append(len(order))
    return np.frombuffer(order, np.int64), begins


def _points(sides: _Sides, order: Places, stride: int) -> Pixels:
    """Return four pixels a side: where it begins and ends, and the way to the next one."""
    edges, up = sides.x[order], sides.up[order]
    right = sides.x[sides.after[order]] > edges
    x = (edges % stride).astype(np.int32)
    following = (sides.x % stride).astype(np.int32)[sides.after[order]]
    tops, bottoms = sides.tops[order].astype(np.int32), sides.bottoms[order].astype(np.int32)
    lasts, leaves = bottoms - 1, np.where(up, tops, bottoms)
    down, back = ~up, ~right
    points = np.empty((2, len(order), 4), np.int32)
    # Going up the pixel is right of the side, going right below it, and so on.
    points[0, :, 0] = points[0, :, 1] = x - down
    points[1, :, 0] = np.where(up, lasts, tops)
    points[1, :, 1] = np.where(up, tops, lasts)
    points[0, :, 2], points[0, :, 3] = x - back, following - right
    points[1, :, 2] = points[1, :, 3] = leaves - back
    return points.reshape(2, -1)


def _spliced(
    points: Pixels,
    begins: list[int],
    owners: list[int],
    outer: list[bool],
    order: Places,
    sides: _Sides,
    stride: int,
) -> tuple[Pixels, list[int], list[int]]:
    """Return the walks with the holes in them; bridges draw nothing new.

    Each hole hangs on the next side to the left of its first one, by a bridge along the row,
    which is inside the mask. That side's outline begins further left, so there is no circle.
    """
    ring_of = np.empty(len(order), np.int64)
    place_of = np.empty(len(order), np.int64)
    ring_of[order] = np.repeat(np.arange(len(outer)), np.diff(begins) // 4)
    place_of[order] = np.arange(len(order))
    hangs: dict[int, list[tuple[int, int, int, int]]] = {}
    bridges = []
    for ring, begin in enumerate(begins[:-1]):
        if outer[ring]:
            continue
        head = int(order[begin // 4])
        row = int(sides.tops[head])
        near = _left(sides, head, row)
        bridges.append((int(sides.x[near]) - owners[ring] * stride, row))
        # After the first pixel of that side, which is walked up.
        hang = 4 * int(place_of[near]) + 1, -row
        bridge = points.shape[1] + len(bridges) - 1
        hangs.setdefault(int(ring_of[near]), []).append((*hang, ring, bridge))
    every = np.concatenate([points, np.array(bridges, np.int32).T], axis=1)
    pieces: list[Pixels] = []
    found, length = [0], 0
    for ring, whole in enumerate(outer):
        if whole:
            walk = _walk(ring, begins, hangs)
            pieces += [every[:, first:last] for first, last in walk]
            length += sum(last - first for first, last in walk)
            found.append(length)
    kept = [owner for owner, whole in zip(owners, outer, strict=True) if whole]
    return np.concatenate(pieces, axis=1), found, kept


def _left(sides: _Sides, head: int, row: int) -> int:
    """Return the next side to the left in a row."""
    last, count = head, _NEAR
    while last > 0:
        first = max(0, last - count)
        beside = (sides.tops[first:last] <= row) & (row < sides.bottoms[first:last])
        beside &= sides.x[first:last] < sides.x[head]
        found = np.flatnonzero(beside)
        if len(found):
            return first + int(found[-1])
        last, count = first, 4 * count
    raise AssertionError("a hole has the mask to its left")


def _walk(
    ring: int, begins: list[int], hangs: dict[int, list[tuple[int, int, int, int]]]
) -> list[tuple[int, int]]:
    """Return the slices of points around a ring and, at each bridge, around a hole."""
    slices: list[tuple[int, int]] = []
    stack: list[tuple[int, int, int]] = [(ring, -1, -1)]  # ring, or a slice
    while stack:
        one, first, last = stack.pop()
        if one < 0:
            slices.append((first, last))
            continue
        steps, place = [], begins[one]
        for at, _, hole, bridge in sorted(hangs.get(one, ())):
            across, start = (-1, bridge, bridge + 1), begins[hole]
            steps += [(-1, place, at), across, (hole, -1, -1)]
            steps += [(-1, start, start + 1), across]
            place = at
        steps.append((-1, place, begins[one + 1]))
        stack += steps[::-1]
    return [(first, last) for first, last in slices if last > first]
