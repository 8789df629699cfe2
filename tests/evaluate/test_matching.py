"""What labels are wrong about, by hand; and a project as the truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autolabel import api
from autolabel.errors import FormatError
from autolabel.formats import export
from autolabel.store import Project
from tests.evaluate.test_detection import drawn, ellipse, label, make_project, truth_data, write


def test_confusion_duplicates_and_mask_iou(tmp_path: Path) -> None:
    one, two, three = ellipse(2, 2, 22, 22), ellipse(40, 20, 70, 50), ellipse(2, 35, 22, 55)
    data = truth_data({"a.png": [(0, one), (1, two), (0, three)]})
    labels = [
        label(one),  # right
        label(one, score=0.8),  # double
        label(two, 2, score=0.7),  # a dog taken for a cow
        label(ellipse(60, 2, 70, 10), 1, score=0.6),  # nothing there
    ]
    project = make_project(tmp_path / "p", {"a.png": labels})
    found = api.measure(project, write(tmp_path / "t.json", data))
    assert found["confusion"] == {
        "classes": ["cat", "dog", "cow"],
        # labels: cat, dog, cow, missed
        "matrix": [[1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]],
    }
    assert found["duplicates"] == {"count": 1, "classes": {"cat": 1, "dog": 0, "cow": 0}}
    assert found["mask_iou"] == {"mean": 1.0, "classes": {"cat": 1.0, "dog": None, "cow": None}}
    assert found["macro_f1"] == pytest.approx((2 / 4 + 0) / 2)  # cows are not in the truth


def test_mask_iou_is_that_of_the_pixels(tmp_path: Path) -> None:
    from autolabel import masks

    ours, theirs = ellipse(2, 2, 42, 42), ellipse(6, 2, 46, 42)
    a, b = masks.decode(ours), masks.decode(theirs)
    project = make_project(tmp_path / "p", {"a.png": [label(ours)]})
    path = write(tmp_path / "t.json", truth_data({"a.png": [(0, theirs)]}))
    found = api.measure(project, path)
    assert found["mask_iou"]["mean"] == pytest.approx((a & b).sum() / (a | b).sum(), abs=1e-9)


def test_a_project_is_a_truth_as_its_export_is(tmp_path: Path) -> None:
    _, found = drawn(2)
    _, other = drawn(3)
    make_project(tmp_path / "p", found)
    make_project(tmp_path / "q", {name: other.get(name, []) for name in found})
    with Project.open(tmp_path / "q", readonly=True) as project:
        export(project, "coco", tmp_path / "coco")
    by_project = api.measure(tmp_path / "p", tmp_path / "q")
    by_file = api.measure(tmp_path / "p", tmp_path / "coco" / "annotations.json")
    assert by_project["pictures"] == 12
    assert by_project["confusion"] == by_file["confusion"]
    assert by_project["mask"] == pytest.approx(by_file["mask"], abs=1e-6)
    assert by_project["box"] == pytest.approx(by_file["box"], abs=1e-6)


def test_a_project_without_inputs_is_no_truth(tmp_path: Path) -> None:
    make_project(tmp_path / "p", {"a.png": []})
    make_project(tmp_path / "q", {})
    with pytest.raises(FormatError, match="no inputs that are done"):
        api.measure(tmp_path / "p", tmp_path / "q")


def test_nothing_of_pictures_is_said_where_there_are_only_clips(tmp_path: Path) -> None:
    found = json.loads(json.dumps({"mask_iou": None, "confusion": None, "duplicates": None}))
    from autolabel.evaluate.detection import NO_MATCHES

    assert found == NO_MATCHES
