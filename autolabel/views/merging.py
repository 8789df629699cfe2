"""One object, seen in several tiles of a picture: its candidates become one, by their masks.

Pure functions of a picture's candidates and the ontology. What is merged depends on no
threshold, area limit or negative prompt, so that those can change later without a model, as
``autolabel.select`` promises; which prompts share a class and ``duplicate_iou`` do matter, as
they do for which candidates get a mask.

Of candidates that are one object the best stays, whole ones before those that a tile's edge
cuts, and takes over the higher score of each prompt. Two of one class are one object when
their masks overlap by ``SAME_CLASS``; two of any class, found in different windows, when theirs
do by ``ANY_CLASS``, or when one that is cut, or a large part, lies in the other's mask: in a
tile, half a ring looks like a moon.
Pieces of an object that no view shows whole are joined across the seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel import masks
from autolabel.boxes import box_iou
from autolabel.ontology import Ontology
from autolabel.select import align, class_scores, to_segment
from autolabel.types import RLE, Boxes, Candidates, Proposals
from autolabel.views.tiling import cut_sides

SAME_CLASS = 0.4
"""Masks of one class that overlap so much show one object; outlines of few pixels differ a lot."""
ANY_CLASS = 0.6
"""Masks of two classes from different windows that overlap so much show one object."""
PIECE = 0.75
"""Share of a cut mask that lies in the mask of the whole object."""
PART = 0.3
"""A part is at least so large beside the object: a wheel is a wheel, half a ring no moon."""
LARGE = 0.3
"""A thing with a side of this share of its tile is better seen in the whole picture ..."""
UNSURE = 0.75
"""... which is believed where a tile's part of a thing scores less than this share of the whole."""
SEAM = 0.5
"""How well two pieces must agree along the seam between their tiles to be joined."""
SEAM_REACH = 2
"""Pixels beyond a seam in which pieces are compared, for tiles that don't overlap."""


def merge_views(
    found: Candidates, asked: Sequence[str], ontology: Ontology, floor: float
) -> Candidates:
    """Return the candidates with one for each object; as they are if there was one view.

    Args:
        found: Candidates, those that may become labels with their masks.
        asked: The prompts in the order of the scores' columns.
        ontology: Which prompts share a class.
        floor: The run's.
    """
    if found.proposals.windows is None:
        return found
    aligned = align(found.proposals, asked, ontology)
    rows = to_segment(aligned, ontology, found.height, found.width, floor)
    views = _Views.of(found, aligned, ontology, rows)
    groups = _joined(views, _grouped(views))
    against = _speak_against(found.proposals, asked, ontology, rows)
    return _assembled(found, views, groups, against)


@dataclass(frozen=True, slots=True)
class _Views:
    """The candidates that may be labels, whole ones first, best first, and how they overlap.

    Attributes:
        rows: Rows of the picture's Proposals.
        boxes: float32 (N, 4).
        windows: float32 (N, 4).
        shapes: What they cover: their masks, or their boxes where they have none.
        classes: Class id of each.
        scores: Score of that class.
        cut: Whether a tile's edge cuts it.
        masked: Whether it has a mask.
        iou: float64 (N, N).
        share: float64 (N, N), the share of the second that lies in the first.
    """

    rows: NDArray[np.intp]
    boxes: Boxes
    windows: Boxes
    shapes: list[RLE]
    classes: NDArray[np.intp]
    scores: NDArray[np.float32]
    cut: NDArray[np.bool_]
    masked: NDArray[np.bool_]
    iou: NDArray[np.float64]
    share: NDArray[np.float64]

    @classmethod
    def of(
        cls, found: Candidates, aligned: Proposals, ontology: Ontology, rows: NDArray[np.intp]
    ) -> _Views:
        """Put the candidates in order and measure their overlaps."""
        assert aligned.windows is not None
        scores = class_scores(aligned, ontology)[rows]
        boxes, windows = aligned.boxes[rows], aligned.windows[rows]
        sides = cut_sides(boxes, windows, found.height, found.width)
        cut: NDArray[np.bool_] = np.asarray(sides.any(axis=1))
        order = np.lexsort((*boxes.T[::-1], -scores.max(axis=1, initial=0), cut))
        rows, boxes, windows, cut = rows[order], boxes[order], windows[order], cut[order]
        shapes = [_shape(found, row, box) for row, box in zip(rows, boxes, strict=True)]
        iou = _overlaps(shapes, boxes)
        areas = np.array(masks.areas(shapes), np.float64)
        common = iou * (areas[:, None] + areas[None]) / (1 + iou)
        share = common / np.maximum(areas[None], 1)
        classes = scores[order].argmax(axis=1) if len(rows) else np.zeros(0, np.intp)
        best = scores[order].max(axis=1, initial=0.0)
        masked = np.array([found.masks[row] is not None for row in rows], np.bool_)
        return cls(rows, boxes, windows, shapes, classes, best, cut, masked, iou, share)

    def one_object(self) -> NDArray[np.bool_]:
        """Return which pairs (better, worse) show one object."""
        same_class: NDArray[np.bool_] = np.equal.outer(self.classes, self.classes)
        other_window = (self.windows[:, None] != self.windows[None]).any(axis=2)
        inside = self.share >= PIECE
        # A thing in front of another one is a hole in its mask, but lies in its box.
        part = inside & (PART * self.share <= self.share.T) & self.masked[:, None] & self.masked
        return np.asarray(
            (same_class & (self.iou >= SAME_CLASS))
            | (other_window & (inside & self.cut[None] | part | (self.iou >= ANY_CLASS)))
            | self._misread()
        )

    def _misread(self) -> NDArray[np.bool_]:
        """Return which pairs are a thing, surely seen in the whole picture, and a tile's part."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        spans = self.windows[:, 2:] - self.windows[:, :2]
        whole = (spans == spans.max(axis=0, initial=0)).all(axis=1)
        large = ~whole & ((sides / spans).max(axis=1, initial=0) >= LARGE)
        overlap = box_iou(self.boxes, self.boxes)
        areas = sides.prod(axis=1)
        common = overlap * (areas[:, None] + areas[None]) / (1 + overlap)
        inside = common >= PIECE * areas[None]
        unsure = self.scores[None] < UNSURE * self.scores[:, None]
        return np.asarray(whole[:, None] & large[None] & inside & unsure)


def _shape(found: Candidates, row: int, box: NDArray[np.float32]) -> RLE:
    """Return a candidate's mask; its box, where it has none or an empty one."""
    mask = found.masks[row]
    if mask is not None and masks.tight_box(mask) is not None:
        return mask
    x1, y1 = np.floor(box[:2]).astype(int)
    x2, y2 = np.maximum(np.ceil(box[2:]).astype(int), (x1 + 1, y1 + 1))
    x2, y2 = min(int(x2), found.width), min(int(y2), found.height)
    solid = masks.encode(np.ones((y2 - y1, x2 - x1), np.bool_))
    return masks.pasted(solid, int(x1), int(y1), found.height, found.width)


def _overlaps(shapes: Sequence[RLE], boxes: Boxes) -> NDArray[np.float64]:
    """Return the IoU of every two shapes, measured only where something may overlap."""
    iou = np.eye(len(shapes))
    tight = [masks.tight_box(shape) for shape in shapes]
    edges = np.array([box or (0, 0, 0, 0) for box in tight], np.float32).reshape(-1, 4)
    near = np.triu(box_iou(edges, edges) > 0, 1)
    for row in np.flatnonzero(near.any(axis=1)):
        columns = np.flatnonzero(near[row])
        iou[row, columns] = masks.iou([shapes[int(row)]], [shapes[int(k)] for k in columns])[0]
    return np.maximum(iou, iou.T)


def _grouped(views: _Views) -> list[list[int]]:
    """Return which candidates are one object: the best, then those that it takes over."""
    one = views.one_object()
    free = np.ones(len(views.rows), np.bool_)
    groups = []
    for better in range(len(views.rows)):
        if not free[better]:
            continue
        mine = np.flatnonzero(free & one[better])
        mine = mine[mine > better]
        free[mine] = free[better] = False
        groups.append([better, *mine.tolist()])
    return groups


def _joined(views: _Views, groups: list[list[int]]) -> list[list[list[int]]]:
    """Return the groups put together whose best ones are pieces of one object.

    Each is a list of groups: the pieces' own, the best piece first.
    """
    owner = list(range(len(groups)))
    heads = [group[0] for group in groups]
    pieces = [number for number, head in enumerate(heads) if views.cut[head]]
    for place, first in enumerate(pieces):
        for second in pieces[place + 1 :]:
            if owner[first] != owner[second] and _meet(views, heads[first], heads[second]):
                old, new = sorted((owner[first], owner[second]))[::-1]
                owner = [new if one == old else one for one in owner]
    whole: dict[int, list[list[int]]] = {}
    for number, group in enumerate(groups):
        whole.setdefault(owner[number], []).append(group)
    return list(whole.values())


def _meet(views: _Views, first: int, second: int) -> bool:
    """Return whether two cut candidates are pieces of one object on either side of a seam."""
    if views.classes[first] != views.classes[second]:
        return False
    one, other = views.windows[first], views.windows[second]
    if (one == other).all():
        return False
    shape = views.shapes[first]
    low = np.maximum(one[:2], other[:2]).astype(int) - SEAM_REACH
    high = np.minimum(one[2:], other[2:]).astype(int) + SEAM_REACH
    low, high = np.maximum(low, 0), np.minimum(high, (shape.width, shape.height))
    if (high <= low).any():
        return False
    short = int((high - low)[0] > (high - low)[1])  # axis of the array across the seam
    axis = 0 if short else 1
    profiles = [
        masks.decode(views.shapes[k])[low[1] : high[1], low[0] : high[0]].any(axis=axis)
        for k in (first, second)
    ]
    union = (profiles[0] | profiles[1]).sum()
    return bool(union) and bool((profiles[0] & profiles[1]).sum() >= SEAM * union)


def _speak_against(
    proposals: Proposals, asked: Sequence[str], ontology: Ontology, rows: NDArray[np.intp]
) -> Proposals:
    """Return the boxes that are no labels, but that a negative prompt found.

    Their classes' own scores are left out: what they are a duplicate of may be merged away.
    """
    place = {text: column for column, text in enumerate(asked)}
    own = [place[text] for spec in ontology.classes for text in spec.prompts]
    scores = proposals.scores.copy()
    scores[:, own] = 0
    won = scores.max(axis=1, initial=0.0)
    found = (won > 0) & (won >= proposals.scores[:, own].max(axis=1, initial=0.0))
    found[rows] = False
    keep = np.flatnonzero(found)
    opinions = None if proposals.opinions is None else proposals.opinions[keep]
    return Proposals(proposals.boxes[keep], scores[keep], None, opinions)


def _assembled(
    found: Candidates, views: _Views, groups: list[list[list[int]]], against: Proposals
) -> Candidates:
    """Return one candidate a group, best first, then those that only speak against others."""
    own = found.proposals
    made = [_fused(found, views, pieces) for pieces in groups]
    made.sort(key=lambda one: (-float(one.scores.max()), *one.box.tolist()))
    boxes = [one.box for one in made]
    opinions = None
    if own.opinions is not None and against.opinions is not None:
        opinions = np.array([one.opinions for one in made], np.float32)
        opinions = np.concatenate([opinions.reshape(-1, *own.opinions.shape[1:]), against.opinions])
    scores = np.array([one.scores for one in made], np.float32).reshape(-1, own.scores.shape[1])
    none = (None,) * len(against)
    return Candidates(
        found.height,
        found.width,
        Proposals(
            np.concatenate([np.array(boxes, np.float32).reshape(-1, 4), against.boxes]),
            np.concatenate([scores, against.scores]),
            None,
            opinions,
        ),
        (*(one.mask for one in made), *none),
        (*(one.mask_score for one in made), *none),
    )


@dataclass(frozen=True, slots=True)
class _Fused:
    """One object's candidate."""

    box: NDArray[np.float32]
    scores: NDArray[np.float32]
    opinions: NDArray[np.float32] | None
    mask: RLE | None
    mask_score: float | None


def _fused(found: Candidates, views: _Views, pieces: list[list[int]]) -> _Fused:
    """Return what the views of one object say together."""
    own = found.proposals
    heads = [int(views.rows[group[0]]) for group in pieces]
    members = views.rows[[place for group in pieces for place in group]]
    low, high = own.boxes[heads, :2].min(axis=0), own.boxes[heads, 2:].max(axis=0)
    shapes = [mask for mask in (found.masks[head] for head in heads) if mask is not None]
    quality = [score for score in (found.mask_scores[head] for head in heads) if score is not None]
    return _Fused(
        np.concatenate([low, high]),
        own.scores[members].max(axis=0),
        None if own.opinions is None else own.opinions[members].max(axis=0),
        None if not shapes else shapes[0] if len(shapes) == 1 else masks.merge(shapes),
        min(quality, default=None),
    )
