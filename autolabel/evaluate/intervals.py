"""F1 before and after, with intervals from resampled pictures (bootstrap percentiles)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluate.samples import Rows

DRAWS = 1000
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the interval that holds 95 % of what resampling gives."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Scored:
    """Macro F1 of two sets of labels and of their difference, and F1 a class of each."""

    before: Interval
    after: Interval
    gain: Interval
    class_before: tuple[float | None, ...]
    class_after: tuple[float | None, ...]


def f1_intervals(
    truths: NDArray[np.intp], pictures: Sequence[int], before: Rows, after: Rows, seed: int
) -> Scored:
    """Return both sets' macro F1, the mean over the classes that the pictures have truths of.

    Args:
        truths: (P, C), truths of each class in each picture.
        pictures: The pictures that count.
        before: One set of labels, judged.
        after: The other.
        seed: Of the resampling.
    """
    chosen = list(pictures)
    wanted = truths[chosen].astype(float)
    counts = [_counts(rows, truths.shape)[:, chosen] for rows in (before, after)]
    seen = wanted.sum(0) > 0
    weights = np.random.default_rng(seed).multinomial(
        len(chosen), np.full(len(chosen), 1 / len(chosen)), DRAWS
    )
    drawn = [
        _macro(_f1(weights @ wanted, *(weights @ one for one in side)), seen) for side in counts
    ]
    classes = [_f1(wanted.sum(0)[None], *(one.sum(0)[None] for one in side))[0] for side in counts]
    values = [float(one[seen].mean()) for one in classes]
    return Scored(
        _interval(values[0], drawn[0]),
        _interval(values[1], drawn[1]),
        _interval(values[1] - values[0], drawn[1] - drawn[0]),
        *(
            tuple(float(f1) if known else None for f1, known in zip(one, seen, strict=True))
            for one in classes
        ),
    )


def _counts(rows: Rows, shape: tuple[int, ...]) -> Floats:
    """Return labels and right ones of each class in each picture, (2, P, C)."""
    counts = np.zeros((2, *shape))
    np.add.at(counts[0], (rows.picture, rows.classes), 1.0)
    np.add.at(counts[1], (rows.picture, rows.classes), rows.right.astype(float))
    return counts


def _f1(truths: Floats, labels: Floats, right: Floats) -> Floats:
    """Return F1 where there is anything, else 0."""
    f1: Floats = 2 * right / np.maximum(truths + labels, 1.0)
    return f1


def _macro(f1: Floats, seen: NDArray[np.bool_]) -> Floats:
    """Return the mean over the classes that are seen, a value a draw."""
    return np.asarray(f1[:, seen].mean(1))


def _interval(value: float, drawn: Floats) -> Interval:
    """Return a value with the percentiles of its draws."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
