"""How objects of pictures are shown to SAM 2: on the command line, with the bundled pair."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import autolabel
from autolabel.errors import ProjectChanged, UsageError
from autolabel.masks import decode
from autolabel.tiny.scenes import make_scene
from tests.command import ROOT
from tests.command import autolabel as run
from tests.pictures import write_video

TINY = {"preset": "tiny", "device": "cpu", "threads": 1}
SHAPES = ROOT / "ontologies" / "shapes.yaml"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("in") / "scene.png"
    Image.fromarray(make_scene(21).image).save(path)
    return path


def labels(project: Path) -> list[autolabel.Instance]:
    with autolabel.Project.open(project, readonly=True) as opened:
        return [one for _, found in opened.iter_labelled() for one in found]


def test_each_way_finds_the_same_objects_and_outlines_them_anew(
    picture: Path, tmp_path: Path
) -> None:
    found = {}
    for kind in ("box", "point", "mask"):
        autolabel.run([picture], SHAPES, out=tmp_path / kind, prompt_type=kind, **TINY)
        found[kind] = labels(tmp_path / kind)
    autolabel.run([picture], SHAPES, out=tmp_path / "none said", **TINY)
    assert labels(tmp_path / "none said") == found["box"]
    by_box = {one.detector_box: one for one in found["box"]}
    assert len(by_box) >= 2
    for kind in ("point", "mask"):
        assert {one.detector_box for one in found[kind]} == set(by_box)
        assert any(one.mask != by_box[one.detector_box].mask for one in found[kind])
        for one in found[kind]:
            here, there = decode(one.mask), decode(by_box[one.detector_box].mask)
            assert (here & there).sum() > 0.5 * (here | there).sum()


def test_another_way_needs_redo_and_videos_know_only_their_own(
    picture: Path, tmp_path: Path
) -> None:
    project = tmp_path / "p"
    autolabel.run([picture], SHAPES, out=project, prompt_type="point", **TINY)
    options = ("-o", SHAPES, "--out", project, "--models", "tiny", "--device", "cpu")
    said = run("run", *options, "--prompt-type", "box", picture, code=1)
    assert "prompt_type of pictures: was point, is now box" in said
    assert "shown as point" in run("info", project)
    write_video(tmp_path / "clip.mp4", [make_scene(21).image] * 2)
    videos = {"out": tmp_path / "v", **TINY}
    autolabel.run([tmp_path / "clip.mp4"], SHAPES, **videos)
    # The default of videos, said aloud: nothing changes, whatever it means for pictures.
    autolabel.run([tmp_path / "clip.mp4"], SHAPES, prompt_type="mask", **videos)
    autolabel.run([picture], SHAPES, prompt_type="mask", **videos)
    with pytest.raises(ProjectChanged, match="prompt_type of pictures: was mask, is now box"):
        autolabel.run([picture], SHAPES, **videos)


@pytest.mark.parametrize(
    ("segmenter", "told"),
    [
        ("none", "--prompt-type point: --segmenter none makes no masks"),
        ("tests.fakes:Ellipses", "--segmenter tests.fakes:Ellipses takes boxes only"),
    ],
)
def test_a_segmenter_that_cant_refuses_pictures(
    picture: Path, tmp_path: Path, segmenter: str, told: str
) -> None:
    models = {"grounder": "tests.fakes:Blobs", "segmenter": segmenter, "device": "cpu"}
    with pytest.raises(UsageError, match=told):
        autolabel.run([picture], SHAPES, out=tmp_path / "p", prompt_type="point", **models)
    with pytest.raises(UsageError, match="prompt_type: expected mask, box, point, found 'blob'"):
        autolabel.run([picture], SHAPES, out=tmp_path / "p", prompt_type="blob", **models)
