"""Probabilities fitted to right and wrong labels by scikit-learn: Platt's way, or isotonic."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

SLOPE_SCALE = 3.0
"""Makes the penalty on the common slope slight beside that on the classes' own offsets."""
_LEAST, _MOST = 1e-4, 1 - 1e-4
_LEAST_SLOPE = 1e-3


def log_odds(scores: Floats) -> Floats:
    """Return log(s / (1 - s)), scores kept off 0 and 1."""
    kept = np.clip(scores, _LEAST, _MOST)
    return np.asarray(np.log(kept / (1 - kept)))


@dataclass(frozen=True, slots=True)
class Platt:
    """P(right | class, score) = sigmoid(offset of the class + slope * log-odds of the score).

    Platt: Probabilistic Outputs for Support Vector Machines, 1999, with an offset a class that
    is drawn to the common one: a class with few examples leans on the others.
    """

    slope: float
    offsets: Floats
    common: float

    def logit(self, classes: Ints, scores: Floats) -> Floats:
        """Return the log-odds that labels are right."""
        return np.asarray(self.offsets[classes] + self.slope * log_odds(scores))

    def score(self, class_id: int, probability: float) -> float:
        """Return the score from which labels of a class are right with this probability."""
        kept = min(max(probability, _LEAST), _MOST)
        lacking = np.log(kept / (1 - kept)) - self.offsets[class_id]
        if self.slope < _LEAST_SLOPE:
            return 0.0 if lacking <= 0 else 1.0
        return float(sigmoid(lacking / self.slope))

    def __call__(self, classes: Ints, scores: Floats) -> Floats:
        """Return the probabilities that labels are right."""
        return sigmoid(self.logit(classes, scores))


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(values / 2)))


def fit_platt(
    classes: Ints, scores: Floats, right: Bools, count: int, spread: float, each: float = 1.0
) -> Platt:
    """Return the fit to these labels.

    Args:
        classes: Class of each label.
        scores: Its score.
        right: Whether it is right.
        count: Number of classes.
        spread: How far classes' offsets may lie apart (standard deviation, log-odds).
        each: What one label counts, where some are here more than once.
    """
    offsets = np.zeros(count)
    if right.all() or not right.any():  # nothing to tell apart: the share alone, smoothed
        common = float(np.log((right.sum() + 1) / (len(right) - right.sum() + 1)))
        return Platt(0.0, offsets + common, common)
    x = np.zeros((len(scores), 1 + count))
    x[:, 0] = SLOPE_SCALE * log_odds(scores)
    x[np.arange(len(scores)), 1 + classes] = spread
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a near-perfect separation says about itself
        found = LogisticRegression(C=each, max_iter=500).fit(x, right)
    weights, common = found.coef_[0], float(found.intercept_[0])
    slope = max(0.0, float(weights[0]) * SLOPE_SCALE)  # a better score is never less likely
    return Platt(slope, common + spread * weights[1:], common)


@dataclass(frozen=True, slots=True)
class Second:
    """A never falling curve from first probabilities' log-odds to better ones, by its knots."""

    name: str
    at: Floats
    to: Floats

    def __call__(self, logits: Floats) -> Floats:
        """Return probabilities."""
        return np.asarray(np.interp(logits, self.at, self.to))


_RANGE = np.linspace(-12, 12, 97)
_TRUST = 50.0  # what the first fit's offset is worth beside labels of p (1 - p) each
_STEPS = 20


def second_platt(logits: Floats, right: Bools) -> Second:
    """Return the curve moved by a common offset, as far as these labels outweigh the first fit.

    Two hundred labels know the share that is right to 3 points, and a slope no better than the
    first fit does: only the offset is mended, and drawn to none (benchmarks.calibration).
    """
    offset = 0.0
    for _ in range(_STEPS):
        sure = sigmoid(logits + offset)
        lacking = right.sum() - sure.sum() - offset * _TRUST
        offset += float(lacking / ((sure * (1 - sure)).sum() + _TRUST))
    return Second("platt", _RANGE, sigmoid(_RANGE + offset))


def second_isotonic(logits: Floats, right: Bools) -> Second:
    """Return the isotonic curve: the never falling steps that fit best, straight between."""
    found = IsotonicRegression(y_min=0.005, y_max=0.995, out_of_bounds="clip")
    found.fit(logits, right.astype(float))
    return Second("isotonic", found.X_thresholds_, found.y_thresholds_)


def log_loss(probabilities: Floats, right: Bools) -> float:
    """Return the mean of -log P(what was the case)."""
    kept = np.clip(probabilities, _LEAST, _MOST)
    return float(-np.log(np.where(right, kept, 1 - kept)).mean()) if len(right) else 0.0


def expected_error(probabilities: Floats, right: Bools, bins: int = 10) -> float | None:
    """Return the expected calibration error over bins of equal width; None without labels.

    Guo et al.: On Calibration of Modern Neural Networks, 2017, equation 3.
    """
    if not len(right):
        return None
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    sizes = np.bincount(place, minlength=bins)
    said = np.bincount(place, probabilities, bins)
    was = np.bincount(place, right, bins)
    return float(np.abs(said - was).sum() / sizes.sum())
