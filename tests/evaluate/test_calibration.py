"""Settings from stored candidates: the right ones, where they are written, and when they aren't."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from autolabel import api
from autolabel.cli import cli
from autolabel.errors import AutolabelError, UsageError
from autolabel.evaluate.fitting import expected_error, fit_platt
from autolabel.evaluate.truth_project import reviewed
from autolabel.ontology import load_ontology
from autolabel.probability import Probabilities
from autolabel.store import Project, Result
from autolabel.types import Instance, MediaRecord
from tests.evaluate.made import Thing, make_project, slot, write_truth

ONTOLOGY = """\
# mine
classes:
  - name: cat   # scores low
    threshold: 0.3   # a guess
  - {name: dog, not: [poster]}  # scores high
  - bird
"""


def drawn(count: int, seed: int = 0) -> tuple[dict[str, list[Thing]], dict[str, list]]:
    """Cats score 0.25 to 0.5 where right, else under 0.17; dogs 0.6 to 0.9, else 0.3 to 0.5."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[Thing]] = {}
    truth: dict[str, list[tuple[int, str]]] = {}
    for number in range(count):
        name = f"{number:03d}.png"
        things: list[Thing] = [
            (slot(0), {"cat": rng.uniform(0.25, 0.5)}),
            (slot(1), {"cat": rng.uniform(0.1, 0.17)}),
            (slot(2), {"dog": rng.uniform(0.6, 0.9)}),
            (slot(3), {"dog": rng.uniform(0.3, 0.5)}),
        ]
        found[name], truth[name] = things, [(0, "cat"), (2, "dog")]
    found["000.png"].append((slot(5), {"bird": 0.9}))
    truth["000.png"].append((5, "bird"))
    return found, truth


def made(tmp_path: Path, count: int = 40) -> tuple[Path, Path, Path]:
    """Return a project, its ontology and the truth of half its pictures."""
    ontology = tmp_path / "o.yaml"
    ontology.write_text(ONTOLOGY)
    found, truth = drawn(count)
    project, _ = make_project(tmp_path / "p", ontology, found)
    some = dict(list(truth.items())[: count // 2])
    return project, ontology, write_truth(tmp_path / "t.json", ("cat", "dog", "bird"), some)


def test_thresholds_part_right_from_wrong_and_are_written_beside_the_comments(
    tmp_path: Path,
) -> None:
    project, ontology, truth = made(tmp_path)
    done = api.calibrate(project, truth).as_dict()  # the ontology is the one of the run
    assert done["ontology"] == str(ontology)
    after = {spec.name: spec.threshold for spec in load_ontology(ontology).classes}
    assert 0.12 < after["cat"] <= 0.25
    assert 0.45 <= after["dog"] <= 0.6
    assert after["bird"] == 0.3
    lines = ontology.read_text().splitlines()
    assert lines[0] == "# mine"
    assert lines[2] == "  - name: cat   # scores low"
    assert lines[3] == f"    threshold: {after['cat']:g}   # a guess"
    assert lines[4].endswith("not: [poster]}  # scores high")
    assert lines[5:] == ["  - bird"]
    assert done["macro_f1"]["before"]["value"] < 0.9
    assert done["macro_f1"]["after"]["value"] > done["macro_f1"]["before"]["value"]
    bird = done["classes"]["bird"]
    assert bird["note"] == "too few examples (1, expected 2 or more)"
    assert bird["threshold"] == {"before": 0.3, "after": 0.3}


def test_labels_are_selected_anew_in_all_pictures(tmp_path: Path) -> None:
    project, _, truth = made(tmp_path)
    done = api.calibrate(project, truth)
    with Project.open(project, readonly=True) as opened:
        assert done.reselected == opened.count_labels() == 81  # two a picture, and the bird
        assert [one.class_id for one in opened.instances("030.png")] == [1, 0]


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    project, ontology, truth = made(tmp_path)
    before = ontology.read_text(), (project / "labels.db").read_bytes()
    said = CliRunner().invoke(cli, ["calibrate", str(project), "--truth", str(truth), "--dry-run"])
    assert said.exit_code == 0
    assert "too few examples (1, expected 2 or more)" in said.output
    assert "Nothing was changed" in said.output
    assert (ontology.read_text(), (project / "labels.db").read_bytes()) == before


def test_settings_that_are_right_already_stay(tmp_path: Path) -> None:
    project, ontology, truth = made(tmp_path)
    api.calibrate(project, truth)
    text = ontology.read_text()
    again = api.calibrate(project, truth).as_dict()
    assert not again["written"]
    assert ontology.read_text() == text


X1, Y1, X2, Y2 = slot(0)
DOUBLE = (X1 + 10, Y1, X2 + 10, Y2)
"""IoU 0.6 with the first slot."""
DOUBLES = {f"{n}.png": [(slot(0), {"cat": 0.8}), (DOUBLE, {"cat": 0.79})] for n in range(20)}


def test_a_duplicate_iou_that_removes_doubles_is_chosen(tmp_path: Path) -> None:
    ontology = tmp_path / "o.yaml"
    ontology.write_text("# mine\ncat: cat\n")
    project, _ = make_project(tmp_path / "p", ontology, DOUBLES)
    truth = write_truth(tmp_path / "t.json", ["cat"], {name: [(0, "cat")] for name in DOUBLES})
    done = api.calibrate(project, truth).as_dict()
    assert done["duplicate_iou"]["before"] == 0.7
    assert load_ontology(ontology).duplicate_iou <= 0.6
    assert ontology.read_text().startswith("# mine\n")
    with Project.open(project, readonly=True) as opened:
        assert opened.count_labels() == 20


def test_labels_selected_anew_leave_out_what_a_human_has_drawn(tmp_path: Path) -> None:
    ontology = tmp_path / "o.yaml"
    ontology.write_text("cat: cat\n")
    pictures = {**DOUBLES, "drawn.png": [(DOUBLE, {"cat": 0.8})]}
    project, _ = make_project(tmp_path / "p", ontology, pictures)
    with Project.open(project) as opened:
        media = opened.find("drawn.png")
        assert isinstance(media, MediaRecord)
        there = opened.candidates("drawn.png")
        opened.clear("drawn.png")
        human = Instance(0, slot(0), source="human", status="accepted")
        opened.commit([Result(media, 1, 2, there, [human])])
    truth = write_truth(tmp_path / "t.json", ["cat"], {name: [(0, "cat")] for name in DOUBLES})
    api.calibrate(project, truth)
    assert load_ontology(ontology).duplicate_iou <= 0.6
    with Project.open(project, readonly=True) as opened:
        assert [one.source for one in opened.instances("drawn.png")] == ["human"]


def test_a_margin_that_lets_negatives_win_is_chosen(tmp_path: Path) -> None:
    ontology = tmp_path / "o.yaml"
    ontology.write_text("classes:\n  - name: dog\n    not: [poster]  # flat ones\n")
    rng = np.random.default_rng(3)
    found, truth = {}, {}
    for number in range(30):
        score = rng.uniform(0.4, 0.9, 2)
        found[f"{number}.png"] = [
            (slot(0), {"dog": score[0], "poster": score[0] - 0.3}),
            (slot(1), {"dog": score[1], "poster": score[1] - 0.06}),  # a poster of a dog
        ]
        truth[f"{number}.png"] = [(0, "dog")]
    project, _ = make_project(tmp_path / "p", ontology, found)
    api.calibrate(project, write_truth(tmp_path / "t.json", ["dog"], truth))
    (dog,) = load_ontology(ontology).classes
    assert dog.not_margin in (0.1, 0.2)
    assert "not: [poster]  # flat ones\n" in ontology.read_text()
    with Project.open(project, readonly=True) as opened:
        assert opened.count_labels() == 30


# Weights


def mistaken(count: int, share: float) -> tuple[dict[str, list[Thing]], dict[str, list]]:
    """Cats and dogs in turn; this share of dogs scores 0.5 as a cat and 0.4 as a dog."""
    found: dict[str, list[Thing]] = {}
    truth: dict[str, list[tuple[int, str]]] = {}
    for number in range(count):
        as_cat = 0.5 if number < share * count else 0.1
        cat, dog = {"cat": 0.6, "dog": 0.2}, {"cat": as_cat, "dog": 0.4}
        found[f"{number:03d}.png"] = [(slot(0), cat), (slot(1), dog), (slot(2), {"fox": 0.5})]
        truth[f"{number:03d}.png"] = [(0, "cat"), (1, "dog"), (2, "fox")]
    return found, truth


ANIMALS = "# mine\nclasses:\n- cat  # loud\n- name: dog\n- fox\n- wolf\n"


def weigh(tmp_path: Path, share: float, text: str = ANIMALS) -> tuple[Path, Path, dict]:
    """Return project and ontology after a calibration, and what it said."""
    ontology = tmp_path / "o.yaml"
    ontology.write_text(text)
    found, truth = mistaken(40, share)
    project, _ = make_project(tmp_path / "p", ontology, found)
    known = dict(list(truth.items())[::2])
    file = write_truth(tmp_path / "t.json", ("cat", "dog", "fox", "wolf"), known)
    return project, ontology, api.calibrate(project, file).as_dict()


def test_a_class_that_takes_another_s_objects_gets_less_weight(tmp_path: Path) -> None:
    project, ontology, done = weigh(tmp_path, 1.0)
    cat, dog, _, wolf = load_ontology(ontology).classes
    assert 0.2 / 0.6 < cat.weight / dog.weight < 0.4 / 0.5
    assert wolf.weight == 1  # never seen: left alone
    assert ontology.read_text().startswith("# mine\nclasses:\n- name: cat  # loud\n")
    assert done["classes"]["cat"]["weight"] == cat.weight
    assert done["macro_f1"]["before"]["value"] < 0.7
    assert done["macro_f1"]["after"]["value"] == 1
    with Project.open(project, readonly=True) as opened:
        assert opened.count_labels() == 120
        # of a picture that the truth lacks
        assert {one.class_id for one in opened.instances("001.png")} == {0, 1, 2}
    said = CliRunner().invoke(
        cli, ["calibrate", str(project), "--truth", str(tmp_path / "t.json"), "--dry-run"]
    )
    assert "note: 1 of 4 classes have too few examples" in said.output


def test_classes_that_are_told_apart_keep_their_weights(tmp_path: Path) -> None:
    _, ontology, done = weigh(tmp_path, 0.0)
    assert "weight" not in ontology.read_text()
    assert all(one["weight"] is None for one in done["classes"].values())


def test_weights_do_not_depend_on_those_in_use(tmp_path: Path) -> None:
    _, ontology, _ = weigh(tmp_path, 1.0)
    expected = [spec.weight for spec in load_ontology(ontology).classes]
    (tmp_path / "again").mkdir()
    other = ANIMALS.replace("- name: dog\n", "- name: dog\n  weight: 0.2\n")
    _, again, _ = weigh(tmp_path / "again", 1.0, other)
    assert [spec.weight for spec in load_ontology(again).classes] == expected


# Truth that doesn't do


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ({"other.png": [(0, "cat")] * 3}, r"no picture in common with .*e\.g\. other\.png"),
        ({f"{n:03d}.png": [] for n in range(9)}, "holds no object in the 9 pictures"),
        ({f"{n:03d}.png": [(0, "cat")] for n in range(4)}, "has 4 pictures in common .* 5 or more"),
    ],
)
def test_a_truth_that_cannot_be_learned_from_is_refused(
    tmp_path: Path, pictures: dict, said: str
) -> None:
    project, ontology, _ = made(tmp_path, 10)
    text = ontology.read_text()
    truth = write_truth(tmp_path / "t2.json", ("cat", "dog", "bird"), pictures)
    with pytest.raises(AutolabelError, match=said):
        api.calibrate(project, truth)
    assert ontology.read_text() == text


def test_other_class_names_are_suggested(tmp_path: Path) -> None:
    project, _, _ = made(tmp_path, 10)
    truth = write_truth(tmp_path / "t2.json", ["Cats", "Dog"], {"000.png": [(0, "Cats")]})
    with pytest.raises(AutolabelError, match=r"no class in common.*cat -> Cats, dog -> Dog"):
        api.calibrate(project, truth)


def test_a_class_never_seen_is_not_measurable(tmp_path: Path) -> None:
    project, _, _ = made(tmp_path, 20)
    pictures = {f"{n:03d}.png": [(0, "cat")] for n in range(1, 15)}
    truth = write_truth(tmp_path / "t2.json", ["cat", "dog"], pictures)
    classes = api.calibrate(project, truth).as_dict()["classes"]
    assert classes["dog"]["note"] == "not measurable: never seen in the truth"
    assert classes["dog"]["f1"] == {"before": None, "after": None}
    assert classes["bird"]["note"] == "not in the truth"


def test_another_ontology_is_refused(tmp_path: Path) -> None:
    project, _, truth = made(tmp_path, 10)
    other = tmp_path / "other.yaml"
    other.write_text("cat: cat\nwolf: dog\n")
    with pytest.raises(UsageError, match=r"prompts are not those of .*'wolf'"):
        api.calibrate(project, truth, ontology=other)


def test_without_a_truth_pictures_gone_through_in_review_are_it(tmp_path: Path) -> None:
    project, ontology, _ = made(tmp_path)
    with pytest.raises(UsageError, match="no picture of it was gone through in review"):
        api.calibrate(project)
    _, truth = drawn(40)
    with Project.open(project) as opened:
        for name in list(truth)[:20]:
            media = opened.find(name)
            assert isinstance(media, MediaRecord)
            human = [
                Instance(("cat", "dog", "bird").index(kind), slot(place), source="human",
                         status="accepted")
                for place, kind in truth[name]
            ]  # fmt: skip
            found = opened.candidates(name)
            opened.clear(name)
            opened.commit([Result(media, 1, 2, found, human)])
        assert len(reviewed(opened)) == 20
    done = api.calibrate(project).as_dict()
    assert done["pictures"] == 20
    assert 0.45 <= {s.name: s.threshold for s in load_ontology(ontology).classes}["dog"] <= 0.6


# Probabilities


def test_probabilities_part_right_from_wrong_and_serve_min_precision(tmp_path: Path) -> None:
    project, _, truth = made(tmp_path)
    with pytest.raises(UsageError, match="autolabel calibrate"):
        api.export(project, "coco", tmp_path / "no", min_precision=0.9)
    done = api.calibrate(project, truth).as_dict()
    with Project.open(project, readonly=True) as opened:
        sure = Probabilities.from_meta(opened.meta())
    assert sure is not None
    assert sure.of("dog", 0.4) < 0.5 < sure.of("dog", 0.8)
    assert sure.of("cat", 0.4) > sure.of("dog", 0.4)  # a class has a curve of its own
    assert sure.of("cat", 0.2) <= sure.of("cat", 0.3) <= sure.of("cat", 0.5)
    assert done["probabilities"]["ece"] < 0.1
    least = sure.of("dog", 0.75)
    api.export(project, "coco", tmp_path / "out", min_precision=least)
    kept = json.loads((tmp_path / "out" / "annotations.json").read_text())["annotations"]
    with Project.open(project, readonly=True) as opened:
        wanted = [
            one
            for _, labels in opened.iter_labelled()
            for one in labels
            if sure.of_label(one, ("cat", "dog", "bird")) >= least
        ]
    assert 0 < len(kept) == len(wanted) < 81
    human = replace(wanted[0], score=None, source="human")
    assert sure.of_label(human, ("cat", "dog", "bird")) == 1


def test_expected_calibration_error_by_hand() -> None:
    said = np.array([0.95, 0.95, 0.95, 0.95, 0.25, 0.25])
    right = np.array([True, True, True, False, False, True])
    # four in [0.9, 1]: |3.8 - 3|; two in [0.2, 0.3): |0.5 - 1|; of six
    assert expected_error(said, right) == pytest.approx((0.8 + 0.5) / 6)
    assert expected_error(np.zeros(0), np.zeros(0, bool)) is None


def test_labels_that_are_all_right_have_a_probability_below_one() -> None:
    fit = fit_platt(np.zeros(8, int), np.full(8, 0.5), np.ones(8, bool), 1, 2.0)
    assert fit(np.array([0]), np.array([0.7]))[0] == pytest.approx(0.9)
