"""One machine: files are read ahead in threads, labelled batch by batch, committed at once.

Batches come as ``planning.Plan`` cuts them, from all pictures in order whether some are done
or not: a run that was killed and continued sends the same pictures through the models together
as an uninterrupted one, so that its results are the same to the last bit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from autolabel.clock import measured, summed, taken
from autolabel.config import RunConfig
from autolabel.engines.memory import Limit, in_pieces
from autolabel.errors import AutolabelError, InputError, StorageError, WeightsError
from autolabel.media.pictures import read_image
from autolabel.media.remote import size_and_time
from autolabel.models.device import use_threads
from autolabel.pipeline import Labelled, Question, Stages, label_images
from autolabel.progress import Advance, Progress
from autolabel.store import Result
from autolabel.types import Frame, MediaItem, MediaRecord

BATCHES_AHEAD = 2
"""Batches that are read and decoded while the models work on another."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """One input as read from disk: its picture, or why there is none."""

    item: MediaItem
    size_bytes: int
    mtime_ns: int
    key: str
    frame: Frame | None
    reason: str
    seconds: float


class Sink(Protocol):
    """Where an engine's results go and what it asks about earlier ones: a project.

    On another machine, what records them for the project (``autolabel.engines.parcels``).
    """

    def find(self, name: str) -> MediaRecord | None:
        """Return the input of this name, or None."""
        ...

    def find_content(self, key: str) -> MediaRecord | None:
        """Return a picture that is done and has the same content, or None."""
        ...

    def state(self, name: str) -> bytes | None:
        """Return where to go on with a video, or None."""
        ...

    def commit(self, results: Sequence[Result]) -> None:
        """Store what a batch gave."""
        ...

    def append(
        self,
        result: Result,
        state: bytes | None = None,
        track_classes: Mapping[int, int] | None = None,
    ) -> None:
        """Add one window of a video."""
        ...

    def clear(self, name: str, start: int = 0) -> None:
        """Drop what the models said of an input, from a frame on."""
        ...


class Share(NamedTuple):
    """How models share a machine: batches at once (lanes), and CPU threads for a call of one."""

    lanes: int
    threads: int


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine needs for a run over pictures.

    Attributes:
        project: Where results go.
        question: What is asked of every picture.
        stages: The models.
        config: Settings.
        progress: Is told what happens.
        stop: Says whether to end after the batches at hand.
        share: Batches that are labelled at once, and CPU threads for each.
        limit: How many pictures fit into the device's memory.
    """

    project: Sink
    question: Question
    stages: Stages
    config: RunConfig
    progress: Progress
    stop: Callable[[], bool]
    share: Share = field(default_factory=lambda: Share(1, 0))
    limit: Limit = field(default_factory=Limit)


def run_images(work: Work, batches: Iterable[list[MediaItem]]) -> bool:
    """Label pictures batch by batch; return False if stopped.

    Files are read in some threads, models run in others (lanes), and this thread alone
    stores what they give, in the order of the batches.

    Args:
        work: The project, the models and the settings.
        batches: The pictures that go through the models together. They are asked for as the
            work goes on, a few ahead.
    """
    readers = ThreadPoolExecutor(work.config.readers, "read")
    lanes = ThreadPoolExecutor(work.share.lanes, "label", _use_threads, (work.share.threads,))
    under_way: deque[_Batch] = deque()
    finished = True
    try:
        for loaded in _read_ahead(readers, batches):
            while len(under_way) > work.share.lanes or _share_content(loaded, under_way):
                _store(work, under_way.popleft())
            under_way.append(_begin(work, lanes, loaded))
            if work.stop():
                finished = False
                break
        while under_way:  # stopped or not: what is begun is stored
            _store(work, under_way.popleft())
    finally:
        readers.shutdown(wait=False, cancel_futures=True)
        lanes.shutdown(wait=False, cancel_futures=True)
    return finished


def _use_threads(count: int) -> None:
    """Let a lane's models use so many CPU threads: OpenMP wants to be told in each thread."""
    if count:
        use_threads(count)


def load(item: MediaItem) -> Loaded:
    """Return the picture of one input, or the reason why it can't be read. Never raises."""
    start = time.perf_counter()
    size = mtime = 0
    frame, key, reason = None, "", ""
    try:
        size, mtime = size_and_time(item.path)
        frame, key = read_image(item.path)
    except InputError as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    except Exception as error:  # a decoder's own bug must not end the run
        reason = f"cannot be read: {type(error).__name__}: {error}"
    return Loaded(item, size, mtime, key, frame, reason, time.perf_counter() - start)


def _read_ahead(
    pool: ThreadPoolExecutor, batches: Iterable[list[MediaItem]]
) -> Iterator[list[Loaded]]:
    """Yield each batch as read, with the next ones being read meanwhile."""
    waiting: deque[list[Future[Loaded]]] = deque()
    for batch in batches:
        waiting.append([pool.submit(load, item) for item in batch])
        if len(waiting) > BATCHES_AHEAD:
            yield _arrived(waiting.popleft())
    while waiting:
        yield _arrived(waiting.popleft())


def _arrived(batch: list[Future[Loaded]]) -> list[Loaded]:
    """Return a batch when all of it is read."""
    with measured("wait"):
        return [future.result() for future in batch]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch under way: its inputs, what is known of some, and the labels to come of others."""

    loaded: list[Loaded]
    known: dict[str, Result]
    fresh: dict[str, Loaded]
    labels: Future[_Answers]


def _share_content(loaded: Sequence[Loaded], under_way: Iterable[_Batch]) -> bool:
    """Return whether a picture is the copy of one that is being labelled: it waits for that."""
    keys = {one.key for one in loaded if one.frame is not None}
    return any(not keys.isdisjoint(batch.fresh) for batch in under_way)


def _begin(work: Work, lanes: ThreadPoolExecutor, loaded: list[Loaded]) -> _Batch:
    """Return a batch of which every content that isn't known is being labelled."""
    known: dict[str, Result] = {}
    fresh: dict[str, Loaded] = {}
    for one in loaded:
        name = one.item.name
        if one.frame is None:
            known[name] = _failed(one, one.reason)
        elif one.key not in fresh:
            same = known_as(work.project, name, one.key)
            if same is None:
                fresh[one.key] = one
            else:
                known[name] = Result(_record(one), one.size_bytes, one.mtime_ns, copy_of=same)
    labels = lanes.submit(_label, work, list(fresh.values()))
    return _Batch(loaded, known, fresh, labels)


def _store(work: Work, batch: _Batch) -> None:
    """Store what a batch gave, one result an input, as soon as it is there."""
    answers = batch.labels.result()
    results = [
        batch.known.get(one.item.name)
        or _result(one, answers.found[one.key], answers.seconds, len(batch.fresh))
        for one in batch.loaded
    ]
    with measured("write"):
        work.project.commit(results)
    spent = summed(answers.seconds, taken())
    work.progress.advance(replace(_advance(results), seconds=spent))


def known_as(project: Sink, name: str, key: str) -> str | None:
    """Return the name of an input that is done and has this content, ``name`` preferred."""
    own = project.find(name)
    if own is not None and own.status == "done" and own.key == key:
        return own.name
    other = project.find_content(key)
    return other.name if other is not None else None


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the models said of pictures by content key, and seconds by stage."""

    found: dict[str, Labelled | str]
    seconds: Mapping[str, float]


def _label(work: Work, batch: Sequence[Loaded]) -> _Answers:
    """Return the labels of pictures; runs in a lane."""
    found = _label_fresh(work, batch)
    return _Answers(found, taken())


def _label_fresh(work: Work, batch: Sequence[Loaded]) -> dict[str, Labelled | str]:
    """Return the labels of each content key; a reason where a picture breaks the models."""
    found: dict[str, Labelled | str] = {}

    def call(piece: Sequence[Loaded]) -> None:
        found.update(zip([one.key for one in piece], _call(work, piece), strict=True))

    def failed(one: Loaded, error: Exception) -> None:
        if isinstance(error, StorageError | WeightsError):
            raise error
        told = error if isinstance(error, AutolabelError) else f"{type(error).__name__}: {error}"
        found[one.key] = f"labelling failed: {told}"

    in_pieces(batch, work.limit, call, failed)
    return found


def _call(work: Work, batch: Sequence[Loaded]) -> list[Labelled]:
    """Return the labels of pictures that were read."""
    images = [one.frame.image for one in batch if one.frame is not None]
    return label_images(images, work.question, work.stages.for_pictures())


def _record(loaded: Loaded, reason: str = "") -> MediaRecord:
    """Return what the store keeps about one input."""
    return MediaRecord(
        name=loaded.item.name,
        path=loaded.item.path,
        kind=loaded.item.kind,
        key=loaded.key,
        height=loaded.frame.height if loaded.frame else 0,
        width=loaded.frame.width if loaded.frame else 0,
        status="failed" if reason else "done",
        reason=reason,
    )


def _failed(loaded: Loaded, reason: str) -> Result:
    """Return the result of an input that can't be labelled."""
    return Result(_record(loaded, reason), loaded.size_bytes, loaded.mtime_ns)


def _result(
    loaded: Loaded, found: Labelled | str, seconds: Mapping[str, float], pictures: int
) -> Result:
    """Return the result of one picture, or of its failure; ``seconds`` are all its batch's."""
    if isinstance(found, str):
        return _failed(loaded, found)
    shares = {stage: value / pictures for stage, value in seconds.items()}
    return Result(
        _record(loaded),
        loaded.size_bytes,
        loaded.mtime_ns,
        {0: found.candidates},
        found.instances,
        {"read": loaded.seconds, **shares},
    )


def _advance(results: Sequence[Result]) -> Advance:
    """Return what a batch added."""
    failures = sum(one.media.status == "failed" for one in results)
    return Advance(
        items=len(results),
        pictures=len(results) - failures,
        objects=sum(len(one.instances) for one in results),
        failures=failures,
    )
