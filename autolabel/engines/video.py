"""Videos on one machine: read once, followed window by window, each window committed at once.

A window is stored together with the tracker's state. A run that was killed goes on from the
last window stored, with the same ids and to the same result.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from autolabel.clock import measured, taken
from autolabel.config import VideoConfig
from autolabel.engines.local import Work
from autolabel.errors import InputError
from autolabel.media.remote import at_hand, size_and_time
from autolabel.media.video import DamagedVideo, open_video, read_frames, video_key
from autolabel.pipeline import label_images
from autolabel.progress import Advance
from autolabel.store import Result
from autolabel.track.values import Tracker
from autolabel.track.video import TrackSettings, label_video
from autolabel.track.windows import WindowResult
from autolabel.types import Frame, Image, Instance, MediaItem, MediaRecord


@dataclass(frozen=True, slots=True)
class VideoWork:
    """What an engine needs for videos beside what it needs for pictures."""

    work: Work
    tracker: Tracker
    config: VideoConfig


def run_videos(job: VideoWork, items: Iterable[MediaItem]) -> bool:
    """Label videos; return False if stopped.

    A video that can't be used is recorded as failed with the reason, and the next one follows.
    """
    for item in items:
        try:
            with at_hand(item.path) as path:
                if not _label(job, item, path):
                    return False
        except InputError as error:
            _fail(job, item, str(error).removeprefix(f"{item.path}: "))
        except OSError as error:
            _fail(job, item, f"cannot be read: {error.strerror or error}")
    return True


def _label(job: VideoWork, item: MediaItem, path: str) -> bool:
    """Label one video, now at ``path``, from where it stands; return False if stopped."""
    project = job.work.project
    info = open_video(path)
    stat = size_and_time(item.path)
    media = MediaRecord(
        item.name, item.path, item.kind, video_key(path), info.height, info.width, 0, "partial"
    )
    state = _state(job, media)
    frames = _Frames(path, job.config)
    began = time.perf_counter()
    windows = label_video(frames, _Detector(job.work), job.tracker, _settings(job), state)
    while (window := _next(windows)) is not None:
        media = replace(media, frames=window.next_index)
        seconds = {"track": time.perf_counter() - began}
        result = Result(media, *stat, {}, _labels(window), seconds)
        classes = {track.track_id: track.class_id for track in window.tracks}
        with measured("write"):
            project.append(result, window.state, classes)
        job.work.progress.advance(
            Advance(pictures=len(window.frames), objects=len(result.instances), seconds=taken())
        )
        if job.work.stop():
            return False
        began = time.perf_counter()
    _finish(job, media, stat, frames)
    return True


def _next(windows: Iterator[WindowResult]) -> WindowResult | None:
    """Return the next window, or None at the end."""
    with measured("track"):
        return next(windows, None)


def _state(job: VideoWork, media: MediaRecord) -> bytes | None:
    """Return where to go on with a video that was begun; drop what is of another content."""
    project = job.work.project
    known = project.find(media.name)
    if known is not None and known.status == "partial" and known.key == media.key:
        return project.state(media.name)
    project.clear(media.name)
    return None


def _finish(job: VideoWork, media: MediaRecord, stat: tuple[int, int], frames: _Frames) -> None:
    """Record that a video is done, with a remark where it broke off."""
    if frames.last is None and media.frames == 0:
        raise InputError(f"{media.path}: no frame was decoded")
    if frames.broken:
        job.work.progress.note(f"{media.name}: {frames.broken}")
    seen = media.frames if frames.last is None else max(media.frames, frames.last + 1)
    media = replace(media, frames=seen, status="done", reason=frames.broken)
    job.work.project.append(Result(media, *stat))
    job.work.progress.advance(Advance(items=1))


def _fail(job: VideoWork, item: MediaItem, reason: str) -> None:
    """Record a video that can't be used."""
    try:
        size, mtime = size_and_time(item.path)
    except OSError:
        size = mtime = 0
    media = MediaRecord(item.name, item.path, item.kind, "", 0, 0, 0, "failed", reason)
    job.work.project.commit([Result(media, size, mtime)])
    job.work.progress.advance(Advance(items=1, failures=1))


class _Frames:
    """A video's frames; where the file breaks off they end, and ``broken`` says so."""

    def __init__(self, path: str, config: VideoConfig) -> None:
        self.broken = ""
        self.last: int | None = None
        self._path = path
        self._config = config

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames that are to be labelled."""
        chosen = self._config
        try:
            for frame in read_frames(
                self._path, start=chosen.start, end=chosen.end, stride=chosen.stride
            ):
                self.last = frame.index
                yield frame
        except DamagedVideo as error:
            self.broken = str(error).removeprefix(f"{self._path}: ")


@dataclass(frozen=True, slots=True)
class _Detector:
    """Labels of one frame, as of a picture."""

    work: Work

    def __call__(self, image: Image) -> tuple[Instance, ...]:
        """Return the labels of one key frame."""
        (found,) = label_images([image], self.work.question, self.work.stages)
        return found.instances


def _settings(job: VideoWork) -> TrackSettings:
    """Return the tracker's settings that the user chose."""
    return TrackSettings(
        keyframe_every=job.config.keyframe_every, prompt_type=job.config.prompt_type
    )


def _labels(window: WindowResult) -> list[Instance]:
    """Return a window's labels as they are stored: a video's candidates are not kept."""
    return [replace(label, detector_box=None) for _, labels in window.frames for label in labels]
