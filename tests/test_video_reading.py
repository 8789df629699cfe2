"""Frames come in order, with their own times, upright; bad videos say what is wrong."""

from __future__ import annotations

import os
import resource
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from autolabel.errors import InputError, UsageError
from autolabel.media.video import (
    DamagedVideo,
    open_video,
    parse_position,
    read_frames,
    video_key,
)
from autolabel.types import Frame
from tests.pictures import gray_steps, quadrants, save, write_video

REAL = Path(os.environ.get("AUTOLABEL_SHARED", "/work/shared")) / "videos/dog.mp4"
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def shown(frames: list[Frame]) -> list[int]:
    """Which of ``gray_steps`` each frame is."""
    return [round(float(frame.image.mean()) / 12) for frame in frames]


def test_frames_come_in_order_with_index_and_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a b's.mp4", gray_steps(20))
    frames = list(read_frames(path))
    assert shown(frames) == list(range(20))
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(20)])
    assert frames[3].image.shape == (32, 48, 3)
    assert frames[3].image.flags.writeable
    info = open_video(path)
    assert (info.height, info.width, info.frames, info.codec) == (32, 48, 20, "h264")
    assert info.fps == pytest.approx(10)
    assert info.duration == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p10le"),
        # No HEVC: the libx265 of PyAV 18.1 harms the memory of the process that encodes.
        ("a.mkv", "ffv1", "bgr0"),
        ("a.mkv", "libx264", "yuv444p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mov", "mjpeg", "yuvj420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.m4v", "libx264", "yuv420p"),
    ],
)
def test_containers_codecs_and_pixel_formats(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    rate = 25 if codec == "mpeg2video" else 10
    path = write_video(tmp_path / name, gray_steps(12), codec, pix_fmt=pix_fmt, rate=rate)
    frames = list(read_frames(path))
    assert shown(frames) == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx(
        [i / rate for i in range(12)], abs=2e-3
    )


def test_odd_sizes(tmp_path: Path) -> None:
    frames = gray_steps(3, 33, 47)
    path = write_video(tmp_path / "a.mp4", frames, pix_fmt="yuv444p")
    assert next(read_frames(path)).image.shape == (33, 47, 3)
    assert open_video(path).height == 33


def test_variable_frame_rate_keeps_the_containers_times(tmp_path: Path) -> None:
    times = [500, 533, 1000, 1001, 4000]  # the first one is the zero
    path = write_video(tmp_path / "a.mkv", gray_steps(5), times=times)
    found = [frame.time for frame in read_frames(path)]
    assert found == pytest.approx([0.0, 0.033, 0.5, 0.501, 3.5], abs=1e-3)


def test_a_raw_stream_without_times_gets_them_from_its_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.h264", gray_steps(6))
    frames = list(read_frames(path))
    assert shown(frames) == list(range(6))
    times = [frame.time for frame in frames]
    assert times[0] == 0.0
    assert times == sorted(set(times))


# The corners clockwise from the top left, as a player shows them. FFmpeg turns
# counter-clockwise by the angle, and flips left to right after that.
@pytest.mark.parametrize(
    ("rotation", "hflip", "corners"),
    [
        (0, False, (RED, GREEN, WHITE, BLUE)),
        (90, False, (GREEN, WHITE, BLUE, RED)),
        (180, False, (WHITE, BLUE, RED, GREEN)),
        (270, False, (BLUE, RED, GREEN, WHITE)),
        (0, True, (GREEN, RED, BLUE, WHITE)),
        (90, True, (WHITE, GREEN, RED, BLUE)),
    ],
)
def test_rotation_and_flips_are_applied(
    tmp_path: Path, rotation: int, hflip: bool, corners: tuple
) -> None:
    frames = [quadrants(32, 64)] * 3
    path = write_video(tmp_path / "a.mp4", frames, rotation=rotation, hflip=hflip)
    image = next(read_frames(path)).image
    found = np.array([image[4, 4], image[4, -5], image[-5, -5], image[-5, 4]], int)
    assert np.abs(found - np.array(corners)).max() < 40
    assert image.shape[:2] == ((64, 32) if rotation in (90, 270) else (32, 64))
    assert (open_video(path).height, open_video(path).width) == image.shape[:2]
    assert image.flags.c_contiguous


@pytest.mark.parametrize(
    ("start", "end", "stride", "expected"),
    [
        (None, None, 4, [0, 4, 8, 12, 16]),
        (5, None, 5, [5, 10, 15]),
        (5, 8, 1, [5, 6, 7]),
        (0.5, 0.8, 1, [5, 6, 7]),
        (0.45, 1.0, 2, [5, 7, 9]),
        (18, 99, 1, [18, 19]),
        (99, None, 1, []),
        (3, 3, 1, []),
    ],
)
def test_start_end_and_stride_keep_the_index(
    tmp_path: Path, start: float, end: float, stride: int, expected: list[int]
) -> None:
    path = write_video(tmp_path / "a.mp4", gray_steps(20))
    frames = list(read_frames(path, start=start, end=end, stride=stride))
    assert [frame.index for frame in frames] == expected
    assert shown(frames) == expected


def test_one_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_steps(1))
    assert [(frame.index, frame.time) for frame in read_frames(path)] == [(0, 0.0)]


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_steps(20))
    before = len(os.listdir("/proc/self/fd"))
    frames = read_frames(path)
    assert len(list(islice(frames, 3))) == 3
    frames.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """400 frames of 640 x 480 are 370 MB."""
    frames = gray_steps(2, 480, 640) * 200
    path = write_video(tmp_path / "a.mp4", frames, options={"preset": "ultrafast"})
    del frames
    for _ in islice(read_frames(path), 30):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in read_frames(path)) == 400
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 40e6


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def bad_video(folder: Path, case: str) -> Path:
    path = folder / "bad one.mp4"
    if case == "folder":
        path.mkdir()
    elif case == "pipe":
        os.mkfifo(path)
    elif case == "empty":
        path.touch()
    elif case == "text":
        path.write_text("not a video")
    elif case == "picture":
        save(folder / "a.png").rename(path)
    elif case == "audio":
        audio_only(path)
    elif case == "no index":  # the moov atom comes last, and is cut off
        whole = write_video(path, gray_steps(20)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif case == "play list":
        write_video(folder / "real.ts", gray_steps(5))
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nreal.ts\n#EXT-X-ENDLIST\n")
    elif case == "concat":
        write_video(folder / "real.mp4", gray_steps(5))
        path.write_text("ffconcat version 1.0\nfile real.mp4\n")
    return path


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("gone", "no such file"),
        ("folder", "no frames (numbered pictures) in this folder"),
        ("pipe", "is not a regular file"),
        ("empty", "the file is empty (0 bytes)"),
        ("text", "not a video in a format that is read, or damaged or cut off"),
        ("picture", "not a video in a format that is read, or damaged or cut off"),
        ("audio", "no video stream in this file"),
        ("no index", "not a video in a format that is read, or damaged or cut off"),
        ("play list", "not a video in a format that is read, or damaged or cut off"),
        ("concat", "not a video in a format that is read, or damaged or cut off"),
    ],
)
def test_a_bad_video_says_what_is_wrong(tmp_path: Path, case: str, reason: str) -> None:
    path = bad_video(tmp_path, case)
    for read in (open_video, lambda path: list(read_frames(path))):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(caught.value) == f"{path}: {reason}"


def test_a_codec_that_is_not_there(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", gray_steps(5), "mpeg4")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"FMP4", b"ZZZZ"))
    with pytest.raises(InputError, match="there is no decoder here for this video's codec"):
        open_video(path)


def test_a_video_that_breaks_off_gives_what_there_is_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), np.uint8)
    write_video(path, list(noise), container={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    indices: list[int] = []
    with pytest.raises(DamagedVideo, match=r"after \d+ frames: ") as caught:
        indices.extend(frame.index for frame in read_frames(path))
    assert 10 < caught.value.frames_read < 30
    assert indices == list(range(caught.value.frames_read))
    assert [frame.index for frame in read_frames(path, end=5)] == [0, 1, 2, 3, 4]
    assert open_video(path).frames == 40


def test_a_header_without_any_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, gray_steps(3), container={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])
    with pytest.raises(InputError):
        open_video(path)
    with pytest.raises(InputError):
        list(read_frames(path))


def test_a_folder_of_frames(tmp_path: Path) -> None:
    for number, pixels in zip((8, 9, 10, 11), gray_steps(4), strict=True):
        save(tmp_path / f"f_{number}.png", pixels)
    (tmp_path / "notes.txt").touch()
    frames = list(read_frames(tmp_path))
    assert shown(frames) == [0, 1, 2, 3]
    assert [(frame.index, frame.time) for frame in frames] == [(i, None) for i in range(4)]
    assert [frame.index for frame in read_frames(tmp_path, start=1, stride=2)] == [1, 3]
    info = open_video(tmp_path)
    assert (info.height, info.width, info.frames, info.fps) == (32, 48, 4, None)
    with pytest.raises(UsageError, match="has no times"):
        list(read_frames(tmp_path, start=0.5))


def test_frames_numbered_in_steps(tmp_path: Path) -> None:
    for number, pixels in zip((0, 5, 10), gray_steps(3), strict=True):
        save(tmp_path / f"{number:05}.png", pixels)
    assert shown(list(read_frames(tmp_path))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("000.png", "001.png", "003.png", "004.png"), "frame 2 is missing (after 1)"),
        (("1.png", "01.png"), "two frames have number 1: 01.png, 1.png"),
        (("1.png", "cover.png"), "a frame without a number at the end of its name: cover.png"),
    ],
)
def test_a_folder_with_wrong_numbers(tmp_path: Path, names: tuple, reason: str) -> None:
    for name in names:
        save(tmp_path / name)
    for read in (open_video, lambda path: list(read_frames(path))):
        with pytest.raises(InputError) as caught:
            read(tmp_path)
        assert str(caught.value) == f"{tmp_path}: {reason}"


def test_a_folder_with_mixed_sizes(tmp_path: Path) -> None:
    save(tmp_path / "0.png", quadrants(40, 60))
    save(tmp_path / "1.png", quadrants(60, 40))
    expected = r"1\.png: 40 x 60 pixels, but the frames before have 60 x 40"
    with pytest.raises(InputError, match=expected):
        list(read_frames(tmp_path))


def test_keys_follow_the_content(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_steps(3))
    assert len(video_key(path)) == 64
    folder = tmp_path / "frames"
    save(folder / "0.png")
    one = video_key(folder)
    save(folder / "1.png")
    two = video_key(folder)
    assert len({one, two, video_key(path)}) == 3
    assert video_key(folder) == two


@pytest.mark.parametrize(
    ("text", "position"),
    [("0", 0), ("120", 120), ("4.5s", 4.5), ("4s", 4.0), ("1:05", 65.0), ("1:02:03.5", 3723.5)],
)
def test_positions_as_people_write_them(text: str, position: float) -> None:
    found = parse_position(text)
    assert found == position
    assert type(found) is type(position)


@pytest.mark.parametrize("text", ["", "-1", "4.5", "s", "1:2:3:4", "soon"])
def test_positions_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="expected a frame"):
        parse_position(text)


def test_a_stride_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stride: expected 1 or more, found 0"):
        read_frames(tmp_path, stride=0)


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here")
def test_a_real_video() -> None:
    info = open_video(REAL)
    assert (info.height, info.width, info.frames, info.codec) == (720, 1280, 289, "h264")
    frames = list(read_frames(REAL, start=100, end=110, stride=5))
    assert [frame.index for frame in frames] == [100, 105]
    assert [frame.time for frame in frames] == pytest.approx([100 / 29.97, 105 / 29.97], abs=1e-3)
