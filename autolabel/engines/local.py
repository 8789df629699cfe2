"""One machine: files are read ahead in threads, labelled batch by batch, committed at once.

Batches come as ``planning.Plan`` cuts them, from all pictures in order whether some are done
or not: a run that was killed and continued sends the same pictures through the models together
as an uninterrupted one, so that its results are the same to the last bit.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from autolabel.config import RunConfig
from autolabel.errors import AutolabelError, InputError, StorageError, WeightsError
from autolabel.media.pictures import read_image
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

    def clear(self, name: str) -> None:
        """Drop what the models said of an input."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine needs for a run over pictures."""

    project: Sink
    question: Question
    stages: Stages
    config: RunConfig
    progress: Progress
    stop: Callable[[], bool]


def run_images(work: Work, batches: Iterable[list[MediaItem]]) -> bool:
    """Label pictures batch by batch; return False if stopped.

    Args:
        work: The project, the models and the settings.
        batches: The pictures that go through the models together. They are asked for as the
            work goes on, a few ahead.
    """
    with ThreadPoolExecutor(max_workers=work.config.readers) as pool:
        for loaded in _read_ahead(pool, batches):
            results = _label(work, loaded)
            work.project.commit(results)
            work.progress.advance(_advance(results))
            if work.stop():
                pool.shutdown(wait=False, cancel_futures=True)
                return False
    return True


def load(item: MediaItem) -> Loaded:
    """Return the picture of one input, or the reason why it can't be read. Never raises."""
    start = time.perf_counter()
    size = mtime = 0
    frame, key, reason = None, "", ""
    try:
        stat = os.stat(item.path)
        size, mtime = stat.st_size, stat.st_mtime_ns
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
            yield [future.result() for future in waiting.popleft()]
    while waiting:
        yield [future.result() for future in waiting.popleft()]


def _label(work: Work, batch: Sequence[Loaded]) -> list[Result]:
    """Return one result an input: known content taken over, labelled anew, or failed."""
    results: dict[str, Result] = {}
    fresh: dict[str, Loaded] = {}
    for loaded in batch:
        name = loaded.item.name
        if loaded.frame is None:
            results[name] = _failed(loaded, loaded.reason)
        elif loaded.key not in fresh:
            known = known_as(work.project, name, loaded.key)
            if known is None:
                fresh[loaded.key] = loaded
            else:
                results[name] = Result(
                    _record(loaded), loaded.size_bytes, loaded.mtime_ns, copy_of=known
                )
    labelled = _label_fresh(work, list(fresh.values()))
    for loaded in batch:
        if loaded.item.name not in results:
            results[loaded.item.name] = _result(loaded, labelled[loaded.key])
    return [results[loaded.item.name] for loaded in batch]


def known_as(project: Sink, name: str, key: str) -> str | None:
    """Return the name of an input that is done and has this content, ``name`` preferred."""
    own = project.find(name)
    if own is not None and own.status == "done" and own.key == key:
        return own.name
    other = project.find_content(key)
    return other.name if other is not None else None


def _label_fresh(work: Work, batch: Sequence[Loaded]) -> dict[str, Labelled | str]:
    """Return the labels of each content key; a reason where a picture breaks the models."""
    if not batch:
        return {}
    try:
        return dict(zip([one.key for one in batch], _call(work, batch), strict=True))
    except (StorageError, WeightsError):
        raise
    except Exception as error:  # find the picture that does it; the others go on
        if len(batch) > 1:
            return {key: value for one in batch for key, value in _label_fresh(work, [one]).items()}
        told = (
            str(error) if isinstance(error, AutolabelError) else f"{type(error).__name__}: {error}"
        )
        return {batch[0].key: f"labelling failed: {told}"}


def _call(work: Work, batch: Sequence[Loaded]) -> list[Labelled]:
    """Return the labels of pictures that were read."""
    images = [one.frame.image for one in batch if one.frame is not None]
    return label_images(images, work.question, work.stages)


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


def _result(loaded: Loaded, found: Labelled | str) -> Result:
    """Return the result of one picture, or of its failure."""
    if isinstance(found, str):
        return _failed(loaded, found)
    return Result(
        _record(loaded),
        loaded.size_bytes,
        loaded.mtime_ns,
        {0: found.candidates},
        found.instances,
        {"read": loaded.seconds, **found.seconds},
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
