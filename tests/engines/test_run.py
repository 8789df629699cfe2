"""A run from the command line with fake models: resuming, refusing, failing, being killed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.command import FAKES, ONTOLOGY, autolabel, digest, exported, make_pictures, start


@pytest.fixture
def ontology(tmp_path: Path) -> Path:
    path = tmp_path / "classes.yaml"
    path.write_text(ONTOLOGY)
    return path


def test_a_run_labels_every_picture_and_a_second_one_has_nothing_to_do(
    tmp_path: Path, ontology: Path
) -> None:
    pictures = make_pictures(tmp_path / "in", 9)
    said = autolabel("run", "-o", ontology, "--out", tmp_path / "p", *FAKES, pictures)
    assert "9 of 9 inputs labelled" in said
    again = autolabel("run", "-o", ontology, "--out", tmp_path / "p", *FAKES, pictures)
    assert "9 of 9 inputs labelled" in again
    assert "labelling 0 of 9 inputs (9 done before)" in again
    found = exported(tmp_path / "p", tmp_path / "coco")
    assert [one["file_name"] for one in found["images"]] == [f"{i:04d}.png" for i in range(9)]
    assert [one["name"] for one in found["categories"]] == ["cat", "dog"]


def test_bad_files_are_failures_with_a_reason_and_the_rest_goes_on(
    tmp_path: Path, ontology: Path
) -> None:
    pictures = make_pictures(tmp_path / "in", 4)
    (pictures / "empty.png").write_bytes(b"")
    (pictures / "text.jpg").write_text("not a picture")
    whole = (pictures / "0000.png").read_bytes()
    (pictures / "cut.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "gone.png").symlink_to(tmp_path / "nowhere.png")
    said = autolabel("run", "-o", ontology, "--out", tmp_path / "p", *FAKES, pictures, code=3)
    assert "4 of 8 inputs labelled" in said
    assert "4 inputs failed" in said
    info = json.loads(autolabel("info", tmp_path / "p", "--json"))
    assert [one["name"] for one in info["failures"]] == [
        "cut.png",
        "empty.png",
        "gone.png",
        "text.jpg",
    ]
    assert all(one["reason"] for one in info["failures"])
    (pictures / "empty.png").write_bytes(whole)  # mended: the next run takes it
    said = autolabel("run", "-o", ontology, "--out", tmp_path / "p", *FAKES, pictures, code=3)
    assert "5 of 8 inputs labelled" in said


def test_other_models_or_prompts_are_refused_with_what_changed(
    tmp_path: Path, ontology: Path
) -> None:
    pictures = make_pictures(tmp_path / "in", 2)
    base = ("run", "-o", ontology, "--out", tmp_path / "p")
    autolabel(*base, *FAKES, pictures)
    before = exported(tmp_path / "p", tmp_path / "before")
    ontology.write_text("cat: cat\nfox: fox\n")
    said = autolabel(*base, *FAKES, pictures, code=1)
    assert "prompts added: 'fox'" in said
    assert "prompts removed: 'dog', 'puppy'" in said
    assert "--redo" in said
    ontology.write_text(ONTOLOGY)
    said = autolabel(*base, *FAKES, "--segmenter", "none", pictures, code=1)
    assert "segmenter: was tests.fakes:Ellipses, is now none" in said
    make_pictures(tmp_path / "in", 3)
    said = autolabel(*base, *FAKES, pictures, code=1, AUTOLABEL_TEST_FINGERPRINT="2")
    assert "other weights" in said
    assert exported(tmp_path / "p", tmp_path / "after") == before


def test_redo_takes_the_new_prompts(tmp_path: Path, ontology: Path) -> None:
    pictures = make_pictures(tmp_path / "in", 3)
    base = ("run", "-o", ontology, "--out", tmp_path / "p", *FAKES)
    autolabel(*base, pictures)
    ontology.write_text("cat: cat\nfox: fox\n")
    autolabel(*base, "--redo", pictures)
    found = exported(tmp_path / "p", tmp_path / "coco")
    assert [one["name"] for one in found["categories"]] == ["cat", "fox"]
    assert len(found["images"]) == 3


def test_thresholds_classes_and_limits_change_without_a_model(
    tmp_path: Path, ontology: Path
) -> None:
    pictures = make_pictures(tmp_path / "in", 6)
    base = ("run", "-o", ontology, pictures, "--out")
    autolabel(*base, tmp_path / "p", *FAKES)
    strict = "classes: [{name: dog, prompts: [puppy, dog], threshold: 0.8, min_area: 0.02}, cat]"
    ontology.write_text(strict)
    gone = "autolabel_missing_module:Nothing"  # naming the same models without loading them
    said = autolabel(*base, tmp_path / "p", *FAKES)
    assert "selected anew" in said
    assert gone not in said
    fresh = tmp_path / "fresh"
    autolabel(*base, fresh, *FAKES)
    assert exported(tmp_path / "p", tmp_path / "a") == exported(fresh, tmp_path / "b")


def test_names_that_look_alike_stay_apart(tmp_path: Path, ontology: Path) -> None:
    one = make_pictures(tmp_path / "one", 1)
    two = make_pictures(tmp_path / "two", 2)
    (two / "0000.png").unlink()
    (two / "0001.png").rename(two / "0000.png")
    Image.open(one / "0000.png").save(one / "0000.bmp")
    Image.open(one / "0000.png").save(one / "ü 'quoted' \"name\".png")
    autolabel("run", "-o", ontology, "--out", tmp_path / "p", *FAKES, one)
    autolabel("run", "-o", ontology, "--out", tmp_path / "p", *FAKES, two)
    names = [item["file_name"] for item in exported(tmp_path / "p", tmp_path / "c")["images"]]
    assert names == ["0000.bmp", "0000.png", "two/0000.png", "ü 'quoted' \"name\".png"]


def test_two_runs_on_one_project_at_once(tmp_path: Path, ontology: Path) -> None:
    pictures = make_pictures(tmp_path / "in", 40)
    base = ("run", "-o", ontology, "--out", tmp_path / "p", *FAKES, pictures)
    first = start(*base, AUTOLABEL_TEST_PAUSE="0.2")
    assert first.stderr is not None
    assert "labelling 40 of 40" in first.stderr.readline()
    first.send_signal(signal.SIGSTOP)
    said = autolabel(*base, code=1)
    assert f"in use by process {first.pid}" in said
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=120)
    assert first.returncode == 0


def test_ctrl_c_commits_and_says_how_to_go_on(tmp_path: Path, ontology: Path) -> None:
    pictures = make_pictures(tmp_path / "in", 40)
    base = ("run", "-o", ontology, "--out", tmp_path / "p", *FAKES, pictures)
    process = start(*base, AUTOLABEL_TEST_PAUSE="0.2")
    assert process.stderr is not None
    assert "labelling 40 of 40" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to go on" in err
    said = autolabel(*base)
    assert "labelling 40 of 40" not in said
    assert "40 of 40 inputs labelled" in said


@pytest.mark.parametrize(
    ("times", "more"),
    [
        (20, ()),
        (4, ("--tile", "48:0.5", "--tta", "flip")),
        (4, ("--grounder", "tests.views:Blunt")),
    ],
    ids=["plain", "tiles", "consensus"],
)
def test_a_killed_run_goes_on_and_exports_the_same_bytes(
    tmp_path: Path, ontology: Path, times: int, more: tuple[str, ...]
) -> None:
    pictures = make_pictures(tmp_path / "in", 3 * times)
    whole = ("run", "-o", ontology, *FAKES, *more, "--batch-size", "3", pictures, "--out")
    autolabel(*whole, tmp_path / "whole")
    autolabel("export", tmp_path / "whole", "--out", tmp_path / "whole-coco")
    draw = random.Random(5)
    kills = 0
    while kills < times:
        process = start(*whole, tmp_path / "p", AUTOLABEL_TEST_PAUSE="0.02")
        assert process.stderr is not None
        begun = process.stderr.readline()  # the models are loaded, work has begun
        try:
            process.communicate(timeout=draw.random() * 0.4)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        if "labelling 0 of" in begun:  # all done too early: kill another run
            shutil.rmtree(tmp_path / "p")
    autolabel(*whole, tmp_path / "p")
    autolabel("export", tmp_path / "p", "--out", tmp_path / "p-coco")
    assert digest(tmp_path / "p-coco") == digest(tmp_path / "whole-coco")


def test_a_lower_duplicate_iou_needs_no_model_and_a_higher_one_does(tmp_path: Path) -> None:
    from autolabel import api
    from autolabel.errors import ProjectChanged
    from autolabel.ontology import parse_ontology

    pictures = make_pictures(tmp_path / "in", 4)
    fakes = {"grounder": "tests.fakes:Blobs", "segmenter": "tests.fakes:Ellipses", "device": "cpu"}

    def run(iou: float) -> api.RunReport:
        ontology = parse_ontology(f"defaults: {{duplicate_iou: {iou}}}\n{ONTOLOGY}")
        return api.run([pictures], ontology, out=tmp_path / "p", **fakes)

    first = run(0.5)
    fewer = run(0.05)
    assert fewer.reselected == fewer.objects < first.objects
    assert run(0.5).objects == first.objects  # the masks are still those of 0.5
    with pytest.raises(ProjectChanged, match="other candidates need masks"):
        run(0.6)
