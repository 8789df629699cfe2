"""What a user can get wrong, or the world can do to a run, and what autolabel says to it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from PIL import Image

from tests.command import FAKES, ONTOLOGY, autolabel, exported, make_pictures
from tests.pictures import png_claiming


@pytest.fixture
def ontology(tmp_path: Path) -> Path:
    path = tmp_path / "classes.yaml"
    path.write_text(ONTOLOGY)
    return path


def run(ontology: Path, project: Path, *inputs: Path, code: int = 1, **environ: str) -> str:
    """Run with fake models; return what was said, which is never a traceback."""
    said = autolabel("run", "-o", ontology, "--out", project, *FAKES, *inputs, code=code, **environ)
    assert "Traceback" not in said
    return said


def test_inputs_that_are_not_there(tmp_path: Path, ontology: Path) -> None:
    (tmp_path / "empty").mkdir()
    make_pictures(tmp_path / "pictures", 1)
    assert "pictures" in run(ontology, tmp_path / "p", tmp_path / "picturs")
    assert ".jpeg" in run(ontology, tmp_path / "p", tmp_path / "empty")
    assert "matches no picture" in run(ontology, tmp_path / "p", tmp_path / "*.jpg")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found nothing; allowed"),
        ("classes: []", "no classes"),
        ("cat: cat\ndog:\n  name: [", "classes.yaml:"),
        ("classes:\n  - name: cat\n    treshold: 0.5", "threshold"),
        ("classes:\n  - name: cat\n    prompts: ['']", "classes.yaml:3"),
        ("classes:\n  - name: cat\n    threshold: 7", "0 to 1"),
    ],
)
def test_a_wrong_ontology_names_file_and_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "classes.yaml").write_text(text)
    pictures = make_pictures(tmp_path / "in", 1)
    assert said in run(tmp_path / "classes.yaml", tmp_path / "p", pictures)
    assert not (tmp_path / "p").exists()


def test_pictures_that_are_not_what_they_seem(tmp_path: Path, ontology: Path) -> None:
    folder = make_pictures(tmp_path / "in", 1)
    Image.new("RGB", (1, 1), "red").save(folder / "one.png")
    Image.new("I;16", (20, 10), 40_000).save(folder / "gray16.png")
    Image.new("RGBA", (20, 10)).save(folder / "clear.png")
    png_claiming(folder / "bomb.png", 20_000, 20_000)
    said = run(ontology, tmp_path / "p", folder, code=3)
    assert "4 of 5 inputs labelled" in said
    (failure,) = json.loads(autolabel("info", tmp_path / "p", "--json"))["failures"]
    assert failure["name"] == "bomb.png"
    assert "178,956,970 pixels" in failure["reason"]


def test_a_damaged_database_is_refused_and_left_as_it_is(tmp_path: Path, ontology: Path) -> None:
    project = tmp_path / "p"
    project.mkdir()
    (project / "labels.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    before = (project / "labels.db").read_bytes()
    said = run(ontology, project, make_pictures(tmp_path / "in", 1))
    assert "damaged" in said
    assert (project / "labels.db").read_bytes() == before


def test_a_newer_database_is_refused(tmp_path: Path, ontology: Path) -> None:
    pictures = make_pictures(tmp_path / "in", 1)
    run(ontology, tmp_path / "p", pictures, code=0)
    with sqlite3.connect(tmp_path / "p" / "labels.db") as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    assert "upgrade" in run(ontology, tmp_path / "p", pictures)


def test_an_output_that_is_a_file(tmp_path: Path, ontology: Path) -> None:
    (tmp_path / "p").write_text("mine")
    said = run(ontology, tmp_path / "p", make_pictures(tmp_path / "in", 1))
    assert "is a file, not a folder" in said
    assert (tmp_path / "p").read_text() == "mine"


def test_no_project_where_one_is_expected(tmp_path: Path) -> None:
    assert "is not a project" in autolabel("info", tmp_path, code=1)
    assert "is not a project" in autolabel("export", tmp_path, "--out", tmp_path / "o", code=1)


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path, ontology: Path) -> None:
    small = Path("/dev/shm") / f"autolabel-{os.getpid()}"
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root to mount a small file system")
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=400k tmpfs {small}") != 0:
        small.rmdir()
        pytest.skip("this machine doesn't allow a small file system to be mounted")
    try:
        pictures = make_pictures(tmp_path / "in", 200)
        said = run(ontology, small / "p", pictures, code=1)
        assert "is safe: free space" in said or "free space" in said
        os.system(f"mount -o remount,size=40m {small}")
        assert "200 of 200 inputs labelled" in run(ontology, small / "p", pictures, code=0)
        run(ontology, tmp_path / "whole", pictures, code=0)
        assert exported(small / "p", tmp_path / "a") == exported(tmp_path / "whole", tmp_path / "b")
    finally:
        os.system(f"umount {small}")
        small.rmdir()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--models", "smal"), "small"),
        (("--grounder", "grounding-dyno"), "grounding-dino"),
        (("--device", "gpu"), "cuda:N"),
        (("--floor", "2"), "between 0 and 1"),
        (("--batch-size", "0"), "1 or more"),
        (("--segmenter", "sam2:/nowhere/model.pt"), "/nowhere/model.pt"),
    ],
)
def test_a_wrong_option_is_told(
    tmp_path: Path, ontology: Path, args: tuple[str, str], said: str
) -> None:
    folder = make_pictures(tmp_path / "in", 1)
    told = autolabel("run", "-o", ontology, "--out", tmp_path / "p", *FAKES, *args, folder, code=1)
    assert said in told
    assert "Traceback" not in told
