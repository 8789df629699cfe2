"""What a browser can show of an input: the file itself, or a copy made once.

Pictures: TIFF is copied as PNG. Videos: only H.264 in MP4 with one frame after the other at a
steady rate shows each frame's own labels; everything else gets a proxy with the same frames.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from autolabel.errors import InputError
from autolabel.review.places import Places
from autolabel.types import MediaRecord

SHOWN = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
RATE = 25.0
"""Frames a second of what has no rate of its own (folders of frames)."""
UNEVEN = 0.02
"""By how much of a frame's time a frame may come early or late in a steady video."""


@dataclass(frozen=True, slots=True)
class Playable:
    """What the app plays: its file, frames per second and number of frames."""

    path: str
    fps: float = 0.0
    frames: int = 1


def picture(media: MediaRecord, places: Places) -> Playable:
    """Return a picture as browsers show it.

    Raises:
        InputError: If a copy is needed and the picture can't be read.
    """
    if Path(media.path).suffix.lower() in SHOWN:
        return Playable(media.path)
    copy = places.media / f"{media.key}.png"
    if not copy.exists():
        from PIL import Image

        from autolabel.media.pictures import read_image

        frame, _ = read_image(media.path)
        part = copy.with_suffix(".part")
        Image.fromarray(frame.image).save(part, "png")
        part.replace(copy)
    return Playable(str(copy))


def video(media: MediaRecord, places: Places) -> Playable:
    """Return a video as browsers play it, frame for frame.

    Raises:
        InputError: If a copy is needed and the video can't be read.
    """
    proxy = places.media / f"{media.key}.mp4"
    if proxy.exists():
        return _known(proxy)
    if media.kind == "video" and os.path.exists(media.path):
        own = _steady_h264(media.path)
        if own is not None:
            return own
    return _proxy(media, proxy)


def _steady_h264(path: str) -> Playable | None:
    """Return the file itself if browsers play it and its frames come at a steady rate."""
    import av

    try:
        with av.open(path) as container:
            stream: Any = container.streams.video[0]
            codec = stream.codec_context
            rate = stream.average_rate
            if codec.name != "h264" or codec.pix_fmt not in ("yuv420p", "yuvj420p") or not rate:
                return None
            if "mp4" not in container.format.name or len(container.streams.video) > 1:
                return None
            first = next(container.decode(stream))
            if getattr(first, "rotation", 0):
                return None
            container.seek(0)
            times = sorted(
                float(packet.pts * packet.time_base)
                for packet in container.demux(stream)
                if packet.pts is not None and not packet.is_discard
            )
    except (av.FFmpegError, StopIteration, IndexError):
        return None
    step = float(1 / rate)
    steady = all(
        abs(time - times[0] - index * step) <= UNEVEN * step for index, time in enumerate(times)
    )
    return Playable(path, float(rate), len(times)) if steady and times[0] == 0 else None


def _proxy(media: MediaRecord, proxy: Path) -> Playable:
    """Make the copy: every frame, one after the other, in displayed orientation."""
    from autolabel.media.encoding import VideoWriter
    from autolabel.media.video import DamagedVideo, open_video, read_frames

    fps = open_video(media.path).fps or RATE
    part = proxy.with_suffix(".part")
    count = 0
    with VideoWriter(part, media.height, media.width) as writer:
        try:
            for frame in read_frames(media.path):
                writer.add(frame.image, Fraction(count) / Fraction(fps).limit_denominator(90_000))
                count += 1
        except DamagedVideo:
            pass  # it is labelled as far as it goes
    if not count:
        raise InputError(f"{media.path}: no frame was decoded")
    part.replace(proxy)
    return _known(proxy)


def _known(proxy: Path) -> Playable:
    """Return a proxy that was made before."""
    import av

    with av.open(str(proxy)) as container:
        stream: Any = container.streams.video[0]
        return Playable(str(proxy), float(stream.average_rate), int(stream.frames))
