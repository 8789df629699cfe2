"""Box and mask AP of a project's labels, by pycocotools, and precision, recall, F1 a class."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from autolabel.errors import FormatError
from autolabel.evaluate.truth import Truth, match_classes, match_names
from autolabel.store import Project
from autolabel.types import Instance

MATCH_IOU = 0.5
"""A label is right when it overlaps an unclaimed truth of its class at least so much."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Precision, recall and F1 of one class at the thresholds in use; None: not measurable."""

    name: str
    truths: int
    labels: int
    right: int

    @property
    def precision(self) -> float | None:
        """Share of the labels that are right."""
        return self.right / self.labels if self.labels else None

    @property
    def recall(self) -> float | None:
        """Share of the truths that were found."""
        return self.right / self.truths if self.truths else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        both = self.truths + self.labels
        return 2 * self.right / both if both else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What ``evaluate_detection`` measured.

    Attributes:
        pictures: Pictures that both the project and the truth have.
        box: "ap" (IoU 0.50:0.95) and "ap50" of boxes.
        mask: The same of masks; None where labels or truth have no masks.
        classes: One entry a class both sides know.
        notes: What was left out, in words.
    """

    pictures: int
    box: dict[str, float]
    mask: dict[str, float] | None
    classes: tuple[ClassScore, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "pictures": self.pictures,
            "box": self.box,
            "mask": self.mask,
            "classes": {
                one.name: {
                    "truths": one.truths,
                    "labels": one.labels,
                    "right": one.right,
                    "precision": one.precision,
                    "recall": one.recall,
                    "f1": one.f1,
                }
                for one in self.classes
            },
            "notes": list(self.notes),
        }


def evaluate_detection(project: Project, truth: Truth) -> Evaluation:
    """Return how well a project's labels agree with a truth, picture by picture.

    Labels are taken as they are exported: rejected ones don't count, and AP is measured over
    the labels above the thresholds, so that it equals what pycocotools says of the export.

    Raises:
        FormatError: If truth and project have no picture or no class in common.
    """
    class_names = project.class_names()
    classes = match_classes(truth, class_names)
    labels, image_ids = _labels(project, truth, classes)
    data = _truth_of(truth, image_ids, set(classes.values()))
    notes = _notes(truth, class_names, classes, len(image_ids))
    box = _average_precision(data, labels, image_ids, "bbox")
    masks = all("segmentation" in one for one in (*data["annotations"], *labels))
    mask = _average_precision(data, labels, image_ids, "segm") if masks and labels else None
    names = {category: class_names[class_id] for class_id, category in classes.items()}
    return Evaluation(len(image_ids), box, mask, _scores(data, labels, names), notes)


def _labels(
    project: Project, truth: Truth, classes: dict[int, int]
) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the labels as COCO results, and the truth's ids of the pictures in common."""
    images = {
        str(one["file_name"]): one for one in truth.data["images"] if one.get("video_id") is None
    }
    names = [media.name for media in project.media() if media.kind == "image"]
    matched = match_names(names, list(images))
    results: list[dict[str, Any]] = []
    image_ids: list[int] = []
    for media, instances in project.iter_labelled():
        if media.name not in matched or media.status != "done":
            continue
        image = images[matched[media.name]]
        if (image["height"], image["width"]) != (media.height, media.width):
            raise FormatError(
                f"{truth.path}: {image['file_name']} is {image['width']} x {image['height']} in "
                f"the truth, {media.name} is {media.width} x {media.height} in the project"
            )
        image_ids.append(image["id"])
        results += [
            _result(one, image["id"], classes[one.class_id])
            for one in instances
            if one.class_id in classes and one.status != "rejected"
        ]
    if not image_ids:
        raise FormatError(
            f"{truth.path}: no picture in common. The project has e.g. {', '.join(names[:3])}; the "
            f"truth has e.g. {', '.join(list(images)[:3])}"
        )
    return results, sorted(image_ids)


def _result(instance: Instance, image_id: int, category: int) -> dict[str, Any]:
    """Return one label as a COCO result; a human's label counts as certain."""
    x1, y1, x2, y2 = instance.box
    result: dict[str, Any] = {
        "image_id": image_id,
        "category_id": category,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": 1.0 if instance.score is None else instance.score,
    }
    if instance.mask is not None:
        size = [instance.mask.height, instance.mask.width]
        result["segmentation"] = {"size": size, "counts": instance.mask.counts}
    return result


def _truth_of(truth: Truth, image_ids: list[int], categories: set[int]) -> dict[str, Any]:
    """Return the part of the truth about these pictures and classes, complete for COCOeval."""
    wanted = set(image_ids)
    annotations = []
    for one in truth.data["annotations"]:
        if one["image_id"] in wanted and one["category_id"] in categories:
            x, y, w, h = one["bbox"]
            annotations.append({"iscrowd": 0, "area": w * h, **one, "bbox": [x, y, w, h]})
    return {
        "info": {},
        "images": [one for one in truth.data["images"] if one["id"] in wanted],
        "annotations": annotations,
        "categories": [one for one in truth.data["categories"] if one["id"] in categories],
    }


def _average_precision(
    data: dict[str, Any], labels: list[dict[str, Any]], image_ids: list[int], kind: str
) -> dict[str, float]:
    """Return AP and AP50 over pictures and classes; 0 without labels, -1 without truths."""
    if not data["annotations"]:
        return {"ap": -1.0, "ap50": -1.0}
    if not labels:
        return {"ap": 0.0, "ap50": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = data
        truth.createIndex()
        results = [dict(one) for one in labels]
        run = COCOeval(truth, truth.loadRes(results), kind)
        run.params.imgIds = image_ids
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {"ap": float(run.stats[0]), "ap50": float(run.stats[1])}


def _scores(
    data: dict[str, Any], labels: list[dict[str, Any]], names: dict[int, str]
) -> tuple[ClassScore, ...]:
    """Return precision and recall a class, labels claiming truths greedily, best first."""
    counts = {category: [0, 0, 0] for category in names}
    truths: dict[tuple[int, int], list[list[float]]] = {}
    for one in data["annotations"]:
        truths.setdefault((one["image_id"], one["category_id"]), []).append(one["bbox"])
        counts[one["category_id"]][0] += 1
    for label in sorted(labels, key=lambda one: -float(one["score"])):
        category = label["category_id"]
        counts[category][1] += 1
        left = truths.get((label["image_id"], category), [])
        best = max(range(len(left)), key=lambda i: _iou(left[i], label["bbox"]), default=None)
        if best is not None and _iou(left[best], label["bbox"]) >= MATCH_IOU:
            left.pop(best)
            counts[category][2] += 1
    return tuple(ClassScore(names[category], *counts[category]) for category in names)


def _iou(a: list[float], b: list[float]) -> float:
    """Return the IoU of two boxes x, y, w, h."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    overlap = max(0.0, width) * max(0.0, height)
    union = a[2] * a[3] + b[2] * b[3] - overlap
    return float(np.divide(overlap, union)) if union > 0 else 0.0


def _notes(
    truth: Truth, class_names: tuple[str, ...], classes: dict[int, int], pictures: int
) -> tuple[str, ...]:
    """Return what the figures don't cover."""
    notes = []
    total = sum(1 for one in truth.data["images"] if one.get("video_id") is None)
    if pictures < total:
        notes.append(f"{total - pictures} of the truth's {total} pictures are not in the project")
    lacking = sorted(set(truth.categories) - {class_names[i] for i in classes})
    if lacking:
        notes.append(
            f"classes of the truth that the ontology lacks, left out: {', '.join(lacking)}"
        )
    return tuple(notes)
