"""How likely a label is right: scores mapped to probabilities, as ``autolabel calibrate`` fits.

A project keeps the curves in its record (``meta``, key ``calibration``), by class name, so that
exports, review and reports read the same ones. Nothing here fits; see ``evaluate.calibration``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import UsageError
from autolabel.types import Instance

META_KEY = "calibration"
KNOTS = np.linspace(0.0, 1.0, 101)
"""The scores at which a curve is kept; between them it is straight."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Probabilities:
    """A curve a class from score to the probability that a label is right.

    Attributes:
        curves: By class name, the probability at each of ``KNOTS``, never falling.
        other: The curve for every other class.
        about: What else is known of the fit (method, pictures, ece), as plain JSON values.
    """

    curves: Mapping[str, Floats]
    other: Floats
    about: Mapping[str, Any]

    def of(self, class_name: str, score: float) -> float:
        """Return the probability that a label of this class and score is right."""
        return float(np.interp(score, KNOTS, self.curves.get(class_name, self.other)))

    def of_label(self, one: Instance, class_names: Sequence[str]) -> float:
        """Return the probability that a label is right; 1 for what a human made or accepted."""
        if one.score is None or one.source == "human" or one.status == "accepted":
            return 1.0
        return self.of(class_names[one.class_id], one.score)

    def many(self, class_name: str, scores: Floats) -> Floats:
        """Return the probabilities of labels of one class, (N,)."""
        return np.asarray(np.interp(scores, KNOTS, self.curves.get(class_name, self.other)))

    def as_text(self) -> str:
        """Return it as a project's record keeps it: JSON."""
        rounded = {name: _rounded(curve) for name, curve in self.curves.items()}
        return json.dumps(
            {"about": dict(self.about), "curves": rounded, "other": _rounded(self.other)}
        )

    @classmethod
    def from_meta(cls, meta: Mapping[str, str]) -> Probabilities | None:
        """Return the curves in a project's record, or None where it was never calibrated."""
        if META_KEY not in meta:
            return None
        data = json.loads(meta[META_KEY])
        curves = {name: np.array(values) for name, values in data["curves"].items()}
        return cls(curves, np.array(data["other"]), data["about"])

    @classmethod
    def needed(cls, meta: Mapping[str, str], folder: object) -> Probabilities:
        """Return the curves in a project's record.

        Raises:
            UsageError: If it was never calibrated.
        """
        found = cls.from_meta(meta)
        if found is None:
            raise UsageError(
                f"{folder}: scores are not mapped to probabilities yet, which --min-precision "
                f"needs: autolabel calibrate {folder} --truth ..."
            )
        return found


def _rounded(curve: Floats) -> list[float]:
    """Return a curve as JSON numbers."""
    return [round(float(value), 5) for value in curve]
