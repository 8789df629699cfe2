"""Settings fitted to a truth and what they gain, measured on pictures they were not fitted to.

Five-fold: settings are chosen on four fifths of the pictures and measured on the fifth, by the
very selection that makes labels. Intervals are percentiles over resampled pictures (bootstrap).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import FormatError
from autolabel.evaluate.choosing import LEAST_TRUTHS, Chooser, Chosen
from autolabel.evaluate.intervals import Interval, f1_intervals
from autolabel.evaluate.probabilities import fit_probabilities, judge
from autolabel.evaluate.samples import Rows, Samples, read_samples
from autolabel.evaluate.truth import Truth, match_classes, nearest
from autolabel.ontology import Ontology
from autolabel.probability import Probabilities
from autolabel.store import Project

FOLDS = 5
MOST_PICTURES = 1000
"""So many labelled pictures are looked at; more make the settings no better."""
LEAST_PICTURES = 5
_SEED = 20260101

Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ClassFit:
    """What was chosen for one class.

    Attributes:
        name: Of the class.
        truths: Examples in the labelled pictures.
        before: The threshold in use.
        after: The threshold chosen; the same where the class is left alone.
        margin: ``not_margin`` chosen, or None where it stays.
        weight: ``weight`` chosen, or None where it stays.
        f1_before: F1 with the settings in use, None where it can't be measured.
        f1_after: F1 with the settings chosen, on pictures they were not chosen by.
        note: Why the class was left alone, or "".
    """

    name: str
    truths: int
    before: float
    after: float
    margin: float | None
    weight: float | None
    f1_before: float | None
    f1_after: float | None
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "truths": self.truths,
            "threshold": {"before": self.before, "after": self.after},
            "not_margin": self.margin,
            "weight": self.weight,
            "f1": {"before": self.f1_before, "after": self.f1_after},
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Calibration:
    """What ``calibrate`` found.

    Attributes:
        pictures: Labelled pictures that were looked at.
        classes: One entry a class.
        before: Held-out macro F1 with the settings in use, and its interval.
        after: The same with the settings chosen.
        gain: Of one over the other, on the same pictures.
        chosen: The settings.
        duplicate_iou: Before and after.
        better: Whether they did better where they were not fitted; else nothing should change.
        probabilities: Scores to probabilities.
        notes: What the figures don't cover.
        seconds: Wall time.
    """

    pictures: int
    classes: tuple[ClassFit, ...]
    before: Interval
    after: Interval
    gain: Interval
    chosen: Chosen
    duplicate_iou: tuple[float, float]
    better: bool
    probabilities: Probabilities
    notes: tuple[str, ...]
    seconds: float

    @property
    def changes(self) -> bool:
        """Whether the settings chosen differ from those in use."""
        before, after = self.duplicate_iou
        return before != after or any(
            one.before != one.after or (one.margin, one.weight) != (None, None)
            for one in self.classes
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "pictures": self.pictures,
            "macro_f1": {
                "before": self.before.as_dict(),
                "after": self.after.as_dict(),
                "gain": self.gain.as_dict(),
            },
            "better": self.better,
            "duplicate_iou": dict(zip(("before", "after"), self.duplicate_iou, strict=True)),
            "classes": {one.name: one.as_dict() for one in self.classes},
            "probabilities": dict(self.probabilities.about),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def calibrate(project: Project, truth: Truth, ontology: Ontology) -> Calibration:
    """Return the settings that suit a truth best; changes nothing and runs no model.

    Args:
        project: Its stored candidates are read.
        truth: Some of its pictures, labelled right and completely.
        ontology: The settings in use; its prompts are those the project asked.

    Raises:
        FormatError: If truth and project don't fit, or hold too little to choose by.
    """
    began = time.perf_counter()
    classes = match_classes(truth, ontology.class_names)
    floor = float(project.meta().get("floor", "0"))
    samples = read_samples(project, truth, ontology, classes)
    taken = _taken(samples, truth, project)
    chooser = Chooser(samples, ontology, floor)
    folds = [taken[start::FOLDS] for start in range(FOLDS)]
    choices = [chooser.choose(_others(taken, fold)) for fold in folds]
    before = samples.rows(ontology, taken)
    held_out = [
        samples.rows(choice.applied(ontology), fold)
        for choice, fold in zip(choices, folds, strict=True)
    ]
    all_of_them = [chooser.rows(fold, choice) for choice, fold in zip(choices, folds, strict=True)]
    chosen = chooser.choose(taken)
    scored = f1_intervals(samples.truths, taken, before, Rows.joined(held_out), _SEED)
    probabilities = fit_probabilities(
        ontology.class_names,
        chooser.rows(taken, chosen),
        all_of_them,
        judge(chooser, choices, folds, held_out, all_of_them, len(ontology.classes)),
        judge(chooser, choices, folds, all_of_them, all_of_them, len(ontology.classes)),
        len(taken),
    )
    return Calibration(
        len(taken),
        _class_fits(ontology, samples, taken, chosen, scored.class_before, scored.class_after),
        scored.before,
        scored.after,
        scored.gain,
        chosen,
        (ontology.duplicate_iou, chosen.duplicate_iou),
        scored.gain.value > 0,
        probabilities,
        _notes(truth, ontology, classes, samples, taken),
        time.perf_counter() - began,
    )


def _taken(samples: Samples, truth: Truth, project: Project) -> list[int]:
    """Return which pictures to look at, shuffled the same way every time.

    Raises:
        FormatError: If there are too few, or nothing in them to choose by.
    """
    where = f"{truth.path}: "
    if not samples.names:
        theirs = ", ".join(list(truth.pictures)[:3]) or "none"
        raise FormatError(
            f"{where}no picture in common with {project.folder}; the truth has e.g. {theirs}"
        )
    if not samples.truths.sum():
        raise FormatError(
            f"{where}holds no object in the {len(samples.names)} pictures in common: nothing can "
            "be calibrated (label some objects, and every one of them in those pictures)"
        )
    if len(samples.names) < LEAST_PICTURES:
        raise FormatError(
            f"{where}has {len(samples.names)} pictures in common with {project.folder}, expected "
            f"{LEAST_PICTURES} or more (50 are a good start)"
        )
    if not any(len(one.candidates.proposals) for one in samples.pictures):
        raise FormatError(
            f"{project.folder}: has no stored candidates in these pictures, as with imported "
            "labels: there is nothing to choose from"
        )
    order = np.random.default_rng(_SEED).permutation(len(samples.names))
    return [int(index) for index in order[:MOST_PICTURES]]


def _others(taken: Sequence[int], fold: Sequence[int]) -> list[int]:
    """Return the pictures outside a fold."""
    inside = set(fold)
    return [index for index in taken if index not in inside]


def _class_fits(
    ontology: Ontology,
    samples: Samples,
    taken: Sequence[int],
    chosen: Chosen,
    before: Sequence[float | None],
    after: Sequence[float | None],
) -> tuple[ClassFit, ...]:
    """Return what was chosen for each class."""
    truths = samples.truths[list(taken)].sum(0)
    fits = []
    for index, spec in enumerate(ontology.classes):
        note = ""
        if not samples.measurable[index]:
            note = "not in the truth"
        elif truths[index] == 0:
            note = "not measurable: never seen in the truth"
        elif truths[index] < LEAST_TRUTHS:
            note = f"too few examples ({truths[index]}, expected {LEAST_TRUTHS} or more)"
        elif spec.name not in chosen.thresholds:
            note = "no candidates to choose from"
        fits.append(
            ClassFit(
                spec.name,
                int(truths[index]),
                spec.threshold,
                chosen.thresholds.get(spec.name, spec.threshold),
                chosen.margins.get(spec.name),
                chosen.weights.get(spec.name),
                before[index],
                after[index],
                note,
            )
        )
    return tuple(fits)


def _notes(
    truth: Truth, ontology: Ontology, classes: dict[int, int], samples: Samples, taken: list[int]
) -> tuple[str, ...]:
    """Return what the figures don't cover."""
    notes = []
    lacking = sorted(set(truth.categories) - {ontology.class_names[index] for index in classes})
    spare = [name for index, name in enumerate(ontology.class_names) if index not in classes]
    if told := [f"{n} (is it {near}?)" if (near := nearest(n, spare)) else n for n in lacking]:
        notes.append(f"classes of the truth that the ontology lacks, left out: {', '.join(told)}")
    if len(truth.pictures) > len(samples.names):
        count = len(truth.pictures) - len(samples.names)
        notes.append(
            f"{count} of the truth's {len(truth.pictures)} pictures are not in the project"
        )
    seen = samples.truths[taken].sum(0)
    if few := int((samples.measurable & (seen < LEAST_TRUTHS)).sum()):
        notes.append(
            f"{few} of {len(seen)} classes have too few examples: their settings stay, and how "
            "likely their labels are right is taken from the other classes"
        )
    if len(taken) < len(samples.names):
        notes.append(f"{len(taken)} of {len(samples.names)} labelled pictures were looked at")
    if truth.videos:
        notes.append("clips keep no candidates and are not looked at")
    return tuple(notes)
