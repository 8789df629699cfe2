"""What a key frame teaches about the frames before it: its objects, followed backwards.

A window runs from one key frame to the next, and what is in both is known best at its ends. An
object that the later one found is followed back through the window:

- where it is new, to the frame in which it appears;
- where following it forwards had gone wrong by the time of the key frame, to meet what was
  labelled then: up to the meeting the labels stay, from there on those of the way back stand.
  Going back, the tracker knows the object from both ends of the window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autolabel import masks as rle
from autolabel.track.dealing import deal
from autolabel.track.regions import Look, Region, iou, likeness, look, share
from autolabel.track.settings import DealSettings
from autolabel.track.values import Prepared, Prompt, Tracker
from autolabel.track.windows import Label, Pending, label_of
from autolabel.types import Mask

_Seen = dict[int, tuple[Mask, float]]
"""Position -> mask and belief, where an object is seen on the way back."""


@dataclass(frozen=True, slots=True)
class Window:
    """The frames before a key frame, back to the one before it.

    Attributes:
        start: Position of the earlier key frame.
        frames: From there up to the frame before the later one.
        end: The later key frame.
    """

    start: int
    frames: Sequence[Prepared]
    end: Prepared

    @property
    def stop(self) -> int:
        """Position of the later key frame."""
        return self.start + len(self.frames)


@dataclass(slots=True)
class LookBack:
    """One way back through a window.

    Attributes:
        tracker: Follows the objects.
        pending: The labels of the window, which this changes.
        window: The window.
        rules: What is a dispute over pixels.
        exempt: Whether two tracks may have pixels in common.
        overlap: From this share of the smaller on, an object lies on another.
        stranger_look: See ``IdentitySettings``.
        earlier: What is found out: track -> first position, of the new ones.
    """

    tracker: Tracker
    pending: Pending
    window: Window
    rules: DealSettings
    exempt: Callable[[int, int], bool]
    overlap: float
    stranger_look: float
    earlier: dict[int, int] = field(default_factory=dict)

    def run(
        self, prompts: Mapping[int, Prompt], looks: Mapping[int, Look], fresh: Sequence[int]
    ) -> None:
        """Follow objects back and change the window's labels accordingly.

        Args:
            prompts: Where they are in the later key frame.
            looks: What they look like there.
            fresh: Which of them are new; the others were lost on the way.
        """
        seen = self._follow(prompts, set(fresh))
        for track_id, back in seen.items():
            for position in [p for p in back if self._is_strange(p, back, looks[track_id])]:
                del back[position]
        self._deal(seen)
        for track_id in prompts:
            if track_id not in fresh:
                self._mend(track_id, seen[track_id])
        together = self._overlaps(self.window.stop)
        for track_id in fresh:
            self._carry(track_id, seen[track_id], together)

    def _follow(self, prompts: Mapping[int, Prompt], fresh: set[int]) -> dict[int, _Seen]:
        """Where each object is seen in the window's frames, from the last to the first."""
        session = self.tracker.session()
        known = self.pending.labels[self.window.start]
        ends = {i: Prompt(mask=rle.decode(known[i].mask)) for i in prompts if i in known}
        ends = {i: prompt for i, prompt in ends.items() if i not in fresh}
        if ends:
            session.step(self.window.frames[0])
            session.add(list(ends), list(ends.values()))
        session.step(self.window.end)
        session.add(list(prompts), list(prompts.values()))
        seen: dict[int, _Seen] = {track_id: {} for track_id in prompts}
        for position in range(self.window.stop - 1, self.window.start - 1, -1):
            tracked = session.step(self.window.frames[position - self.window.start])
            for track_id, mask, score in zip(
                tracked.ids, tracked.masks, tracked.scores, strict=True
            ):
                if score > 0.5 and mask.any():
                    seen[track_id][position] = mask, float(score)
                elif track_id in fresh:
                    session.remove([track_id])
            if not session.ids:
                break
        return seen

    def _deal(self, seen: dict[int, _Seen]) -> None:
        """Leave to others what is theirs, by where the window's ends say that they were."""
        ends = self._ends()
        for position in range(self.window.start, self.window.stop):
            labels = self.pending.labels[position]
            here = {i: back[position][0] for i, back in seen.items() if position in back}
            claims = {i: label.region for i, label in labels.items() if i not in here}
            for track_id, mask in here.items():
                region = Region.of(mask)
                if region is not None:
                    claims[track_id] = region
            part = (position - self.window.start) / len(self.window.frames)
            expected = {i: _between(a, b, part) for i, (a, b) in ends.items()}
            kept = deal(claims, expected, self.rules, self.exempt)
            for track_id, back in seen.items():
                if position in back and track_id in kept:
                    mask, score = back[position]
                    back[position] = kept[track_id].mask(*mask.shape), score
                else:
                    back.pop(position, None)

    def _ends(self) -> dict[int, tuple[Region, Region]]:
        """Where the objects are that were found at both ends of the window."""
        before, after = (self.pending.labels[p] for p in (self.window.start, self.window.stop))
        ends = {}
        for track_id in sorted(set(before) & set(after)):
            first, last = before[track_id], after[track_id]
            if first.detection is not None and last.detection is not None:
                ends[track_id] = first.region, last.region
        return ends

    def _mend(self, track_id: int, back: _Seen) -> None:
        """Replace the labels of an object from where both ways meet on."""
        ours = {
            position: self.pending.labels[position].get(track_id)
            for position in range(self.window.start + 1, self.window.stop)
        }
        meeting = self._meeting(ours, back)
        for position in range(meeting, self.window.stop):
            self.pending.labels[position].pop(track_id, None)
            if position in back and not self._is_elsewhere(position, back[position][0]):
                self._put(position, track_id, back)

    def _meeting(self, ours: Mapping[int, Label | None], back: _Seen) -> int:
        """The position at which the two ways agree best; among equals, nearest the middle."""
        middle = (self.window.start + self.window.stop) / 2

        def agreement(position: int) -> tuple[float, float]:
            label, other = ours[position], back.get(position)
            a = None if label is None else label.region
            b = None if other is None else Region.of(other[0])
            same = float(a is b) if a is None or b is None else iou(a, b)
            return round(same, 1), -abs(position - middle)

        best = max(ours, key=agreement, default=self.window.stop)
        if ours and agreement(best)[0] < 0.5:  # they never meet: each for its half
            return round(middle)
        return best

    def _carry(self, track_id: int, back: _Seen, together: set[tuple[int, int]]) -> None:
        """Label a new object back to where it appears, is known already, or isn't itself."""
        for position in range(self.window.stop - 1, self.window.start - 1, -1):
            if position not in back or track_id in self.pending.labels[position]:
                return
            self._put(position, track_id, back)
            on = {pair for pair in self._overlaps(position) if track_id in pair}
            if not on <= together:
                del self.pending.labels[position][track_id]
                return
            self.earlier[track_id] = position

    def _put(self, position: int, track_id: int, back: _Seen) -> None:
        label = label_of(*back[position])
        if label is not None:
            self.pending.labels[position][track_id] = label

    def _is_elsewhere(self, position: int, mask: Mask) -> bool:
        """Whether a mask lies on another object that is labelled there."""
        region = Region.of(mask)
        others = self.pending.labels[position].values()
        limit = max(self.overlap, 0.5)
        return region is None or any(iou(region, one.region) >= limit for one in others)

    def _is_strange(self, position: int, back: _Seen, found: Look) -> bool:
        """Whether what is seen there has nearly nothing of the object's colours."""
        pixels = self.window.frames[position - self.window.start].pixels
        rows, columns = (
            np.arange(side) * length // side
            for side, length in zip(pixels.shape[:2], back[position][0].shape, strict=True)
        )
        region = Region.of(back[position][0][np.ix_(rows, columns)])
        return region is None or likeness(look(pixels, region), found) < self.stranger_look

    def _overlaps(self, position: int) -> set[tuple[int, int]]:
        """Pairs of tracks of which one lies on the other in a frame."""
        labels = self.pending.labels[position]
        known = [(i, labels[i].region) for i in sorted(labels)]
        return {
            (i, j)
            for n, (i, a) in enumerate(known)
            for j, b in known[n + 1 :]
            if share(a, b) >= self.overlap
        }


def _between(first: Region, last: Region, part: float) -> Region:
    """Where an object should be when it has gone a part of the way: the nearer end, moved."""
    near, far, way = (first, last, part) if part < 0.5 else (last, first, 1 - part)
    (x, y), (to_x, to_y) = near.centre, far.centre
    return near.moved(round((to_x - x) * way), round((to_y - y) * way))
