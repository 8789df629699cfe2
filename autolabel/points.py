"""Points inside a mask, for models that are shown an object by clicks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from autolabel.types import Mask

SHOWN = 3
"""How many points an object is shown by."""


def points_in(mask: Mask, count: int = SHOWN) -> tuple[tuple[float, float], ...]:
    """Return up to ``count`` points well inside a mask, the deepest first, then far apart.

    Args:
        mask: bool (H, W).
        count: How many; a mask of fewer pixels gives fewer.

    Returns:
        x, y of pixel centres; the same mask gives the same points.
    """
    inside = np.argwhere(mask)
    if not len(inside):
        return ()
    top, left = inside.min(axis=0)
    bottom, right = inside.max(axis=0) + 1
    crop = mask[top:bottom, left:right]
    depth: NDArray[np.float64] = distance_transform_edt(np.pad(crop, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= depth.max() / 2)
    first = int(np.argmax(depth[rows, columns]))
    chosen = [first]
    nearest = np.hypot(rows - rows[first], columns - columns[first])
    while len(chosen) < min(count, len(rows)):
        following = int(np.argmax(nearest))
        chosen.append(following)
        nearest = np.minimum(
            nearest, np.hypot(rows - rows[following], columns - columns[following])
        )
    return tuple((float(columns[i] + left), float(rows[i] + top)) for i in chosen)
