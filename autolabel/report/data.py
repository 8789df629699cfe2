"""What the report tells of a project, counted in one pass over its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import AutolabelError
from autolabel.evaluate.samples import Rows, lowered, read_samples
from autolabel.evaluate.truth import Truth, match_classes
from autolabel.ontology import Ontology, parse_ontology
from autolabel.store import Project

SCORE_BINS = 20
SIZE_EDGES = (0, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts of a project's labels.

    Attributes:
        scores: (C, SCORE_BINS), labels of each class by score.
        sizes: (len(SIZE_EDGES),), labels by the square root of their box's area, in pixels.
        labels: (C,), labels of each class, a human's too.
        sides: (C,), the median of that square root; NaN without labels.
    """

    scores: Counts
    sizes: Counts
    labels: Counts
    sides: Floats


def overview(project: Project) -> Overview:
    """Return the counts; memory is some bytes a label."""
    classes = len(project.class_names())
    scores = np.zeros((classes, SCORE_BINS), np.int64)
    sides: list[list[float]] = [[] for _ in range(classes)]
    for _, labels in project.labelled():
        for one in labels:
            x1, y1, x2, y2 = one.box
            sides[one.class_id].append(max(0.0, (x2 - x1) * (y2 - y1)) ** 0.5)
            if one.score is not None:
                scores[one.class_id, min(SCORE_BINS - 1, int(one.score * SCORE_BINS))] += 1
    every = np.array([side for part in sides for side in part])
    return Overview(
        scores,
        np.histogram(every, [*SIZE_EDGES, np.inf])[0],
        np.array([len(part) for part in sides]),
        np.array([np.median(part) if part else np.nan for part in sides]),
    )


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """One class's precision and recall at every threshold, and at the one in use."""

    name: str
    recall: Floats
    precision: Floats
    at: tuple[float, float] | None
    truths: int


def ontology_of(project: Project) -> Ontology | None:
    """Return the ontology that a project's labels were selected with; None for imported ones."""
    written = project.meta().get("ontology")
    return parse_ontology(written) if written else None


def curves(project: Project, truth: Truth) -> list[PrecisionRecall]:
    """Return the curves of the classes that the truth has, from stored candidates."""
    ontology = ontology_of(project)
    if ontology is None or not project.prompts():
        return []
    try:
        classes = match_classes(truth, ontology.class_names)
        samples = read_samples(project, truth, ontology, classes)
    except AutolabelError:
        return []
    every = range(len(samples.names))
    floor = float(project.meta().get("floor", "0"))
    rows = samples.rows(lowered(ontology, floor), every)
    truths = samples.truths.sum(0)
    return [
        _curve(spec.name, rows.where(rows.classes == index), int(truths[index]), spec.threshold)
        for index, spec in enumerate(ontology.classes)
        if truths[index]
    ]


def _curve(name: str, rows: Rows, truths: int, threshold: float) -> PrecisionRecall:
    """Return one class's curve."""
    order = np.argsort(-rows.scores, kind="stable")
    right = rows.right[order].cumsum()
    count = np.arange(1, len(order) + 1)
    recall, precision = right / truths, right / count
    used = int((rows.scores.astype(np.float32) >= np.float32(threshold)).sum())
    at = (float(recall[used - 1]), float(precision[used - 1])) if used else None
    return PrecisionRecall(name, recall, precision, at, truths)
