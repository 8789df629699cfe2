"""Videos from the command line with the bundled pair: ids, windows, kills, bad files."""

from __future__ import annotations

import json
import random
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from autolabel.media.video import open_video, read_frames
from autolabel.store import Project
from autolabel.tiny.scenes import make_clip
from tests.command import FAKES, ROOT, autolabel, digest, make_pictures, start
from tests.pictures import write_video

SHAPES = ROOT / "ontologies" / "shapes.yaml"
TINY = ("--models", "tiny", "--device", "cpu", "--keyframe-every", "4")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a generated clip of 16 frames."""
    folder = tmp_path_factory.mktemp("clips")
    frames = [scene.image for scene in islice(make_clip(11, frames=16), 16)]
    write_video(folder / "clip.mp4", frames)
    return folder


@pytest.fixture(scope="session")
def labelled(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with the clip labelled in one go."""
    project = tmp_path_factory.mktemp("whole") / "p"
    autolabel("run", "-o", SHAPES, "--out", project, *TINY, clip)
    return project


def coco(project: Path, out: Path) -> dict[str, list[dict[str, object]]]:
    """Return a project's COCO export."""
    autolabel("export", project, "--out", out)
    found: dict[str, list[dict[str, object]]] = json.loads((out / "annotations.json").read_text())
    return found


def test_objects_keep_their_ids_in_the_coco_export(labelled: Path, tmp_path: Path) -> None:
    found = coco(labelled, tmp_path / "coco")
    assert [one["file_name"] for one in found["videos"]] == ["clip.mp4"]
    frames = {one["id"]: one["frame_index"] for one in found["images"]}
    tracks: dict[object, list[object]] = {}
    classes: dict[object, set[object]] = {}
    for one in found["annotations"]:
        tracks.setdefault(one["track_id"], []).append(frames[one["image_id"]])
        classes.setdefault(one["track_id"], set()).add(one["category_id"])
    assert tracks
    assert all(len(seen) == len(set(seen)) for seen in tracks.values())
    assert all(len(names) == 1 for names in classes.values())


def test_the_rendered_video_has_every_frame_at_its_time(
    labelled: Path, clip: Path, tmp_path: Path
) -> None:
    autolabel("render", labelled, "--out", tmp_path / "drawn")
    drawn = list(read_frames(tmp_path / "drawn" / "clip.mp4.mp4"))
    plain = list(read_frames(clip / "clip.mp4"))
    assert [round(f.time or 0, 3) for f in drawn] == [round(f.time or 0, 3) for f in plain]
    assert open_video(tmp_path / "drawn" / "clip.mp4.mp4").codec == "h264"
    assert any((a.image != b.image).any() for a, b in zip(drawn, plain, strict=True))


def test_a_killed_run_keeps_ids_and_bytes(labelled: Path, clip: Path, tmp_path: Path) -> None:
    project = tmp_path / "p"
    command = ("run", "-o", SHAPES, "--out", project, *TINY, clip)
    draw = random.Random(3)
    for _ in range(3):
        process = start(*command)
        assert process.stderr is not None
        process.stderr.readline()  # the models are loaded, work has begun
        try:
            process.communicate(timeout=0.2 + draw.random())
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    autolabel(*command)
    for name, source in (("a", labelled), ("b", project)):
        autolabel("export", source, "--out", tmp_path / name)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_going_on_from_every_window_gives_the_same(
    labelled: Path, clip: Path, tmp_path: Path
) -> None:
    from autolabel import api
    from autolabel.progress import Advance, Silent

    class Stopping(Silent):
        def advance(self, step: Advance) -> None:
            raise KeyboardInterrupt  # right after a window is committed

    for _ in range(20):
        try:
            api.run(
                [clip], SHAPES, out=tmp_path / "p", preset="tiny", device="cpu",
                keyframe_every=4, progress=Stopping(),
            )  # fmt: skip
            break
        except KeyboardInterrupt:
            continue
    with Project.open(tmp_path / "p", readonly=True) as project:
        assert [one.status for one in project.media()] == ["done"]
    autolabel("export", tmp_path / "p", "--out", tmp_path / "b")
    autolabel("export", labelled, "--out", tmp_path / "a")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_bad_videos_fail_with_a_reason_and_the_rest_goes_on(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    whole = (clip / "clip.mp4").read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("not a video")
    (folder / "cut.mp4").write_bytes(whole[:200])
    write_video(folder / "one.mp4", [next(iter(make_clip(3, frames=1))).image])
    said = autolabel("run", "-o", SHAPES, "--out", tmp_path / "p", *TINY, folder, code=3)
    assert "1 of 4 inputs labelled" in said
    failures = json.loads(autolabel("info", tmp_path / "p", "--json"))["failures"]
    assert [one["name"] for one in failures] == ["cut.mp4", "empty.mp4", "text.mp4"]
    assert all(one["reason"] for one in failures)


def test_what_cannot_follow_objects_is_refused_before_work_begins(
    clip: Path, tmp_path: Path
) -> None:
    inputs = (make_pictures(tmp_path / "in", 1), clip)
    for segmenter in ("none", "tests.fakes:Ellipses"):
        said = autolabel(
            "run", "-o", SHAPES, "--out", tmp_path / "p", *FAKES, "--segmenter", segmenter,
            *inputs, code=1,
        )  # fmt: skip
        assert f"--segmenter {segmenter} can't follow objects" in said


def test_other_video_settings_are_refused(labelled: Path, clip: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path, 1)
    write_video(tmp_path / "more.mp4", [next(iter(make_clip(5, frames=1))).image])
    args = ("run", "-o", SHAPES, "--out", labelled, "--models", "tiny", "--device", "cpu")
    said = autolabel(*args, "--keyframe-every", "9", tmp_path / "more.mp4", code=1)
    assert '"keyframe_every": 4' in said
    assert '"keyframe_every": 9' in said
