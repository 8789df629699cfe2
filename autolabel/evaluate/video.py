"""How well a project's tracks agree with a truth: J&F, IDF1, HOTA and id switches of its clips.

Classes are respected: a label overlaps a truth of its own class only. Of each clip the frames
that the truth lists are measured; a listed frame without annotations is empty.

J (mask IoU) and F (agreement of boundaries) need to know which track stands for which object:
one-to-one, so that the sum of IoU over all frames is greatest. An object without a track has
J = F = 0. Two ways to take the mean over frames are reported:

- ``j``, ``f``, ``jf``: over the frames that have the object, its track, or both. Frames with
  neither say nothing about the labels, so an object seen briefly counts like any other.
- ``davis``: over all frames of the clip, frames with neither counting 1, objects without a track
  included, and tracks chosen to maximise that: as davis2017-evaluation and TrackEval have it, to
  compare with published figures. It is the higher the less an object is seen.

Both are means over all objects of all clips. IDF1, HOTA and id switches come from the summed
counts of the clips. Where masks are missing (a truth of boxes), IDF1 and HOTA use the boxes and
J&F is not measurable.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from autolabel import masks
from autolabel.config import VideoConfig
from autolabel.errors import FormatError
from autolabel.evaluate.truth import Entry, Truth, match_names, rle
from autolabel.evaluate.video_metrics import Floats, FrameOverlap, Links, boundary_f, link
from autolabel.store import Project
from autolabel.types import RLE, Instance, MediaRecord

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """J and F of one object of the truth, its mean over frames taken in two ways."""

    j: float
    f: float
    davis_j: float
    davis_f: float


@dataclass(frozen=True, slots=True)
class ClipScore:
    """What was measured of one clip, or of several together.

    Attributes:
        name: Of the clip.
        frames: Frames measured.
        truth_tracks: Objects of the truth.
        tracks: Tracks of the project.
        objects: One entry an object of the truth; None where masks are missing.
        links: The counts behind IDF1, HOTA and id switches.
    """

    name: str
    frames: int
    truth_tracks: int
    tracks: int
    objects: tuple[ObjectScore, ...] | None
    links: Links

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values; None: not measurable."""
        j, f, davis_j, davis_f = self._means()
        seen = self.truth_tracks > 0
        return {
            "frames": self.frames,
            "truth_tracks": self.truth_tracks,
            "tracks": self.tracks,
            "j": j,
            "f": f,
            "jf": _middle(j, f),
            "davis": {"j": davis_j, "f": davis_f, "jf": _middle(davis_j, davis_f)},
            "idf1": self.links.idf1 if seen else None,
            "hota": self.links.hota if seen else None,
            "id_switches": self.links.switches if seen else None,
        }

    def _means(self) -> list[float | None]:
        """Return J, F and DAVIS' J, F over the objects."""
        if not self.objects:
            return [None] * 4
        rows = np.array([(o.j, o.f, o.davis_j, o.davis_f) for o in self.objects])
        return [float(value) for value in rows.mean(0)]


def _middle(j: float | None, f: float | None) -> float | None:
    """Return J&F, the mean of both."""
    return None if j is None or f is None else (j + f) / 2


@dataclass(frozen=True, slots=True)
class VideoEvaluation:
    """What ``evaluate_video`` measured.

    Attributes:
        clips: One entry a clip that both sides have, by name.
        notes: What was left out, in words.
    """

    clips: tuple[ClipScore, ...]
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> ClipScore:
        """All clips together."""
        measured = [one.objects for one in self.clips if one.objects is not None]
        return ClipScore(
            "all",
            sum(one.frames for one in self.clips),
            sum(one.truth_tracks for one in self.clips),
            sum(one.tracks for one in self.clips),
            tuple(chain(*measured)),
            sum((one.links for one in self.clips), Links()),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values: the total, and a row a clip."""
        rows = [{"name": one.name, **one.as_dict()} for one in self.clips]
        return {**self.total.as_dict(), "clips": rows}


def evaluate_video(project: Project, truth: Truth, classes: dict[int, int]) -> VideoEvaluation:
    """Return how well a project's tracks agree with a truth, one clip at a time.

    Labels are taken as they are exported: rejected ones don't count. Memory is that of the
    truth and one clip's labels.

    Args:
        project: Its videos and folders of frames that are done are measured.
        truth: ``images`` with ``video_id`` and ``frame_index``, annotations with ``track_id``.
        classes: The truth's category of each class id that both sides know.

    Raises:
        FormatError: If a clip's size differs, or an annotation has no ``track_id``.
    """
    videos = truth.videos
    found = [media for media in project.media("done") if media.kind != "image"]
    matched = _match(found, list(videos))
    chosen = VideoConfig.from_text(project.meta().get("video", ""))
    reading = _Reading(truth, classes, chosen)
    clips = []
    for media, labels in project.labelled() if matched else ():
        if media.name in matched:
            video = videos[matched[media.name]]
            clips.append(measure(reading.clip(media, video, labels)))
    return VideoEvaluation(tuple(clips), reading.told(clips))


def _match(found: Sequence[MediaRecord], wanted: Sequence[str]) -> dict[str, str]:
    """Return which of the truth's videos each input is; a folder of frames has no suffix."""
    matched = match_names([media.name for media in found], wanted)
    stems = {str(PurePosixPath(name).with_suffix("")): name for name in wanted}
    folders = [one.name for one in found if one.kind == "frames" and one.name not in matched]
    taken = set(matched.values())
    for name, stem in match_names(folders, list(stems)).items():
        if stems[stem] not in taken:
            matched[name] = stems[stem]
    return matched


@dataclass(frozen=True, slots=True)
class Thing:
    """One object in one frame: its track, numbered from 0, its class, mask and box."""

    track: int
    category: int
    mask: RLE | None
    box: Box


_Frames = dict[int, list[Thing]]


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip as the truth and as the project has it, by frame."""

    name: str
    frames: tuple[int, ...]
    truths: _Frames
    labels: _Frames
    truth_tracks: int
    tracks: int


class _Reading:
    """Brings truth and labels of a clip into one form and counts what it leaves out."""

    def __init__(self, truth: Truth, classes: dict[int, int], chosen: VideoConfig) -> None:
        self._path, self._classes, self._chosen = truth.path, classes, chosen
        self._videos = len(truth.videos)
        self._left_out: Counter[str] = Counter()
        self._images: dict[int, list[Entry]] = defaultdict(list)
        self._annotations: dict[int, list[Entry]] = defaultdict(list)
        frames = set()
        for image in truth.data["images"]:
            if image["video_id"] is not None:
                self._images[image["video_id"]].append(image)
                frames.add(image["id"])
        for one in truth.data["annotations"]:
            if one["image_id"] in frames:
                self._annotations[one["image_id"]].append(one)

    def told(self, clips: Sequence[ClipScore]) -> tuple[str, ...]:
        """Return what the figures of these clips don't cover."""
        notes = [f"{count} {what}" for what, count in sorted(self._left_out.items())]
        if lack := self._videos - len(clips):
            notes.append(f"{lack} of the truth's {self._videos} clips are not in the project")
        if plain := [one.name for one in clips if one.objects is None]:
            notes.append(f"J&F is not measured where masks are missing: {', '.join(plain)}")
        return tuple(notes)

    def clip(self, media: MediaRecord, video: Entry, labels: Iterable[Instance]) -> Clip:
        """Return one clip; reads its labels."""
        rows: dict[object, int] = {}
        truths: _Frames = {}
        for image in sorted(self._images[video["id"]], key=lambda one: int(one["frame_index"])):
            if not self._chosen.takes(image["frame_index"]):
                continue
            if (image["height"], image["width"]) != (media.height, media.width):
                raise FormatError(
                    f"{self._path}: {image['file_name']} is {image['width']} x {image['height']} "
                    f"in the truth, {media.name} is {media.width} x {media.height} in the project"
                )
            truths[image["frame_index"]] = self._truths(image, rows)
        columns: dict[object, int] = {}
        found = self._labels(labels, truths, columns)
        return Clip(media.name, tuple(truths), truths, found, len(rows), len(columns))

    def _truths(self, image: Entry, rows: dict[object, int]) -> list[Thing]:
        """Return a frame's objects; ``rows`` numbers the tracks."""
        things: list[Thing] = []
        for one in self._annotations[image["id"]]:
            mask = rle(one)
            if one["category_id"] not in self._classes.values() or _is_empty(mask):
                continue
            if one["iscrowd"]:
                self._left_out["of the truth's crowd regions in clips don't count"] += 1
                continue
            where = f"{self._path}: annotation {one.get('id')} of {image['file_name']}"
            if one["track_id"] is None:
                raise FormatError(f"{where} has no track_id, which annotations of a video need")
            row = rows.setdefault(one["track_id"], len(rows))
            if any(thing.track == row for thing in things):
                raise FormatError(f"{where}: track_id {one['track_id']} is there twice")
            x, y, width, height = one["bbox"]
            things.append(Thing(row, one["category_id"], mask, (x, y, x + width, y + height)))
        return things

    def _labels(
        self, labels: Iterable[Instance], frames: _Frames, columns: dict[object, int]
    ) -> _Frames:
        """Return the labels of the frames that are measured; ``columns`` numbers the tracks."""
        found: _Frames = defaultdict(list)
        for one in labels:
            if one.class_id not in self._classes or _is_empty(one.mask):
                continue
            if one.frame_index not in frames:
                self._left_out["labels are in frames that the truth doesn't list"] += 1
                continue
            frame = found[one.frame_index]
            key: object = one.track_id
            if key is None:
                key = ("label", len(columns))
                self._left_out["labels in clips have no track: each counts as its own"] += 1
            elif any(thing.track == columns.get(key) for thing in frame):
                key = ("label", len(columns))
                self._left_out["labels share a track with another in their frame"] += 1
            track = columns.setdefault(key, len(columns))
            frame.append(Thing(track, self._classes[one.class_id], one.mask, one.box))
        return found


def _is_empty(mask: RLE | None) -> bool:
    """Return whether there is a mask without pixels: then nothing is there."""
    return mask is not None and not masks.area(mask)


def measure(clip: Clip) -> ClipScore:
    """Return a clip's scores."""
    everything = chain(*clip.truths.values(), *clip.labels.values())
    masked = all(thing.mask is not None for thing in everything)
    overlaps = [
        _overlap(clip.truths[frame], clip.labels.get(frame, []), masked) for frame in clip.frames
    ]
    return ClipScore(
        clip.name,
        len(clip.frames),
        clip.truth_tracks,
        clip.tracks,
        _objects(clip, overlaps) if masked else None,
        link(overlaps, clip.truth_tracks, clip.tracks),
    )


def _overlap(truths: list[Thing], labels: list[Thing], masked: bool) -> FrameOverlap:
    """Return one frame's overlaps, of masks or else of boxes."""
    if masked:
        iou = masks.iou(
            [t.mask for t in truths if t.mask], [one.mask for one in labels if one.mask]
        )
    else:
        iou = _box_iou(truths, labels)
    ours = np.array([one.category for one in labels], int)
    same = np.array([one.category for one in truths], int)[:, None] == ours[None]
    rows = np.array([one.track for one in truths], np.int64)
    columns = np.array([one.track for one in labels], np.int64)
    return FrameOverlap(rows, columns, np.where(same, iou, 0.0))


def _box_iou(truths: list[Thing], labels: list[Thing]) -> Floats:
    """Return the IoU of every truth's box with every label's."""
    a = np.array([one.box for one in truths], float).reshape(-1, 1, 4)
    b = np.array([one.box for one in labels], float).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (a, b)]
    union = areas[0] + areas[1] - shared
    iou: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def _objects(clip: Clip, overlaps: Sequence[FrameOverlap]) -> tuple[ObjectScore, ...]:
    """Return J and F of every object of the truth."""
    rows, columns, frames = clip.truth_tracks, clip.tracks, len(clip.frames)
    padded = max(rows, columns)  # empty tracks stand in for missing ones, as DAVIS counts
    total, either = np.zeros((rows, padded)), np.zeros((rows, padded))
    for overlap in overlaps:
        total[np.ix_(overlap.truths, overlap.labels)] += overlap.iou
        here = np.zeros((rows, padded), bool)
        here[overlap.truths] = True
        here[:, overlap.labels] = True
        either += here
    absent = frames - either
    ours = linear_sum_assignment(total, maximize=True)[1]
    theirs = linear_sum_assignment(total + absent, maximize=True)[1]
    edges = _boundaries(clip, {*enumerate(ours.tolist()), *enumerate(theirs.tolist())})
    return tuple(
        ObjectScore(
            total[row, own] / either[row, own] if total[row, own] else 0.0,
            edges[row, own] / either[row, own] if total[row, own] else 0.0,
            (total[row, davis] + absent[row, davis]) / frames,
            (edges[row, davis] + absent[row, davis]) / frames,
        )
        for row, (own, davis) in enumerate(zip(ours.tolist(), theirs.tolist(), strict=True))
    )


def _boundaries(clip: Clip, pairs: set[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """Return the sum over frames of F of each of these pairs of tracks."""
    sums = dict.fromkeys(pairs, 0.0)
    for frame in clip.frames:
        for truth in clip.truths[frame]:
            for label in clip.labels.get(frame, ()):
                pair = (truth.track, label.track)
                if pair in sums and truth.category == label.category and truth.mask and label.mask:
                    sums[pair] += boundary_f(truth.mask, label.mask)
    return sums
