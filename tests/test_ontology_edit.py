"""New thresholds in an ontology file: the right ones, and nothing else of the file changes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from autolabel.errors import UsageError
from autolabel.ontology import load_ontology
from autolabel.ontology.edit import set_thresholds, set_values

SHIPPED = sorted((Path(__file__).parent.parent / "ontologies").glob("*.yaml"))


def rewrite(tmp_path: Path, text: str, thresholds: dict[str, float]) -> str:
    file = tmp_path / "o.yaml"
    file.write_bytes(text.encode())
    before = load_ontology(file)
    after = set_thresholds(file, thresholds)
    assert load_ontology(file) == after
    assert after.classes == tuple(
        replace(c, threshold=thresholds.get(c.name, c.threshold)) for c in before.classes
    )
    assert os.listdir(tmp_path) == ["o.yaml"]
    return file.read_bytes().decode()


def test_thresholds_are_set_where_they_stand(tmp_path: Path) -> None:
    text = """\
# mine
classes:
  - car   # the usual
  - {name: truck, prompts: [lorry]}  # big

  # people
  - name: person  # any
    prompts: [man, woman]
    # how sure
    threshold: 0.40   # was 0.3
  - name: dog
  - 'a cat'
"""
    new = {"car": 0.1, "truck": 0.2, "person": 0.35, "dog": 0.5, "a cat": 1}
    assert (
        rewrite(tmp_path, text, new)
        == """\
# mine
classes:
  - name: car   # the usual
    threshold: 0.1
  - {name: truck, threshold: 0.2, prompts: [lorry]}  # big

  # people
  - name: person  # any
    prompts: [man, woman]
    # how sure
    threshold: 0.35   # was 0.3
  - name: dog
    threshold: 0.5
  - name: 'a cat'
    threshold: 1
"""
    )


def test_short_form_becomes_long_and_keeps_its_comments(tmp_path: Path) -> None:
    text = """\
# mine
defaults: {not: poster}

# wheels
car: vehicle  # most
van: vehicle
# others
cat: cat
dog: dog
# the end
"""
    assert (
        rewrite(tmp_path, text, {"vehicle": 0.45, "cat": 0.2})
        == """\
# mine
defaults: {not: poster}
classes:
  # wheels
  # car: most
  - name: vehicle
    prompts: [car, van]
    threshold: 0.45
  # others
  - name: cat
    threshold: 0.2
  - name: dog
  # the end
"""
    )


@pytest.mark.parametrize(
    "text",
    [
        "classes: [car, 'dog', {name: cat}]",
        "classes:\n  car: car\n  dog: dog\n  puppy: dog\n  cat: cat\ndefaults:\n  threshold: 0.2\n",
        "classes: {car: car, dog: dog, cat: cat}\n",
        "{car: car, dog: dog, cat: cat}\n",
        "car: car\ndog: dog\ncat: cat",
        "classes:\r\n- car\r\n- name: dog\r\n- cat",
        "\ufeffclasses:\n- car\n- dog\n- cat\n",
        "---\ncar: car\ndog: dog\ncat: cat\n...\n",
        "dog: dog\ncat: cat\ndefaults: # d\n  min_area: 1\n  not:\n  - flag\n  - sign\ncar: car\n",
    ],
)
def test_every_form_can_be_edited(tmp_path: Path, text: str) -> None:
    rewrite(tmp_path, text, {"car": 0.15, "dog": 0.25})
    rewrite(tmp_path, text, {"cat": 0.15})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_ontologies_load_and_can_be_edited(path: Path, tmp_path: Path) -> None:
    found = load_ontology(path)
    assert len({spec.color for spec in found.classes}) == len(found.classes)
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    rewrite(tmp_path, text, dict.fromkeys(found.class_names, 0.37))


def test_unknown_names_and_bad_values_leave_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "o.yaml"
    file.write_text("classes: [car]\n")
    with pytest.raises(UsageError, match=r"no class 'cra'; did you mean 'car'\?"):
        set_thresholds(file, {"cra": 0.5})
    with pytest.raises(UsageError, match="threshold: found 2"):
        set_thresholds(file, {"car": 2})
    assert file.read_text() == "classes: [car]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("classes: [car]\n", "defaults: {duplicate_iou: 0.5}\nclasses: [car]\n"),
        ("# mine\ncar: car # c\n", "# mine\ndefaults: {duplicate_iou: 0.5}\ncar: car # c\n"),
        ("---\ncar: car\n", "---\ndefaults: {duplicate_iou: 0.5}\ncar: car\n"),
        ("{car: car}\n", "{defaults: {duplicate_iou: 0.5}, car: car}\n"),
        (
            "defaults: {threshold: 0.2} # d\ncar: car\n",
            "defaults: {duplicate_iou: 0.5, threshold: 0.2} # d\ncar: car\n",
        ),
        ("car: car\ndefaults: {}\n", "car: car\ndefaults: {duplicate_iou: 0.5}\n"),
        (
            "classes: [car]\ndefaults:\n  # d\n  threshold: 0.2\n",
            "classes: [car]\ndefaults:\n  # d\n  duplicate_iou: 0.5\n  threshold: 0.2\n",
        ),
        (
            "classes: [car]\r\ndefaults:\r\n  duplicate_iou: 0.70 # was 0.8\r\n",
            "classes: [car]\r\ndefaults:\r\n  duplicate_iou: 0.5 # was 0.8\r\n",
        ),
    ],
)
def test_defaults_are_set_where_they_stand(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "o.yaml"
    file.write_bytes(text.encode())
    assert set_values(file, {}, {"duplicate_iou": 0.5}).duplicate_iou == 0.5
    assert file.read_bytes().decode() == expected


def test_several_values_of_a_class_are_set_together(tmp_path: Path) -> None:
    file = tmp_path / "o.yaml"
    file.write_text("defaults: {not: poster}\nclasses:\n- name: car # c\n  threshold: 0.3\n- dog\n")
    values = {"threshold": 0.4, "not_margin": -0.05, "weight": 1.5}
    set_values(file, {"car": values, "dog": values}, {"duplicate_iou": 0.6})
    assert file.read_text() == (
        "defaults: {duplicate_iou: 0.6, not: poster}\nclasses:\n- name: car # c\n"
        "  not_margin: -0.05\n  weight: 1.5\n  threshold: 0.4\n- name: dog\n"
        "  threshold: 0.4\n  not_margin: -0.05\n  weight: 1.5\n"
    )
    with pytest.raises(UsageError, match="not_margin: found 3, allowed: -1 to 1"):
        set_values(file, {"car": {"not_margin": 3}})
