"""Runs with models that are unlike the others: without scores, and two in one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import autolabel
from autolabel.ontology import Ontology, parse_ontology
from autolabel.select import select, to_segment
from autolabel.types import Image, Instance, Proposals

NAN = float("nan")


class Sayer:
    """Says where things are and never how sure it is, as Florence-2 does."""

    def __init__(self, path: object, *, device: str = "cpu", dtype: str = "fp32") -> None:
        pass

    def fingerprint(self) -> str:
        return "sayer"

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        return []

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        boxes = np.array([[2, 3, 22, 23], [30, 10, 50, 38]], np.float32)
        scores = np.zeros((2, len(prompts)), np.float32)
        scores[0, list(prompts).index("cat")] = scores[1, list(prompts).index("dog")] = NAN
        return [Proposals(boxes, scores) for _ in images]


def ontology(threshold: float, extra: str = "") -> Ontology:
    return parse_ontology(
        f"classes:\n  - {{name: cat, threshold: {threshold}{extra}}}\n  - {{name: dog}}\n"
    )


def labels(project: Path) -> list[Instance]:
    with autolabel.Project.open(project, readonly=True) as opened:
        return [one for _, found in opened.iter_labelled() for one in found]


def test_a_box_without_a_score_passes_thresholds_and_keeps_none() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    found = Proposals(boxes, np.array([[NAN, 0], [0, 0.4]], np.float32))
    for threshold in (0.0, 0.3, 1.0):
        chosen = select(found, ontology(threshold), 50, 50)
        assert [(one.candidate, one.class_id, one.score) for one in chosen] == [
            (0, 0, None),
            (1, 1, pytest.approx(0.4)),
        ]
    assert to_segment(found, ontology(0.3), 50, 50, 0.1).tolist() == [0, 1]
    against = parse_ontology("classes:\n  - {name: cat, not: dog}\n")
    both = Proposals(boxes, np.array([[NAN, NAN], [NAN, 0]], np.float32))
    assert [one.candidate for one in select(both, against, 50, 50)] == [1]
    small = ontology(0.3, ", min_area: 200")
    assert [one.candidate for one in select(found, small, 50, 50)] == [1]


def test_labels_without_scores_are_stored_selected_anew_and_exported(tmp_path: Path) -> None:
    Pillow.new("RGB", (60, 40)).save(tmp_path / "a.png")
    settings = {
        "out": tmp_path / "project",
        "grounder": "tests.adapters.test_runs:Sayer",
        "segmenter": "none",
        "device": "cpu",
    }
    autolabel.run([tmp_path / "a.png"], ontology(0.3), **settings)
    found = labels(tmp_path / "project")
    assert [(one.class_id, one.score, one.prompt) for one in found] == [
        (0, None, "cat"),
        (1, None, "dog"),
    ]
    report = autolabel.run([tmp_path / "a.png"], ontology(0.9, ", max_area: 100"), **settings)
    assert report.reselected == 1
    assert [one.class_id for one in labels(tmp_path / "project")] == [1]
    autolabel.run([tmp_path / "a.png"], ontology(0.9), **settings)
    assert [one.score for one in labels(tmp_path / "project")] == [None, None]
    autolabel.export(tmp_path / "project", "coco", tmp_path / "coco")
    written = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    assert len(written["annotations"]) == 2
    assert all("score" not in one for one in written["annotations"])


def test_tracks_of_a_detector_without_scores_have_none(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    pixels = np.random.default_rng(2).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for number in range(3):
        Pillow.fromarray(pixels).save(clip / f"{number}.png")
    autolabel.run(
        [clip],
        ontology(0.3),
        out=tmp_path / "project",
        grounder="tests.adapters.test_runs:Sayer",
        segmenter="sam2:tiny",
        frame_folders=True,
        device="cpu",
    )
    found = labels(tmp_path / "project")
    assert {one.frame_index for one in found} == {0, 1, 2}
    assert {one.score for one in found} == {None}


def test_sam3_is_grounder_and_segmenter_at_once(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "a.png")
    spec = f"sam3:{made('sam3')}"
    report = autolabel.run(
        [tmp_path / "a.png"],
        parse_ontology("classes:\n  - {name: cat, threshold: 0.02}\n"),
        out=tmp_path / "project",
        grounder=spec,
        segmenter=spec,
        floor=0.01,
        device="cpu",
    )
    assert (report.done, report.failed) == (1, 0)
    with autolabel.Project.open(tmp_path / "project", readonly=True) as project:
        candidates = project.candidates("a.png")[0]
    assert len(candidates.proposals) > 0
    assert all(mask is not None for mask in candidates.masks)
    assert candidates.mask_scores == tuple(candidates.proposals.scores.max(axis=1).tolist())
