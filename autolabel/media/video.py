"""Videos and folders of frames, read as ``Frame`` one at a time.

Rotation and flips from the container are applied; pixels that aren't square stay as they
are stored. A video whose picture size changes on the way is scaled to its first frame's.
Frames are counted in decode order from the first one that decodes, also when some are left
out, so an index means the same frame whatever ``start`` and ``stride`` are.

Videos are untrusted: they are opened as a plain file object, with the container formats in
``FORMATS`` only and no protocols, so that no play list reaches another file or the network.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from autolabel.errors import InputError, UsageError
from autolabel.media.inputs import IMAGE_EXTENSIONS
from autolabel.media.pictures import file_key, probe_size, read_image
from autolabel.types import Frame, Image

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,ivf,mxf,nut,"
    "h264,hevc,m4v,mjpeg,dv,gif"
)
"""FFmpeg's names of the containers that may be opened; none of them refers to other files."""

Position = int | float
"""Where in a video: an int is a frame's index, a float is seconds from the first frame."""

_THREADS = 4  # each holds a decoded frame
_BUFFER = 2**20
_MATRIX = "DISPLAYMATRIX"


class DamagedVideo(InputError):
    """The video breaks off or can't be decoded any further; earlier frames were fine.

    Args:
        message: What was wrong.
        frames_read: Frames decoded before.
    """

    def __init__(self, message: str, frames_read: int) -> None:
        """Keep the count beside the message."""
        super().__init__(message)
        self.frames_read = frames_read


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video says about itself.

    Attributes:
        height: Rows as displayed.
        width: Columns as displayed.
        frames: The container's count or an estimate from its duration; 0 if neither is known.
        fps: Average frames per second, None where unknown (folders of frames).
        duration: Seconds, None where unknown.
        codec: FFmpeg's name ("h264"), or "frames" for a folder.
    """

    height: int
    width: int
    frames: int
    fps: float | None
    duration: float | None
    codec: str


def open_video(path: str | Path) -> VideoInfo:
    """Return what a video or a folder of frames says about itself; its first frame is decoded.

    Raises:
        InputError: If it can't be read, has no video stream, no frame that decodes, or a
            codec that is not there; if a folder's numbers have gaps.
    """
    if os.path.isdir(path):
        files = frame_files(path)
        height, width = probe_size(files[0])
        return VideoInfo(height, width, len(files), None, None, "frames")
    with _opened(path) as (container, stream):
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise InputError(f"{path}: the video has no frame that can be decoded")
        height, width = _upright(np.empty((first.height, first.width)), _turn(first)).shape
        fps = float(stream.average_rate) if stream.average_rate else None
        duration = _duration(container, stream)
        guess = round(duration * fps) if duration and fps else 0
        codec = str(stream.codec_context.name)
        return VideoInfo(height, width, stream.frames or guess, fps, duration, codec)


def read_frames(
    path: str | Path,
    *,
    start: Position | None = None,
    end: Position | None = None,
    stride: int = 1,
) -> Iterator[Frame]:
    """Yield a video's frames, or those of a folder, decoded as they are asked for.

    Args:
        path: A video file, or a folder of numbered pictures (which have no time).
        start: The first frame to yield; earlier ones are decoded, not converted.
        end: Where to stop, exclusive.
        stride: Yield every stride-th frame from the first on.

    Raises:
        InputError: As ``open_video``; in a folder also a frame of another size.
        DamagedVideo: After the last good frame, if the video breaks off there.
        UsageError: If stride is less than 1, or a folder is asked for seconds.
    """
    if stride < 1:
        raise UsageError(f"stride: expected 1 or more, found {stride}")
    reader = _folder_frames if os.path.isdir(path) else _video_frames
    return reader(path, start, end, stride)


def video_key(path: str | Path) -> str:
    """Return the SHA-256 of a video's bytes, or of a folder's frames and their names, in hex.

    Raises:
        InputError: If it can't be read.
    """
    if not os.path.isdir(path):
        return file_key(path)
    digest = hashlib.sha256()
    for file in frame_files(path):
        digest.update(f"{file.name}\0{file_key(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def parse_position(text: str) -> Position:
    """Return a position as people write it: "120" is a frame, "4.5s" and "1:05" are times.

    Raises:
        UsageError: If it is neither.
    """
    if re.fullmatch(r"\d+", text):
        return int(text)
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)s", text):
        return float(match[1])
    if re.fullmatch(r"(\d+:)?\d+:\d{1,2}(\.\d+)?", text):
        seconds = 0.0
        for part in text.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds
    raise UsageError(f"{text!r}: expected a frame (120) or a time (4.5s, 1:05, 1:02:03)")


def frame_files(folder: str | Path) -> list[Path]:
    """Return a folder's numbered pictures in the order of their numbers.

    Numbers may start anywhere and go in equal steps (``00000.jpg``, ``00005.jpg``, ...).

    Raises:
        InputError: If there are none, a name has no number, or a number is missing or double.
    """
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: can't be listed ({error.strerror})") from error
    numbered: dict[int, str] = {}
    for name in sorted(names):
        stem, extension = os.path.splitext(name)
        if extension.lower() not in IMAGE_EXTENSIONS:
            continue
        match = re.search(r"\d+$", stem)
        if not match:
            raise InputError(f"{folder}: a frame without a number at the end of its name: {name}")
        if other := numbered.get(int(match[0])):
            raise InputError(f"{folder}: two frames have number {int(match[0])}: {other}, {name}")
        numbered[int(match[0])] = name
    if not numbered:
        raise InputError(f"{folder}: no frames (numbered pictures) in this folder")
    _check_gaps(folder, sorted(numbered))
    return [Path(folder, numbered[number]) for number in sorted(numbered)]


def _check_gaps(folder: str | Path, numbers: list[int]) -> None:
    """Raise InputError unless the numbers go in equal steps."""
    steps = [after - before for before, after in pairwise(numbers)]
    step = min(steps, default=1)
    for number, found in zip(numbers, steps, strict=False):
        if found != step:
            raise InputError(f"{folder}: frame {number + step} is missing (after {number})")


def _folder_frames(
    folder: str | Path, start: Position | None, end: Position | None, stride: int
) -> Iterator[Frame]:
    """Yield the frames of a folder."""
    if isinstance(start, float) or isinstance(end, float):
        raise UsageError(f"{folder}: a folder of frames has no times; give numbers of frames")
    files = frame_files(folder)
    size: tuple[int, int] | None = None
    for index in range(len(files))[start:end:stride]:
        frame = read_image(files[index])[0]
        size = size or (frame.height, frame.width)
        if (frame.height, frame.width) != size:
            raise InputError(
                f"{files[index]}: {frame.width} x {frame.height} pixels, but the frames before "
                f"have {size[1]} x {size[0]}"
            )
        yield Frame(frame.image, index)


def _video_frames(
    path: str | Path, start: Position | None, end: Position | None, stride: int
) -> Iterator[Frame]:
    """Yield the frames of a video file."""
    with _opened(path) as (container, stream):
        step = 1.0 / float(stream.average_rate) if stream.average_rate else 0.04
        origin, time, first = None, -step, None
        size = turn = None
        index = -1
        for index, frame in enumerate(_decoded(container, stream, path)):
            if size is None or turn is None:
                # Once a video: side data and frame hold each other until Python collects.
                size, turn = (frame.width, frame.height), _turn(frame)
            origin = frame.time if origin is None else origin
            time = time + step if frame.time is None or origin is None else frame.time - origin
            if _reached(end, index, time):
                return
            if not _reached(start or 0, index, time):
                continue
            first = index if first is None else first
            if (index - first) % stride == 0:
                pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
                yield Frame(np.ascontiguousarray(_upright(pixels, turn)), index, time)
        if index < 0:
            raise InputError(f"{path}: the video has no frame that can be decoded")


def _reached(position: Position | None, index: int, time: float) -> bool:
    """Return whether a frame is at or past a position."""
    if position is None:
        return False
    # Half a microsecond: times are fractions of a time base, positions are decimals.
    return index >= position if isinstance(position, int) else time >= position - 5e-7


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, Any]]:
    """Give a file's container and its video stream; FFmpeg's errors become InputError."""
    if not os.path.isfile(path):
        what = "is not a regular file" if os.path.lexists(path) else "no such file"
        raise InputError(f"{path}: {what}")
    if os.path.getsize(path) == 0:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    try:
        with (
            open(path, "rb") as file,
            av.open(file, "r", container_options=options, buffer_size=_BUFFER) as container,
        ):
            streams = [s for s in container.streams.video if not _is_cover(s)]
            if not streams:
                raise InputError(f"{path}: no video stream in this file")
            stream = streams[0]
            if stream.codec_context is None:
                raise InputError(f"{path}: there is no decoder here for this video's codec")
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = _THREADS
            yield container, stream
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return what was wrong, in words for the person whose file it is."""
    if isinstance(error, av.error.DecoderNotFoundError):
        return "there is no decoder here for this video's codec"
    if isinstance(error, av.error.InvalidDataError | av.error.EOFError | av.error.ArgumentError):
        return "not a video in a format that is read, or damaged or cut off"
    if isinstance(error, PermissionError):
        return "can't be read (permission denied)"
    return f"can't be read as a video ({error})"


def _is_cover(stream: Any) -> bool:
    """Return whether a stream is a still picture that music players show."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _decoded(container: Any, stream: Any, path: str | Path) -> Iterator[Any]:
    """Yield PyAV's frames; raise DamagedVideo after the last one if the video breaks off.

    Packets that fail before the first frame are left out: recordings that begin inside a
    group of pictures start with some.
    """
    frames = packets = 0
    problem = ""
    packet_stream = container.demux(stream)
    while not problem:
        try:
            packet = next(packet_stream, None)
            if packet is None:
                break
            packets += packet.size > 0
            decoded = packet.decode()
        except av.error.FFmpegError as error:
            problem = _reason(error) if frames else ""
            continue
        for frame in decoded:
            frames += 1
            yield frame
    if problem:
        with suppress(av.error.FFmpegError):
            for frame in stream.codec_context.decode(None):
                frames += 1
                yield frame
    elif packets < stream.frames:
        problem = f"cut off: {packets} of {stream.frames} frames are in the file"
    if problem and frames:
        raise DamagedVideo(f"{path}: after {frames} frames: {problem}", frames)


def _turn(frame: Any) -> tuple[int, int, int, int]:
    """Return the frame's display matrix as a, b, c, d; the identity where it has none.

    A pixel at (x, y) is displayed at (a x + c y, b x + d y) (libavutil/display.h).
    """
    data = frame.side_data.get(_MATRIX)
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return a, b, c, d


def _upright(image: np.ndarray[Any, Any], turn: tuple[int, int, int, int]) -> Image:
    """Return the image turned and flipped by the nearest quarter turn."""
    a, b, c, d = turn
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _duration(container: Any, stream: Any) -> float | None:
    """Return the stream's length in seconds, else the container's."""
    if stream.duration and stream.time_base:
        return float(stream.duration * Fraction(stream.time_base))
    return container.duration / av.time_base if container.duration else None
