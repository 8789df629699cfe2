"""Thresholds, duplicate IoU and negative margins that suit a truth best, from stored candidates.

A class's threshold is the one with the highest expected F1, where each candidate counts with
its probability of being right (Platt's fit, ``evaluate.fitting``) rather than as it fell: with
five examples a class, what fell is mostly chance. Classes share the slope of that fit and lean on
each other's offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.evaluate.fitting import fit_platt
from autolabel.evaluate.samples import Rows, Samples, lowered
from autolabel.ontology import Ontology
from autolabel.ontology.edit import with_values

LEAST_TRUTHS = 2
"""With fewer examples of a class, its settings are left alone."""
SPREAD = 3.0
"""How far classes' offsets may lie apart when thresholds are chosen, in log-odds."""
DUPLICATE_IOUS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
MARGINS = (-0.1, -0.05, 0.0, 0.05, 0.1, 0.2)
LEAST_GAIN = 0.01
"""Another duplicate IoU or margin must promise so much more F1, or the old one stays."""
SETTING_PICTURES = 150
"""So many pictures are enough to choose duplicate IoU and margins by."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Settings that suit a truth.

    Attributes:
        thresholds: By class name; classes with too few examples are not there.
        margins: ``not_margin`` by class name, where it changes.
        duplicate_iou: The one to use.
    """

    thresholds: dict[str, float]
    margins: dict[str, float]
    duplicate_iou: float

    def settings(self) -> dict[str, dict[str, float]]:
        """Return the values by class name and key, as the ontology's editor takes them."""
        settings = {name: {"threshold": value} for name, value in self.thresholds.items()}
        for name, value in self.margins.items():
            settings.setdefault(name, {})["not_margin"] = value
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
        self._rows: dict[tuple[float, float | None], dict[int, Rows]] = {}

    def choose(self, pictures: Sequence[int]) -> Chosen:
        """Return the settings that suit these pictures best."""
        few = pictures[:SETTING_PICTURES]
        truths = self._samples.truths[few].sum(0)
        iou = self._best_iou(few, truths)
        margins = self._best_margins(few, truths, iou)
        parts = []
        for margin in {None, *margins.values()}:
            mine = [
                i for i, c in enumerate(self._ontology.classes) if margins.get(c.name) == margin
            ]
            rows = self.rows(pictures, iou, margin)
            parts.append(rows.where(np.isin(rows.classes, mine)))
        rows = Rows(*(np.concatenate([getattr(one, key) for one in parts]) for key in _FIELDS))
        truths = self._samples.truths[list(pictures)].sum(0)
        curves = self._curves(rows, truths)
        thresholds = {
            spec.name: float(self.grid[int(curves[index].argmax())])
            for index, spec in enumerate(self._ontology.classes)
            if truths[index] >= LEAST_TRUTHS and (rows.classes == index).any()
        }
        margins = {name: value for name, value in margins.items() if name in thresholds}
        return Chosen(thresholds, margins, iou)

    def rows(self, pictures: Sequence[int], iou: float, margin: float | None = None) -> Rows:
        """Return all that may become a label in these pictures, judged.

        Args:
            pictures: Which.
            iou: The duplicate IoU.
            margin: ``not_margin`` of all classes; None for their own.
        """
        known = self._rows.setdefault((iou, margin), {})
        if any(index not in known for index in pictures):
            values = {} if margin is None else {"not_margin": margin}
            ontology = with_values(
                lowered(self._ontology, self._floor, **values), {}, {"duplicate_iou": iou}
            )
            for index in pictures:
                if index not in known:
                    known[index] = self._samples.rows(ontology, [index])
        found = [known[index] for index in pictures]
        return Rows(*(np.concatenate([getattr(one, key) for one in found]) for key in _FIELDS))

    def _best_iou(self, pictures: Sequence[int], truths: NDArray[np.intp]) -> float:
        """Return the duplicate IoU; a higher one than now would need masks that aren't there."""
        now = self._ontology.duplicate_iou
        lower = [value for value in DUPLICATE_IOUS if value < now]
        promised = {
            value: self._promise(self.rows(pictures, value), truths) for value in (now, *lower)
        }
        best = max(promised, key=lambda value: promised[value])
        return best if promised[best] > promised[now] + LEAST_GAIN else now

    def _best_margins(
        self, pictures: Sequence[int], truths: NDArray[np.intp], iou: float
    ) -> dict[str, float]:
        """Return the margins to change, by class name."""
        ontology = self._ontology
        if not any(ontology.negative_ids):
            return {}
        now = self._curves(self.rows(pictures, iou), truths).max(1)
        tried = [self._curves(self.rows(pictures, iou, m), truths).max(1) for m in MARGINS]
        promised = np.stack(tried, 1)
        best = promised.argmax(1)
        return {
            spec.name: MARGINS[best[index]]
            for index, spec in enumerate(ontology.classes)
            if ontology.negative_ids[index]
            and truths[index] >= LEAST_TRUTHS
            and promised[index].max() > now[index] + LEAST_GAIN
            and MARGINS[best[index]] != spec.not_margin
        }

    def _promise(self, rows: Rows, truths: NDArray[np.intp]) -> float:
        """Return the mean over classes of the best expected F1."""
        seen = truths > 0
        return float(self._curves(rows, truths)[seen].max(1).mean()) if seen.any() else 0.0

    def _curves(self, rows: Rows, truths: NDArray[np.intp]) -> Floats:
        """Return the expected F1 of every class (C) at every threshold of the grid (G)."""
        classes, steps = len(truths), len(self.grid)
        if not len(rows.scores):
            return np.zeros((classes, steps))
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
        f1: Floats = 2 * right / np.maximum(truths[:, None] + labels, 1e-9)
        return f1


_FIELDS = ("picture", "classes", "scores", "right")


def _from_above(counts: Floats) -> Floats:
    """Return how much lies at each step or above it."""
    return np.asarray(counts[:, ::-1].cumsum(1)[:, ::-1])
