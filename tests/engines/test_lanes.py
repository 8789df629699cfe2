"""Several batches at once on one machine: the same labels, and a table of where the time went."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import autolabel
from autolabel.errors import UsageError
from autolabel.ontology import parse_ontology
from autolabel.store import Project
from autolabel.tiny.truth import write_dataset
from tests.command import FAKES, ONTOLOGY, ROOT, digest, make_pictures
from tests.command import autolabel as command

SHAPES = ROOT / "ontologies" / "shapes.yaml"


def test_labels_do_not_depend_on_how_many_are_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(
        tmp_path / "s", count=5, clips=0, frames=1, seed=4, height=128, width=160, hard=False
    )
    found = []
    for cores, batch in ((1, 4), (3, 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
        project = tmp_path / f"p{cores}"
        settings = {"preset": "tiny", "device": "cpu", "batch_size": batch}
        autolabel.run([tmp_path / "s" / "images"], SHAPES, out=project, **settings)
        autolabel.export(project, "coco", tmp_path / f"coco{cores}")
        found.append(digest(tmp_path / f"coco{cores}"))
    assert found[0] == found[1]


def test_copies_of_a_picture_that_is_being_labelled_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    pictures = make_pictures(tmp_path / "in", 3)
    for copy in ("0000-a.png", "0001-a.png", "0001-b.png"):
        shutil.copy(pictures / f"{copy[:4]}.png", pictures / copy)
    models = {"grounder": "tests.fakes:Blobs", "segmenter": "tests.fakes:Ellipses"}
    what = {**models, "device": "cpu", "threads": 1, "batch_size": 1}
    autolabel.run([pictures], parse_ontology("cat: cat"), out=tmp_path / "p", **what)
    with Project.open(tmp_path / "p", readonly=True) as project:
        counts = {media.name: len(found) for media, found in project.iter_labelled()}
        spent = project._rows("SELECT name FROM media WHERE seconds LIKE '%ground%' ORDER BY 1")
    assert len(counts) == 6
    assert counts["0001.png"] == counts["0001-a.png"] == counts["0001-b.png"] > 0
    assert len(spent) == 3  # each content went through the models once


def test_models_that_can_not_be_compiled_are_not_said_to_be(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "in", 1)
    models = {"grounder": "tests.fakes:Blobs", "segmenter": "none", "device": "cpu"}
    with pytest.raises(UsageError, match=r"--compile: neither tests\.fakes:Blobs nor none"):
        autolabel.run(
            [pictures], parse_ontology("cat: cat"), out=tmp_path / "p", compile=True, **models
        )


def test_a_run_ends_with_where_its_time_went(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(ONTOLOGY)
    pictures = make_pictures(tmp_path / "in", 3)
    base = ("run", "-o", tmp_path / "classes.yaml", "--out", tmp_path / "p", *FAKES, pictures)
    said = command(*base)
    assert re.search(r"Where the time went \([\d.]+ s to load models; then [\d.]+ at once\):", said)
    named = re.findall(r"^  (\w[\w ]+?) +[\d.]+ s +([\d.]+) %$", said, re.MULTILINE)
    stages = ["waiting for input", "grounding", "segmenting", "selecting labels", "writing"]
    assert [name for name, _ in named] == stages
    assert 99 < sum(float(share) for _, share in named) < 101
    assert "Where the time went" not in command(*base)  # nothing was left to do
