"""An object shown to a model again: by points in the first mask of its box, or by that mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.points import SHOWN, points_in
from autolabel.types import Masks

BOX, POINT = "box", "point"
INSIDE, NO_POINT = 1, -1
"""The prompt encoders' labels of a point on the object, and of none."""
LOGITS = 32.0
"""A mask prompt's numbers lie between minus this and this, as in training."""

Heads: TypeAlias = tuple[Tensor, Tensor]
"""Logits (N, h, w) and scores (N,) of N objects."""
Points: TypeAlias = tuple[Tensor, Tensor]
"""Places (N, P, 2) in the model's pixels, and their labels (N, P)."""
Ask: TypeAlias = Callable[[Tensor, Points | None, Tensor | None], Heads]
"""Gives what the model makes of some of the boxes: which, bool (N,); points in their place;
masks (n, h, w) beside them."""


def shown_again(prompt_type: str, first: Heads, side: int, ask: Ask) -> Heads:
    """Return what a model makes of objects that are shown to it in this way.

    Args:
        prompt_type: "box", "point" or "mask".
        first: What it made of their boxes; changed in place. An empty mask stays as it is.
        side: Of the square picture that the model sees, in pixels.
        ask: Asks the model.
    """
    if prompt_type == BOX:
        return first
    logits, quality = first
    some = (logits > 0).flatten(1).any(1)
    if not some.any():
        return first
    if prompt_type == POINT:
        small: Masks = (logits[some] > 0).cpu().numpy()
        points, labels = points_of(small, side / small.shape[-1])
        clicks = torch.tensor(points, device=logits.device)
        again = ask(some, (clicks, torch.tensor(labels, device=logits.device)), None)
    else:
        again = ask(some, None, logits[some].clamp(-LOGITS, LOGITS))
    logits[some], quality[some] = again
    return logits, quality


def points_of(small: Masks, scale: float) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return points in first masks, float32 (N, 3, 2), and their labels, int32 (N, 3).

    Args:
        small: bool (N, h, w): the masks at the size in which the model makes them.
        scale: Pixels of the model's picture to one of theirs.
    """
    points = np.zeros((len(small), SHOWN, 2), np.float32)
    labels = np.full((len(small), SHOWN), NO_POINT, np.int32)
    for number, mask in enumerate(small):
        found = np.array(points_in(mask), np.float32).reshape(-1, 2)
        # A pixel's number is its centre here and there, and half a pixel is not the same size.
        points[number, : len(found)] = (found + 0.5) * scale - 0.5
        labels[number, : len(found)] = INSIDE
    return points, labels
