"""The prompt lab: what each wording finds, the table, and the picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.errors import UsageError
from autolabel.lab.prompts import wordings
from autolabel.ontology import parse_ontology
from tests.coloured import canvas
from tests.command import autolabel

ONTOLOGY = """
classes:
  - {name: fire, prompts: [crimson, red], threshold: 0.5}
  - {name: sea, prompts: [blue]}
"""
MODELS = (
    "--grounder",
    "tests.coloured:Colours",
    "--segmenter",
    "tests.coloured:Fill",
    "--device",
    "cpu",
)


@pytest.fixture
def lab(tmp_path: Path) -> tuple[str, ...]:
    """Two pictures with red and blue things, and the command up to its prompts."""
    things = (("red", 10, 10, 40, 50), ("red", 60, 10, 90, 40), ("blue", 50, 60, 80, 90))
    for place in (1, 2):
        Image.fromarray(canvas(100, 120, *things[: 2 * place])).save(tmp_path / f"{place}.png")
    (tmp_path / "o.yaml").write_text(ONTOLOGY)
    pictures = [str(tmp_path / f"{place}.png") for place in (1, 2)]
    return ("try", "-o", str(tmp_path / "o.yaml"), *MODELS, *pictures)


def test_wordings_are_compared_in_one_table_and_one_picture(
    tmp_path: Path, lab: tuple[str, ...]
) -> None:
    out = tmp_path / "try.png"
    options = ("--class", "fire", "--prompt", "red", "--prompt", "orange", "--out", str(out))
    said = autolabel(*lab, *options)
    assert "2 pictures, 4 objects that any prompt found" in said
    rows = {line[:15].strip(): line[15:].split() for line in said.splitlines()}
    assert rows["crimson + red"] == ["4", "2", "100%", "0.80", "0.80", "0", "0.50"]
    assert rows["red"] == ["4", "2", "100%", "0.80", "0.80", "0", "0.50"]
    assert rows["orange"] == ["0", "0", "0%", "-", "-", "0", "0.50"]
    assert "warning: prompt 'orange': not a colour" in said
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        colours = np.unique(np.array(picture).reshape(-1, 3), axis=0)
    assert len(colours) > 100  # drawn and lettered, not a blank sheet


def test_without_prompts_the_ontology_s_own_are_compared(
    tmp_path: Path, lab: tuple[str, ...]
) -> None:
    said = autolabel(*lab, "--out", str(tmp_path / "a.png"), "--json")
    found = json.loads(said[: said.rindex("}") + 1])  # warnings go to the other stream
    assert [(one["prompt"], one["class"], one["labels"]) for one in found["prompts"]] == [
        ("crimson", "fire", 0),
        ("red", "fire", 4),
        ("blue", "sea", 1),
    ]


def test_a_picture_that_cannot_be_read_is_told_and_the_others_are_tried(
    tmp_path: Path, lab: tuple[str, ...]
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    options = (str(tmp_path / "bad.png"), "--prompt", "red", "--out", str(tmp_path / "a.png"))
    said = autolabel(*lab, *options, code=3)
    assert "failed: bad.png" in said
    assert (tmp_path / "a.png").exists()


def test_what_makes_no_sense_is_refused(tmp_path: Path, lab: tuple[str, ...]) -> None:
    said = autolabel(*lab, "--prompt", "red", "--out", str(tmp_path / "a.jpg"), code=1)
    assert "expected the name of a PNG" in said
    ontology = parse_ontology(ONTOLOGY)
    for prompts, name, told in (
        (["red. blue"], None, "--prompt 'red. blue'"),
        ([" "], None, "empty"),
        (["red"], "fires", "Did you mean fire"),
        ([f"word{n}" for n in range(30)], None, "expected up to 24"),
        (["blue"], "fire", "means both"),
    ):
        with pytest.raises(UsageError, match=told):
            wordings(ontology, prompts, name)


def test_a_new_word_is_a_class_beside_the_others() -> None:
    (one,) = wordings(parse_ontology(ONTOLOGY), ["sea"], None)
    assert one.ontology.class_names == ("fire", "sea", "sea (tried)")
    assert one.ontology.prompts == ("crimson", "red", "blue", "sea")
