"""What identity deals in: detections, tracks, and the rules for what is the same object."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autolabel.track.regions import Look, Region


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """What counts as the same object.

    Attributes:
        match_iou: A detection belongs to a track from this mask IoU on.
        class_penalty: Taken off the IoU where the classes differ.
        duplicate_iou: Two tracks this much alike in one frame are on one object.
        apart: Two tracks that share less of the smaller than this are two objects.
        confirm_score: A new detection that scores less is tentative.
        max_misses: A track that so many key frames in a row didn't find, although it claims
            to be visible, is lost, fewer where the detector has hardly missed any; 0: never.
        dormant_after: Frames without being seen until a track is dormant.
        park_after: Frames without being seen until the tracker need not look for it.
        stranger_look: Least likeness of colours of a track that is followed to what its last
            detection looked like; below, the tracker is on something else.
        revive_look: Least likeness of colours to be taken for a track that was gone.
        revive_distance: Farthest it may have moved, in diagonals of the picture.
        drift_distance: The same for a track that is followed, but not where a detection is:
            how far an object moves between key frames while the tracker loses it.
        revive_size: Most its area may have grown, as a ratio.
        revive_part: ... and how many times more it may have shrunk, being seen in part.
        within: From this share of the smaller on, one track lies within another.
        jump: In diagonals of the picture: of two tracks that fall on one object, the one that
            moved farther by this has jumped there.
        dormant_limit: Most dormant tracks; those gone longest end.
    """

    match_iou: float = 0.4
    class_penalty: float = 0.3
    duplicate_iou: float = 0.7
    apart: float = 0.1
    confirm_score: float = 0.5
    max_misses: int = 3
    dormant_after: int = 10
    park_after: int = 60
    stranger_look: float = 0.3
    revive_look: float = 0.5
    revive_distance: float = 0.5
    drift_distance: float = 0.2
    revive_size: float = 3.0
    revive_part: float = 2.0
    within: float = 0.7
    jump: float = 0.03
    dormant_limit: int = 256


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
