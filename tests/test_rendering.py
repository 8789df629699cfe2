"""Rendered pictures and videos: there, named apart, in the source's own timing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from autolabel.media.encoding import VideoWriter
from autolabel.media.video import open_video, read_frames


def test_a_video_keeps_its_uneven_timing_and_odd_size(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 0.52]
    with VideoWriter(tmp_path / "out.mp4", 101, 77) as writer:
        for index, seconds in enumerate(times):
            writer.add(np.full((101, 77, 3), index * 50, np.uint8), Fraction(seconds))
    info = open_video(tmp_path / "out.mp4")
    frames = list(read_frames(tmp_path / "out.mp4"))
    assert (info.codec, info.height, info.width) == ("h264", 102, 78)
    assert [round(frame.time or 0.0, 3) for frame in frames] == times
    assert [round(float(frame.image.mean()) / 50) for frame in frames] == [0, 1, 2, 3, 4]


def test_times_that_stand_still_still_make_a_video(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", 16, 16) as writer:
        for _ in range(3):
            writer.add(np.zeros((16, 16, 3), np.uint8), Fraction(1))
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 3
