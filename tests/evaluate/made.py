"""A project of stored candidates whose scores are known, with its truth; no model, no pixels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from autolabel.labeling import class_rows, selection_meta
from autolabel.ontology import Ontology, load_ontology
from autolabel.pipeline import Question, instances_of
from autolabel.store import Project, Result
from autolabel.types import Candidates, MediaRecord, Proposals

SIDE = 200
Thing = tuple[tuple[float, float, float, float], dict[str, float]]
"""A candidate: its box and the scores of prompts."""


def slot(number: int) -> tuple[float, float, float, float]:
    """Return the box of one of 16 places that don't touch."""
    x, y = 50.0 * (number % 4), 50.0 * (number // 4)
    return x, y, x + 40, y + 40


def make_project(
    folder: Path, ontology_file: Path, pictures: dict[str, list[Thing]]
) -> tuple[Path, Ontology]:
    """Return the folder of a project that has these candidates, labelled by the ontology."""
    ontology = load_ontology(ontology_file)
    question = Question(ontology, ontology.prompts, 0.1)
    with Project.open(folder, create=True) as project:
        meta = {"grounder": "made", "segmenter": "none", "floor": "0.1"}
        project.set_run(meta | selection_meta(ontology), class_rows(ontology), ontology.prompts)
        for name, things in pictures.items():
            found = candidates(things, ontology.prompts)
            media = MediaRecord(name, f"/in/{name}", "image", name, SIDE, SIDE)
            labels = instances_of(found, question)
            project.commit([Result(media, 1, 2, {0: found}, labels)])
    return folder, ontology


def candidates(things: Iterable[Thing], prompts: tuple[str, ...]) -> Candidates:
    """Return candidates without masks."""
    things = list(things)
    boxes = np.array([box for box, _ in things], np.float32).reshape(-1, 4)
    scores = np.zeros((len(things), len(prompts)), np.float32)
    for row, (_, said) in enumerate(things):
        for prompt, score in said.items():
            scores[row, prompts.index(prompt)] = score
    none = (None,) * len(things)
    return Candidates(SIDE, SIDE, Proposals(boxes, scores), none, none)


def write_truth(
    path: Path, names: Iterable[str], pictures: dict[str, list[tuple[int, str]]]
) -> Path:
    """Return the file of a COCO truth: (slot, class) of each object."""
    categories = {name: number for number, name in enumerate(names, 1)}
    data: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    for image_id, (name, things) in enumerate(pictures.items(), 1):
        data["images"].append({"id": image_id, "file_name": name, "height": SIDE, "width": SIDE})
        for place, class_name in things:
            x1, y1, x2, y2 = slot(place)
            data["annotations"].append(
                {
                    "id": len(data["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": categories[class_name],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                }
            )
    path.write_text(json.dumps(data))
    return path
