"""The CVAT function through cvat-sdk's own checks and driver; the server alone is a stand-in."""

from __future__ import annotations

import logging
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import pytest
from cvat_sdk import models
from cvat_sdk.auto_annotation import driver
from cvat_sdk.masks import decode_mask
from PIL import Image as Pillow

from autolabel import cvat_function, masks
from autolabel.errors import UsageError
from autolabel.ontology import parse_ontology
from autolabel.pipeline import Question, Stages, label_images
from tests.fakes import Blobs, Ellipses

ONTOLOGY = "{cat: cat, dog: dog}"


def task(monkeypatch: pytest.MonkeyPatch, pictures: list[Pillow.Image], kind: str) -> Any:
    """Return a client whose task 12 holds these pictures, and what is uploaded to it."""
    labels = [
        models.Label(name=name, id=number, type=kind, attributes=[], sublabels=[])
        for name, number in (("dog", 71), ("cat", 72))
    ]
    samples = [
        SimpleNamespace(
            frame_name=f"{i}.png",
            frame_index=i,
            media=SimpleNamespace(load_image=lambda picture=picture: picture),
        )
        for i, picture in enumerate(pictures)
    ]
    data = SimpleNamespace(labels=labels, samples=samples)
    monkeypatch.setattr(driver, "TaskDataset", lambda *_args, **_options: data)
    uploaded: list[Any] = []

    def update(task_id: int, labeled_data_request: Any) -> None:
        uploaded.append((task_id, labeled_data_request))

    api = SimpleNamespace(update_annotations=update)
    tasks = SimpleNamespace(api=api)
    return SimpleNamespace(logger=logging.getLogger("cvat"), tasks=tasks), uploaded


def pictures() -> list[Pillow.Image]:
    rng = np.random.default_rng(1)
    sizes = ((48, 64), (70, 40))
    return [Pillow.fromarray(rng.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in sizes]


def function(segmenter: Any) -> cvat_function.OntologyFunction:
    stages = Stages(Blobs(None), segmenter)
    return cvat_function.OntologyFunction(parse_ontology(ONTOLOGY), stages)


def test_masks_reach_the_task_as_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    client, uploaded = task(monkeypatch, pictures(), "mask")
    made = function(Ellipses(None))
    assert isinstance(made.spec, cvataa.DetectionFunctionSpec)
    cvataa.annotate_task(client, 12, made, clear_existing=True)
    ((number, sent),) = uploaded
    assert number == 12
    question = Question(parse_ontology(ONTOLOGY), ("cat", "dog"), 0.1)
    images = [np.asarray(picture) for picture in pictures()]
    expected = label_images(images, question, Stages(Blobs(None), Ellipses(None)))
    of_frame = {0: 72, 1: 71}
    for frame, (image, labelled) in enumerate(zip(images, expected, strict=True)):
        shapes = [one for one in sent.shapes if one.frame == frame]
        whole = [one for one in labelled.instances if one.mask is not None]
        assert len(shapes) == len(whole) > 0
        for shape, one in zip(shapes, whole, strict=True):
            assert shape.label_id == of_frame[one.class_id]
            height, width = image.shape[:2]
            got = decode_mask(shape.points, image_width=width, image_height=height)
            assert one.mask is not None
            assert (got == masks.decode(one.mask)).all()


def test_boxes_polygons_and_a_least_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    client, uploaded = task(monkeypatch, pictures(), "rectangle")
    cvataa.annotate_task(client, 12, function(None), clear_existing=True)
    every = len(uploaded[0][1].shapes)
    assert {one.type.value for one in uploaded[0][1].shapes} == {"rectangle"}
    cvataa.annotate_task(client, 12, function(None), clear_existing=True, conf_threshold=0.8)
    assert 0 < len(uploaded[1][1].shapes) < every
    client, uploaded = task(monkeypatch, pictures(), "polygon")
    cvataa.annotate_task(
        client, 12, function(Ellipses(None)), clear_existing=True, conv_mask_to_poly=True
    )
    shapes = uploaded[0][1].shapes
    assert {one.type.value for one in shapes} == {"polygon"}
    assert all(len(one.points) >= 6 and len(one.points) % 2 == 0 for one in shapes)


def test_a_class_that_the_task_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = task(monkeypatch, pictures(), "mask")
    made = cvat_function.OntologyFunction(
        parse_ontology("{cat: cat, bird: bird}"), Stages(Blobs(None), Ellipses(None))
    )
    with pytest.raises(cvataa.BadFunctionError, match="'bird' is not in dataset"):
        cvataa.annotate_task(client, 12, made)
    cvataa.annotate_task(client, 12, made, allow_unmatched_labels=True, clear_existing=True)


def test_the_module_is_what_function_file_runs(tmp_path: Path) -> None:
    create = runpy.run_path(cvat_function.__file__)["create"]
    with pytest.raises(UsageError, match="-p ontology=str:"):
        create()
    (tmp_path / "classes.yaml").write_text(ONTOLOGY)
    made = create(
        ontology=str(tmp_path / "classes.yaml"),
        grounder="tests.fakes:Blobs",
        segmenter="none",
        device="cpu",
    )
    assert [(one.name, one.id, one.type) for one in made.spec.labels] == [
        ("cat", 0, "rectangle"),
        ("dog", 1, "rectangle"),
    ]


def test_a_frame_is_seen_as_displayed() -> None:
    upright = pictures()[0]
    stored = upright.transpose(Pillow.Transpose.ROTATE_90)
    exif = stored.getexif()
    exif[0x0112] = 6
    context = driver._DetectionFunctionContextImpl(
        frame_name="x", conf_threshold=None, conv_mask_to_poly=False
    )
    made = function(None)
    there = [shape.points for shape in made.detect(context, upright)]
    assert [shape.points for shape in made.detect(context, stored)] == there


class Seen(Blobs):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__(None)
        self.images: list[np.ndarray] = []

    def ground(self, images: Any, prompts: Any, floor: float) -> Any:
        self.images += images
        return super().ground(images, prompts, floor)


def test_deep_and_transparent_frames_are_seen_as_a_run_sees_them() -> None:
    deep = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    clear = np.zeros((48, 64, 4), np.uint8)
    context = driver._DetectionFunctionContextImpl(
        frame_name="x", conf_threshold=None, conv_mask_to_poly=False
    )
    seen = Seen()
    made = cvat_function.OntologyFunction(parse_ontology(ONTOLOGY), Stages(seen, None))
    made.detect(context, Pillow.fromarray(deep))
    made.detect(context, Pillow.fromarray(clear))
    gray, white = seen.images
    assert (gray[0, 0, 0], gray[24, 0, 0], gray[-1, -1, 0]) == (0, 128, 255)
    assert (white == 255).all()
