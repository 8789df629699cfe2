"""Scores to probabilities: Platt's fit a class, mended on labels that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluate.choosing import Chooser, Chosen
from autolabel.evaluate.fitting import (
    Platt,
    Second,
    expected_error,
    fit_platt,
    log_loss,
    second_isotonic,
    second_platt,
)
from autolabel.evaluate.samples import Rows
from autolabel.probability import KNOTS, Probabilities

SPREAD = 1.5
"""How far classes' offsets may lie apart, in log-odds: closer than thresholds like it best."""
LEAST_FOR_ISOTONIC = 500
"""Isotonic steps need more labels than Platt's two numbers."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """Labels with what a fit that has not seen their picture says of them.

    Attributes:
        fold: (N,), which fold each label's picture is in.
        logits: (N,), log-odds that it is right.
        right: (N,), whether it is.
    """

    fold: NDArray[np.intp]
    logits: Floats
    right: NDArray[np.bool_]


def judge(
    chooser: Chooser,
    choices: Sequence[Chosen],
    folds: Sequence[Sequence[int]],
    held_out: Sequence[Rows],
    unseen: Sequence[Rows],
    classes: int,
) -> Judged:
    """Return labels of held-out pictures with what the other folds' fit says of them.

    Args:
        chooser: Gives the candidates that the fits are made of.
        choices: What the other folds chose, for each fold.
        folds: The pictures of each fold.
        held_out: The labels of each fold that count.
        unseen: All candidates of each fold, under the settings that the others chose.
        classes: Number of classes.
    """
    logits = []
    for number, (choice, rows) in enumerate(zip(choices, held_out, strict=True)):
        others = [place for place in range(len(folds)) if place != number]
        pictures = [index for place in others for index in folds[place]]
        fit = _first(chooser.rows(pictures, choice), [unseen[place] for place in others], classes)
        logits.append(fit.logit(rows.classes, rows.scores))
    return Judged(
        np.repeat(np.arange(len(folds)), [len(rows.right) for rows in held_out]),
        np.concatenate(logits),
        np.concatenate([rows.right for rows in held_out]),
    )


def _first(rows: Rows, unseen: Sequence[Rows], classes: int) -> Platt:
    """Return the fit to candidates, each seen twice: as the settings were fitted to it, and not.

    Settings look too good where they were fitted, and those of four fifths of the pictures are
    not as good as those of all: the truth lies between.
    """
    both = Rows.joined([rows, *unseen])
    return fit_platt(both.classes, both.scores, both.right, classes, SPREAD, 0.5)


def fit_probabilities(
    class_names: Sequence[str],
    rows: Rows,
    unseen: Sequence[Rows],
    labels: Judged,
    candidates: Judged,
    pictures: int,
) -> Probabilities:
    """Return the curves: fitted on all candidates, then mended by held-out labels.

    The labels are those that the other folds' thresholds select: thresholds look best on the
    pictures that chose them, and probabilities fitted there alone would be too high.

    Args:
        class_names: By class id.
        rows: All candidates of the labelled pictures.
        unseen: The same by folds, under the settings that the other folds chose.
        labels: Held-out labels.
        candidates: Held-out candidates, to measure on.
        pictures: Labelled pictures.
    """
    fit = _first(rows, unseen, len(class_names))
    second = _second(labels)
    curves = {
        name: second(fit.logit(np.full(len(KNOTS), index), KNOTS))
        for index, name in enumerate(class_names)
    }
    about = {
        "method": second.name,
        "pictures": pictures,
        "labels": len(labels.right),
        "ece": expected_error(_said(candidates, labels), candidates.right),
        "ece_labels": expected_error(_said(labels, labels), labels.right),
    }
    return Probabilities(curves, np.mean(list(curves.values()), axis=0), about)


def _second(labels: Judged) -> Second:
    """Return the mending curve with the least held-out log loss."""
    if len(labels.right) < LEAST_FOR_ISOTONIC:
        return second_platt(labels.logits, labels.right)
    losses = {}
    for make in (second_platt, second_isotonic):
        said = np.zeros(len(labels.right))
        for fold in np.unique(labels.fold):
            mine = labels.fold == fold
            made = make(labels.logits[~mine], labels.right[~mine])
            said[mine] = made(labels.logits[mine])
        losses[make] = log_loss(said, labels.right)
    best = min(losses, key=lambda make: losses[make])
    return best(labels.logits, labels.right)


def _said(judged: Judged, labels: Judged) -> Floats:
    """Return the probabilities, each mended by the labels of the other folds."""
    said = np.zeros(len(judged.right))
    for fold in np.unique(judged.fold):
        mine, others = judged.fold == fold, labels.fold != fold
        part = Judged(labels.fold[others], labels.logits[others], labels.right[others])
        said[mine] = _second(part)(judged.logits[mine])
    return said
