"""Who is who: which track a detection belongs to, which tracks are one object, who is gone.

Pure and deterministic; it sees regions, classes and scores, never a model. A track is

    tentative   found once, with a low score or within another: the next key frame confirms or
                drops it
    live        followed
    dormant     not seen for a while; its id waits for it
    ended       never comes back (a cut, a duplicate, dropped)

An id belongs to one object for good: ids are given out once and never joined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from autolabel.track.regions import Look, Region, iou, likeness, share
from autolabel.track.settings import IdentitySettings
from autolabel.track.tracks import Found, KeyframeOutcome, Track


class Identity:
    """The tracks of one video.

    Args:
        settings: What counts as the same object.
        diagonal: Of the picture, in pixels.
    """

    def __init__(self, settings: IdentitySettings, diagonal: float) -> None:
        self.settings = settings
        self.diagonal = diagonal
        self.tracks: dict[int, Track] = {}
        self._next_id = 1
        self._apart: set[tuple[int, int]] = set()
        self._doubles: tuple[int, ...] = ()
        self._hits = self._misses = 0

    def observe(self, position: int, seen: Mapping[int, Region]) -> tuple[int, ...]:
        """The tracks to show in this frame, ascending; call it once a frame, in order.

        Where two tracks lie on one object, one of them is not shown: of two that were seen
        apart before, the one that came from farther away, else the younger. A track that has
        jumped is not shown either where it and another lie within one another.

        Args:
            position: Of the frame.
            seen: Track id -> where the tracker sees it.
        """
        pairs = self._pairs(seen, self.settings.duplicate_iou)
        hidden = {self._weaker(a, b, seen) for a, b in pairs}
        known = [pair for pair in combinations(sorted(seen), 2) if pair in self._apart]
        hidden |= {i for a, b in known if (i := self._jumped(a, b, seen)) is not None}
        # Two tracks never seen apart are one object; the younger ends at the next key frame.
        self._doubles = tuple(sorted({b for a, b in pairs if (a, b) not in self._apart}))
        shown = tuple(sorted(i for i in seen if i in self.tracks and i not in hidden))
        self._note_apart({track_id: seen[track_id] for track_id in shown})
        for track_id in shown:
            self._see(position, track_id, seen[track_id])
        for track in list(self.tracks.values()):
            gone = position - track.last
            if track.status == "live" and gone >= self.settings.dormant_after:
                self.tracks[track.id] = replace(track, status="dormant")
        return shown

    def strangers(self, looks: Mapping[int, Look]) -> list[int]:
        """The tracks that can't be on their object: nearly nothing of its colours is there.

        Where most of them look different at once, it is the light that has changed; unless
        they look like one another: then they have jumped from object to object.

        Args:
            looks: Track id -> what the pixels look like where the tracker sees it.
        """
        own = {i: self.tracks[i].look for i in looks if i in self.tracks}
        strange = [i for i in own if likeness(own[i], looks[i]) < self.settings.stranger_look]
        if len(strange) <= max(1, len(looks) // 2):
            return strange
        return [
            i
            for i in strange
            if any(likeness(own[j], looks[i]) >= self.settings.revive_look for j in own if j != i)
        ]

    def keyframe(
        self, position: int, shown: Mapping[int, Region], found: Sequence[Found]
    ) -> KeyframeOutcome:
        """What the detections of a key frame mean; call it after ``observe`` of that frame.

        Args:
            position: Of the frame.
            shown: Track id -> region of the tracks that ``observe`` said to show.
            found: The detections.
        """
        ended, self._doubles = self._doubles, ()
        self._forget(ended)
        live = {i: region for i, region in shown.items() if i in self.tracks}
        matched, revived, spare = self._match(position, live, found)
        new = [d for d in range(len(found)) if d not in spare | {*matched, *revived}]
        born = {d: self._next_id + n for n, d in enumerate(new)}
        self._next_id += len(born)
        for d, track_id in born.items():
            others = (found[m].region for m in {*matched, *revived, *born} - {d})
            part = any(self._is_part(found[d].region, other) for other in others)
            self.tracks[track_id] = self._new(track_id, position, found[d], part)
        for d, track_id in {**matched, **revived}.items():
            self._see(position, track_id, found[d].region)
            self._vote(track_id, found[d])
        told = {**matched, **revived, **born}
        here = set(told.values())
        self._note_apart({track_id: found[d].region for d, track_id in told.items()})
        dropped = self._drop_unconfirmed(here)
        lost = self._lose(live, here)
        return KeyframeOutcome(
            matched=tuple(sorted(matched.items())),
            revived=tuple(sorted(revived.items())),
            born=tuple(sorted(born.items())),
            dropped=dropped,
            ended=ended,
            lost=lost,
        )

    def park(self, position: int) -> tuple[int, ...]:
        """Tracks that have been gone so long that the tracker can let go of them."""
        limit = self.settings.park_after
        away = [t for t in self.tracks.values() if not t.parked and position - t.last >= limit]
        for track in away:
            self.tracks[track.id] = replace(track, parked=True, status="dormant")
        dormant = sorted(
            (t for t in self.tracks.values() if t.status == "dormant"), key=lambda t: (t.last, t.id)
        )
        ended = [t.id for t in dormant[: -self.settings.dormant_limit]]
        self._forget(ended)
        return tuple(sorted({*(t.id for t in away), *ended}))

    def carried_back(self, track_id: int, first: int) -> None:
        """Note that a track was found to be there from position ``first`` on."""
        track = self.tracks[track_id]
        self.tracks[track_id] = replace(
            track, first=min(track.first, first), since=min(track.since, first)
        )

    def end_all(self) -> tuple[Track, ...]:
        """End every track (a cut, the end); tentative ones get the benefit of the doubt."""
        ended = tuple(self.tracks.values())
        self._forget([track.id for track in ended])
        return ended

    def is_tentative(self, track_id: int) -> bool:
        """Whether the next key frame still has to confirm this track."""
        return track_id in self.tracks and self.tracks[track_id].status == "tentative"

    def may_overlap(self, a: int, b: int) -> bool:
        """Whether two tracks may have pixels in common, as an object and a part of it have.

        Two that were seen apart are two objects, and two of one class are no part of each other.
        """
        if a not in self.tracks or b not in self.tracks:
            return False
        apart = (min(a, b), max(a, b)) in self._apart
        return not apart and self.tracks[a].class_id != self.tracks[b].class_id

    def state(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "next_id": self._next_id,
            "apart": sorted(self._apart),
            "looked": [self._hits, self._misses],
            "tracks": [asdict(track) for track in self.tracks.values()],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take the place of the identity whose ``state()`` this is."""
        self._next_id = state["next_id"]
        self._apart = {(a, b) for a, b in state["apart"]}
        self._hits, self._misses = state["looked"]
        self.tracks = {}
        for fields in state["tracks"]:
            votes = tuple((int(c), float(s)) for c, s in fields["votes"])
            lists = {key: tuple(fields[key]) for key in ("box", "found_box", "look")}
            self.tracks[fields["id"]] = Track(**{**fields, **lists, "votes": votes})

    def _note_apart(self, seen: Mapping[int, Region]) -> None:
        """Remember which tracks are two objects: they were in two places at one time."""
        ids = sorted(seen)
        self._apart.update(
            (a, b)
            for i, a in enumerate(ids)
            for b in ids[i + 1 :]
            if (a, b) not in self._apart and share(seen[a], seen[b]) < self.settings.apart
        )

    def _pairs(self, seen: Mapping[int, Region], least: float) -> list[tuple[int, int]]:
        ids = sorted(i for i in seen if i in self.tracks)
        return [
            (a, b)
            for i, a in enumerate(ids)
            for b in ids[i + 1 :]
            if iou(seen[a], seen[b]) >= least
        ]

    def _weaker(self, a: int, b: int, seen: Mapping[int, Region]) -> int:
        """Which of two tracks on one object yields; ``a`` is the older."""
        if (a, b) not in self._apart:
            return b
        jumped = self._jumped(a, b, seen)
        if jumped is not None:
            return jumped
        if self.tracks[a].last != self.tracks[b].last:
            return a if self.tracks[a].last < self.tracks[b].last else b
        return a if self.tracks[a].since > self.tracks[b].since else b

    def _jumped(self, a: int, b: int, seen: Mapping[int, Region]) -> int | None:
        """Which of two objects' tracks has jumped on the other: it was elsewhere before."""
        if a not in seen or b not in seen:
            return None
        if share(seen[a], seen[b]) < self.settings.within:
            return None
        moved = [_distance(self.tracks[i].box, seen[i].box) / self.diagonal for i in (a, b)]
        if abs(moved[0] - moved[1]) <= self.settings.jump:
            return None
        return a if moved[0] > moved[1] else b

    def _match(
        self, position: int, live: Mapping[int, Region], found: Sequence[Found]
    ) -> tuple[dict[int, int], dict[int, int], set[int]]:
        """Who each detection is, all decided together.

        A track of its class where it is outweighs everything. A track of another class there
        (the class flickers) competes with those of its class that may well be it and are not
        seen, or followed to a wrong place.

        Returns:
            Detection -> followed track, detection -> other track, and the detections that only
            repeat one that was matched.
        """
        ids = sorted(self.tracks)
        here: NDArray[np.float64] = np.zeros((len(found), len(ids)))
        gains: NDArray[np.float64] = np.zeros((len(found), len(ids)))
        for d, one in enumerate(found):
            for t, track_id in enumerate(ids):
                if track_id in live:
                    here[d, t] = self._overlap(self.tracks[track_id], live[track_id], one)
            sure = (here[d] > 1.0).any()
            for t, track_id in enumerate(ids):
                gains[d, t] = here[d, t]
                if not here[d, t] and not sure:
                    gains[d, t] = self._returned(position, track_id, one, track_id in live)
        pairs = _assigned(gains)
        matched = {d: ids[t] for d, t in pairs if here[d, t]}
        revived = {d: ids[t] for d, t in pairs if not here[d, t]}
        revived |= self._second(position, live, found, {**matched, **revived}, here)
        told = {*matched, *revived}
        spare = {d for d in range(len(found)) if d not in told and here[d].any()}
        return matched, revived, spare

    def _second(
        self,
        position: int,
        live: Mapping[int, Region],
        found: Sequence[Found],
        told: Mapping[int, int],
        here: NDArray[np.float64],
    ) -> dict[int, int]:
        """Detections whose track is another's, and which repeat none: of tracks that have none.

        Where two of a class pass each other, one track often lies on both.
        """
        rest = [
            d
            for d in range(len(found))
            if d not in told
            and here[d].any()
            and all(iou(found[d].region, found[m].region) < self.settings.match_iou for m in told)
        ]
        free = [i for i in sorted(self.tracks) if i not in told.values()]
        gains: NDArray[np.float64] = np.zeros((len(rest), len(free)))
        for row, d in enumerate(rest):
            for column, i in enumerate(free):
                gains[row, column] = self._returned(position, i, found[d], i in live)
        return {rest[row]: free[column] for row, column in _assigned(gains)}

    def _overlap(self, track: Track, where: Region, one: Found) -> float:
        """How well a detection fits a followed track; 0 where it doesn't, from 1 in its class."""
        same = track.class_id == one.class_id
        fit = iou(one.region, where) - (0.0 if same else self.settings.class_penalty)
        return (fit + 1.0 if same else fit) if fit >= self.settings.match_iou else 0.0

    def _returned(self, position: int, track_id: int, one: Found, followed: bool) -> float:
        """How likely a detection is a track that has none; 0 where it can't be."""
        rules, track = self.settings, self.tracks[track_id]
        if not followed and track.last >= position:
            return 0.0  # it was seen in this frame
        reach = rules.drift_distance if followed else rules.revive_distance
        # Where the tracker saw it last may be where it lost it: a detection's place counts, too.
        places = (track.box, track.found_box)
        moved = min(_distance(box, one.region.box) for box in places) / self.diagonal
        alike = likeness(track.look, one.look)
        # Who comes out from behind something is seen in part first.
        ratio = max(one.region.area / track.area, track.area / one.region.area / rules.revive_part)
        other_size = ratio > rules.revive_size and not (followed or one.cut or track.cut)
        if (
            track.class_id != one.class_id
            or moved > reach
            or alike < rules.revive_look
            or other_size
        ):
            return 0.0
        return alike * (1.0 - 0.5 * moved / reach)

    def _is_part(self, region: Region, other: Region) -> bool:
        """Whether a region lies in one that is larger."""
        return region.area < other.area and share(region, other) >= self.settings.within

    def _new(self, track_id: int, position: int, one: Found, part: bool) -> Track:
        sure = one.score >= self.settings.confirm_score and not part
        return Track(
            id=track_id,
            status="live" if sure else "tentative",
            votes=((one.class_id, one.score),),
            found=1,
            first=position,
            last=position,
            since=position,
            misses=0,
            parked=False,
            box=one.region.box,
            found_box=one.region.box,
            area=one.region.area,
            look=one.look,
            cut=one.cut,
        )

    def _see(self, position: int, track_id: int, region: Region) -> None:
        track = self.tracks[track_id]
        self.tracks[track_id] = replace(
            track,
            status="live" if track.status == "dormant" else track.status,
            last=position,
            since=track.since if track.last >= position - 1 else position,
            parked=False,
            box=region.box,
        )

    def _vote(self, track_id: int, one: Found) -> None:
        track = self.tracks[track_id]
        votes = dict(track.votes)
        votes[one.class_id] = votes.get(one.class_id, 0.0) + one.score
        self.tracks[track_id] = replace(
            track,
            status="live",
            votes=tuple(sorted(votes.items())),
            found=track.found + 1,
            misses=0,
            found_box=one.region.box,
            # Who leaves behind something, or the picture, shrinks first: remember its size.
            area=max(one.region.area, track.area * 9 // 10),
            look=track.look if one.cut and 2 * one.region.area < track.area else one.look,
            cut=one.cut,
        )

    def _drop_unconfirmed(self, here: set[int]) -> tuple[int, ...]:
        dropped = [
            t.id for t in self.tracks.values() if t.status == "tentative" and t.id not in here
        ]
        self._forget(dropped)
        return tuple(sorted(dropped))

    def _lose(self, live: Mapping[int, Region], here: set[int]) -> tuple[int, ...]:
        lost = []
        self._hits += len(set(live) & here)
        self._misses += len(set(live) - here)
        for track_id in sorted(set(live) - here):
            track = self.tracks.get(track_id)
            if track is None:
                continue
            misses = track.misses + 1
            gone = self.settings.max_misses > 0 and misses >= self.patience
            status = "dormant" if gone else track.status
            self.tracks[track_id] = replace(track, misses=misses, status=status, parked=gone)
            if gone:
                lost.append(track_id)
        return tuple(lost)

    @property
    def patience(self) -> int:
        """How many misses in a row say that a track isn't there.

        As many as a detector that finds what it has found so far would make by chance once in
        twenty times, but no more than ``max_misses``: one that hardly misses is believed.
        """
        missed = (self._misses + 1) / (self._hits + self._misses + 2)
        return min(self.settings.max_misses, math.ceil(math.log(0.05) / math.log(missed)))

    def _forget(self, ids: Sequence[int]) -> None:
        for track_id in ids:
            del self.tracks[track_id]
        gone = set(ids)
        if gone:
            self._apart = {pair for pair in self._apart if not gone.intersection(pair)}


def _assigned(gains: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs (row, column) that gain most in all; none that gains nothing."""
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if gains[r, c] > 0.0]


def _distance(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Pixels between the middles of two boxes."""
    return math.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
