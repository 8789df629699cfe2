"""Weights of classes that give true objects their class: which scores are too high or too low.

A detector that takes pink things for red ones in dim light does so every time. The class of a true
object is taken to be a softmax of its classes' log scores, each with an offset of its own; what
multiplies scores best is the exponential of the offsets (vector scaling, Guo et al.: On
Calibration of Modern Neural Networks, 2017, section 4.2, on log scores). Offsets are drawn to 0 as
strongly as they lie close together, which is estimated with them (empirical Bayes): where classes
are told apart well, all weights stay at 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

MOST_OBJECTS = 2000
"""So many true objects are enough."""
LEAST_WEIGHT, MOST_WEIGHT = 0.1, 10.0
NEAR_ONE = 0.05
"""Weights this close to 1 are 1."""
_LEAST_SCORE = 1e-3
_ROUNDS = 4
_LEAST_SPREAD, _MOST_SPREAD = 0.1, 3.0

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]


def fit_weights(scores: Floats, classes: Ints, free: Bools) -> Floats:
    """Return the weight of each class, (C,); 1 for those that are not free.

    Args:
        scores: (N, C), every class's score of boxes that lie on true objects.
        classes: (N,), what the objects are.
        free: (C,), which classes have examples enough.
    """
    weights = np.ones(len(free))
    if free.sum() < 2 or not len(classes):
        return weights
    scores, classes = scores[:MOST_OBJECTS], classes[:MOST_OBJECTS]
    fit = _Fit(np.log(np.clip(scores, _LEAST_SCORE, 1)), classes, free)
    values, spread = np.zeros(len(free) + 1), 1.0
    for _ in range(_ROUNDS):
        values = fit.best(values, spread)
        spread = fit.spread(values, spread)
    offsets = np.where(free, values[1:], 0.0) / np.exp(values[0])
    weights = np.round(np.clip(np.exp(offsets), LEAST_WEIGHT, MOST_WEIGHT), 2)
    return np.where(np.abs(weights - 1) < NEAR_ONE, 1.0, weights)


class _Fit:
    """P(class) = softmax(slope * log score + offset); values are log slope, then offsets."""

    def __init__(self, logs: Floats, classes: Ints, free: Bools) -> None:
        self._logs, self._classes, self._free = logs, classes, free
        self._every = np.arange(len(classes))

    def best(self, start: Floats, spread: float) -> Floats:
        """Return the likeliest values where offsets lie about so far from 0."""
        found = minimize(
            self._loss, start, (spread,), "L-BFGS-B", jac=True, options={"maxiter": 100}
        )
        return np.asarray(found.x)

    def spread(self, values: Floats, spread: float) -> float:
        """Return how far from 0 the offsets lie, those that are known badly counted as unsure."""
        shares = self._shares(values)
        sure = (shares * (1 - shares)).sum(0) + spread**-2
        squares = (values[1:] ** 2 + 1 / sure)[self._free]
        return float(np.clip(np.sqrt(squares.mean()), _LEAST_SPREAD, _MOST_SPREAD))

    def _shares(self, values: Floats) -> Floats:
        """Return the probability of every class, (N, C)."""
        logits = np.exp(values[0]) * self._logs + np.where(self._free, values[1:], 0.0)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(odds / odds.sum(1, keepdims=True))

    def _loss(self, values: Floats, spread: float) -> tuple[float, Floats]:
        """Return minus the log posterior and its slopes; the log slope is drawn to 0 as well."""
        shares = self._shares(values)
        offsets = np.where(self._free, values[1:], 0.0)
        true = np.maximum(shares[self._every, self._classes], 1e-300)
        loss = -np.log(true).sum() + ((offsets / spread) ** 2).sum() / 2 + values[0] ** 2 / 2
        shares[self._every, self._classes] -= 1
        along = np.exp(values[0]) * (shares * self._logs).sum() + values[0]
        each = np.where(self._free, shares.sum(0) + offsets / spread**2, 0.0)
        return float(loss), np.concatenate([[along], each])
