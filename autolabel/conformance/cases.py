"""What adapters are checked with: generated pictures, and how a broken promise is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autolabel.types import Image

TINY = ((1, 1), (1, 40), (40, 1), (3, 3))
"""Rows and columns of pictures that are hardly any."""
HUGE = ((30, 5000), (3000, 4000))
"""A panorama, and 12 megapixels."""


class Broken(Exception):
    """A promise is not kept; says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a check gets.

    Attributes:
        adapter: What is checked.
        prompts: What a grounder is asked.
        scores: Whether it says that it gives scores.
    """

    adapter: Any
    prompts: tuple[str, ...]
    scores: bool = True


def picture(height: int, width: int, seed: int = 0) -> Image:
    """Return a picture with blocks, a gradient and two bright objects in it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 160, (-(-height // 24), -(-width // 24), 3), dtype=np.uint8)
    image = coarse.repeat(24, 0).repeat(24, 1)[:height, :width].copy()
    image[:, :, 0] += np.linspace(0, 60, width, dtype=np.uint8)[None, :]
    image[height // 5 : height // 2, width // 6 : width // 3] = (230, 40, 40)
    image[height // 2 : height * 4 // 5, width * 3 // 5 : width * 9 // 10] = (40, 210, 230)
    return image


def expect(right: bool, message: str) -> None:
    """Raise Broken with the message unless ``right``."""
    if not right:
        raise Broken(message)


def same(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Raise Broken unless two arrays agree to a tolerance; NaN agrees with NaN."""
    expect(
        found.shape == expected.shape,
        f"{name}: found shape {found.shape}, expected {expected.shape}",
    )
    if not np.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True):
        apart = float(np.nanmax(np.abs(found.astype(float) - expected.astype(float))))
        raise Broken(f"{name}: differ by up to {apart:g}, expected at most {tolerance:g}")
