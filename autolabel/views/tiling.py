"""Where the tiles of a picture lie, and which boxes their edges cut; geometry alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from autolabel.config import Tiling
from autolabel.types import Boxes

AT_EDGE = 0.02
"""A box that comes so near to a tile's edge, as a share of the tile, may go on beyond it."""

Sides = NDArray[np.bool_]
"""bool (N, 4): left, top, right, bottom."""


def windows_of(height: int, width: int, tiling: Tiling) -> Boxes:
    """Return the tiles of a picture as (N, 4), row by row; none where one would hold it all.

    All tiles have the full size, cut to a picture's side that is shorter; they are spread
    evenly, so that neighbours overlap by the share asked for or a little more.
    """
    if max(height, width) <= tiling.size:
        return np.zeros((0, 4), np.float32)
    high, wide = min(tiling.size, height), min(tiling.size, width)
    return np.array(
        [
            (left, top, left + wide, top + high)
            for top in _starts(height, high, tiling.overlap)
            for left in _starts(width, wide, tiling.overlap)
        ],
        np.float32,
    )


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Return where tiles begin along one side."""
    steps = math.ceil((length - tile) / max(1.0, tile * (1.0 - overlap)))
    return [round((length - tile) * step / max(1, steps)) for step in range(steps + 1)]


def cut_sides(boxes: Boxes, windows: Boxes, height: int, width: int) -> Sides:
    """Return the sides on which each box may go on beyond the window it was found in.

    Args:
        boxes: float32 (N, 4).
        windows: float32 (N, 4), each box's own.
        height: Rows of the picture; what ends with the picture is not cut.
        width: Columns of the picture.
    """
    sides = (windows[:, 2:] - windows[:, :2]).max(axis=1, initial=0)
    near = 1.0 + AT_EDGE * sides[:, None]
    inner = windows != np.array([0, 0, width, height], np.float32)
    cut: Sides = inner & (np.abs(boxes - windows) <= near)
    return cut


def room_around(boxes: Boxes, windows: Boxes, height: int, width: int) -> NDArray[np.float32]:
    """Return the pixels between every box and every window's edges, (N, W), the least of four.

    Negative where a box leaves the window; edges of the picture itself don't count.
    """
    room = np.concatenate(
        [boxes[:, None, :2] - windows[None, :, :2], windows[None, :, 2:] - boxes[:, None, 2:]], 2
    )
    outer = windows == np.array([0, 0, width, height], np.float32)
    room[np.broadcast_to(outer[None], room.shape) & (room >= -1)] = np.inf
    least: NDArray[np.float32] = room.min(axis=2)
    return least
