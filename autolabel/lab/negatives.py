"""Which `not:` prompts of a project earn their keep, measured against a truth without a model.

The store has every prompt's score for every candidate, so that labels can be selected with and
without each negative prompt. A prompt is measured twice: alone, and by leaving it out of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autolabel.boxes import box_iou
from autolabel.errors import FormatError, ProjectError
from autolabel.evaluate.truth import Truth, match_classes, match_names
from autolabel.ontology import Ontology, parse_ontology
from autolabel.select import align, select
from autolabel.store import Project
from autolabel.types import Boxes, Candidates, Proposals

MATCH_IOU = 0.5
"""A label is right when it overlaps an unclaimed truth of its class so much."""
LEAST_WRONG = 2
"""So many wrong labels on things of one name suggest that name as a negative prompt."""

Removed = tuple[int, int]
"""Wrong labels, and right ones."""


@dataclass(frozen=True, slots=True)
class Count:
    """Labels of a selection: how many, how many are right, and the truths there are."""

    labels: int
    right: int
    truths: int

    @property
    def wrong(self) -> int:
        """Labels that are not right."""
        return self.labels - self.right

    @property
    def recall(self) -> float | None:
        """Share of the truths that were found; None without any."""
        return self.right / self.truths if self.truths else None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "labels": self.labels,
            "right": self.right,
            "wrong": self.wrong,
            "truths": self.truths,
            "recall": self.recall,
        }


@dataclass(frozen=True, slots=True)
class Worth:
    """What one negative prompt does.

    Attributes:
        prompt: Its text.
        against: The classes that have it.
        alone: What it removes where it is the only one: wrong labels, right labels.
        last: What only it removes: what comes back when it alone is left out.
    """

    prompt: str
    against: tuple[str, ...]
    alone: Removed
    last: Removed

    @property
    def verdict(self) -> str:
        """What to do about it, in a word."""
        if self.last[0] > self.last[1]:
            return "helps"
        if self.last[1] > self.last[0]:
            return "harms"
        if self.last != (0, 0):
            return "even"
        return "spare" if self.alone != (0, 0) else "idle"


@dataclass(frozen=True, slots=True)
class NegativeReport:
    """What ``measure_negatives`` found.

    Attributes:
        pictures: Pictures that both sides have.
        without: The labels if there were no negative prompts.
        with_all: The labels with all of them.
        worths: Each prompt's worth, the most useful first.
        suggestions: Class, thing that wrong labels of it lie on, and how many, where that is
            no negative prompt of the class yet.
    """

    pictures: int
    without: Count
    with_all: Count
    worths: tuple[Worth, ...]
    suggestions: tuple[tuple[str, str, int], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "pictures": self.pictures,
            "without": self.without.as_dict(),
            "with_all": self.with_all.as_dict(),
            "prompts": [
                {
                    "prompt": one.prompt,
                    "against": list(one.against),
                    "alone": {"wrong": one.alone[0], "right": one.alone[1]},
                    "last": {"wrong": one.last[0], "right": one.last[1]},
                    "verdict": one.verdict,
                }
                for one in self.worths
            ],
            "suggestions": [
                {"class": name, "not": thing, "wrong": count}
                for name, thing, count in self.suggestions
            ],
        }


@dataclass(frozen=True, slots=True)
class _Picture:
    """One picture's candidates, what was asked of it, and what is in it.

    ``things`` are class ids; those that the ontology lacks count on from -1 downwards.
    """

    found: Candidates
    asked: tuple[str, ...]
    boxes: Boxes
    things: tuple[int, ...]


def measure_negatives(project: Project, truth: Truth) -> NegativeReport:
    """Return what each negative prompt of a project does for its labels.

    Raises:
        FormatError: If truth and project have no picture or no class in common.
        ProjectError: If the project doesn't know its ontology (it was imported).
    """
    text = project.meta().get("ontology")
    if not text or not project.prompts():
        raise ProjectError(
            f"{project.folder}: holds no candidates to select from; `autolabel run` makes such a "
            "project"
        )
    ontology = _one_spelling(parse_ontology(text))
    names = sorted({text for spec in ontology.classes for text in spec.negatives})
    variants = _variants(ontology, names)
    things = _things(truth, ontology)
    counts: Counter[tuple[tuple[str, str], str]] = Counter()
    on: Counter[tuple[int, int]] = Counter()
    pictures = truths = 0
    for picture in _pictures(project, truth, things):
        pictures += 1
        truths += sum(thing >= 0 for thing in picture.things)
        for key, variant in variants.items():
            labels, right, wrong_on = _judged(picture, variant)
            counts[key, "labels"] += labels
            counts[key, "right"] += right
            if key == ("", "all"):
                on.update(wrong_on)
    if not pictures:
        raise FormatError(f"{truth.path}: no picture in common with {project.folder}")
    found = {key: Count(counts[key, "labels"], counts[key, "right"], truths) for key in variants}
    worths = [_worth(name, ontology, found) for name in names]
    return NegativeReport(
        pictures,
        found["", "none"],
        found["", "all"],
        tuple(sorted(worths, key=lambda one: (one.last[1] - one.last[0], -one.alone[0]))),
        tuple(_suggestions(on, ontology, {number: name for name, number in things.items()})),
    )


def _one_spelling(ontology: Ontology) -> Ontology:
    """Return the ontology with each negative prompt as it was asked, whatever its capitals."""
    asked = {text.casefold(): text for text in ontology.prompts}
    return replace(
        ontology,
        classes=tuple(
            replace(spec, negatives=tuple(asked[text.casefold()] for text in spec.negatives))
            for spec in ontology.classes
        ),
    )


def _variants(ontology: Ontology, names: Sequence[str]) -> dict[tuple[str, str], Ontology]:
    """Return the ontologies to compare, by negative prompt and what is done with it."""
    found = {("", "all"): ontology, ("", "none"): _only(ontology, ())}
    for name in names:
        found[name, "alone"] = _only(ontology, (name,))
        found[name, "left out"] = _only(ontology, [one for one in names if one != name])
    return found


def _only(ontology: Ontology, negatives: Iterable[str]) -> Ontology:
    """Return the ontology with these negative prompts alone."""
    kept = set(negatives)
    return replace(
        ontology,
        classes=tuple(
            replace(spec, negatives=tuple(text for text in spec.negatives if text in kept))
            for spec in ontology.classes
        ),
    )


def _things(truth: Truth, ontology: Ontology) -> dict[str, int]:
    """Return the number of each of the truth's classes: its class id, or below 0."""
    known = match_classes(truth, ontology.class_names)
    ours = {category: class_id for class_id, category in known.items()}
    spare = (category for category in truth.categories.values() if category not in ours)
    numbers = ours | {category: -1 - place for place, category in enumerate(spare)}
    return {name: numbers[category] for name, category in truth.categories.items()}


def _pictures(project: Project, truth: Truth, things: Mapping[str, int]) -> Iterator[_Picture]:
    """Yield the pictures that both have, each with its candidates and what is in it."""
    asked = tuple(project.prompts())
    names = {category: name for name, category in truth.categories.items()}
    inside: dict[int, list[dict[str, Any]]] = {}
    for one in truth.data["annotations"]:
        inside.setdefault(one["image_id"], []).append(one)
    known = [media.name for media in project.media("done") if media.kind == "image"]
    for ours, theirs in match_names(known, list(truth.pictures)).items():
        here = [
            one for one in inside.get(truth.pictures[theirs]["id"], []) if not one.get("iscrowd")
        ]
        corners = np.array([one["bbox"] for one in here], np.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        media = project.find(ours)
        assert media is not None
        found = project.candidates(ours).get(0) or Candidates(
            media.height, media.width, Proposals.empty(len(asked)), (), ()
        )
        numbers = tuple(things[names[one["category_id"]]] for one in here)
        yield _Picture(found, asked, corners, numbers)


def _judged(picture: _Picture, ontology: Ontology) -> tuple[int, int, list[tuple[int, int]]]:
    """Return labels, right ones, and for each wrong one that lies on a thing: class and thing."""
    found = picture.found
    proposals = align(found.proposals, picture.asked, ontology)
    chosen = select(proposals, ontology, found.height, found.width)
    overlap = box_iou(proposals.boxes, picture.boxes)
    things = np.array(picture.things, np.intp)
    free = np.ones(len(things), bool)
    right, wrong_on = 0, []
    for label in chosen:
        near = overlap[label.candidate] >= MATCH_IOU
        mine = np.flatnonzero(near & free & (things == label.class_id))
        if len(mine):
            free[mine[overlap[label.candidate][mine].argmax()]] = False
            right += 1
        elif (near & (things != label.class_id)).any():
            other = np.flatnonzero(near & (things != label.class_id))
            best = other[overlap[label.candidate][other].argmax()]
            wrong_on.append((label.class_id, int(things[best])))
    return len(chosen), right, wrong_on


def _worth(name: str, ontology: Ontology, found: Mapping[tuple[str, str], Count]) -> Worth:
    """Return what one negative prompt does."""
    none, every = found["", "none"], found["", "all"]
    alone, without = found[name, "alone"], found[name, "left out"]
    against = tuple(spec.name for spec in ontology.classes if name in spec.negatives)
    return Worth(
        name,
        against,
        (none.wrong - alone.wrong, none.right - alone.right),
        (without.wrong - every.wrong, without.right - every.right),
    )


def _suggestions(
    on: Counter[tuple[int, int]], ontology: Ontology, names: Mapping[int, str]
) -> Iterator[tuple[str, str, int]]:
    """Yield what wrong labels lie on and no negative prompt speaks of, the most frequent first."""
    for (class_id, thing), count in on.most_common():
        spec = ontology.classes[class_id]
        if count >= LEAST_WRONG and names[thing] not in (*spec.negatives, *spec.prompts):
            yield spec.name, names[thing], count
