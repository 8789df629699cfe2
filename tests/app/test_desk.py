"""What the page keeps of its visitors, and what their thresholds and commands do; no browser."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from autolabel.app import desk as desks
from autolabel.app import guard
from autolabel.app.desk import Desk
from autolabel.app.limits import Limits
from autolabel.app.results import Found
from autolabel.cli import cli
from autolabel.errors import InputError, OntologyError
from autolabel.ontology import parse_quick
from autolabel.store import Project
from benchmarks.page import crowded
from tests.command import ROOT, command


def test_a_line_becomes_an_ontology() -> None:
    found = parse_quick("car, person = pedestrian; delivery van = van\nman=pedestrian", 0.4)
    assert [(one.name, one.prompts, one.threshold) for one in found.classes] == [
        ("car", ("car",), 0.4),
        ("pedestrian", ("person", "man"), 0.4),
        ("van", ("delivery van",), 0.4),
    ]
    for wrong, told in (
        (" , ", "nothing is asked for"),
        ("= car", "found '= car'"),
        ("dog =", "found 'dog ='"),
        ("car, Car", "the prompt 'Car' stands twice"),
    ):
        with pytest.raises(OntologyError, match=told):
            parse_quick(wrong)


def test_pictures_are_not_offered_the_formats_of_videos() -> None:
    import gradio

    from autolabel.app.layout import Results

    with gradio.Blocks():
        offered = {
            kind: {name for name, _ in Results(kind, Limits()).format.choices}
            for kind in ("image", "video")
        }
    assert offered["video"] - offered["image"] == {"ytvis", "cvat-video", "mots", "davis"}
    assert {"coco", "yolo-seg", "voc"} < offered["image"]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Return a picture with 500 objects, labelled; each test chooses its thresholds."""
    return crowded(tmp_path_factory.mktemp("crowd"))


def test_thresholds_select_what_the_command_line_would(crowd: Found) -> None:
    found = crowd
    assert len(found.select(None, 0.1)) == 500
    few = found.select(None, 0.9)
    assert len(few) == 50  # scores are 0.1 + 0.89 i / 500
    only = found.select("car", 1.0)
    assert (len(only), found.counts(only)[0]) == (33, 0)
    with Project.open(found.project, readonly=True) as project:
        assert project.count_labels() == 33


def test_the_command_shown_makes_the_same_labels(crowd: Found, tmp_path: Path) -> None:
    found = crowd
    shutil.copy(found.inputs[0], tmp_path)
    found.select(None, 0.5)
    line = found.command()
    program = " ".join(command())
    script = line.replace("autolabel run", f"{program} run", 1)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=environ, check=True)
    with (
        Project.open(tmp_path / "my-project", readonly=True) as there,
        Project.open(found.project, readonly=True) as here,
    ):
        assert [one.box for one in there.instances("crowd.png")] == [
            one.box for one in here.instances("crowd.png")
        ]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(desks.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(desks, "Lane", lambda **_: None)
    return Desk(Limits(pictures=2), tmp_path / "kept", {})


def test_only_uploads_are_taken_whatever_path_is_sent(desk: Desk, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    link = desk.uploads / "link.png"
    link.symlink_to(secret)
    visit = desk.visit("a")
    for path in (secret, f"{desk.uploads}/../../secret.png", link):
        with pytest.raises(InputError, match="not an upload of this page"):
            desk.add(visit, "image", [str(path)])
    assert visit.uploads == {}


def test_names_are_made_safe_and_wrong_kinds_and_numbers_refused(desk: Desk) -> None:
    paths = []
    for number, name in enumerate(("-rf $(x);.png", "-rf $(x);.png", "c.mp4")):
        (desk.uploads / str(number)).mkdir()
        paths.append(desk.uploads / str(number) / name)
        paths[-1].write_bytes(b"x")
    visit = desk.visit("a")
    desk.add(visit, "image", [str(path) for path in paths[:2]])
    assert [one.name for one in visit.uploads["image"]] == ["rf _(x)_.png", "rf _(x)_ (2).png"]
    with pytest.raises(InputError, match=r"c\.mp4 is a video: upload it in the Video tab"):
        desk.add(visit, "image", [str(paths[2])])
    with pytest.raises(InputError, match="3 pictures are too many: 2 at most"):
        desk.add(visit, "image", [str(paths[0])] * 3)


def test_a_visit_leaves_nothing_and_orphans_are_swept(desk: Desk, tmp_path: Path) -> None:
    visit = desk.visit("a")
    (visit.served / "x.jpg").write_bytes(b"x")
    desk._visits["a"].jobs.clear()
    desk.leave("a")
    assert not visit.folder.exists()
    assert not visit.served.exists()
    orphan = tmp_path / "autolabel-app-dead"
    orphan.mkdir()
    (orphan / "lock").touch()
    desks._sweep(tmp_path)
    assert not orphan.exists()
    assert desk.root.exists()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--host", "0.0.0.0"], "Add --auth USER:PASSWORD"),
        (["--host", "0.0.0.0", "--auth", "me"], "expected USER:PASSWORD"),
        (["--models", "huge"], "there is no such preset"),
        (["--host", "192.0.2.1", "--auth", "a:b"], "can't listen on 192.0.2.1"),
    ],
)
def test_a_page_open_to_others_needs_a_password(args: list[str], told: str) -> None:
    result = CliRunner().invoke(cli, ["app", "--port", "0", *args])
    assert told in str(result.exception)


def test_what_nobody_foresaw_is_a_sentence_in_the_page() -> None:
    def breaks(path: str) -> dict[str, str]:
        raise ZeroDivisionError(path)

    async def streams(path: str) -> AsyncIterator[dict[str, str]]:
        yield {"status": "begun"}
        raise ZeroDivisionError(path)

    async def all_of_it() -> list[Any]:
        return [update async for update in guard.told(streams, "status", {"run": "on"})("/secret")]

    words = guard.told(breaks, "status")("/secret")["status"]
    assert "That failed in a way that was not foreseen (ZeroDivisionError)" in words
    assert "secret" not in words
    assert asyncio.run(all_of_it()) == [{"status": "begun"}, {"status": words, "run": "on"}]
