"""A labelled project without any model: plain pictures, exact masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autolabel import masks
from autolabel.media.pictures import file_key
from autolabel.ontology import parse_ontology, to_yaml
from autolabel.store import Project, Result
from autolabel.types import Instance, MediaRecord
from tests.pictures import save

HEIGHT, WIDTH = 240, 320
CLASSES = [("car", "#e03131"), ("truck", "#1971c2"), ("person", "#2f9e44")]
ONTOLOGY = "car: car\ntruck: truck\nperson: person\n"
BOXES = {"car": (40, 60, 140, 140), "person": (200, 80, 260, 200)}
"""x1, y1, x2, y2 of the two labels of every picture; the car is an ellipse."""


def ellipse(box: tuple[int, int, int, int]) -> np.ndarray:
    """bool (H, W): the ellipse that fills a box."""
    x1, y1, x2, y2 = box
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    across = (columns - (x1 + x2) / 2) / ((x2 - x1) / 2)
    down = (rows - (y1 + y2) / 2) / ((y2 - y1) / 2)
    return across**2 + down**2 <= 1


def label(name: str, box: tuple[int, int, int, int], **values) -> Instance:
    """A label of the model: an ellipse in a box."""
    chosen = {"score": 0.6, "mask_score": 0.9, "prompt": name, "runner_up_class": 1}
    chosen |= {"runner_up_score": 0.2} | values
    class_id = [known for known, _ in CLASSES].index(name)
    mask = masks.encode(ellipse(box))
    tight = tuple(float(value) for value in masks.tight_box(mask))
    return Instance(class_id, tight, mask=mask, **chosen)


def make_project(root: Path, pictures: int = 2) -> Path:
    """A project of gray pictures, a car and a person in each."""
    folder = root / "project"
    with Project.open(folder, create=True) as project:
        meta = {"ontology": to_yaml(parse_ontology(ONTOLOGY)), "floor": "0.1"}
        project.set_run(meta, CLASSES, [name for name, _ in CLASSES])
        for number in range(pictures):
            path = save(
                root / "images" / f"{number}.png",
                np.full((HEIGHT, WIDTH, 3), 150 + number, np.uint8),
            )
            media = MediaRecord(path.name, str(path), "image", file_key(path), HEIGHT, WIDTH)
            labels = [label(name, box) for name, box in BOXES.items()]
            project.commit([Result(media, instances=labels)])
    return folder
