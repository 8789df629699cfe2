"""Which pictures to correct next to learn most: where the labels are unsure, and of all kinds.

A picture's uncertainty is spread over its classes: each candidate adds p(1 - p), most where the
probability p of being right is one half. Pictures are taken one by one, each the one that adds
most to the sum over classes of the square root of what was taken: the tenth unsure car adds
less than the first unsure bicycle. That function is submodular, so taking greedily is within
1 - 1/e of the best set (Nemhauser, Wolsey, Fisher 1978; Wei, Iyer, Bilmes 2015).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import UsageError
from autolabel.evaluate.samples import lowered
from autolabel.evaluate.truth import match_names
from autolabel.evaluate.truth_project import reviewed
from autolabel.ontology import Ontology, parse_ontology
from autolabel.probability import Probabilities
from autolabel.select import align, select
from autolabel.store import Project
from autolabel.types import Selected

META_KEY = "suggested"
"""Where a project's record keeps the names, best first, as a JSON list."""
SHOWN = 3
STEEPNESS = 2.0
"""How fast sureness grows with the log-odds' distance from the threshold, uncalibrated."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A picture to correct.

    Attributes:
        name: Of the picture.
        doubts: How many candidates are about as likely right as wrong, weighted: the sum of
            4 p (1 - p).
        about: The candidates most in doubt: (class name, probability of being right).
    """

    name: str
    doubts: float
    about: tuple[tuple[str, float], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        about = [{"class": name, "probability": round(p, 4)} for name, p in self.about]
        return {"name": self.name, "doubts": round(self.doubts, 4), "about": about}


def as_text(found: Sequence[Suggestion]) -> str:
    """Return suggestions as the project's record keeps them."""
    return json.dumps([one.name for one in found])


def suggest(project: Project, count: int, known: Sequence[str] = ()) -> list[Suggestion]:
    """Return the pictures to correct next, best first.

    Args:
        project: Nothing in it is changed.
        count: How many.
        known: Names of pictures that a truth has; they are left out, as are pictures that a
            human has been through.

    Raises:
        UsageError: If no picture is left, or the project has no candidates.
    """
    if count < 1:
        raise UsageError(f"count: expected 1 or more, found {count}")
    text = project.meta().get("ontology")
    if text is None:
        raise UsageError(f"{project.folder}: keeps no candidates (autolabel run makes them)")
    ontology = parse_ontology(text)
    done = reviewed(project)
    names = [one.name for one in project.media("done") if one.kind == "image"]
    labelled = match_names(names, list(known)) if known else {}
    left = [name for name in names if name not in done and name not in labelled]
    if not left:
        raise UsageError(
            f"{project.folder}: no picture is left to suggest ({len(names)} pictures, "
            f"{len(done)} gone through in review, {len(labelled)} in the truth)"
        )
    judge = _Judge.of(project, ontology)
    seen = [judge.doubts(name) for name in left]
    order = _spread(np.array([mass for mass, _ in seen]), count)
    return [
        Suggestion(left[index], float(seen[index][0].sum()) * 4, seen[index][1]) for index in order
    ]


@dataclass(frozen=True, slots=True)
class _Judge:
    """How sure the candidates of a project are."""

    project: Project
    ontology: Ontology
    every: Ontology
    asked: list[str]
    sure: Probabilities | None

    @classmethod
    def of(cls, project: Project, ontology: Ontology) -> _Judge:
        """Return the judge of a project, with its probabilities if it was calibrated."""
        meta = project.meta()
        every = lowered(ontology, float(meta.get("floor", "0")))
        return cls(project, ontology, every, project.prompts(), Probabilities.from_meta(meta))

    def doubts(self, name: str) -> tuple[Floats, tuple[tuple[str, float], ...]]:
        """Return a picture's uncertainty a class, (C,), and the candidates most in doubt."""
        mass = np.zeros(len(self.ontology.classes))
        found = self.project.candidates(name).get(0)
        if found is None:
            return mass, ()
        proposals = align(found.proposals, self.asked, self.ontology)
        doubts = []
        for one in select(proposals, self.every, found.height, found.width):
            likely = self._likely(one)
            mass[one.class_id] += likely * (1 - likely)
            doubts.append((abs(likely - 0.5), self.ontology.classes[one.class_id].name, likely))
        doubts.sort()
        return mass, tuple((name, likely) for _, name, likely in doubts[:SHOWN])

    def _likely(self, one: Selected) -> float:
        """Return the probability that a candidate is right, or what stands in for it."""
        spec = self.ontology.classes[one.class_id]
        if one.score is None:
            return 0.5  # the model gives no scores: each of its boxes may be wrong
        if self.sure is None:
            return _near_threshold(one.score, spec.threshold)
        return self.sure.of(spec.name, one.score)


def _near_threshold(score: float, threshold: float) -> float:
    """Return a stand-in for the probability: one half at the threshold, else log-odds apart."""
    score, threshold = (float(np.clip(v, 1e-4, 1 - 1e-4)) for v in (score, threshold))
    apart = np.log(score / (1 - score)) - np.log(threshold / (1 - threshold))
    return float(0.5 * (1 + np.tanh(STEEPNESS * apart / 2)))


def _spread(mass: Floats, count: int) -> list[int]:
    """Return which rows to take, greedily; the same whenever the same is asked."""
    taken: list[int] = []
    total = np.zeros(mass.shape[1])
    free = np.ones(len(mass), bool)
    while len(taken) < min(count, len(mass)):
        gain = (np.sqrt(total + mass) - np.sqrt(total)).sum(1)
        best = int(np.where(free, gain, -1.0).argmax())
        taken.append(best)
        free[best] = False
        total += mass[best]
    return taken
