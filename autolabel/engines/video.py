"""Videos on one machine: read once, followed window by window, each window committed at once.

A window is stored together with the tracker's state. A run that was killed goes on from the
last window stored, with the same ids and to the same result. So does a video that broke off
and is whole again: the frames after its last regular window are labelled anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from autolabel.clock import measured, taken
from autolabel.config import VideoConfig
from autolabel.engines.local import Work
from autolabel.engines.standing import Standing, checksum
from autolabel.errors import InputError
from autolabel.media.remote import at_hand, size_and_time
from autolabel.media.video import open_video, read_frames, video_key
from autolabel.pipeline import label_images
from autolabel.progress import Advance
from autolabel.store import Result
from autolabel.track.settings import TrackSettings
from autolabel.track.values import Tracker
from autolabel.track.video import label_video
from autolabel.track.windows import WindowResult
from autolabel.types import Candidates, Frame, Image, Instance, MediaItem, MediaRecord


@dataclass(frozen=True, slots=True)
class VideoWork:
    """What an engine needs for videos beside what it needs for pictures."""

    work: Work
    tracker: Tracker
    config: VideoConfig


def run_videos(job: VideoWork, items: Iterable[MediaItem]) -> bool:
    """Label videos; return False if stopped.

    A video that can't be used, or breaks off, is recorded as failed with the reason, and the
    next one follows. What was labelled of it stays.
    """
    for item in items:
        try:
            with at_hand(item.path) as path:
                if not _label(job, item, path):
                    return False
        except InputError as error:
            _fail(job, item, _bare(error, item.path))
        except OSError as error:
            _fail(job, item, f"cannot be read: {error.strerror or error}")
    return True


def _label(job: VideoWork, item: MediaItem, path: str) -> bool:
    """Label one video, now at ``path``, from where it stands; return False if stopped."""
    info = open_video(path)
    stat = size_and_time(item.path)
    media = MediaRecord(
        item.name, item.path, item.kind, video_key(path), info.height, info.width, 0, "partial"
    )
    file = _File(media, path, *stat)
    standing = _standing(job, media)
    try:
        return _follow(job, file, standing)
    except _AnotherVideo:
        job.work.project.clear(media.name)
        return _follow(job, file, Standing())


@dataclass(frozen=True, slots=True)
class _File:
    """A video's record before it is labelled, where its file is now, and as it was then."""

    media: MediaRecord
    path: str
    size_bytes: int
    mtime_ns: int

    def result(self, frames: int, **more: Any) -> Result:
        """Return what is stored when so many frames have been looked at."""
        told = {name: more.pop(name) for name in ("status", "reason") if name in more}
        media = replace(self.media, frames=frames, **told)
        return Result(media, self.size_bytes, self.mtime_ns, **more)


def _follow(job: VideoWork, file: _File, standing: Standing) -> bool:
    """Label a video from where it stands; return False if stopped before its end."""
    project, name = job.work.project, file.media.name
    project.clear(name, standing.final)
    frames = _Frames(file.path, job.config, standing)
    seen = standing.seen
    began = time.perf_counter()
    detector = _Detector(job.work, frames)
    windows = label_video(frames, detector, job.tracker, _settings(job), standing.state or None)
    while (window := _next(windows)) is not None:
        seen = window.next_index
        if not frames.broken:  # else go on from the window before, whose tracks haven't ended
            final = window.frames[-1][0] + 1
            standing = Standing(seen, final, frames.checksum, window.state)
        labels, seconds = _labels(window), {"track": time.perf_counter() - began}
        classes = {track.track_id: track.class_id for track in window.tracks}
        found = detector.take()
        result = file.result(seen, candidates=found, instances=labels, seconds=seconds)
        with measured("write"):
            project.append(result, standing.to_bytes(), classes)
        job.work.progress.advance(
            Advance(pictures=len(window.frames), objects=len(labels), seconds=taken())
        )
        if job.work.stop():
            return False
        began = time.perf_counter()
    frames.check_end()
    _finish(job, file, frames, seen, standing)
    return True


def _next(windows: Iterator[WindowResult]) -> WindowResult | None:
    """Return the next window, or None at the end."""
    with measured("track"):
        return next(windows, None)


def _standing(job: VideoWork, media: MediaRecord) -> Standing:
    """Return where to go on with a video that was begun."""
    known = job.work.project.find(media.name)
    if known is None or known.status == "done":
        return Standing()
    return Standing.of(job.work.project.state(media.name)) or Standing()


def _finish(job: VideoWork, file: _File, frames: _Frames, seen: int, standing: Standing) -> None:
    """Record that a video is done, or that it broke off and where."""
    if frames.last is None and seen == 0:
        raise InputError(f"{file.media.path}: no frame was decoded")
    seen = seen if frames.last is None else max(seen, frames.last + 1)
    if frames.broken:
        reason = _kept(frames.broken, seen)
        result = file.result(seen, status="failed", reason=reason)
        job.work.project.append(result, standing.to_bytes())
        job.work.progress.advance(Advance(items=1, failures=1))
        return
    job.work.project.append(file.result(seen, status="done"))
    job.work.progress.advance(Advance(items=1))


def _kept(reason: str, frames: int) -> str:
    """Return why a video failed, with what stands of it."""
    return (
        f"{reason}; labelled up to frame {frames - 1}, which is kept and exported: "
        "run again when the file is whole, to go on from there"
    )


def _fail(job: VideoWork, item: MediaItem, reason: str) -> None:
    """Record a video that can't be used; what was labelled of it before stays."""
    try:
        size, mtime = size_and_time(item.path)
    except OSError:
        size = mtime = 0
    project = job.work.project
    known = project.find(item.name)
    state = project.state(item.name)
    if known is not None and known.frames and state is not None:
        media = replace(known, status="failed", reason=_kept(reason, known.frames))
        project.append(Result(media, size, mtime), state)
    else:
        media = MediaRecord(item.name, item.path, item.kind, "", 0, 0, 0, "failed", reason)
        project.commit([Result(media, size, mtime)])
    job.work.progress.advance(Advance(items=1, failures=1))


def _bare(error: Exception, path: str) -> str:
    """Return an error's message without the path that it begins with."""
    return str(error).removeprefix(f"{path}: ")


class _AnotherVideo(Exception):
    """The frames labelled before are not this video's."""


class _Frames:
    """A video's frames; where the file breaks off they end, and ``broken`` says so.

    Args:
        path: The video.
        config: Which frames to label.
        standing: How far it was labelled before.

    Attributes:
        broken: Why there are no more frames, where there should be some.
        last: Index of the last frame; None before there is one.
        checksum: Of the frames so far.
    """

    def __init__(self, path: str, config: VideoConfig, standing: Standing) -> None:
        """Read nothing yet."""
        self.broken = ""
        self.last: int | None = None
        self.checksum = 0
        self._path = path
        self._config = config
        self._standing = standing
        self._unchecked = standing.seen > 0

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames that are to be labelled.

        Raises:
            _AnotherVideo: If the frames labelled before are not this video's.
            InputError: If there is no frame that can be read.
        """
        chosen = self._config
        try:
            for frame in read_frames(
                self._path, start=chosen.start, end=chosen.end, stride=chosen.stride
            ):
                if self._unchecked and frame.index >= self._standing.seen:
                    self._check()
                self.last = frame.index
                self.checksum = checksum(frame.image, frame.index, self.checksum)
                yield frame
        except InputError as error:
            if self.last is None:
                raise
            self.broken = _bare(error, self._path)

    def check_end(self) -> None:
        """Raise _AnotherVideo if a video ended, whole, before the frames labelled before do."""
        if self._unchecked and not self.broken:
            self._check()

    def _check(self) -> None:
        self._unchecked = False
        if self.checksum != self._standing.checksum:
            raise _AnotherVideo


class _Detector:
    """Labels of one frame, as of a picture; what it saw waits to be stored with the window.

    Masks are left out of that: a label's mask is the tracker's, and what scored too low to be
    followed is kept to say what was there, not to be drawn.
    """

    def __init__(self, work: Work, frames: _Frames) -> None:
        self._work, self._frames = work, frames
        self._seen: dict[int, Candidates] = {}

    def __call__(self, image: Image) -> tuple[Instance, ...]:
        """Return the labels of one key frame."""
        (found,) = label_images([image], self._work.question, self._work.stages)
        bare = (None,) * len(found.candidates.proposals)
        if self._frames.last is not None and bare:
            self._seen[self._frames.last] = replace(found.candidates, masks=bare, mask_scores=bare)
        return found.instances

    def take(self) -> dict[int, Candidates]:
        """Return the candidates of the key frames since the last call, by frame index."""
        seen, self._seen = self._seen, {}
        return seen


def _settings(job: VideoWork) -> TrackSettings:
    """Return the tracker's settings that the user chose."""
    return TrackSettings(
        keyframe_every=job.config.keyframe_every, prompt_type=job.config.prompt_type
    )


def _labels(window: WindowResult) -> list[Instance]:
    """Return a window's labels as they are stored: they are the tracker's, of no candidate."""
    return [replace(label, detector_box=None) for _, labels in window.frames for label in labels]
