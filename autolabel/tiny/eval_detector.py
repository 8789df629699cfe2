"""Measures the small detector on scenes it was never trained on.

    python -m autolabel.tiny.train eval-detector [--hard] [--count 200] [--seed 5000]

Every prompt of the ontology is asked of every picture, in one text. A prompt's score is the mean
of the sigmoid over its own tokens; a box takes its best prompt; overlapping boxes are suppressed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import batched_nms, nms
from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

from autolabel.tiny.detector_data import box_of
from autolabel.tiny.scenes import CLASSES, Scene, make_scene

WEIGHTS = Path(__file__).parent / "weights" / "detector"
_SAME_CLASS_IOU, _ANY_CLASS_IOU = 0.6, 0.7


@dataclass(frozen=True)
class Detections:
    """What was found in one picture: boxes (n, 4) x1 y1 x2 y2, scores (n,), labels (n,)."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def load(folder: Path) -> tuple[GroundingDinoForObjectDetection, GroundingDinoProcessor]:
    """Loads a detector and its processor, in float32 and ready to infer."""
    model = GroundingDinoForObjectDetection.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), GroundingDinoProcessor.from_pretrained(folder)


def detect(
    model: GroundingDinoForObjectDetection,
    processor: GroundingDinoProcessor,
    images: Sequence[npt.NDArray[np.uint8]],
    prompts: Sequence[str],
) -> list[Detections]:
    """Finds the prompts' objects in pictures of one size."""
    text = " ".join(f"{prompt}." for prompt in prompts)
    pictures = [Image.fromarray(image) for image in images]
    inputs = processor(images=pictures, text=[text] * len(images), return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    ends = inputs["input_ids"][0] == processor.tokenizer.convert_tokens_to_ids(".")
    owner = torch.cumsum(ends, 0)
    owner[ends | (inputs["input_ids"][0] == processor.tokenizer.cls_token_id)] = -1
    chance = outputs.logits[..., : len(owner)].sigmoid()
    scores = torch.stack([chance[..., owner == k].mean(-1) for k in range(len(prompts))], -1)
    height, width, _ = images[0].shape
    return [
        _best(score, boxes, height, width)
        for score, boxes in zip(scores, outputs.pred_boxes, strict=True)
    ]


def _best(scores: torch.Tensor, boxes: torch.Tensor, height: int, width: int) -> Detections:
    """Gives each box its best prompt and drops duplicates."""
    best, labels = scores.max(-1)
    middle, half = boxes[:, :2], boxes[:, 2:] / 2
    found = torch.cat([middle - half, middle + half], -1).clamp(0, 1)
    found = found * torch.tensor([width, height, width, height])
    kept = batched_nms(found, best, labels, _SAME_CLASS_IOU)
    kept = kept[nms(found[kept], best[kept], _ANY_CLASS_IOU)]
    return Detections(found[kept].numpy(), best[kept].numpy(), labels[kept].numpy())


def measure(scenes: Sequence[Scene], found: Sequence[Detections]) -> dict[str, float]:
    """Gives COCO's box AP and AP50 over all classes, and what absent prompts score at most."""
    truth, rows = _as_coco(scenes, found)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    absent, present = _sureness(scenes, found)
    return {
        "ap": float(evaluation.stats[0]),
        "ap50": float(evaluation.stats[1]),
        "ap75": float(evaluation.stats[2]),
        "absent_p95": absent,
        "present_p10": present,
    }


def _as_coco(
    scenes: Sequence[Scene], found: Sequence[Detections]
) -> tuple[dict[str, object], list[dict[str, object]]]:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    for number, (scene, detections) in enumerate(zip(scenes, found, strict=True)):
        height, width, _ = scene.image.shape
        images.append({"id": number, "width": width, "height": height})
        for thing in scene.objects:
            x1, y1, x2, y2 = box_of(thing.mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": CLASSES.index(thing.name),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(thing.mask.sum()),
                    "iscrowd": 0,
                }
            )
        for (x1, y1, x2, y2), score, label in zip(
            detections.boxes.tolist(), detections.scores, detections.labels, strict=True
        ):
            row: dict[str, object] = {"image_id": number, "category_id": int(label)}
            row["score"], row["bbox"] = float(score), [x1, y1, x2 - x1, y2 - y1]
            rows.append(row)
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES)]
    truth: dict[str, object] = {"info": {}, "images": images, "annotations": annotations}
    truth["categories"] = categories
    return truth, rows


def _sureness(scenes: Sequence[Scene], found: Sequence[Detections]) -> tuple[float, float]:
    """Gives the 95th percentile of absent prompts' best scores, the 10th of present ones'."""
    absent: list[float] = []
    present: list[float] = []
    for scene, detections in zip(scenes, found, strict=True):
        there = {CLASSES.index(thing.name) for thing in scene.objects}
        for label in range(len(CLASSES)):
            best = float(detections.scores[detections.labels == label].max(initial=0))
            (present if label in there else absent).append(best)
    return float(np.percentile(absent, 95)), float(np.percentile(present, 10))


def evaluate(
    folder: Path, *, count: int, seed: int, hard: bool, batch: int = 8
) -> dict[str, float]:
    """Measures the detector in `folder` on the scenes of `count` seeds from `seed` on."""
    model, processor = load(folder)
    scenes = [make_scene(seed + k, hard=hard) for k in range(count)]
    found: list[Detections] = []
    for start in range(0, count, batch):
        images = [scene.image for scene in scenes[start : start + batch]]
        found += detect(model, processor, images, CLASSES)
    return measure(scenes, found)


def main(argv: Sequence[str]) -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m autolabel.tiny.train eval-detector")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--hard", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    figures = evaluate(options.weights, count=options.count, seed=options.seed, hard=options.hard)
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
