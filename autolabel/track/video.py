"""A video's frames to labels with identities, window by window.

    detect at key frames -> who is who -> propagate -> carry new objects back -> commit

A window runs from one key frame to the next. Its labels are final once the key frame after it
has been looked at: by then objects that this key frame found have been carried back through
the window to where they appear, and detections of low score have been confirmed or dropped.
What is held is the window's frames (at the model's size) and at most two windows of labels.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from autolabel.track.cues import Cue, SceneCues
from autolabel.track.dealing import Paths, deal, parted
from autolabel.track.detections import Detections
from autolabel.track.identity import Identity
from autolabel.track.lookback import LookBack, Window
from autolabel.track.regions import Region, intersection, iou, look
from autolabel.track.settings import TrackSettings
from autolabel.track.tracks import Found, KeyframeOutcome, Track
from autolabel.track.values import Prepared, Prompt, Session, Tracked, Tracker
from autolabel.track.windows import Pending, TrackSummary, WindowResult, label_of
from autolabel.types import Frame, Image, Instance, Mask

Detect = Callable[[Image], Sequence[Instance]]
"""A picture's labels; masks where a segmenter made some, else boxes."""


def label_video(
    frames: Iterable[Frame],
    detect: Detect,
    tracker: Tracker,
    settings: TrackSettings | None = None,
    state: bytes | None = None,
) -> Iterator[WindowResult]:
    """Yields the labels of a video's frames as they become final.

    Store each window together with its state: a run that dies and goes on from the last
    stored state yields the same windows with the same ids.

    Args:
        frames: In order, read one at a time. When going on, frames before the state's
            ``next_index`` may be there and are skipped.
        detect: Finds objects in key frames.
        tracker: Follows them.
        settings: How.
        state: Of the last window stored, or None to begin.

    Raises:
        InputError: If frames differ in size.
        ValueError: If the state is of another version.
    """
    labeler = _VideoLabeler(detect, tracker, settings or TrackSettings())
    if state is not None:
        labeler.load(state)
    for frame in frames:
        window = labeler.see(frame) if frame.index >= labeler.next_index else None
        if window is not None:
            yield window
    last = labeler.finish()
    if last is not None:
        yield last


class _VideoLabeler:
    """One video on its way through detector, tracker and identity."""

    def __init__(self, detect: Detect, tracker: Tracker, settings: TrackSettings) -> None:
        self._detect = detect
        self._tracker = tracker
        self._settings = settings
        self._session: Session = tracker.session()
        self._cues = SceneCues(settings.cues)
        self._identity = Identity(settings.identity, 1.0)
        self._paths = Paths(settings.deal)
        self._pending = Pending()
        self._position = -1
        self._key = 0
        self._window: list[Prepared] = []
        self._summaries: dict[int, TrackSummary] = {}
        self._unscored = False  # whether the detector gives no scores
        self.next_index = 0

    def see(self, frame: Frame) -> WindowResult | None:
        """Take the next frame; gives what it made final, if anything."""
        self._position += 1
        self.next_index = frame.index + 1
        self._identity.diagonal = math.hypot(frame.height, frame.width)
        cue = self._cues.see(frame.image)
        if cue is Cue.CUT:
            self._cut(frame)
        self._pending.begin(self._position, frame.index)
        prepared = self._tracker.prepare(frame.image)
        shown = self._follow(self._session.step(prepared), frame.image, cue)
        if not self._is_due(cue, shown):
            self._window.append(prepared)
            return None
        self._keyframe(frame, prepared, shown)
        self._key = self._position
        self._window = [prepared]
        self._pending.keys.append(self._position)
        unsettled = [i for i in self._identity.tracks if self._identity.is_tentative(i)]
        return self._commit(self._pending.final_before(self._position, unsettled))

    def _is_due(self, cue: Cue, shown: Mapping[int, Region]) -> bool:
        """Whether to look again in this frame: regularly, and where something has happened."""
        since = self._position - self._key
        if since >= self._settings.keyframe_every or self._position == 0 or cue is Cue.CUT:
            return True
        if since < self._settings.change_gap:
            return False
        # Lost since the last frames; at the gap's end also what went lost within it.
        recent = self._position - (self._settings.change_gap if self._early() else 1)
        lost = any(
            recent <= t.last < self._position and t.id not in shown
            for t in self._identity.tracks.values()
        )
        return cue is Cue.CHANGE or (self._settings.look_again and lost)

    def _early(self) -> bool:
        """Whether this is the first frame after a key frame that may be one itself."""
        return self._position - self._key == self._settings.change_gap

    def finish(self) -> WindowResult | None:
        """The video is over: gives what wasn't final yet."""
        self._end_tracks()
        return self._commit(self._position + 1)

    def _cut(self, frame: Frame) -> None:
        """Another scene: nobody in it is known."""
        self._end_tracks()
        self._session = self._tracker.session()
        self._window = []
        self._pending.cuts.append(frame.index)

    def _end_tracks(self) -> None:
        for track in self._identity.end_all():
            self._summarise(track)

    def _follow(self, tracked: Tracked, image: Image, cue: Cue) -> dict[int, Region]:
        """Label the objects that are seen in this frame; gives where they are."""
        claims: dict[int, Region] = {}
        seen: dict[int, tuple[Mask, float]] = {}
        for track_id, mask, score in zip(tracked.ids, tracked.masks, tracked.scores, strict=True):
            region = Region.of(mask) if score > 0.5 else None
            if region is not None:
                claims[track_id], seen[track_id] = region, (mask, float(score))
        regions = deal(claims, self._expected(), self._settings.deal, self._identity.may_overlap)
        if cue is Cue.SAME:  # else the light has changed, and colours with it
            strange = self._identity.strangers(
                {i: look(image, region) for i, region in regions.items()}
            )
            self._session.forget(strange)
            regions = {i: region for i, region in regions.items() if i not in strange}
        shown = self._identity.observe(self._position, regions)
        self._session.forget([i for i in regions if i not in shown])
        for track_id in shown:
            region, (mask, score) = regions[track_id], seen[track_id]
            whole = region is claims[track_id]
            mask = mask if whole else region.mask(*image.shape[:2])
            self._put(self._position, track_id, mask, score)
        where = {track_id: regions[track_id] for track_id in shown}
        self._paths.saw(where)
        return where

    def _expected(self) -> dict[int, Region]:
        """Where the objects that key frames found lately should be in this frame."""
        places = self._paths.expected(self._position)
        since = self._position - self._settings.deal.unseen
        tracks = self._identity.tracks.values()
        known = {t.id for t in tracks if t.status != "tentative" and t.last >= since}
        return {i: places[i] for i in places if i in known}

    def _put(
        self, position: int, track_id: int, mask: Mask, seen: float, found: Instance | None = None
    ) -> None:
        label = label_of(mask, seen, found)
        if label is not None:
            self._pending.labels[position][track_id] = label

    def _keyframe(self, frame: Frame, prepared: Prepared, shown: dict[int, Region]) -> None:
        """Detect, decide who is who, show the tracker what is new, and carry it back."""
        for track in self._identity.tracks.values():  # some of them may end here
            self._summarise(track)
        detections = Detections.of(frame.image, self._detect(frame.image))
        instances, found = detections.instances, detections.found
        self._unscored |= any(one.score is None for one in instances)
        outcome = self._identity.keyframe(self._position, shown, found)
        self._let_go(outcome)
        self._part(outcome, detections)
        torn = self._torn(outcome, shown, found)
        lost = [i for i in self._gone_wrong(outcome, shown, found) if i not in torn]
        fresh = [i for _, i in [*outcome.revived, *outcome.born] if i not in lost]
        self._session.remove(fresh)
        self._session.forget(lost)
        prompts: dict[int, Prompt] = {}
        by_track: dict[int, Instance] = {}
        for track_id, d in outcome.found.items():
            refresh = self._settings.refresh and track_id not in torn
            if track_id in fresh or track_id in lost or refresh:
                kind, points = self._settings.prompt_type, self._settings.points
                prompts[track_id] = detections.prompt(d, kind, points)
                by_track[track_id] = instances[d]
            else:
                labels = self._pending.labels[self._position]
                labels[track_id] = replace(labels[track_id], detection=instances[d])
        told = self._session.add(list(prompts), list(prompts.values()))
        for track_id, mask, score in zip(told.ids, told.masks, told.scores, strict=True):
            self._put(self._position, track_id, mask, float(score), by_track[track_id])
        self._note_paths([i for i in outcome.found if i not in torn], (frame.width, frame.height))
        if self._settings.carry_back and self._window and (fresh or lost):
            self._look_back({i: prompts[i] for i in [*lost, *fresh]}, fresh, prepared)
        for track in self._identity.tracks.values():
            self._summarise(track)

    def _note_paths(self, track_ids: Iterable[int], size: tuple[int, int]) -> None:
        """Remember where this key frame found its objects."""
        labels = self._pending.labels[self._position]
        for track_id in track_ids:
            if track_id in labels:
                self._paths.found(track_id, self._position, labels[track_id].region, size)
        self._paths.keep(self._identity.tracks)

    def _part(self, outcome: KeyframeOutcome, detections: Detections) -> None:
        """Cut detections that cover another object, too, to their own."""
        told = outcome.found
        claims = {i: detections.found[d].region for i, d in told.items()}
        own = parted(claims, self._expected(), self._settings.deal, self._identity.may_overlap)
        detections.cut({told[i]: region for i, region in own.items()})

    def _torn(
        self, outcome: KeyframeOutcome, shown: Mapping[int, Region], found: Sequence[Found]
    ) -> set[int]:
        """The tracks whose detection is as much of another track, which has none, as of them."""
        tracks, settings = self._identity.tracks, self._settings
        told = {i for _, i in [*outcome.matched, *outcome.revived]}
        torn = set()
        for d, track_id in outcome.matched:
            region = found[d].region
            others = (
                intersection(region, shown[i]) / region.area
                for i in shown
                if i not in told and i in tracks and tracks[i].class_id == found[d].class_id
            )
            both = max(others, default=0.0) >= settings.torn
            if both and iou(shown[track_id], region) < settings.mend_below:
                torn.add(track_id)
        return torn

    def _gone_wrong(
        self, outcome: KeyframeOutcome, shown: Mapping[int, Region], found: Sequence[Found]
    ) -> list[int]:
        """The tracks whose detection says that following them went wrong in this window."""
        here = set(self._pending.labels[self._key]) if self._window else set()
        limit = self._settings.mend_below
        lost = [
            i for d, i in outcome.matched if i in here and iou(shown[i], found[d].region) < limit
        ]
        return lost + [i for _, i in outcome.revived if i in here and limit > 0]

    def _look_back(self, prompts: dict[int, Prompt], fresh: list[int], prepared: Prepared) -> None:
        """Follow objects backwards through the window: the new ones, and those lost on the way."""
        window = Window(self._key, self._window, prepared)
        settings = self._settings
        back = LookBack(
            self._tracker,
            self._pending,
            window,
            settings.deal,
            self._identity.may_overlap,
            settings.carry_overlap,
            settings.identity.stranger_look,
        )
        back.run(prompts, {i: self._identity.tracks[i].look for i in prompts}, fresh)
        for track_id, first in back.earlier.items():
            self._identity.carried_back(track_id, first)

    def _let_go(self, outcome: KeyframeOutcome) -> None:
        """Stop following who is gone; unmake the labels of what was no object."""
        self._pending.drop(outcome.dropped)
        self._pending.labels[self._position] = {
            i: label
            for i, label in self._pending.labels[self._position].items()
            if i not in outcome.ended and i not in outcome.lost
        }
        if outcome.lost and self._identity.patience == 1:
            # There at one end of the window and gone at the other: each half to what is nearer.
            for position in range((self._key + self._position) // 2 + 1, self._position):
                for track_id in outcome.lost:
                    self._pending.labels[position].pop(track_id, None)
        parked = self._identity.park(self._position)
        self._session.remove([*outcome.dropped, *outcome.ended, *outcome.lost, *parked])

    def _summarise(self, track: Track) -> None:
        at = self._pending.index
        before = self._summaries.get(track.id)
        first = at.get(track.first, before.first if before else 0)
        last = at.get(track.last, before.last if before else 0)
        score = math.nan if self._unscored else track.score
        self._summaries[track.id] = TrackSummary(track.id, track.class_id, score, first, last)

    def _commit(self, before: int) -> WindowResult | None:
        """Give the frames before a position, if there are any."""
        for track in self._identity.tracks.values():
            self._summarise(track)
        frames = self._pending.take(before, self._summaries)
        if not frames:
            return None
        cuts = tuple(c for c in self._pending.cuts if c <= frames[-1][0])
        self._pending.cuts = [c for c in self._pending.cuts if c > frames[-1][0]]
        here = {one.track_id for _, instances in frames for one in instances}
        tracks = [
            s for i, s in sorted(self._summaries.items()) if i in here or i in self._identity.tracks
        ]
        kept = self._pending.track_ids() | set(self._identity.tracks)
        self._summaries = {i: s for i, s in self._summaries.items() if i in kept}
        return WindowResult(frames, tuple(tracks), self.next_index, self.state(), cuts)

    def state(self) -> bytes:
        """Everything that going on needs, as one ``.npz`` (no pickle)."""
        head = {
            "version": 2,
            "position": self._position,
            "key": self._key,
            "next_index": self.next_index,
            "identity": self._identity.state(),
            "cues": self._cues.state(),
            "pending": self._pending.state(),
            "summaries": [
                [s.track_id, s.class_id, s.score, s.first, s.last] for s in self._summaries.values()
            ],
            "unscored": self._unscored,
            "paths": self._paths.state(),
            "sizes": [[w.height, w.width] for w in self._window],
        }
        out = io.BytesIO()
        np.savez(
            out,
            head=np.frombuffer(json.dumps(head).encode(), np.uint8),
            session=np.frombuffer(self._session.state(), np.uint8),
            window=np.stack([w.pixels for w in self._window]) if self._window else np.zeros(0),
        )
        return out.getvalue()

    def load(self, state: bytes) -> None:
        """Take the place of the labeler whose ``state()`` this is."""
        with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            if head["version"] != 2:
                raise ValueError(f"video state: expected version 2, found {head['version']}")
            self._session = self._tracker.restore(arrays["session"].tobytes())
            pixels = arrays["window"]
        self._position, self._key = head["position"], head["key"]
        self.next_index = head["next_index"]
        self._identity.load(head["identity"])
        self._cues.load(head["cues"])
        self._pending = Pending.of(head["pending"])
        self._paths.load(head.get("paths", ()))
        self._unscored = bool(head.get("unscored", False))
        self._summaries = {values[0]: TrackSummary(*values) for values in head["summaries"]}
        self._window = [Prepared(p, h, w) for p, (h, w) in zip(pixels, head["sizes"], strict=True)]
