"""Scores to probabilities: Platt's fit a class, mended on labels that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluate.choosing import Chooser, Chosen
from autolabel.evaluate.fitting import (
    Second,
    expected_error,
    fit_platt,
    log_loss,
    second_isotonic,
    second_platt,
    unchanged,
)
from autolabel.evaluate.samples import Rows
from autolabel.probability import KNOTS, Probabilities

SPREADS = (0.25, 0.5, 1.0, 2.0)
LEAST_FOR_ISOTONIC = 500
"""Isotonic steps need more labels than Platt's two numbers."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Folded:
    """Labels with what a fit that has not seen their picture says of them.

    Attributes:
        spread: The spread of that fit, the best of ``SPREADS``.
        fold: (N,), which fold each label's picture is in.
        logits: (N,), log-odds that it is right.
        right: (N,), whether it is.
    """

    spread: float
    fold: NDArray[np.intp]
    logits: Floats
    right: NDArray[np.bool_]


def folded_logits(
    chooser: Chooser,
    choices: Sequence[Chosen],
    folds: Sequence[Sequence[int]],
    held_out: Sequence[Rows],
    classes: int,
) -> Folded:
    """Return the labels of held-out pictures with what the other folds' fit says of them.

    They are the labels that the other folds' thresholds select: thresholds look best on the
    pictures that chose them, and probabilities fitted there would be too high.
    """
    best: tuple[float, Folded] | None = None
    for spread in SPREADS:
        logits = []
        for fold, choice, rows in zip(folds, choices, held_out, strict=True):
            inside = set(fold)
            others = [index for part in folds for index in part if index not in inside]
            train = chooser.rows(others, choice.duplicate_iou)
            fit = fit_platt(train.classes, train.scores, train.right, classes, spread)
            logits.append(fit.logit(rows.classes, rows.scores))
        found = Folded(
            spread,
            np.repeat(np.arange(len(folds)), [len(rows.right) for rows in held_out]),
            np.concatenate(logits),
            np.concatenate([rows.right for rows in held_out]),
        )
        loss = log_loss(_sure(found.logits), found.right)
        if best is None or loss < best[0]:
            best = loss, found
    assert best is not None
    return best[1]


def fit_probabilities(
    class_names: Sequence[str], rows: Rows, folded: Folded, pictures: int
) -> Probabilities:
    """Return the curves: fitted on all candidates, then mended by the held-out labels."""
    fit = fit_platt(rows.classes, rows.scores, rows.right, len(class_names), folded.spread)
    second, error = _second(folded)
    curves = {
        name: second(fit.logit(np.full(len(KNOTS), index), KNOTS))
        for index, name in enumerate(class_names)
    }
    mean = np.mean([curves[name] for name in class_names], axis=0)
    about = {
        "method": second.name if second.name != "none" else "platt",
        "pictures": pictures,
        "labels": len(folded.right),
        "ece": error,
    }
    return Probabilities(curves, mean, about)


def _second(folded: Folded) -> tuple[Second, float | None]:
    """Return the mending curve with the least held-out log loss, and its calibration error."""
    tried = [lambda _logits, _right: unchanged(), second_platt]
    if len(folded.right) >= LEAST_FOR_ISOTONIC:
        tried.append(second_isotonic)
    best: tuple[float, float | None, Second] | None = None
    for make in tried:
        said = np.zeros(len(folded.right))
        for fold in np.unique(folded.fold):
            mine = folded.fold == fold
            made = make(folded.logits[~mine], folded.right[~mine])
            said[mine] = made(folded.logits[mine])
        loss = log_loss(said, folded.right)
        if best is None or loss < best[0]:
            made = make(folded.logits, folded.right)
            best = loss, expected_error(said, folded.right), made
    assert best is not None
    return best[2], best[1]


def _sure(logits: Floats) -> Floats:
    """Return probabilities."""
    return unchanged()(logits)
