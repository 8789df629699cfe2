"""Tiles and two grounders on the command line: a changed setting is noticed, opinions are kept."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from PIL import Image

from tests.coloured import canvas
from tests.command import autolabel, exported

MODELS = ("--segmenter", "tests.coloured:Fill", "--device", "cpu")
ONE = ("--grounder", "tests.coloured:Colours")
TWO = (*ONE, "--grounder", "tests.views:Blunt")


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[str, ...]:
    """Three pictures with a small and a large thing, and the ontology."""
    (tmp_path / "in").mkdir()
    for place in range(3):
        x = 84 + 3 * place
        image = canvas(300, 300, ("red", x, 90, x + 9, 99), ("blue", 120, 120, 280, 280))
        Image.fromarray(image).save(tmp_path / "in" / f"{place}.png")
    (tmp_path / "o.yaml").write_text("red: red\nblue: blue\n")
    return ("run", "-o", str(tmp_path / "o.yaml"), str(tmp_path / "in"), *MODELS, "--out")


def test_tiles_find_small_things_and_are_part_of_the_run(
    tmp_path: Path, inputs: tuple[str, ...]
) -> None:
    said = autolabel(*inputs, tmp_path / "p", *ONE, "--tile", "100", "--dry-run")
    assert "tiles      100:0.25, beside the whole picture" in said
    autolabel(*inputs, tmp_path / "whole", *ONE)
    autolabel(*inputs, tmp_path / "p", *ONE, "--tile", "100:0.25", "--limit", "1")
    said = autolabel(*inputs, tmp_path / "p", *ONE, code=1)
    assert "tile: was 100:0.25, is now none" in said
    autolabel(*inputs, tmp_path / "p", *ONE, "--tile", "100")  # goes on: the same tiles
    whole, tiles = (exported(tmp_path / name, tmp_path / f"{name}-c") for name in ("whole", "p"))
    assert len(whole["annotations"]) == 3
    assert sorted(str(one["bbox"]) for one in tiles["annotations"]) == [
        *(["[120, 120, 160, 160]"] * 3),
        "[84, 90, 9, 9]",
        "[87, 90, 9, 9]",
        "[90, 90, 9, 9]",
    ]


def test_doubts_are_stored_with_both_opinions(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    said = autolabel(
        *inputs, tmp_path / "p", *TWO, "--tile", "100:0.2", "--tta", "flip", "--dry-run"
    )
    assert "tests.coloured:Colours + tests.views:Blunt" in said
    autolabel(*inputs, tmp_path / "p", *TWO, "--tile", "100:0.2", "--tta", "flip")
    assert "3 labels that the two grounders disagree on" in autolabel("info", tmp_path / "p")
    with sqlite3.connect(tmp_path / "p" / "labels.db") as db:
        doubts = db.execute(
            "SELECT class, doubt, round(score, 3) FROM annotations WHERE media = '0.png' ORDER BY 1"
        ).fetchall()
        (opinions,) = db.execute(
            "SELECT count(*) FROM candidates WHERE opinions NOT NULL"
        ).fetchone()
    assert doubts == [("blue", "", 0.92), ("red", "second grounder: nothing here", 0.8)]
    assert opinions == 6
    (tmp_path / "o.yaml").write_text(
        "classes: [{name: red, threshold: 0.85}, {name: blue, threshold: 0.5}]"
    )
    said = autolabel(*inputs, tmp_path / "p", *TWO, "--tile", "100:0.2", "--tta", "flip")
    assert "3 labels selected anew" in said
    info = json.loads(autolabel("info", tmp_path / "p", "--json"))
    assert (info["labels"], info["doubts"]) == (3, 0)


def test_nonsense_is_refused_before_anything_is_made(
    tmp_path: Path, inputs: tuple[str, ...]
) -> None:
    for options, told in (
        ((*ONE, "--tile", "0"), "32 pixels or more"),
        ((*ONE, "--tile", "100:1"), "overlap from 0 to 0.9"),
        ((*ONE, *ONE), "needs two different grounders"),
        ((*TWO, *ONE), "expected one or two, found 3"),
        ((*ONE, "--grounder", "tests.coloured:Colours:again"), "have the same weights"),
    ):
        assert told in autolabel(*inputs, tmp_path / "p", *options, code=1)
    said = autolabel(*inputs, tmp_path / "large", *ONE, "--tile", "4000")
    assert "looked at whole" in said
    assert "3 of 3 inputs labelled, 3 objects" in said
