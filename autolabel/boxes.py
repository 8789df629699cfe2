"""Boxes x1, y1, x2, y2 against boxes: area, what two share, IoU; float32, many at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.types import Boxes


def box_iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return the IoU of every box in ``a`` (M, 4) with every box in ``b`` (N, 4), as (M, N).

    Boxes without area have IoU 0 with everything.
    """
    inter = shared_area(a, b)
    union = box_area(a)[:, None] + box_area(b)[None, :] - inter
    inter /= np.maximum(union, np.float32(1e-30))
    return inter


def shared_area(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return the common area of every two boxes, (M, N)."""
    ax1, ay1, ax2, ay2 = np.ascontiguousarray(a.T)[:, :, None]
    bx1, by1, bx2, by2 = np.ascontiguousarray(b.T)
    wide = np.minimum(ax2, bx2)
    wide -= np.maximum(ax1, bx1)
    high = np.minimum(ay2, by2)
    high -= np.maximum(ay1, by1)
    common: NDArray[np.float32] = np.maximum(wide, 0, out=wide)
    common *= np.maximum(high, 0, out=high)
    return common


def box_area(boxes: Boxes) -> NDArray[np.float32]:
    """Return each box's area, (N,)."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)
