"""What is remarkable only beside the rest of a project: odd sizes, broken tracks, crowds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from autolabel.errors import OntologyError
from autolabel.ontology import parse_ontology
from autolabel.store import Project

ENOUGH = 12
"""Labels of a class from which its usual size can be told."""
SPREADS = 4.0
"""How many times the usual spread (of the logarithm of the area) makes a size odd."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the saved views need to know of all labels.

    Attributes:
        odd_sizes: Row ids of labels that are much larger or smaller than their class.
        track_breaks: Row ids of the labels at both sides of a gap in a track.
        crowded: Labels from which a picture is among the fullest twentieth.
        thresholds: Each class's threshold by name, where the project knows it.
    """

    odd_sizes: frozenset[int]
    track_breaks: frozenset[int]
    crowded: int
    thresholds: dict[str, float]


def find_flags(project: Project) -> Flags:
    """Return what is remarkable in a project; one pass over its labels, none of their masks."""
    sizes: dict[int, list[tuple[float, int]]] = defaultdict(list)
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    steps: dict[int, int] = {}
    counts: Counter[tuple[int, int]] = Counter()
    for one in project.label_sizes():
        if one.status != "rejected":
            counts[(one.media_id, one.frame_index)] += 1
            sizes[one.class_id].append((math.log(max(one.share, 1e-9)), one.id))
        if one.track_id is not None and one.status != "rejected":
            tracks[(one.media_id, one.track_id)].append((one.frame_index, one.id))
    for (media_id, _), track in tracks.items():
        track.sort()
        for (before, _), (after, _) in pairwise(track):
            if after > before:
                steps[media_id] = min(steps.get(media_id, after - before), after - before)
    return Flags(
        frozenset(odd for group in sizes.values() for odd in _odd(group)),
        frozenset(
            label
            for (media_id, _), track in tracks.items()
            for label in _breaks(track, steps.get(media_id, 1))
        ),
        _crowded(counts),
        _thresholds(project),
    )


def _odd(group: list[tuple[float, int]]) -> list[int]:
    """Return the labels of one class whose size is far from the others'."""
    if len(group) < ENOUGH:
        return []
    middle = median(size for size, _ in group)
    # 1.4826: from the median distance to a standard deviation. At least a factor of 1.65 a step.
    spread = max(1.4826 * median(abs(size - middle) for size, _ in group), 0.5)
    return [label for size, label in group if abs(size - middle) > SPREADS * spread]


def _breaks(track: list[tuple[int, int]], step: int) -> list[int]:
    """Return the labels beside the gaps of one track, sorted by frame."""
    found = []
    for (before, left), (after, right) in pairwise(track):
        if after - before > step:
            found += [left, right]
    return found


def _crowded(counts: Counter[tuple[int, int]]) -> int:
    """Return how many labels make a picture one of the fullest twentieth, at least 10."""
    ordered = sorted(counts.values())
    return max(10, ordered[int(len(ordered) * 0.95)] if ordered else 0)


def _thresholds(project: Project) -> dict[str, float]:
    """Return each class's threshold as the project's own ontology has it."""
    try:
        ontology = parse_ontology(project.meta().get("ontology", ""))
    except OntologyError:
        return {}
    return {spec.name: spec.threshold for spec in ontology.classes}
