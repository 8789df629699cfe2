"""Pictures to labels: composes the stages it is given and knows no adapter by name.

    ground -> to_segment -> segment -> merge views -> select -> instances

Everything here is a function of its arguments. Reading files, storing results and showing
progress are the engine's work (``autolabel.engines``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autolabel import masks as rle
from autolabel.clock import measured
from autolabel.ontology import Ontology
from autolabel.select import align, select, to_segment, with_masks
from autolabel.stages import Grounder, Paid, Segmenter, TextSegmenter
from autolabel.types import (
    RLE,
    Boxes,
    Candidates,
    Image,
    Instance,
    Proposals,
    Segments,
    Selected,
)
from autolabel.views.agreement import doubt
from autolabel.views.merging import merge_views


@dataclass(frozen=True, slots=True)
class Labelled:
    """One picture's candidates and its labels."""

    candidates: Candidates
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Stages:
    """The models of a run.

    Attributes:
        grounder: Finds boxes.
        segmenter: Makes masks; None for boxes only. May be the grounder (``TextSegmenter``).
        paid: What in the grounder sends pictures to somebody who counts them.
        pictures: Makes the masks of pictures; None: ``segmenter`` does, as it does for key
            frames, whose objects a tracker is shown.
        models: The models themselves, without what is put around them.
    """

    grounder: Grounder
    segmenter: Segmenter | None
    paid: tuple[Paid, ...] = ()
    pictures: Segmenter | None = None
    models: tuple[object, ...] = ()

    def for_pictures(self) -> Stages:
        """Return the models as pictures are labelled with."""
        return self if self.pictures is None else replace(self, segmenter=self.pictures)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every picture.

    Attributes:
        ontology: What to look for, and what becomes a label.
        asked: The prompts in the order in which the project asks them: the columns of all
            its stored scores. The ontology's order may have changed since.
        floor: Candidates whose best prompt scores less are dropped.
    """

    ontology: Ontology
    asked: tuple[str, ...]
    floor: float


def label_images(images: Sequence[Image], question: Question, stages: Stages) -> list[Labelled]:
    """Return the labels of a batch of pictures, in order.

    Args:
        images: uint8 (H, W, 3) RGB; sizes may differ.
        question: What to look for.
        stages: The models.
    """
    grounder = stages.grounder
    if isinstance(grounder, TextSegmenter) and id(stages.segmenter) == id(grounder):
        with measured("ground"):
            both = grounder.ground_masks(images, question.asked, question.floor)
        candidates = [
            _with_masks(image.shape[0], image.shape[1], found, np.arange(len(found)), masks)
            for image, (found, masks) in zip(images, both, strict=True)
        ]
    else:
        with measured("ground"):
            proposals = grounder.ground(images, question.asked, question.floor)
        with measured("segment"):
            candidates = [
                merge_views(found, question.asked, question.ontology, question.floor)
                for found in _segment(images, proposals, question, stages.segmenter)
            ]
    with measured("select"):
        instances = [instances_of(found, question) for found in candidates]
    return [Labelled(found, labels) for found, labels in zip(candidates, instances, strict=True)]


def instances_of(candidates: Candidates, question: Question) -> tuple[Instance, ...]:
    """Return the labels that an ontology selects from a frame's candidates, without a model."""
    ontology = question.ontology
    aligned = align(candidates.proposals, question.asked, ontology)
    chosen = select(aligned, ontology, candidates.height, candidates.width)
    kept = with_masks(chosen, candidates)
    found = (_instance(candidates, item, ontology) for item in kept)
    if aligned.opinions is None:
        return tuple(found)
    opinions = (aligned.opinions[item.candidate] for item in kept)
    return tuple(
        replace(one, doubt=doubt(opinion, one.class_id, ontology))
        for one, opinion in zip(found, opinions, strict=True)
    )


def _segment(
    images: Sequence[Image],
    proposals: Sequence[Proposals],
    question: Question,
    segmenter: Segmenter | None,
) -> list[Candidates]:
    """Return the candidates of each picture with masks where a label may be selected."""
    sizes = [image.shape[:2] for image in images]
    if segmenter is None:
        return [
            Candidates(height, width, found, (None,) * len(found), (None,) * len(found))
            for (height, width), found in zip(sizes, proposals, strict=True)
        ]
    rows = [
        to_segment(
            align(found, question.asked, question.ontology),
            question.ontology,
            height,
            width,
            question.floor,
        )
        for (height, width), found in zip(sizes, proposals, strict=True)
    ]
    boxes: list[Boxes] = [found.boxes[index] for found, index in zip(proposals, rows, strict=True)]
    segments = segmenter.segment(images, boxes)
    return [
        _with_masks(size[0], size[1], found, index, masks)
        for size, found, index, masks in zip(sizes, proposals, rows, segments, strict=True)
    ]


def _with_masks(
    height: int, width: int, proposals: Proposals, rows: np.ndarray, segments: Segments
) -> Candidates:
    """Return candidates whose ``rows`` carry the masks of ``segments``."""
    masks: list[RLE | None] = [None] * len(proposals)
    scores: list[float | None] = [None] * len(proposals)
    for row, mask, score in zip(rows, segments.masks, segments.scores, strict=True):
        masks[row], scores[row] = mask, float(score)
    return Candidates(height, width, proposals, tuple(masks), tuple(scores))


def _instance(candidates: Candidates, chosen: Selected, ontology: Ontology) -> Instance:
    """Return the label of one selected candidate; its box is the mask's where there is one."""
    x1, y1, x2, y2 = (float(v) for v in candidates.proposals.boxes[chosen.candidate])
    mask = candidates.masks[chosen.candidate]
    tight = rle.tight_box(mask) if mask is not None else None
    return Instance(
        class_id=chosen.class_id,
        box=tight if tight is not None else (x1, y1, x2, y2),
        detector_box=(x1, y1, x2, y2),
        mask=mask if tight is not None else None,
        score=chosen.score,
        mask_score=candidates.mask_scores[chosen.candidate],
        prompt=ontology.prompts[chosen.prompt_id],
        runner_up_class=chosen.runner_up_class,
        runner_up_score=chosen.runner_up_score,
    )
