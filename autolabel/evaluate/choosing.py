"""Weights, thresholds, duplicate IoU and negative margins that suit a truth best.

Everything comes from stored candidates. With five examples a class, which of them fell on which
side of a threshold is mostly chance, so nothing is chosen by counting: each candidate counts with
its probability of being right (Platt's fit, ``evaluate.fitting``), in which classes share a slope
and lean on each other's offsets. From these follows the best F1 that a class can have, and a label
is worth keeping if it is right with half that probability or more (Lipton, Elkan, Naryanaswamy:
Optimal Thresholding of Classifiers to Maximize F1 Measure, 2014): that score is the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluate.fitting import Platt, fit_platt
from autolabel.evaluate.samples import Rows, Samples, lowered
from autolabel.evaluate.weighing import fit_weights
from autolabel.ontology import Ontology
from autolabel.ontology.edit import with_values

LEAST_TRUTHS = 2
"""With fewer examples of a class, its settings are left alone."""
SPREAD = 2.0
"""How far classes' offsets may lie apart when thresholds are chosen, in log-odds."""
DUPLICATE_IOUS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
MARGINS = (-0.1, -0.05, 0.0, 0.05, 0.1, 0.2)
LEAST_GAIN = 0.005
"""Another duplicate IoU must promise so much more macro F1, or the old one stays."""
LEAST_CLASS_GAIN = 0.01
"""Another margin must promise so much more F1 of its class."""
SETTING_PICTURES = 150
"""So many pictures are enough to choose duplicate IoU and margins by."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Settings that suit a truth.

    Attributes:
        thresholds: By class name; classes with too few examples are not there.
        margins: ``not_margin`` by class name, where it changes.
        weights: ``weight`` by class name, where it changes.
        duplicate_iou: The one to use.
    """

    thresholds: dict[str, float]
    margins: dict[str, float]
    weights: dict[str, float]
    duplicate_iou: float

    def settings(self) -> dict[str, dict[str, float]]:
        """Return the values by class name and key, as the ontology's editor takes them."""
        settings = {name: {"threshold": value} for name, value in self.thresholds.items()}
        for key, values in (("not_margin", self.margins), ("weight", self.weights)):
            for name, value in values.items():
                settings.setdefault(name, {})[key] = value
        return settings

    def applied(self, ontology: Ontology) -> Ontology:
        """Return the ontology with these settings."""
        return with_values(ontology, self.settings(), {"duplicate_iou": self.duplicate_iou})


class Chooser:
    """Chooses settings from some of the pictures; keeps what several choices share.

    Args:
        samples: The pictures with their truth.
        ontology: The settings in use.
        floor: The lowest threshold that makes sense: nothing below was stored.
    """

    def __init__(self, samples: Samples, ontology: Ontology, floor: float) -> None:
        self._samples, self._ontology, self._floor = samples, ontology, floor
        self.grid = np.round(np.arange(np.ceil(floor * 100), 96) / 100, 2)
        self._objects = samples.objects(ontology)
        self._rows: dict[str, dict[int, Rows]] = {}

    def choose(self, pictures: Sequence[int]) -> Chosen:
        """Return the settings that suit these pictures best."""
        few = pictures[:SETTING_PICTURES]
        iou = self._best_iou(few)
        margins = self._best_margins(few, iou)
        truths = self._truths(pictures)
        weights = self._best_weights(pictures, truths)
        rows = self.rows(pictures, Chosen({}, margins, weights, iou))
        fit, f1 = self._expect(rows, truths)
        thresholds = {
            spec.name: self._worth(fit, index, float(f1[index].max()))
            for index, spec in enumerate(self._ontology.classes)
            if truths[index] >= LEAST_TRUTHS and (rows.classes == index).any()
        }
        margins = {name: value for name, value in margins.items() if name in thresholds}
        return Chosen(thresholds, margins, weights, iou)

    def rows(self, pictures: Sequence[int], chosen: Chosen) -> Rows:
        """Return all that may become a label in these pictures, judged.

        Args:
            pictures: Which.
            chosen: Its thresholds don't matter.
        """
        key = str(replace(chosen, thresholds={}))
        known = self._rows.setdefault(key, {})
        if any(index not in known for index in pictures):
            ontology = lowered(replace(chosen, thresholds={}).applied(self._ontology), self._floor)
            for index in pictures:
                if index not in known:
                    known[index] = self._samples.rows(ontology, [index])
        found = [known[index] for index in pictures]
        return Rows.joined(found)

    def _truths(self, pictures: Sequence[int]) -> NDArray[np.intp]:
        """Return the number of each class's examples in these pictures."""
        return np.asarray(self._samples.truths[list(pictures)].sum(0))

    def _best_weights(self, pictures: Sequence[int], truths: NDArray[np.intp]) -> dict[str, float]:
        """Return the weights to change, by class name; those of rare classes stay."""
        free = truths >= LEAST_TRUTHS
        now = np.array([spec.weight for spec in self._ontology.classes])
        scores = np.concatenate([self._objects[index][0] for index in pictures])
        classes = np.concatenate([self._objects[index][1] for index in pictures])
        found = np.where(free, fit_weights(scores * np.where(free, 1, now), classes, free), now)
        return {
            spec.name: float(value)
            for spec, value in zip(self._ontology.classes, found, strict=True)
            if value != spec.weight
        }

    def _worth(self, fit: Platt, class_id: int, f1: float) -> float:
        """Return the score from which a label is half as likely right as F1 is high."""
        lowest, highest = float(self.grid[0]), float(self.grid[-1])
        return min(max(round(fit.score(class_id, f1 / 2), 2), lowest), highest)

    def _best_iou(self, pictures: Sequence[int]) -> float:
        """Return the duplicate IoU; a higher one than now would need masks that aren't there."""
        now = self._ontology.duplicate_iou
        promised = {
            value: self._promise(pictures, Chosen({}, {}, {}, value))
            for value in (now, *(value for value in DUPLICATE_IOUS if value < now))
        }
        best = max(promised, key=lambda value: promised[value])
        return best if promised[best] > promised[now] + LEAST_GAIN else now

    def _best_margins(self, pictures: Sequence[int], iou: float) -> dict[str, float]:
        """Return the margins to change, by class name."""
        ontology, truths = self._ontology, self._truths(pictures)
        if not any(ontology.negative_ids):
            return {}
        now = self._reachable(pictures, Chosen({}, {}, {}, iou))
        every = [dict.fromkeys(ontology.class_names, margin) for margin in MARGINS]
        tried = [self._reachable(pictures, Chosen({}, one, {}, iou)) for one in every]
        promised = np.stack(tried, 1)
        best = promised.argmax(1)
        return {
            spec.name: MARGINS[best[index]]
            for index, spec in enumerate(ontology.classes)
            if ontology.negative_ids[index]
            and truths[index] >= LEAST_TRUTHS
            and promised[index].max() > now[index] + LEAST_CLASS_GAIN
            and MARGINS[best[index]] != spec.not_margin
        }

    def _promise(self, pictures: Sequence[int], chosen: Chosen) -> float:
        """Return the mean over classes of the best expected F1."""
        seen = self._truths(pictures) > 0
        return float(self._reachable(pictures, chosen)[seen].mean()) if seen.any() else 0.0

    def _reachable(self, pictures: Sequence[int], chosen: Chosen) -> Floats:
        """Return the best expected F1 of every class, (C,)."""
        _, f1 = self._expect(self.rows(pictures, chosen), self._truths(pictures))
        return np.asarray(f1.max(1))

    def _expect(self, rows: Rows, truths: NDArray[np.intp]) -> tuple[Platt, Floats]:
        """Return what labels' probabilities are, and the F1 to expect of them.

        Returns:
            The fit, and F1 of every class (C) at every threshold of the grid (G).
        """
        classes, steps = len(truths), len(self.grid)
        if not len(rows.scores):
            return Platt(1.0, np.zeros(classes), 0.0), np.zeros((classes, steps))
        fit = fit_platt(rows.classes, rows.scores, rows.right, classes, SPREAD)
        sure = fit(rows.classes, rows.scores)
        # float32 on both sides, as labels are selected
        grid, scores = self.grid.astype(np.float32), rows.scores.astype(np.float32)
        place = np.searchsorted(grid, scores, side="right") - 1
        kept = place >= 0
        at = (rows.classes[kept], place[kept])
        labels, right = np.zeros((classes, steps)), np.zeros((classes, steps))
        np.add.at(labels, at, 1.0)
        np.add.at(right, at, sure[kept])
        labels, right = (_from_above(one) for one in (labels, right))
        return fit, 2 * right / np.maximum(truths[:, None] + labels, 1e-9)


def _from_above(counts: Floats) -> Floats:
    """Return how much lies at each step or above it."""
    return np.asarray(counts[:, ::-1].cumsum(1)[:, ::-1])
