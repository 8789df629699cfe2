"""What a negative prompt is worth: what it removes alone, what only it removes, what is lacking."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autolabel import masks
from autolabel.errors import FormatError, ProjectError
from autolabel.evaluate.truth import load_truth
from autolabel.lab.negatives import NegativeReport, measure_negatives
from autolabel.ontology import parse_ontology, to_yaml
from autolabel.store import Project, Result
from autolabel.types import Candidates, MediaRecord, Proposals
from tests.command import autolabel

ONTOLOGY = """
classes:
  - {name: cat, not: [Fox, statue, lynx, unicorn]}
  - {name: dog, not: [fox, wolf]}
"""
# Boxes in a row, 20 px wide: what is there, and the scores of the prompts
# cat, dog, Fox, statue, lynx, unicorn, wolf.
THINGS = [
    ("cat", [0.9, 0.0, 0.2, 0.1, 0.1, 0.0, 0.0]),
    ("cat", [0.8, 0.0, 0.1, 0.9, 0.2, 0.0, 0.0]),  # `statue` costs this one
    ("fox", [0.6, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0]),  # `Fox` alone explains it
    ("fox", [0.6, 0.0, 0.8, 0.0, 0.7, 0.0, 0.0]),  # `Fox` and `lynx` do
    ("fox", [0.0, 0.7, 0.9, 0.0, 0.0, 0.0, 0.0]),  # against dogs too, whatever its capitals
    ("cow", [0.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.1]),  # nothing explains these two
    ("cow", [0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.1]),
]
NAMES = ("cat", "dog", "fox", "cow")


def box(place: int) -> tuple[int, int, int, int]:
    return 30 * place, 10, 30 * place + 20, 30


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one picture."""
    ontology = parse_ontology(ONTOLOGY)
    assert ontology.prompts == ("cat", "dog", "Fox", "statue", "lynx", "unicorn", "wolf")
    boxes = np.array([box(place) for place in range(len(THINGS))], np.float32)
    scores = np.array([scores for _, scores in THINGS], np.float32)
    none = (None,) * len(THINGS)
    media = MediaRecord("a.png", "/in/a.png", "image", "k", 40, 300)
    with Project.open(tmp_path / "p", create=True) as opened:
        meta = {"grounder": "x", "ontology": to_yaml(ontology)}
        opened.set_run(meta, [("cat", "#000000"), ("dog", "#ffffff")], ontology.prompts)
        found = Candidates(40, 300, Proposals(boxes, scores), none, none)
        opened.commit([Result(media, candidates={0: found})])
    return tmp_path / "p"


def truth_file(folder: Path, names: tuple[str, ...] = NAMES, picture: str = "a.png") -> Path:
    annotations = []
    for place, (name, _) in enumerate(THINGS):
        x1, y1, *_ = box(place)
        number = NAMES.index(name) + 1
        annotations.append(
            {
                "id": place + 1,
                "image_id": 1,
                "category_id": number,
                "bbox": [x1, y1, 20, 20],
            }
        )
    data = {
        "images": [{"id": 1, "file_name": picture, "height": 40, "width": 300}],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(names)],
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(data))
    return path


def measured(project: Path, tmp_path: Path) -> NegativeReport:
    with Project.open(project, readonly=True) as opened:
        return measure_negatives(opened, load_truth(truth_file(tmp_path)))


def test_each_prompt_is_worth_what_it_removes(project: Path, tmp_path: Path) -> None:
    found = measured(project, tmp_path)
    assert (found.without.labels, found.without.right, found.without.wrong) == (7, 2, 5)
    assert (found.with_all.labels, found.with_all.right, found.with_all.wrong) == (3, 1, 2)
    assert (found.without.recall, found.with_all.recall) == (1.0, 0.5)
    assert [(w.prompt, w.alone, w.last, w.verdict) for w in found.worths] == [
        ("Fox", (3, 0), (2, 0), "helps"),
        ("lynx", (1, 0), (0, 0), "spare"),
        ("unicorn", (0, 0), (0, 0), "idle"),
        ("wolf", (0, 0), (0, 0), "idle"),
        ("statue", (0, 1), (0, 1), "harms"),
    ]
    assert found.worths[0].against == ("cat", "dog")


def test_what_wrong_labels_lie_on_is_suggested(project: Path, tmp_path: Path) -> None:
    assert measured(project, tmp_path).suggestions == (("dog", "cow", 2),)


def test_the_command_prints_the_table_and_json(project: Path, tmp_path: Path) -> None:
    truth = truth_file(tmp_path)
    said = autolabel("negatives", project, "--truth", truth)
    assert "none            7       2       5   1.000" in said
    assert "all             3       1       2   0.500" in said
    assert "Fox              3       0        2       0  helps    cat, dog" in said
    assert "dog: not: cow    (2 wrong labels)" in said
    found = json.loads(autolabel("negatives", project, "--truth", truth, "--json"))
    assert found["prompts"][0]["alone"] == {"wrong": 3, "right": 0}


@pytest.mark.parametrize(
    ("picture", "names", "told"),
    [
        ("b.png", NAMES, "no picture in common"),
        ("a.png", ("a", "b", "c", "d"), "no class in common"),
    ],
)
def test_a_truth_of_something_else_is_refused(
    project: Path, tmp_path: Path, picture: str, names: tuple[str, ...], told: str
) -> None:
    truth = load_truth(truth_file(tmp_path, names, picture))
    with Project.open(project, readonly=True) as opened, pytest.raises(FormatError, match=told):
        measure_negatives(opened, truth)


def test_a_project_without_candidates_is_refused(tmp_path: Path) -> None:
    truth = load_truth(truth_file(tmp_path))
    empty = Project.open(tmp_path / "empty", create=True)
    with empty, pytest.raises(ProjectError, match="holds no candidates"):
        measure_negatives(empty, truth)


def test_parts_come_back_as_masks_of_the_whole() -> None:
    part = np.zeros((4, 3), bool)
    part[1:, 1:] = True  # to the part's last row, so that runs must not leak into a column
    whole = masks.decode(masks.pasted(masks.encode(part), 2, 1, 5, 6))
    expected = np.zeros((5, 6), bool)
    expected[2:5, 3:5] = True
    assert (whole == expected).all()
    with pytest.raises(ValueError, match="leaves a picture"):
        masks.pasted(masks.encode(part), 4, 1, 5, 6)
