"""Where a video cuts to another scene: cheap, causal, on thumbnails of the luma.

A cut changes the picture's structure. What else changes a lot from one frame to the next
doesn't: a flash or a fade scales the same structure, a pan shifts it. So two thumbnails are
compared at the shift where they agree best, after removing mean and contrast. Frames without
structure (black, a white-out) are passed over: the frame after is compared with the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.types import Image

_SIDE = 48
_Thumbnail = NDArray[np.float64]


class Cue(Enum):
    """What happened between the last frame and this one."""

    SAME = "same"
    CHANGE = "change"
    """Much is different (a flash, a fast pan, a fade): worth looking again."""
    CUT = "cut"
    """Another scene."""


@dataclass(frozen=True, slots=True)
class CueSettings:
    """When a change is a cut.

    Attributes:
        structure: A frame that agrees less than this with the one before, at the best shift
            (normalised cross-correlation, -1 to 1), is another scene.
        doubt: One that agrees less than this is, where the histogram says so, too.
        histogram: Share of the picture (0 to 1) whose brightness must differ then.
        changed: Share of the cells that a cut changes at least: an object that appears on an
            even ground changes the structure, but few cells.
        difference: Mean absolute difference of the thumbnails (0 to 1) that is a change.
        blank: Standard deviation of the luma (0 to 1) below which a frame has no structure.
    """

    structure: float = 0.45
    doubt: float = 0.65
    histogram: float = 0.08
    changed: float = 0.4
    difference: float = 0.12
    blank: float = 0.02


class SceneCues:
    """Looks at the frames of one video in order and says where the scene changes."""

    def __init__(self, settings: CueSettings | None = None) -> None:
        self._settings = settings or CueSettings()
        self._before: _Thumbnail | None = None
        self._reference: _Thumbnail | None = None

    def see(self, image: Image) -> Cue:
        """What changed since the frame before; the first frame is SAME.

        Args:
            image: uint8 (H, W, 3) RGB.
        """
        now = thumbnail(image)
        before, self._before = self._before, now
        changed = before is not None and _difference(before, now) >= self._settings.difference
        if float(now.std()) < self._settings.blank:
            return Cue.CHANGE if changed else Cue.SAME
        reference, self._reference = self._reference, now
        if reference is not None and self._is_cut(reference, now):
            return Cue.CUT
        return Cue.CHANGE if changed else Cue.SAME

    def state(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "before": None if self._before is None else self._before.tolist(),
            "reference": None if self._reference is None else self._reference.tolist(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take the place of the one whose ``state()`` this is."""
        self._before, self._reference = (
            None if state[key] is None else np.array(state[key]) for key in ("before", "reference")
        )

    def _is_cut(self, before: _Thumbnail, now: _Thumbnail) -> bool:
        noise = min(0.04, max(0.005, 0.25 * min(float(before.std()), float(now.std()))))
        if float((np.abs(before - now) > noise).mean()) < self._settings.changed:
            return False
        agreement = structure(before, now)
        if agreement >= self._settings.doubt:
            return False
        if agreement < self._settings.structure:
            return True
        return histogram_distance(before, now) >= self._settings.histogram


def thumbnail(image: Image) -> _Thumbnail:
    """The luma's means over a grid of 48 x 48 cells, in [0, 1] (ITU-R BT.601 weights)."""
    # At most 8 samples a cell and axis: enough for a mean, and cheap on large frames.
    steps = [max(1, length // (_SIDE * 8)) for length in image.shape[:2]]
    samples = image[:: steps[0], :: steps[1]].astype(np.float32)
    luma = samples @ np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)
    for axis in (0, 1):
        length = luma.shape[axis]
        if length < _SIDE:  # fewer pixels than cells: each cell takes the pixel it falls on
            luma = luma.take(np.arange(_SIDE) * length // _SIDE, axis=axis)
            continue
        edges = np.arange(_SIDE + 1) * length // _SIDE
        sums = np.add.reduceat(luma, edges[:-1], axis=axis)
        widths = np.diff(edges).astype(np.float32)
        luma = sums / (widths[:, None] if axis == 0 else widths)
    return luma.astype(np.float64)


def _difference(a: _Thumbnail, b: _Thumbnail) -> float:
    return float(np.abs(a - b).mean())


def histogram_distance(a: _Thumbnail, b: _Thumbnail) -> float:
    """The share of the picture whose brightness changed class, of 16, whatever its place.

    Mean and contrast are taken out first: a flash or a fade changes nothing.
    """
    counts = []
    for thumb in (a, b):
        spread = (thumb - thumb.mean()) / max(float(thumb.std()), 1e-6)
        counts.append(np.histogram(np.clip(spread, -2.99, 2.99), bins=16, range=(-3, 3))[0])
    return float(np.abs(counts[0] - counts[1]).sum()) / (2 * a.size)


def structure(a: _Thumbnail, b: _Thumbnail) -> float:
    """How well two thumbnails agree at the best shift: -1 to 1, 1 for the same structure.

    Normalised cross-correlation over the part that overlaps, for shifts of up to a third of
    the picture; the sums over all shifts by FFT.
    """
    size = 2 * _SIDE
    ones = np.fft.rfft2(np.ones_like(a), (size, size))
    fa, fb, fa2, fb2 = (np.fft.rfft2(x, (size, size)) for x in (a, b, a * a, b * b))

    def sums(x: NDArray[np.complex128], y: NDArray[np.complex128]) -> NDArray[np.float64]:
        return np.fft.irfft2(x * np.conj(y), (size, size))

    count = np.maximum(sums(ones, ones), 1.0)
    mean_a, mean_b = sums(fa, ones) / count, sums(ones, fb) / count
    var_a = np.maximum(sums(fa2, ones) / count - mean_a**2, 1e-6)
    var_b = np.maximum(sums(ones, fb2) / count - mean_b**2, 1e-6)
    agreement = (sums(fa, fb) / count - mean_a * mean_b) / np.sqrt(var_a * var_b)
    far = np.minimum(np.arange(size), size - np.arange(size)) <= _SIDE // 3
    return float(agreement[np.ix_(far, far)].max())
