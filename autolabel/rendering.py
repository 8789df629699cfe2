"""Pictures and videos with their labels drawn on, written beside each other in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from PIL import Image as Pillow

from autolabel.config import VideoConfig
from autolabel.draw import draw
from autolabel.errors import InputError, StorageError, UsageError
from autolabel.media.pictures import read_image
from autolabel.store import Project
from autolabel.types import Image, Instance, MediaRecord

if TYPE_CHECKING:
    from autolabel.types import Frame

QUALITY = 90
FOLDER_RATE = 25.0
"""Frames a second of a folder of frames, which has no times of its own."""


@dataclass(frozen=True, slots=True)
class RenderReport:
    """How many pictures and videos were written, and which were not and why."""

    pictures: int
    videos: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """Names and colours by class id, and where to write."""

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    out: Path

    def draw(self, image: Image, instances: list[Instance]) -> Image:
        """Return a copy of the picture with labels on it."""
        return draw(image, instances, self.names, self.colors)

    def target(self, media: MediaRecord, suffix: str) -> Path:
        """Return the file to write, its folder made."""
        path = self.out / PurePosixPath(media.name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def render(
    project: Project,
    out: Path,
    limit: int | None,
    overwrite: bool,
    drawn: Callable[[], None] = lambda: None,
) -> RenderReport:
    """Draw a project's labels on its pictures (JPEG) and videos (MP4) and write them to ``out``.

    Each keeps its name with ".jpg" or ".mp4" added ("street/1.png.jpg"), so that none
    overwrites another. ``drawn`` is called after every picture and frame.

    Raises:
        UsageError: If ``out`` is not empty and ``overwrite`` is False.
        StorageError: If the disk is full or read-only.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, not a folder")
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty: choose another folder, or --overwrite")
    classes = project.classes()
    look = _Look(tuple(n for n, _ in classes), tuple(_rgb(color) for _, color in classes), out)
    video = VideoConfig.from_text(project.meta().get("video", ""))
    pictures, videos, missing = 0, 0, []
    for media, instances in islice(project.labelled(), limit):
        try:
            if media.kind == "image":
                _picture(media, list(instances), look)
                drawn()
                pictures += 1
            else:
                _video(media, instances, look, video, drawn)
                videos += 1
        except InputError as error:
            missing.append(f"{media.name}: {str(error).removeprefix(f'{media.path}: ')}")
        except OSError as error:
            raise StorageError(f"{out}: {error.strerror or error}") from error
    return RenderReport(pictures, videos, tuple(missing))


def _picture(media: MediaRecord, instances: list[Instance], look: _Look) -> None:
    """Draw one picture."""
    frame, key = read_image(media.path)
    if key != media.key:
        raise InputError("the file has changed since it was labelled: run again")
    drawn = look.draw(frame.image, instances)
    Pillow.fromarray(drawn).save(look.target(media, ".jpg"), quality=QUALITY)


def _video(
    media: MediaRecord,
    instances: Iterable[Instance],
    look: _Look,
    chosen: VideoConfig,
    drawn: Callable[[], None],
) -> None:
    """Draw one video: H.264, the source's own timing, a frame at a time."""
    from autolabel.media.encoding import VideoWriter
    from autolabel.media.video import read_frames

    frames = read_frames(media.path, start=chosen.start, end=chosen.end, stride=chosen.stride)
    target = look.target(media, ".mp4")
    partial = target.with_name(f".{target.name}.partial")
    with VideoWriter(partial, media.height, media.width) as writer:
        try:
            for frame, labels in _paired(frames, instances):
                seconds = frame.index / FOLDER_RATE if frame.time is None else frame.time
                writer.add(look.draw(frame.image, labels), Fraction(seconds))
                drawn()
        except InputError:
            if media.status != "failed":
                raise
            # It broke off: it was labelled as far as it goes, and said so then.
    partial.replace(target)


def _paired(
    frames: Iterable[Frame], instances: Iterable[Instance]
) -> Iterator[tuple[Frame, list[Instance]]]:
    """Yield each frame with its labels; both come by frame index."""
    groups = groupby(instances, key=lambda one: one.frame_index)
    index, group = next(groups, (None, iter(())))
    for frame in frames:
        labels: list[Instance] = []
        while index is not None and index <= frame.index:
            labels = list(group) if index == frame.index else labels
            index, group = next(groups, (None, iter(())))
        yield frame, labels


def _rgb(color: str) -> tuple[int, int, int]:
    """Return "#rrggbb" as three numbers."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
