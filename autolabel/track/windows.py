"""What a video's labels are until their window is committed, and as they leave it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from autolabel import masks as rle
from autolabel.track.regions import Region
from autolabel.types import RLE, Instance, Mask

_Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """What is known of one object by the end of a window.

    A class is a vote over key frames and can change after a window was committed: what was
    stored for the track before takes the class of its latest summary.

    Attributes:
        track_id: From 1.
        class_id: The class that its key frames voted for, weighted by score.
        score: Mean score of the key frames that found it; NaN if the detector gives none.
        first: Frame index where it appears.
        last: Frame index where it was seen last.
    """

    track_id: int
    class_id: int
    score: float
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class WindowResult:
    """Frames whose labels are final.

    Attributes:
        frames: (frame index, its labels by track id) of every frame, in order; frames without
            labels are there, too.
        tracks: The latest summary of every track that has labels in this window or whose
            summary has changed since.
        next_index: Frames from this index on haven't been looked at.
        state: Give it to ``label_video`` to go on from there, with the same ids.
        cuts: Frame indices at which another scene begins.
    """

    frames: tuple[tuple[int, tuple[Instance, ...]], ...]
    tracks: tuple[TrackSummary, ...]
    next_index: int
    state: bytes
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """One object in one frame, before its track's class is settled.

    Attributes:
        mask: At the frame's size.
        box: Its tight box.
        seen: The tracker's belief that the object is visible, in [0, 1].
        detection: What the detector said in this frame, if it did.
    """

    mask: RLE
    box: _Box
    seen: float
    detection: Instance | None = None

    @property
    def region(self) -> Region:
        """Its pixels, cut to their box."""
        region = Region.of(rle.decode(self.mask))
        assert region is not None  # see ``label_of``
        return region

    def instance(self, track: TrackSummary, frame_index: int) -> Instance:
        """The label as it is stored, with the class that its track has by now."""
        found = self.detection
        other = found.class_id if found is not None else track.class_id
        return Instance(
            class_id=track.class_id,
            box=self.box,
            detector_box=None if found is None else found.box,
            mask=self.mask,
            score=_known(track.score) if found is None else found.score,
            mask_score=self.seen,
            prompt=found.prompt if found is not None and other == track.class_id else None,
            runner_up_class=_runner_up(found, track.class_id),
            runner_up_score=0.0 if found is None else _runner_up_score(found, track.class_id),
            frame_index=frame_index,
            track_id=track.track_id,
        )


def _known(score: float) -> float | None:
    """None for NaN: the mean of scores that the detector doesn't give."""
    return None if math.isnan(score) else score


def label_of(mask: Mask, seen: float, found: Instance | None = None) -> Label | None:
    """The label of a mask bool (H, W); None where it is empty."""
    region = Region.of(mask)
    if region is None:
        return None
    box = tuple(float(v) for v in region.box)
    return Label(rle.encode(mask), (box[0], box[1], box[2], box[3]), seen, found)


def _runner_up(found: Instance | None, class_id: int) -> int | None:
    if found is None:
        return None
    return found.runner_up_class if found.class_id == class_id else found.class_id


def _runner_up_score(found: Instance, class_id: int) -> float:
    return found.runner_up_score if found.class_id == class_id else float(found.score or 0.0)


@dataclass(slots=True)
class Pending:
    """The labels of the frames that aren't committed yet.

    Attributes:
        index: Position -> frame index, of every such frame.
        labels: Position -> track -> label.
        keys: Positions at which a window begins, ascending.
        cuts: Frame indices of cuts among them.
    """

    index: dict[int, int] = field(default_factory=dict)
    labels: dict[int, dict[int, Label]] = field(default_factory=dict)
    keys: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)

    def begin(self, position: int, frame_index: int) -> None:
        """Note a new frame."""
        self.index[position] = frame_index
        self.labels[position] = {}

    def drop(self, track_ids: Iterable[int]) -> None:
        """Forget tracks that turned out to be no objects."""
        for track_id in track_ids:
            for labels in self.labels.values():
                labels.pop(track_id, None)

    def final_before(self, position: int, unsettled: Iterable[int]) -> int:
        """The last window's start such that nothing before it can change any more.

        Args:
            position: The present key frame; nothing from there on is final.
            unsettled: Tracks that may still be dropped.
        """
        open_ids = set(unsettled)
        limit = position
        for at in sorted(self.labels):
            if at < position and open_ids.intersection(self.labels[at]):
                limit = at
                break
        return max((key for key in self.keys if key <= limit), default=0)

    def take(
        self, before: int, tracks: Mapping[int, TrackSummary]
    ) -> tuple[tuple[int, tuple[Instance, ...]], ...]:
        """Remove and give the frames before a position, as they are stored."""
        frames = []
        for position in sorted(p for p in self.index if p < before):
            labels, index = self.labels.pop(position), self.index.pop(position)
            found = tuple(labels[i].instance(tracks[i], index) for i in sorted(labels))
            frames.append((index, found))
        self.keys = [key for key in self.keys if key >= before]
        return tuple(frames)

    def track_ids(self) -> set[int]:
        """The tracks that have labels here."""
        return {track_id for labels in self.labels.values() for track_id in labels}

    def state(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "index": list(self.index.items()),
            "labels": [
                [at, i, asdict(label)]
                for at, labels in self.labels.items()
                for i, label in labels.items()
            ],
            "keys": self.keys,
            "cuts": self.cuts,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Pending:
        """What ``state()`` described."""
        pending = cls(keys=list(state["keys"]), cuts=list(state["cuts"]))
        for position, index in state["index"]:
            pending.begin(position, index)
        for position, track_id, fields in state["labels"]:
            found = fields["detection"]
            pending.labels[position][track_id] = Label(
                mask=RLE(**fields["mask"]),
                box=_box(fields["box"]),
                seen=fields["seen"],
                detection=None if found is None else _instance(found),
            )
        return pending


def _box(values: Any) -> _Box:
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2


def _instance(fields: Mapping[str, Any]) -> Instance:
    parts: dict[str, Any] = {"box": _box(fields["box"])}
    if fields["detector_box"] is not None:
        parts["detector_box"] = _box(fields["detector_box"])
    if fields["mask"] is not None:
        parts["mask"] = RLE(**fields["mask"])
    return Instance(**{**fields, **parts})
