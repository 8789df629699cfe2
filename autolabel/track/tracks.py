"""What identity deals in: detections, tracks, and what a key frame means for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autolabel.track.regions import Look, Region


@dataclass(frozen=True, slots=True)
class Found:
    """A detection in a key frame.

    Attributes:
        class_id: What it is.
        score: How sure that is.
        region: Its pixels.
        look: Their colours.
        cut: Whether the picture's edge cuts it off: then its size says nothing.
    """

    class_id: int
    score: float
    region: Region
    look: Look
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Track:
    """One object's identity so far. Positions count the frames seen, from 0.

    Attributes:
        id: From 1, never used again.
        status: "tentative", "live", "dormant" or "ended".
        votes: (class, summed score) of the key frames that found it.
        found: How many key frames found it.
        first: Position of the first frame it is in.
        last: Position of the last frame it was seen in.
        since: Position from which it has been seen without a gap.
        misses: Key frames in a row that didn't find it where it claimed to be.
        parked: Whether the tracker has let go of it; only a detection brings it back.
        box: Where it was seen last.
        found_box: Where a key frame found it last.
        area: Its pixels where key frames found it, at least nine tenths of what they were.
        look: Its colours when a key frame found it last.
        cut: Whether the picture's edge cut it off there.
    """

    id: int
    status: str
    votes: tuple[tuple[int, float], ...]
    found: int
    first: int
    last: int
    since: int
    misses: int
    parked: bool
    box: tuple[int, int, int, int]
    found_box: tuple[int, int, int, int]
    area: int
    look: Look
    cut: bool = False

    @property
    def class_id(self) -> int:
        """The class with the highest summed score; the lowest id among equals."""
        return max(self.votes, key=lambda vote: (vote[1], -vote[0]))[0]

    @property
    def score(self) -> float:
        """The mean score of the key frames that found it."""
        return math.fsum(vote[1] for vote in self.votes) / self.found


@dataclass(frozen=True, slots=True)
class KeyframeOutcome:
    """What a key frame decided; pairs are (index of the detection, track id).

    Attributes:
        matched: Detections of tracks that are being followed.
        revived: Detections of tracks that were not seen, or followed to a wrong place.
        born: Detections that are new tracks.
        dropped: Tentative tracks that weren't found again: their labels were no objects.
        ended: Younger duplicates.
        lost: Tracks that key frames keep missing: dormant, and parked.
    """

    matched: tuple[tuple[int, int], ...]
    revived: tuple[tuple[int, int], ...]
    born: tuple[tuple[int, int], ...]
    dropped: tuple[int, ...]
    ended: tuple[int, ...]
    lost: tuple[int, ...]

    @property
    def found(self) -> dict[int, int]:
        """Track -> its detection, of all tracks that have one."""
        return {i: d for d, i in [*self.matched, *self.revived, *self.born]}
