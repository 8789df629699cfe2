"""Box and mask AP of a project's labels, by pycocotools, and precision, recall, F1 a class."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from autolabel import masks
from autolabel.errors import FormatError
from autolabel.evaluate.matching import (
    ClassScore,
    Matches,
    Pairing,
    class_scores,
    pair_all,
    summarise,
)
from autolabel.evaluate.truth import Truth, match_classes, match_names, nearest
from autolabel.evaluate.video import VideoEvaluation, evaluate_video
from autolabel.store import Project
from autolabel.types import Instance

Average = dict[str, float | None]

NO_MATCHES: dict[str, Any] = dict.fromkeys(("mask_iou", "confusion", "duplicates"))
PIXEL_DIGITS, SCORE_DIGITS = 2, 5
"""How the COCO export rounds."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What ``evaluate_detection`` measured.

    Attributes:
        pictures: Pictures that both the project and the truth have.
        box: "ap" (IoU 0.50:0.95) and "ap50" of boxes, None without truths; None as a whole
            without pictures.
        mask: The same of masks; None where labels or truth have no masks.
        classes: One entry a class both sides know; none without pictures.
        matches: Mask IoU of what is right, confusion and duplicates; None without pictures.
        video: What was measured of clips; None where the truth has none.
        notes: What was left out, in words.
        pairings: What became of every label and truth, picture by picture.
    """

    pictures: int
    box: Average | None
    mask: Average | None
    classes: tuple[ClassScore, ...]
    video: VideoEvaluation | None
    notes: tuple[str, ...]
    matches: Matches | None = None
    pairings: tuple[Pairing, ...] = ()

    @property
    def macro_f1(self) -> float | None:
        """The mean F1 over the classes that the pictures have truths of."""
        found = [one.f1 for one in self.classes if one.truths and one.f1 is not None]
        return sum(found) / len(found) if found else None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values; None: not measurable."""
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
            "macro_f1": self.macro_f1,
            **(self.matches.as_dict() if self.matches else NO_MATCHES),
            "video": self.video.as_dict() if self.video else None,
            "notes": list(self.notes),
        }


def evaluate_detection(project: Project, truth: Truth) -> Evaluation:
    """Return how well a project's labels agree with a truth, pictures and clips apart.

    Labels are taken as they are exported: rejected ones don't count, and AP is measured over
    the labels above the thresholds, so that it equals what pycocotools says of the export.

    Raises:
        FormatError: If truth and project have no picture and no clip in common, or no class.
    """
    class_names = project.class_names()
    classes = match_classes(truth, class_names)
    labels, image_ids = _labels(project, truth, classes)
    video = evaluate_video(project, truth, classes) if truth.videos else None
    if not image_ids and not (video and video.clips):
        raise FormatError(_nothing_in_common(project, truth))
    notes = (*_notes(truth, class_names, classes, len(image_ids)), *(video.notes if video else ()))
    video = video if video and video.clips else None
    if not image_ids:
        return Evaluation(0, None, None, (), video, notes)
    data = _truth_of(truth, image_ids, set(classes.values()))
    box = _average_precision(data, labels, image_ids, "bbox")
    outlined = [one for one in labels if "segmentation" in one]  # an empty mask finds nothing
    masked = outlined and all("segmentation" in one for one in data["annotations"])
    mask = _average_precision(data, outlined, image_ids, "segm") if masked else None
    names = {category: class_names[class_id] for class_id, category in classes.items()}
    pairings = pair_all(data["annotations"], labels)
    return Evaluation(
        len(image_ids),
        box,
        mask,
        class_scores(pairings, names),
        video,
        notes,
        summarise(pairings, names),
        tuple(pairings),
    )


def _nothing_in_common(project: Project, truth: Truth) -> str:
    """Return what to say where no picture or clip of the truth is in the project."""
    ours = [media.name for media in islice(project.media("done"), 3)]
    theirs = [*islice(truth.pictures, 3), *islice(truth.videos, 3)]
    return (
        f"{truth.path}: no picture or clip in common. The project has e.g. "
        f"{', '.join(ours) or 'nothing that is done'}; the truth has e.g. {', '.join(theirs)}"
    )


def _labels(
    project: Project, truth: Truth, classes: dict[int, int]
) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the labels as COCO results, and the truth's ids of the pictures in common."""
    images = truth.pictures
    matched = match_names(
        [media.name for media in project.media("done") if media.kind == "image"], list(images)
    )
    results: list[dict[str, Any]] = []
    image_ids: list[int] = []
    for media, instances in project.labelled() if matched else ():
        if media.name not in matched:
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
            if one.class_id in classes and (one.mask is None or masks.area(one.mask))
        ]
    return results, sorted(image_ids)


def _result(instance: Instance, image_id: int, category: int) -> dict[str, Any]:
    """Return one label as a COCO result, rounded as exported; a human's counts as certain."""
    x1, y1, x2, y2 = instance.box
    result: dict[str, Any] = {
        "image_id": image_id,
        "category_id": category,
        "bbox": [round(value, PIXEL_DIGITS) for value in (x1, y1, x2 - x1, y2 - y1)],
        "score": 1.0 if instance.score is None else round(instance.score, SCORE_DIGITS),
    }
    if instance.mask is not None:
        size = [instance.mask.height, instance.mask.width]
        result["segmentation"] = {"size": size, "counts": instance.mask.counts}
    return result


def _truth_of(truth: Truth, image_ids: list[int], categories: set[int]) -> dict[str, Any]:
    """Return the part of the truth about these pictures and classes, complete for COCOeval.

    Annotations are numbered from 1: COCOeval takes one with the id 0 for "no match".
    """
    wanted = set(image_ids)
    kept = [
        one
        for one in truth.data["annotations"]
        if one["image_id"] in wanted and one["category_id"] in categories
    ]
    return {
        "info": {},
        "images": [one for one in truth.data["images"] if one["id"] in wanted],
        "annotations": [{**one, "id": number} for number, one in enumerate(kept, 1)],
        "categories": [one for one in truth.data["categories"] if one["id"] in categories],
    }


def _average_precision(
    data: dict[str, Any], labels: list[dict[str, Any]], image_ids: list[int], kind: str
) -> Average:
    """Return AP and AP50 over pictures and classes; 0 without labels, None without truths."""
    if all(one["iscrowd"] for one in data["annotations"]):
        return {"ap": None, "ap50": None}
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


def _notes(
    truth: Truth, class_names: tuple[str, ...], classes: dict[int, int], pictures: int
) -> tuple[str, ...]:
    """Return what the figures don't cover."""
    notes = []
    total = len(truth.pictures)
    if pictures < total:
        notes.append(f"{total - pictures} of the truth's {total} pictures are not in the project")
    lacking = sorted(set(truth.categories) - {class_names[i] for i in classes})
    spare = [name for i, name in enumerate(class_names) if i not in classes]
    told = [f"{n} (is it {near}?)" if (near := nearest(n, spare)) else n for n in lacking]
    if told:
        notes.append(f"classes of the truth that the ontology lacks, left out: {', '.join(told)}")
    if spare:
        notes.append(f"classes that the truth lacks, left out: {', '.join(spare)}")
    return tuple(notes)
