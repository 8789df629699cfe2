"""From candidates to labels: thresholds, negatives, area limits and duplicates; no models.

Everything here is a pure function of stored candidates and an ontology, so that a changed
threshold needs no model. The steps, in this order:

1. A box belongs to the class whose best prompt scores most; the next best is its runner-up.
2. Within a class, a box that overlaps a better one by ``duplicate_iou`` is a duplicate.
   ``to_segment`` stops here: what is left gets a mask.
3. Where classes have weights, steps 1 and 2 once more for what is left, by score times weight;
   from then on that says which box is better, too.
4. Limits: the class's threshold, its area limits, its negative prompts, all by plain scores.
5. A box that merely frames several better boxes of its class is dropped (`group box`).
6. Across classes, of two boxes that overlap by ``cross_class_iou`` the better one stays and
   the other becomes its runner-up.

Duplicates go first, before any limit or weight, on purpose: what survives step 2 then depends on
none of them, so masks computed once serve every later choice of thresholds, weights, areas,
negatives and ``cross_class_iou``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autolabel.boxes import box_area, box_iou
from autolabel.ontology.model import Ontology
from autolabel.pairs import Bools, Ints, Pairs
from autolabel.types import Boxes, Candidates, Proposals, Scores, Selected

GROUP_INSIDE = 0.9
"""Share of a member's area that lies in its group's box."""
GROUP_HULL_IOU = 0.85
"""How well the members' common frame must match the group's box."""


def select(proposals: Proposals, ontology: Ontology, height: int, width: int) -> list[Selected]:
    """Return the candidates that become labels, best first.

    Ties go to the smaller box coordinates (x1, y1, x2, y2), then to the earlier candidate,
    then to the earlier class.

    Args:
        proposals: Boxes (N, 4) and scores (N, P), a column for each of ``ontology.prompts``.
        ontology: The classes and their limits.
        height: Rows of the picture.
        width: Columns of the picture.

    Raises:
        ValueError: If there isn't one column a prompt.
    """
    return choose(prepare(proposals, ontology, height, width), ontology)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture's candidates after steps 1 and 2, from which ``choose`` takes the labels.

    Serves every ontology with the same classes, prompts and ``duplicate_iou``, and with the
    same ``cross_class_iou`` or a higher one, whatever its weights.
    """

    proposals: Proposals
    found: _Found
    pixels: int
    unscored: NDArray[np.bool_]


def prepare(proposals: Proposals, ontology: Ontology, height: int, width: int) -> Prepared:
    """Return what is the same for all thresholds, limits and margins: the costly part.

    Raises:
        ValueError: If there isn't one column a prompt.
    """
    ranked = _ranked(proposals)
    found = _candidates(ranked, ontology, height, width, 0.0)
    unscored = np.asarray(np.isnan(proposals.scores).any(axis=1))
    return Prepared(ranked, found, height * width, unscored)


def choose(prepared: Prepared, ontology: Ontology) -> list[Selected]:
    """Return the candidates that become labels, best first, as ``select`` does."""
    proposals = prepared.proposals
    found = _weighed(prepared.found, proposals, ontology)
    keep = _within_limits(found, ontology, prepared.pixels)
    keep &= ~_explained_away(found, proposals, ontology)
    found = found.take(keep)
    found = found.take(~_groups(found))
    labels = _labels(found, _settle(found, ontology.cross_class_iou), proposals, ontology)
    return [_without_score(one) if prepared.unscored[one.candidate] else one for one in labels]


def with_masks(chosen: list[Selected], candidates: Candidates) -> list[Selected]:
    """Return the chosen that have a mask; all of them where nothing in the picture has one.

    A ``duplicate_iou`` below the one that masks were made for may bring back a box that was
    a duplicate of a duplicate: it has no mask, and is none of the objects.
    """
    if all(mask is None for mask in candidates.masks):
        return chosen
    return [one for one in chosen if candidates.masks[one.candidate] is not None]


def to_segment(
    proposals: Proposals, ontology: Ontology, height: int, width: int, floor: float = 0.0
) -> Ints:
    """Return the candidates that get a mask: every one that ``select`` may ever return.

    ``select`` returns a subset of these whatever thresholds (not under ``floor``), area
    limits, weights, negatives and ``cross_class_iou`` it is given, as long as
    ``Ontology.segment_fingerprint()`` is the same.

    Args:
        proposals: Boxes (N, 4) and scores (N, P), a column for each of ``ontology.prompts``.
        ontology: The classes.
        height: Rows of the picture.
        width: Columns of the picture.
        floor: The lowest threshold that will ever be asked; spares the masks of boxes that
            only a negative prompt found.

    Returns:
        Rows of ``proposals``, ascending.

    Raises:
        ValueError: If there isn't one column a prompt.
    """
    return np.sort(_candidates(_ranked(proposals), ontology, height, width, floor).rows)


def align(proposals: Proposals, asked: Sequence[str], ontology: Ontology) -> Proposals:
    """Return stored proposals with their columns in the order of ``ontology.prompts``.

    The order of prompts in a file may change without any need to ask the model again.

    Args:
        proposals: Scores (N, P) in the order of ``asked``.
        asked: The prompts that the model was asked.
        ontology: The ontology of today.

    Raises:
        ValueError: If a prompt of the ontology was never asked.
    """
    if tuple(asked) == ontology.prompts:
        return proposals
    place = {text: column for column, text in enumerate(asked)}
    missing = [text for text in ontology.prompts if text not in place]
    if missing:
        raise ValueError(f"prompts that were never asked: {', '.join(missing)}")
    columns = [place[text] for text in ontology.prompts]
    opinions = proposals.opinions
    return Proposals(
        proposals.boxes,
        np.ascontiguousarray(proposals.scores[:, columns]),
        proposals.windows,
        None if opinions is None else np.ascontiguousarray(opinions[:, :, columns]),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """Candidates, each with its class, best first: the rows of Proposals they are."""

    rows: Ints
    boxes: Boxes
    classes: Ints
    scores: Scores
    second: Ints
    second_scores: Scores
    pairs: Pairs

    def take(self, keep: Bools) -> _Found:
        """Return those to keep, in the same order."""
        place = np.cumsum(keep) - 1
        pairs = self.pairs.where(keep[self.pairs.better] & keep[self.pairs.worse])
        return _Found(
            self.rows[keep],
            self.boxes[keep],
            self.classes[keep],
            self.scores[keep],
            self.second[keep],
            self.second_scores[keep],
            replace(pairs, better=place[pairs.better], worse=place[pairs.worse]),
        )

    def same_class(self) -> Bools:
        """Return which pairs are of one class."""
        same: Bools = self.classes[self.pairs.better] == self.classes[self.pairs.worse]
        return same


def _ranked(proposals: Proposals) -> Proposals:
    """Return proposals in which a prompt that found a box without a score ranks highest."""
    if not np.isnan(proposals.scores).any():
        return proposals
    return replace(proposals, scores=np.nan_to_num(proposals.scores, nan=1.0))


def _without_score(one: Selected) -> Selected:
    """Return the label of a box that has no score, as it says nothing about a runner-up's."""
    return replace(one, score=None, runner_up_score=0.0)


def class_scores(proposals: Proposals, ontology: Ontology) -> NDArray[np.float32]:
    """Return the best prompt's score of every class, (N, C).

    Raises:
        ValueError: If there isn't one column a prompt.
    """
    expected = len(ontology.prompts)
    if proposals.scores.shape[1] != expected:
        raise ValueError(
            f"proposals: expected {expected} columns, one a prompt of the ontology, "
            f"found {proposals.scores.shape[1]}"
        )
    # The classes' own prompts come first in `Ontology.prompts`, class after class.
    counts = [len(spec.asked) for spec in ontology.classes]
    starts = np.cumsum([0, *counts[:-1]])
    own = proposals.scores[:, : sum(counts)]
    return np.asarray(np.maximum.reduceat(own, starts, axis=1), np.float32)


def _candidates(
    proposals: Proposals, ontology: Ontology, height: int, width: int, floor: float
) -> _Found:
    """Return the boxes that are no duplicates within their class, best first (steps 1, 2)."""
    by_class = class_scores(proposals, ontology)
    scores = by_class.max(axis=1)
    visible = box_area(
        np.clip(proposals.boxes, 0, np.array([width, height, width, height], np.float32))
    )
    rows = np.flatnonzero((scores > 0) & (scores >= floor) & (visible > 0))
    return _distinct(rows, proposals, by_class[rows], by_class[rows], ontology)


def _weighed(found: _Found, proposals: Proposals, ontology: Ontology) -> _Found:
    """Return the candidates with the classes that win by score times weight (step 3)."""
    weights = np.array([spec.weight for spec in ontology.classes], np.float32)
    if (weights == weights[0]).all() or not len(found.rows):
        return found
    by_class = class_scores(proposals, ontology)[found.rows]
    return _distinct(found.rows, proposals, by_class, by_class * weights, ontology)


def _distinct(
    rows: Ints, proposals: Proposals, by_class: Scores, compete: Scores, ontology: Ontology
) -> _Found:
    """Return the boxes that are no duplicates within their class, best first.

    Args:
        rows: Which of the proposals.
        proposals: All of them.
        by_class: (N, C), their scores.
        compete: (N, C), what says whose a box is and which is better.
        ontology: Says what a duplicate is.
    """
    every = np.arange(len(rows))
    classes = compete.argmax(axis=1)
    boxes = proposals.boxes[rows]
    order = np.lexsort((rows, *boxes.T[::-1], -compete[every, classes]))
    rows, boxes, classes = rows[order], boxes[order], classes[order]
    by_class, others = by_class[order], compete[order]  # others: a copy
    others[every, classes] = -1
    second = others.argmax(axis=1)
    runners_up = np.where(others[every, second] < 0, np.float32(-1), by_class[every, second])
    found = _Found(
        rows,
        boxes,
        classes,
        by_class[every, classes],
        second,
        runners_up,
        Pairs.of(boxes, min(ontology.duplicate_iou, ontology.cross_class_iou), GROUP_INSIDE),
    )
    stays = np.ones(len(rows), bool)
    clash = found.same_class() & (found.pairs.iou >= np.float32(ontology.duplicate_iou))
    for better, worse in found.pairs.where(clash).each():
        if stays[better]:
            stays[worse] = False
    return found.take(stays)


def _within_limits(found: _Found, ontology: Ontology, pixels: int) -> Bools:
    """Return which pass their class's threshold and area limits (step 4)."""
    limits = np.array(
        [
            (
                spec.threshold,
                _pixels(spec.min_area, pixels, 0.0),
                _pixels(spec.max_area, pixels, np.inf),
            )
            for spec in ontology.classes
        ]
    )
    threshold, low, high = limits[found.classes].T
    area = box_area(found.boxes)
    # Scores are float32: compare in float32, or 0.3 would not reach a threshold of 0.3.
    passes: Bools = found.scores >= threshold.astype(np.float32)
    passes &= (area >= low) & (area <= high)
    return passes


def _pixels(limit: float | None, pixels: int, without: float) -> float:
    """Return an area limit in square pixels: up to 1 it is a share of the picture."""
    if limit is None:
        return without
    return limit * pixels if limit <= 1 else limit


def _explained_away(found: _Found, proposals: Proposals, ontology: Ontology) -> Bools:
    """Return which boxes a negative prompt of their class explains better (step 4).

    Either on the box itself (it scores at least as much there, less the class's
    ``not_margin``), or on another box that the negative prompt won, that overlaps by
    ``duplicate_iou`` and scores more.
    """
    away = np.zeros(len(found.rows), bool)
    if not any(ontology.negative_ids):
        return away
    best = class_scores(proposals, ontology).max(axis=1, initial=0)
    strongest: dict[tuple[int, ...], Scores] = {}  # most classes share the default `not`
    for class_id, negatives in enumerate(ontology.negative_ids):
        mine = np.flatnonzero(found.classes == class_id)
        if not negatives or not len(mine):
            continue
        if negatives not in strongest:
            strongest[negatives] = proposals.scores[:, list(negatives)].max(axis=1)
        against = strongest[negatives]
        margin = np.float32(ontology.classes[class_id].not_margin)
        mine_less = found.scores[mine] - margin
        own = against[found.rows[mine]]
        away[mine] = (own >= mine_less) & (own > 0)
        won = np.flatnonzero((against >= best) & (against > mine_less.min()))
        near = box_iou(found.boxes[mine], proposals.boxes[won]) >= ontology.duplicate_iou
        near &= against[won][None, :] > mine_less[:, None]
        away[mine] |= near.any(axis=1)
    return away


def _groups(found: _Found) -> Bools:
    """Return which boxes merely frame several better boxes of their class (step 5).

    Grounding DINO likes to add one box around a row of cars or a crowd. A box is such a
    group if at least two better boxes of its class lie inside it, and their common frame is
    the box. A large object with small ones before it is not: their frame is
    smaller than it.
    """
    groups: Bools = np.zeros(len(found.rows), bool)
    area = box_area(found.boxes)
    inside = found.same_class() & (found.pairs.share >= np.float32(GROUP_INSIDE))
    pairs = found.pairs.where(inside)
    pairs = pairs.where(area[pairs.better] < area[pairs.worse])
    members = np.bincount(pairs.worse, minlength=len(groups))
    for group in np.flatnonzero(members >= 2):
        boxes = found.boxes[pairs.better[pairs.worse == group]]
        hull = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        groups[group] = box_iou(hull[None], found.boxes[[group]])[0, 0] >= GROUP_HULL_IOU
    return groups


def _settle(found: _Found, cross_class_iou: float) -> Bools:
    """Return who stays across classes; losers become runners-up in ``found`` (step 6)."""
    stays: Bools = np.ones(len(found.rows), bool)
    clash = ~found.same_class() & (found.pairs.iou >= np.float32(cross_class_iou))
    for better, worse in found.pairs.where(clash).each():
        losers = worse[stays[worse]] if stays[better] else worse[:0]
        stays[losers] = False
        # Best first, so the first loser scores most.
        if len(losers) and found.scores[losers[0]] > found.second_scores[better]:
            found.second[better] = found.classes[losers[0]]
            found.second_scores[better] = found.scores[losers[0]]
    return stays


def _labels(
    found: _Found, stays: Bools, proposals: Proposals, ontology: Ontology
) -> list[Selected]:
    """Return the survivors as labels, best first."""
    ends = np.cumsum([len(spec.asked) for spec in ontology.classes])
    labels = []
    for i in np.flatnonzero(stays):
        row, class_id = int(found.rows[i]), int(found.classes[i])
        start = int(ends[class_id]) - len(ontology.classes[class_id].asked)
        prompt_id = start + int(proposals.scores[row, start : ends[class_id]].argmax())
        second_score = float(found.second_scores[i])
        has_second = second_score > 0
        labels.append(
            Selected(
                candidate=row,
                class_id=class_id,
                prompt_id=prompt_id,
                score=float(found.scores[i]),
                runner_up_class=int(found.second[i]) if has_second else None,
                runner_up_score=second_score if has_second else 0.0,
            )
        )
    return labels
