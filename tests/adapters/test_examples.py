"""Examples as prompts: from the ontology, through OWLv2, to labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import autolabel
from autolabel.errors import OntologyError, UsageError
from autolabel.ground.owlv2 import Owlv2
from autolabel.ontology import load_ontology, parse_ontology, to_yaml


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "shelf.png")
    Pillow.fromarray(pixels[10:40, 20:50]).save(tmp_path / "bolt.png")
    (tmp_path / "classes.yaml").write_text(
        "classes:\n"
        "  - name: bolt\n"
        "    threshold: 0.01\n"
        "    examples:\n"
        "      - bolt.png\n"
        "      - {image: shelf.png, box: [20, 10, 50, 40]}\n"
        "  - name: cat\n"
        "    prompts: [cat, dog]\n"
        "    examples: bolt.png\n"
    )
    return tmp_path


def test_examples_are_prompts_named_by_their_content(folder: Path) -> None:
    (folder / "classes.yaml").write_text(
        (folder / "classes.yaml").read_text().replace("    examples: bolt.png\n", "")
    )
    ontology = load_ontology(folder / "classes.yaml")
    bolt = ontology.classes[0]
    assert bolt.prompts == ()
    first, second = bolt.examples
    assert ontology.prompts == (first.prompt, second.prompt, "cat", "dog")
    assert first.prompt == f"[picture bolt {first.digest}]"
    assert second.prompt == f"[picture shelf {second.digest} at 20 10 50 40]"
    assert (second.pixels() == first.pixels()).all()
    again = parse_ontology(to_yaml(ontology))
    assert again == ontology
    Pillow.new("RGB", (9, 9)).save(folder / "bolt.png")
    changed = load_ontology(folder / "classes.yaml")
    assert changed.prompt_fingerprint() != ontology.prompt_fingerprint()
    with pytest.raises(UsageError, match="has changed since"):
        first.pixels()
    (folder / "bolt.png").unlink()
    assert parse_ontology(to_yaml(ontology)) == ontology, "a project outlives its examples"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("examples: gone.png", 3, "there is no such file"),
        ("examples: []", 3, "examples: found an empty list"),
        ("examples: [7]", 3, "example: found the number 7, expected text"),
        ("examples: {box: [1, 2, 3, 4]}", 3, "found no `image`"),
        ("examples: {image: bolt.png, box: [1, 2, 3]}", 3, "found 3 numbers, expected 4"),
        ("examples: {image: bolt.png, box: [5, 5, 1, 9]}", 3, "expected [x1, y1, x2, y2]"),
        ("examples: {image: bolt.png, boxes: 1}", 3, "unknown key 'boxes'"),
    ],
)
def test_a_wrong_example_is_told_with_its_line(
    folder: Path, text: str, line: int, says: str
) -> None:
    path = folder / "wrong.yaml"
    path.write_text(f"classes:\n  - name: bolt\n    {text}\n")
    with pytest.raises(OntologyError) as caught:
        load_ontology(path)
    assert f"{path}:{line}: " in str(caught.value)
    assert says in str(caught.value)


def test_two_classes_cannot_have_one_example(folder: Path) -> None:
    with pytest.raises(OntologyError, match="means both 'bolt' and 'cat'"):
        load_ontology(folder / "classes.yaml")


def test_a_box_beyond_the_picture_is_told(folder: Path) -> None:
    path = folder / "classes.yaml"
    path.write_text(
        "classes:\n  - name: a\n    examples: {image: bolt.png, box: [0, 0, 400, 20]}\n"
    )
    (one,) = load_ontology(path).examples.values()
    with pytest.raises(UsageError, match="has 30 x 30 pixels"):
        one.pixels()


def test_owlv2_asks_with_the_example_that_the_model_itself_sees_best(
    made: Callable[[str], Path], folder: Path
) -> None:
    where = made("owlv2")
    grounder = Owlv2(where, device="cpu", dtype="fp32")
    example = np.asarray(Pillow.open(folder / "bolt.png"))
    scene = np.asarray(Pillow.open(folder / "shelf.png"))
    grounder.learn({"[picture bolt]": example})
    (found,) = grounder.ground([scene], ["cat", "[picture bolt]"], 0.0)
    # By hand, with the real processor and the model's own heads.
    prepare, model = grounder._processor.image_processor, grounder._model
    with torch.no_grad():
        maps, _ = model.image_embedder(prepare(example, return_tensors="pt")["pixel_values"])
        features = maps.flatten(1, 2)
        boxes = model.box_predictor(features, maps)[0].numpy()
        _, embeddings = model.class_predictor(features)
        sure = model.objectness_predictor(features)[0].numpy()
        x, y, w, h = np.clip(boxes, -9, 9).T * 30  # the example is square: no padding
        across = np.minimum(x + w / 2, 30) - np.maximum(x - w / 2, 0)
        down = np.minimum(y + h / 2, 30) - np.maximum(y - h / 2, 0)
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        ious = shared / (w * h + 900 - shared)
        good = np.flatnonzero(ious >= 0.8 * ious.max())
        query = embeddings[0, good[sure[good].argmax()]]
        maps, _ = model.image_embedder(prepare(scene, return_tensors="pt")["pixel_values"])
        logits, _ = model.class_predictor(maps.flatten(1, 2), query[None, None], None)
    expected = logits.sigmoid().numpy().reshape(-1)
    got = found.scores[:, 1]  # boxes in the padding are left out
    assert len(got) >= 8
    assert got.max() == pytest.approx(expected.max(), abs=1e-5)
    assert np.abs(got[:, None] - expected[None]).min(axis=1).max() < 1e-5


def test_a_run_labels_by_example_and_says_who_takes_none(
    made: Callable[[str], Path], folder: Path, tmp_path: Path
) -> None:
    (folder / "classes.yaml").write_text(
        "classes:\n  - {name: bolt, threshold: 0.01, examples: bolt.png}\n  - cat\n"
    )
    settings = {"segmenter": "none", "device": "cpu", "floor": 0.01, "out": tmp_path / "project"}
    pictures = [folder / "shelf.png"]
    report = autolabel.run(
        pictures, folder / "classes.yaml", grounder=f"owlv2:{made('owlv2')}", **settings
    )
    assert report.done == 1
    with autolabel.Project.open(tmp_path / "project", readonly=True) as project:
        asked = project.prompts()
    assert [text[:13] for text in asked] == ["[picture bolt", "cat"]
    with pytest.raises(UsageError, match="takes texts only"):
        autolabel.run(
            pictures,
            folder / "classes.yaml",
            grounder="tests.fakes:Blobs",
            **settings | {"out": tmp_path / "other"},
        )
