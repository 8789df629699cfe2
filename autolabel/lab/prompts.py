"""Wordings of a prompt tried on a few pictures, each as a run with it would label them.

A wording is asked in its place: beside the prompts of all other classes, with the threshold,
limits and negative prompts of its class, for all of these decide what becomes a label.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from autolabel.boxes import box_iou
from autolabel.errors import InputError, UsageError
from autolabel.media.inputs import spooled
from autolabel.media.pictures import read_image
from autolabel.ontology import ClassSpec, Ontology
from autolabel.ontology.model import check_prompt
from autolabel.pipeline import Question, Stages, label_images
from autolabel.select import class_scores
from autolabel.types import Boxes, Candidates, Image, Instance

MOST_PICTURES = 12
MOST_WORDINGS = 24
SAME = 0.5
"""Labels of two wordings that overlap so much are one object."""


@dataclass(frozen=True, slots=True)
class Wording:
    """A prompt, or a class's prompts together, in the ontology it is asked with.

    Attributes:
        text: What to call it.
        class_id: The class whose labels are its, in ``ontology``.
        ontology: What is asked.
    """

    text: str
    class_id: int
    ontology: Ontology

    @property
    def threshold(self) -> float:
        """The lowest score of a label."""
        return self.ontology.classes[self.class_id].threshold


@dataclass(frozen=True, slots=True)
class Found:
    """What one wording found in one picture: labels, and boxes below the threshold."""

    labels: tuple[Instance, ...]
    below: Boxes


@dataclass(frozen=True, slots=True)
class Trial:
    """One wording on all pictures.

    Attributes:
        wording: What was asked.
        found: One entry a picture.
        shared: How many of the objects that any wording found this one did.
    """

    wording: Wording
    found: tuple[Found, ...]
    shared: int

    @property
    def scores(self) -> list[float]:
        """The labels' scores, best first."""
        found = (float(one.score or 0.0) for picture in self.found for one in picture.labels)
        return sorted(found, reverse=True)


@dataclass(frozen=True, slots=True)
class LabReport:
    """What ``try_wordings`` found.

    Attributes:
        names: The pictures.
        images: Their pixels.
        trials: One a wording, in the order asked.
        objects: Objects that at least one wording found.
        warnings: What the model doesn't understand.
        failed: Pictures that can't be read, and why.
    """

    names: tuple[str, ...]
    images: tuple[Image, ...]
    trials: tuple[Trial, ...]
    objects: int
    warnings: tuple[str, ...]
    failed: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "pictures": list(self.names),
            "objects": self.objects,
            "prompts": [
                {
                    "prompt": one.wording.text,
                    "class": one.wording.ontology.class_names[one.wording.class_id],
                    "threshold": one.wording.threshold,
                    "labels": len(one.scores),
                    "by_picture": [len(found.labels) for found in one.found],
                    "below": sum(len(found.below) for found in one.found),
                    "shared": one.shared,
                    "best": max(one.scores, default=None),
                    "median": median(one.scores) if one.scores else None,
                }
                for one in self.trials
            ],
            "warnings": list(self.warnings),
            "failed": list(self.failed),
        }


def wordings(ontology: Ontology, prompts: Sequence[str], class_name: str | None) -> list[Wording]:
    """Return what to ask: each prompt in its class's place, beside all other classes.

    Args:
        ontology: What they are asked with.
        prompts: The wordings; none for those that the ontology has.
        class_name: The class that they mean, whose own prompts come first for comparison. None:
            a prompt of the ontology means its class, another one a class of its own.

    Raises:
        UsageError: If there is no such class, or a prompt can't be one.
    """
    for text in prompts:
        try:
            check_prompt(text)
        except ValueError as error:
            raise UsageError(f"--prompt {text!r}: {error}") from None
    if class_name is None:
        asked = list(dict.fromkeys(prompts)) or _own_prompts(ontology)
        found = [_by_itself(ontology, text) for text in asked]
    else:
        class_id = _class_id(ontology, class_name)
        own = ontology.classes[class_id].prompts
        asked = [text for text in dict.fromkeys(prompts) if own != (text,)]
        found = [Wording(" + ".join(own), class_id, ontology)]
        found += [_in_place(ontology, class_id, text) for text in asked or own if own != (text,)]
    if len(found) > MOST_WORDINGS:
        raise UsageError(f"found {len(found)} prompts to try, expected up to {MOST_WORDINGS}")
    return found


def _own_prompts(ontology: Ontology) -> list[str]:
    """Return the ontology's own prompts, negative ones aside."""
    return [text for spec in ontology.classes for text in spec.prompts]


def _class_id(ontology: Ontology, name: str) -> int:
    """Return the class of this name."""
    if name in ontology.class_names:
        return ontology.class_names.index(name)
    near = difflib.get_close_matches(name, ontology.class_names, 3, 0.4)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"--class {name}: the ontology has no such class.{hint}")


def _by_itself(ontology: Ontology, text: str) -> Wording:
    """Return a wording that means its class, or a class of its own."""
    for class_id, spec in enumerate(ontology.classes):
        if text.casefold() in (own.casefold() for own in spec.prompts):
            return _in_place(ontology, class_id, text)
    names = {name.casefold() for name in ontology.class_names}
    name = text if text.casefold() not in names else f"{text} (tried)"
    classes = (*ontology.classes, ClassSpec(name, (text,)))
    return Wording(text, len(ontology.classes), replace(ontology, classes=classes))


def _in_place(ontology: Ontology, class_id: int, text: str) -> Wording:
    """Return a wording in place of a class's prompts."""
    spec = ontology.classes[class_id]
    negatives = tuple(one for one in spec.negatives if one.casefold() != text.casefold())
    classes = list(ontology.classes)
    classes[class_id] = replace(spec, prompts=(text,), negatives=negatives)
    return Wording(text, class_id, replace(ontology, classes=tuple(classes)))


def try_wordings(
    inputs: Sequence[str | Path], asked: Sequence[Wording], stages: Stages, floor: float
) -> LabReport:
    """Return what each wording finds in a few pictures.

    Args:
        inputs: Files, folders and globs of up to ``MOST_PICTURES`` pictures.
        asked: The wordings.
        stages: The models.
        floor: Boxes below it are nothing at all.

    Raises:
        UsageError: If there are no pictures, too many, or none that can be read.
    """
    names, images, failed = _read(inputs)
    warnings: dict[str, None] = {}
    answers = []
    for wording in asked:
        prompts = wording.ontology.prompts
        warnings |= dict.fromkeys(stages.grounder.check_prompts(prompts))
        question = Question(wording.ontology, prompts, floor)
        answers.append(
            [_found(label_images([image], question, stages)[0], wording) for image in images]
        )
    shares, objects = _shared(answers)
    trials = (
        Trial(wording, tuple(found), shared)
        for wording, found, shared in zip(asked, answers, shares, strict=True)
    )
    return LabReport(
        tuple(names), tuple(images), tuple(trials), objects, tuple(warnings), tuple(failed)
    )


def _read(inputs: Sequence[str | Path]) -> tuple[list[str], list[Image], list[str]]:
    """Return the pictures that can be read, and why the others can't."""
    with spooled(inputs, frame_folders=False, exclude=[]) as spool:
        items = [item for item in spool.items(None) if item.kind == "image"]
    if not items:
        raise UsageError("found no pictures to try the prompts on")
    if len(items) > MOST_PICTURES:
        raise UsageError(
            f"found {len(items)} pictures; prompts are tried on up to {MOST_PICTURES}: name some"
        )
    names, images, failed = [], [], []
    for item in items:
        try:
            images.append(read_image(item.path)[0].image)
            names.append(item.name)
        except (InputError, OSError) as error:
            failed.append(f"{item.name}: {str(error).removeprefix(f'{item.path}: ')}")
    if not images:
        raise UsageError(f"none of the pictures can be read. {'; '.join(failed)}")
    return names, images, failed


def _found(answer: Any, wording: Wording) -> Found:
    """Return a wording's labels in one picture, and its boxes below the threshold."""
    labels = tuple(one for one in answer.instances if one.class_id == wording.class_id)
    candidates: Candidates = answer.candidates
    scores = class_scores(candidates.proposals, wording.ontology)
    mine = scores.argmax(axis=1) == wording.class_id if len(scores) else np.zeros(0, bool)
    below = mine & (scores.max(axis=1, initial=0.0) < wording.threshold)
    return Found(labels, candidates.proposals.boxes[below])


def _shared(answers: Sequence[Sequence[Found]]) -> tuple[list[int], int]:
    """Return how many of all objects each wording found, and how many there are."""
    shares, objects = [0] * len(answers), 0
    for pictures in zip(*answers, strict=True):
        known: list[tuple[Boxes, set[int]]] = []
        for number, found in enumerate(pictures):
            for one in found.labels:
                box = np.array([one.box], np.float32)
                same = next((who for b, who in known if box_iou(b, box)[0, 0] >= SAME), None)
                if same is None:
                    known.append((box, {number}))
                else:
                    same.add(number)
        objects += len(known)
        for _, who in known:
            for number in who:
                shares[number] += 1
    return shares, objects
