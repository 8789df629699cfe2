"""A labelled project without any model: plain pictures, exact masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from autolabel import masks
from autolabel.labeling import select_anew
from autolabel.media.pictures import file_key
from autolabel.ontology import Ontology, parse_ontology, to_yaml
from autolabel.store import Project, Result
from autolabel.types import Candidates, Instance, MediaRecord, Proposals
from tests.pictures import save, write_video

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


def make_project(root: Path, pictures: int = 2, **more_meta: str) -> Path:
    """A project of gray pictures, a car and a person in each."""
    folder = root / "project"
    with Project.open(folder, create=True) as project:
        meta = {"ontology": to_yaml(ontology(0.25)), "floor": "0.1"} | more_meta
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


def add_candidates(folder: Path, root: Path) -> None:
    """Add a picture of three candidates (0.9, 0.6, 0.4), two of them labels at threshold 0.5."""
    image = save(root / "images" / "a.png", np.full((HEIGHT, WIDTH, 3), 140, np.uint8))
    boxes = np.array([[10, 10, 60, 60], [100, 100, 160, 160], [200, 50, 260, 110]], np.float32)
    scores = np.array([[0.9, 0.1, 0], [0.6, 0.2, 0], [0.4, 0.3, 0]], np.float32)
    found = Candidates(HEIGHT, WIDTH, Proposals(boxes, scores), (None,) * 3, (None,) * 3)
    with Project.open(folder) as project:
        media = MediaRecord(image.name, str(image), "image", file_key(image), HEIGHT, WIDTH)
        project.commit([Result(media, candidates={0: found})])
        select_anew(project, ontology(0.5))


def ontology(threshold: float) -> Ontology:
    """The classes with one threshold."""
    read = parse_ontology(ONTOLOGY)
    colours = dict(CLASSES)
    classes = tuple(
        replace(one, threshold=threshold, color=colours[one.name]) for one in read.classes
    )
    return replace(read, classes=classes)


def add_clip(folder: Path, path: Path) -> None:
    """Add a clip of six frames with one car, tracked through frames 0, 1 and 4."""
    frames = [np.full((HEIGHT, WIDTH, 3), 10 * index, np.uint8) for index in range(6)]
    write_video(path, frames, codec="ffv1", pix_fmt="yuv420p")
    with Project.open(folder) as project:
        car = label("car", BOXES["car"])
        tracked = [replace(car, frame_index=index, track_id=1) for index in (0, 1, 4)]
        media = MediaRecord(path.name, str(path), "video", "k", HEIGHT, WIDTH, frames=6)
        project.commit([Result(media, instances=tracked)])


def add_failure(folder: Path) -> None:
    """Add a picture that could not be labelled."""
    lost = MediaRecord("bad.png", "/none/bad.png", "image", "", 0, 0, 0, "failed", "cut short")
    with Project.open(folder) as project:
        project.commit([Result(lost)])
