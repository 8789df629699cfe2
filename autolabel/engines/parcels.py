"""Work that is sent to another machine and what comes back: both as bytes.

A worker runs the engines of one machine (``local``, ``video``) on a ``Recorder`` in place of
the project. What they would have stored travels back and is played to the project by the one
process that writes, in whatever order parcels come home: results depend on their input alone.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from autolabel.engines.local import known_as
from autolabel.errors import EngineError
from autolabel.planning import Plan
from autolabel.progress import Advance
from autolabel.store import Project, Result
from autolabel.types import MediaItem, MediaRecord

MOST = 256
"""Pictures in a parcel at most: what is done again where a worker is lost."""
PER_WORKER = 16
"""Parcels for each worker at least, so that all have work until the end."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One unit of work: batches of pictures, or one video. Without either, a greeting.

    Attributes:
        batches: Pictures that go through the models together.
        video: A video or a folder of frames.
        known: What the project has of these inputs, by name.
        state: Where to go on with the video.
    """

    batches: tuple[tuple[MediaItem, ...], ...] = ()
    video: MediaItem | None = None
    known: Mapping[str, MediaRecord] = field(default_factory=dict)
    state: bytes | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """Who a worker is: what must be the same everywhere for results to be the same.

    Attributes:
        host: The machine.
        versions: Of the packages that results depend on.
        fingerprints: Of the grounder's and the segmenter's weights and settings.
        warnings: What the grounder has to say about the prompts.
    """

    host: str
    versions: Mapping[str, str]
    fingerprints: tuple[str, str] = ("", "")
    warnings: tuple[str, ...] = ()


Event = tuple[str, tuple[Any, ...]]
"""A call that the project or the progress is to get: its name and its arguments."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker made of a parcel: calls to repeat, or the error that ended its work."""

    hello: Hello
    events: tuple[Event, ...] = ()
    error: Exception | None = None


def pack(value: Parcel | Answer) -> bytes:
    """Return it as bytes."""
    return zlib.compress(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), 1)


def unpack(data: bytes) -> Any:
    """Return what ``pack`` packed. Only for bytes from our own workers: pickle runs code."""
    return pickle.loads(zlib.decompress(data))


class Recorder:
    """A project (``local.Sink``) and a Progress that remember what they are told."""

    def __init__(self, parcel: Parcel) -> None:
        self._parcel = parcel
        self._done: dict[str, MediaRecord] = {}
        self._video: dict[str, MediaRecord] = dict(parcel.known)
        self._state = parcel.state
        self.events: list[Event] = []

    def find(self, name: str) -> MediaRecord | None:
        """Return what the project has by this name, this parcel's windows of a video included."""
        return self._video.get(name)

    def find_content(self, key: str) -> MediaRecord | None:
        """Return the picture of this parcel that has this content and was labelled."""
        return self._done.get(key)

    def state(self, _name: str) -> bytes | None:
        """Return where to go on with the parcel's video."""
        return self._state

    def commit(self, results: Sequence[Result]) -> None:
        """Remember a batch."""
        for one in results:
            if one.media.status == "done":
                self._done.setdefault(one.media.key, one.media)
        self.events.append(("commit", (results,)))

    def append(
        self,
        result: Result,
        state: bytes | None = None,
        track_classes: Mapping[int, int] | None = None,
    ) -> None:
        """Remember a window of a video."""
        self._video[result.media.name] = result.media
        self._state = state
        self.events.append(("append", (result, state, track_classes)))

    def clear(self, name: str, start: int = 0) -> None:
        """Remember that what is known of an input is to be dropped, from a frame on."""
        if not start:
            self._video.pop(name, None)
            self._state = None
        self.events.append(("clear", (name, start)))

    def start(self, total: int, done: int) -> None:
        """Ignore it: the run has begun elsewhere."""

    def advance(self, step: Advance) -> None:
        """Remember progress."""
        self.events.append(("advance", (step,)))

    def note(self, text: str) -> None:
        """Remember a remark."""
        self.events.append(("note", (text,)))

    def finish(self) -> None:
        """Ignore it."""


def parcels(plan: Plan, project: Project | None, batch_size: int, workers: int) -> Iterator[Parcel]:
    """Yield a run's work: a greeting, then videos (they take longest), then pictures.

    Args:
        plan: What is left to do.
        project: What has been done before; None where that doesn't count.
        batch_size: Pictures that go through the models together.
        workers: Number of workers that share the work.
    """
    yield Parcel()
    for item in plan.videos():
        known = _known(project, [item])
        begun = item.name in known and known[item.name].status != "done"
        state = project.state(item.name) if project is not None and begun else None
        yield Parcel(video=item, known=known, state=state)
    share = (plan.total - plan.done) // (workers * PER_WORKER)
    most = max(1, min(MOST, share) // batch_size)
    batches: list[tuple[MediaItem, ...]] = []
    for batch in plan.pictures(batch_size):
        batches.append(tuple(batch))
        if len(batches) == most:
            yield _of_pictures(project, batches)
            batches = []
    if batches:
        yield _of_pictures(project, batches)


def _of_pictures(project: Project | None, batches: Sequence[tuple[MediaItem, ...]]) -> Parcel:
    """Return a parcel of pictures."""
    return Parcel(batches=tuple(batches), known=_known(project, chain.from_iterable(batches)))


def _known(project: Project | None, items: Iterator[MediaItem] | Sequence[MediaItem]) -> Any:
    """Return what the project has of these inputs, by name."""
    if project is None:
        return {}
    found = ((item.name, project.find(item.name)) for item in items)
    return {name: media for name, media in found if media is not None}


def same_weights(one: Answer, other: Answer) -> None:
    """Raise EngineError unless two workers have the same models.

    Raises:
        EngineError: If their weights or settings differ.
    """
    if one.hello.fingerprints != other.hello.fingerprints:
        raise EngineError(
            f"the workers on {one.hello.host} and {other.hello.host} have different weights or "
            "number formats: give all machines the same files and the same kind of device"
        )


def play(answer: Answer, project: Project, tell: Mapping[str, Callable[..., None]]) -> None:
    """Give an answer to the project and the progress (``tell``: advance, note).

    A picture whose content another input has by now takes over that one's labels, as on one
    machine: a human may have changed them.
    """
    for name, given in answer.events:
        if name == "commit":
            project.commit([_taken_over(project, one) for one in given[0]])
        elif name in tell:
            tell[name](*given)
        else:
            getattr(project, name)(*given)


def _taken_over(project: Project, result: Result) -> Result:
    """Return a picture's result, as a copy of what the project has of the same content."""
    media = result.media
    if media.status != "done" or result.copy_of is not None:
        return result
    known = known_as(project, media.name, media.key)
    if known is None:
        return result
    return replace(result, candidates={}, instances=(), seconds={}, copy_of=known)
