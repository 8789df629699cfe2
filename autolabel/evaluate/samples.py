"""A project's stored candidates beside the truth: what would be right, at any setting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autolabel import masks
from autolabel.boxes import box_iou, shared_area
from autolabel.errors import FormatError
from autolabel.evaluate.matching import MATCH_IOU
from autolabel.evaluate.truth import Entry, Truth, match_names
from autolabel.ontology import Ontology
from autolabel.ontology.edit import with_values
from autolabel.select import Prepared, align, choose, class_scores, prepare, with_masks
from autolabel.store import Project
from autolabel.types import Boxes, Candidates, Proposals, Selected

Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Labels beside the truth, one entry a label that is right or wrong.

    Attributes:
        picture: Which picture, an index.
        classes: Its class.
        scores: Its score.
        right: Whether it overlaps an unclaimed truth of its class.
    """

    picture: Ints
    classes: Ints
    scores: Floats
    right: Bools

    def where(self, keep: Bools) -> Rows:
        """Return those rows."""
        return Rows(self.picture[keep], self.classes[keep], self.scores[keep], self.right[keep])

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Return rows one after the other."""
        return cls(
            np.concatenate([one.picture for one in parts]),
            np.concatenate([one.classes for one in parts]),
            np.concatenate([one.scores for one in parts]),
            np.concatenate([one.right for one in parts]),
        )

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, float, bool]]) -> Rows:
        """Return rows given one by one."""
        columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
        picture, classes, scores, right = columns
        return cls(
            np.array(picture, np.intp),
            np.array(classes, np.intp),
            np.array(scores, np.float64),
            np.array(right, np.bool_),
        )


@dataclass(slots=True)
class Labelled:
    """One picture's candidates and its truth.

    Attributes:
        index: Its place among the pictures.
        candidates: As stored, scores in the ontology's order of prompts.
        iou: (N, T), of the box each candidate's label would have with every truth.
        truths: (T,), classes.
        crowds: For every crowd region its class, and (N,) how much of each box lies in it.
    """

    index: int
    candidates: Candidates
    iou: NDArray[np.float32]
    truths: Ints
    crowds: list[tuple[int, NDArray[np.float32]]]
    _prepared: dict[float, Prepared] = field(default_factory=dict)

    def select(self, ontology: Ontology) -> list[Selected]:
        """Return the labels that an ontology selects here."""
        return with_masks(choose(self._prepare(ontology), ontology), self.candidates)

    def _prepare(self, ontology: Ontology) -> Prepared:
        """Return what is the same for all settings but the duplicate IoU; kept."""
        found, key = self.candidates, ontology.duplicate_iou
        if key not in self._prepared:
            self._prepared[key] = prepare(found.proposals, ontology, found.height, found.width)
        return self._prepared[key]

    def objects(self, ontology: Ontology) -> tuple[Ints, Ints]:
        """Return the candidates that lie on true objects, the best of each, and their classes."""
        free = np.ones(len(self.truths), bool)
        rows, classes = [], []
        for row in self._prepare(ontology).found.rows if len(free) else ():
            overlap = np.where(free, self.iou[row], 0.0)
            best = int(overlap.argmax())
            if overlap[best] >= MATCH_IOU:
                free[best] = False
                rows.append(row)
                classes.append(self.truths[best])
        return np.array(rows, np.intp), np.array(classes, np.intp)

    def judged(self, chosen: Sequence[Selected]) -> list[tuple[int, int, float, bool]]:
        """Return labels as entries of ``Rows``: claimed best first; those in crowds left out."""
        free = np.ones(len(self.truths), bool)
        rows = []
        for one in chosen:
            fits = free & (self.truths == one.class_id)
            overlap = np.where(fits, self.iou[one.candidate], 0.0)
            best = int(overlap.argmax()) if len(overlap) else -1
            right = best >= 0 and overlap[best] >= MATCH_IOU
            if right:
                free[best] = False
            elif any(
                category == one.class_id and share[one.candidate] >= MATCH_IOU
                for category, share in self.crowds
            ):
                continue
            score = 1.0 if one.score is None else one.score
            rows.append((self.index, one.class_id, score, bool(right)))
        return rows


@dataclass(slots=True)
class Samples:
    """Pictures that both the project and the truth have, with the project's candidates.

    Attributes:
        names: Of the pictures.
        pictures: One entry a name.
        truths: (P, C), the number of truths of each class.
        measurable: (C,), whether the truth knows the class.
    """

    names: list[str]
    pictures: list[Labelled]
    truths: Ints
    measurable: Bools

    def objects(self, ontology: Ontology) -> list[tuple[Floats, Ints]]:
        """Return for every picture its objects' class scores (N, C) and their classes (N,)."""
        found = []
        for picture in self.pictures:
            rows, classes = picture.objects(ontology)
            scores = class_scores(picture.candidates.proposals, ontology)[rows]
            found.append((np.nan_to_num(scores, nan=1.0).astype(np.float64), classes))
        return found

    def rows(self, ontology: Ontology, pictures: Iterable[int]) -> Rows:
        """Return the labels that an ontology selects in these pictures, judged."""
        found: list[tuple[int, int, float, bool]] = []
        for index in pictures:
            picture = self.pictures[index]
            found += picture.judged(picture.select(ontology))
        kept = Rows.of(found)
        return kept.where(self.measurable[kept.classes])


def lowered(ontology: Ontology, floor: float, **values: float) -> Ontology:
    """Return an ontology that selects all that thresholds from ``floor`` on ever may."""
    settings = {name: {"threshold": floor, **values} for name in ontology.class_names}
    return with_values(ontology, settings)


def read_samples(
    project: Project, truth: Truth, ontology: Ontology, classes: dict[int, int]
) -> Samples:
    """Return the pictures in common, with candidates and truths.

    Args:
        project: Its candidates are read, nothing is changed.
        truth: What is right.
        ontology: Its classes and prompts are the project's, in any order.
        classes: The truth's category of each of the ontology's class ids.

    Raises:
        FormatError: If no picture is in common, or one has another size.
    """
    asked = project.prompts()
    images = truth.pictures
    media = {one.name: one for one in project.media("done") if one.kind == "image"}
    matched = match_names(list(media), list(images))
    class_of = {category: class_id for class_id, category in classes.items()}
    there: dict[int, list[Entry]] = {}
    for one in truth.data["annotations"]:
        if one["category_id"] in class_of:
            there.setdefault(one["image_id"], []).append(one)
    names = sorted(matched)
    samples = Samples(
        names,
        [],
        np.zeros((len(names), len(ontology.classes)), np.intp),
        np.array([index in classes for index in range(len(ontology.classes))]),
    )
    for index, name in enumerate(names):
        record, image = media[name], images[matched[name]]
        if (image["height"], image["width"]) != (record.height, record.width):
            raise FormatError(
                f"{truth.path}: {image['file_name']} is {image['width']} x {image['height']} in "
                f"the truth, {name} is {record.width} x {record.height} in the project"
            )
        found = project.candidates(name).get(0)
        entries = there.get(image["id"], [])
        plain = [one for one in entries if not one["iscrowd"]]
        for one in plain:
            samples.truths[index, class_of[int(one["category_id"])]] += 1
        if found is None:
            found = _nothing(record.height, record.width, len(asked))
        aligned = Candidates(
            found.height,
            found.width,
            align(found.proposals, asked, ontology),
            found.masks,
            found.mask_scores,
        )
        samples.pictures.append(_labelled(index, aligned, entries, class_of))
    return samples


def _nothing(height: int, width: int, prompts: int) -> Candidates:
    """Return the candidates of a picture in which nothing was found."""
    return Candidates(height, width, Proposals.empty(prompts), (), ())


def _labelled(
    index: int, found: Candidates, entries: list[Entry], class_of: dict[int, int]
) -> Labelled:
    """Return one picture's candidates beside its truths."""
    boxes = _label_boxes(found)
    plain = [one for one in entries if not one["iscrowd"]]
    crowds = [one for one in entries if one["iscrowd"]]
    wanted = np.array([class_of[one["category_id"]] for one in plain], np.intp)
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-9)
    inside = [
        (class_of[one["category_id"]], shared_area(boxes, _corners([one]))[:, 0] / area)
        for one in crowds
    ]
    return Labelled(index, found, box_iou(boxes, _corners(plain)), wanted, inside)


def _label_boxes(found: Candidates) -> Boxes:
    """Return the box that each candidate has as a label: its mask's, where there is one."""
    boxes = found.proposals.boxes.copy()
    for row, mask in enumerate(found.masks):
        tight = masks.tight_box(mask) if mask is not None else None
        if tight is not None:
            boxes[row] = tight
    return boxes


def _corners(entries: list[Entry]) -> Boxes:
    """Return the annotations' boxes by their corners."""
    boxes = np.array([one["bbox"] for one in entries], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
