"""The bundled pair through the product's own door: found, checked, and good enough to use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from autolabel import api, registry
from autolabel.errors import WeightsError
from autolabel.progress import Silent
from autolabel.store import Project
from autolabel.tiny.truth import write_dataset
from tests.command import ROOT

SHAPES = ROOT / "ontologies" / "shapes.yaml"


class Notes(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def label(inputs: Path, out: Path, ontology: Path = SHAPES) -> list[str]:
    """Label with the bundled pair; return the notes of the run."""
    notes = Notes()
    api.run([inputs], ontology, out=out, preset="tiny", device="cpu", progress=notes)
    return notes.said


def test_scenes_never_trained_on_are_labelled_well(tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "scenes", count=24, clips=0, frames=1, seed=4_000, height=256, width=256,
        hard=False,
    )  # fmt: skip
    label(tmp_path / "scenes" / "images", tmp_path / "p")
    found = api.measure(tmp_path / "p", tmp_path / "scenes" / "truth.json")
    assert found["pictures"] == 24
    assert found["box"]["ap50"] >= 0.85
    assert found["mask"]["ap50"] >= 0.80


def test_the_smallest_and_the_longest_picture(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8), "white").save(tmp_path / "in" / "small.png")
    Image.new("RGB", (10_000, 600), "white").save(tmp_path / "in" / "long.png")
    label(tmp_path / "in", tmp_path / "p")
    with Project.open(tmp_path / "p", readonly=True) as project:
        assert [(one.name, one.status) for one in project.media()] == [
            ("long.png", "done"),
            ("small.png", "done"),
        ]


def test_words_that_it_does_not_know_are_named_with_those_it_does(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "a.png")
    (tmp_path / "words.yaml").write_text("red giraffe: giraffe\nred heart: heart\n")
    said = " ".join(label(tmp_path / "in", tmp_path / "p", tmp_path / "words.yaml"))
    assert "doesn't know giraffe" in said
    assert "heart" in said.split("only these words")[1]


@pytest.mark.parametrize("part", ["detector", "segmenter"])
def test_damaged_or_missing_weights_say_reinstall(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(registry.BUNDLED, tmp_path / "weights")
    monkeypatch.setattr(registry, "BUNDLED", copy)
    assert registry.bundled(part) == copy / part
    with open(copy / part / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(WeightsError, match="damaged"):
        registry.bundled(part)
    (copy / part / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="is missing"):
        registry.bundled(part)
    shutil.rmtree(copy / part)
    with pytest.raises(WeightsError, match="Reinstall autolabel"):
        registry.bundled(part)


def test_the_pair_is_small_enough_to_ship() -> None:
    size = sum(path.stat().st_size for path in registry.BUNDLED.rglob("*") if path.is_file())
    assert size <= 32 * 2**20
