"""Videos that break off halfway: what was labelled stays, and work is taken up where it stood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.config import RunConfig, VideoConfig
from autolabel.engines.local import Work
from autolabel.engines.video import VideoWork, run_videos
from autolabel.formats import export
from autolabel.ontology import parse_ontology
from autolabel.pipeline import Question, Stages
from autolabel.progress import Silent
from autolabel.store import Project
from autolabel.types import MediaItem, Proposals, Segments
from tests.pictures import write_video
from tests.track.blocks import ColourTracker, Detector, draw

ONTOLOGY = parse_ontology("red: red\ngreen: green\nblue: blue\nyellow: yellow\n")
FRAMES = 40


class Blocks:
    """Finds the blocks of a picture, and their masks; counts how often it was asked."""

    def __init__(self) -> None:
        self.looked = 0

    def fingerprint(self) -> str:
        return "blocks"

    def check_prompts(self, prompts) -> list[str]:
        return []

    def ground(self, images, prompts, floor):
        (image,) = images
        self.looked += 1
        found = Detector()(image)
        boxes = np.array([one.box for one in found], np.float32).reshape(-1, 4)
        scores = np.zeros((len(found), len(prompts)), np.float32)
        for row, one in enumerate(found):
            scores[row, prompts.index(ONTOLOGY.prompts[one.class_id])] = 0.9
        return [Proposals(boxes, scores)]

    def segment(self, images, boxes):
        masks = {tuple(one.box): one.mask for one in Detector()(images[0])}
        found = tuple(masks[tuple(float(v) for v in box)] for box in boxes[0])
        return [Segments(found, np.full(len(found), 0.9, np.float32))]


def pictures(first: int = 10) -> list[np.ndarray]:
    """Two blocks that move, and a third that comes later."""
    return [
        draw([(0, first + i, 10), (1, 80 - i, 40), *([(2, 40, 24)] if i >= 23 else [])])
        for i in range(FRAMES)
    ]


def write_folder(path: Path, frames: list[np.ndarray]) -> None:
    path.mkdir(exist_ok=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{i:03d}.png")


def run(project: Path, path: Path, kind: str) -> int:
    """Label a video; return how many key frames the detector was asked about."""
    blocks = Blocks()
    asked = tuple(ONTOLOGY.prompts)
    with Project.open(project, create=True) as opened:
        if not opened.meta():
            classes = [(one.name, "#ff0000") for one in ONTOLOGY.classes]
            opened.set_run({"made": "here"}, classes, asked)
        config = RunConfig("blocks", "blocks", "cpu", "fp32")
        stages = Stages(blocks, blocks)
        work = Work(opened, Question(ONTOLOGY, asked, 0.1), stages, config, Silent(), lambda: False)
        video = VideoConfig(keyframe_every=5)
        item = MediaItem(path.name, str(path), kind)
        assert run_videos(VideoWork(work, ColourTracker(), video), [item])
    return blocks.looked


def labels(project: Path, name: str) -> list[tuple[object, ...]]:
    with Project.open(project, readonly=True) as opened:
        return [
            (one.frame_index, one.track_id, one.class_id, one.mask)
            for one in opened.instances(name)
        ]


def record(project: Path, name: str):
    with Project.open(project, readonly=True) as opened:
        return opened.find(name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[tuple[object, ...]]:
    """Return the labels of the folder of frames, labelled in one go."""
    folder = tmp_path_factory.mktemp("whole")
    write_folder(folder / "clip", pictures())
    assert run(folder / "p", folder / "clip", "frames") == 8
    found = labels(folder / "p", "clip")
    assert {track for _, track, _, _ in found} == {1, 2, 3}
    return found


def test_frames_that_change_size_cost_no_label_and_mended_ones_go_on(whole, tmp_path):
    frames = pictures()
    write_folder(tmp_path / "clip", [*frames[:32], frames[32][:50], *frames[33:]])
    run(tmp_path / "p", tmp_path / "clip", "frames")
    broken = record(tmp_path / "p", "clip")
    assert (broken.status, broken.frames) == ("failed", 32)
    assert "032.png: 100 x 50 pixels, but the frames before have 100 x 60" in broken.reason
    assert "labelled up to frame 31" in broken.reason
    found = labels(tmp_path / "p", "clip")
    assert {frame for frame, *_ in found} == set(range(32))

    write_folder(tmp_path / "clip", frames)
    # Key frames 0 to 30 have been looked at; only the one at 35 is left.
    assert run(tmp_path / "p", tmp_path / "clip", "frames") == 1
    assert record(tmp_path / "p", "clip").status == "done"
    assert record(tmp_path / "p", "clip").reason == ""
    assert labels(tmp_path / "p", "clip") == whole


def test_the_labelled_part_is_exported_and_the_export_says_so(tmp_path):
    frames = pictures()
    write_folder(tmp_path / "clip", [*frames[:32], frames[32][:50], *frames[33:]])
    run(tmp_path / "p", tmp_path / "clip", "frames")
    with Project.open(tmp_path / "p", readonly=True) as opened:
        report = export(opened, "coco", tmp_path / "coco")
    assert report.pictures == 32
    assert "1 in part: videos that broke off, as far as they were labelled" in report.notes
    assert not any("could not be labelled" in note for note in report.notes)


def test_a_truncated_file_keeps_its_labels_until_the_rest_is_there(tmp_path):
    lossless = {"codec": "libx264rgb", "pix_fmt": "rgb24", "options": {"qp": "0"}}
    write_video(tmp_path / "clip.mp4", pictures(), container={"movflags": "faststart"}, **lossless)
    data = (tmp_path / "clip.mp4").read_bytes()
    run(tmp_path / "a", tmp_path / "clip.mp4", "video")
    (tmp_path / "clip.mp4").write_bytes(data[: len(data) * 3 // 4])
    run(tmp_path / "b", tmp_path / "clip.mp4", "video")
    broken = record(tmp_path / "b", "clip.mp4")
    assert broken.status == "failed"
    assert 10 < broken.frames < FRAMES
    before = labels(tmp_path / "b", "clip.mp4")
    assert max(frame for frame, *_ in before) == broken.frames - 1

    run(tmp_path / "b", tmp_path / "clip.mp4", "video")  # not mended yet
    assert labels(tmp_path / "b", "clip.mp4") == before
    (tmp_path / "clip.mp4").rename(tmp_path / "elsewhere.mp4")
    run(tmp_path / "b", tmp_path / "clip.mp4", "video")
    gone = record(tmp_path / "b", "clip.mp4")
    assert gone.reason.startswith("no such file; labelled up to frame")
    assert labels(tmp_path / "b", "clip.mp4") == before

    (tmp_path / "clip.mp4").write_bytes(data)
    assert run(tmp_path / "b", tmp_path / "clip.mp4", "video") < 8
    assert labels(tmp_path / "b", "clip.mp4") == labels(tmp_path / "a", "clip.mp4")


@pytest.mark.parametrize("frames", [FRAMES, 12])
def test_another_video_of_that_name_is_labelled_anew(whole, tmp_path, frames):
    odd = pictures()
    write_folder(tmp_path / "clip", [*odd[:32], odd[32][:50], *odd[33:]])
    run(tmp_path / "p", tmp_path / "clip", "frames")
    for file in (tmp_path / "clip").iterdir():
        file.unlink()
    write_folder(tmp_path / "clip", pictures(first=30)[:frames])
    run(tmp_path / "p", tmp_path / "clip", "frames")
    run(tmp_path / "q", tmp_path / "clip", "frames")
    assert record(tmp_path / "p", "clip").frames == frames
    assert labels(tmp_path / "p", "clip") == labels(tmp_path / "q", "clip")


def test_a_video_that_breaks_before_its_first_window_is_kept_too(tmp_path):
    frames = pictures()
    write_folder(tmp_path / "clip", [*frames[:3], frames[3][:50], *frames[4:]])
    run(tmp_path / "p", tmp_path / "clip", "frames")
    assert record(tmp_path / "p", "clip").frames == 3
    assert {frame for frame, *_ in labels(tmp_path / "p", "clip")} == {0, 1, 2}
    write_folder(tmp_path / "clip", frames)
    assert run(tmp_path / "p", tmp_path / "clip", "frames") == 8
    assert record(tmp_path / "p", "clip").status == "done"
