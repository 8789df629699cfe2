"""The rules of labelling a video: what is the same object, whose pixels they are, when to look."""

from __future__ import annotations

from dataclasses import dataclass, field

from autolabel.config import check_prompt_type
from autolabel.errors import UsageError
from autolabel.points import SHOWN
from autolabel.track.cues import CueSettings


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
class DealSettings:
    """When pixels are dealt out.

    Attributes:
        disputed: Two tracks that share this much of the smaller dispute these pixels.
        crumbs: Who keeps less than this share of what is expected has nothing.
        within: Frames for which an object is expected to go on as it did.
        unseen: Frames without being seen after which nothing is expected of it.
    """

    disputed: float = 0.1
    crumbs: float = 0.2
    within: int = 30
    unseen: int = 3


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """How a video is labelled.

    Attributes:
        keyframe_every: Frames from one detection to the next.
        prompt_type: What a new object is shown to the tracker as: "mask", "box" or "point".
        points: How many points, for "point".
        refresh: A key frame's detection corrects the track that it belongs to.
        carry_back: New objects are followed backwards to where they appear.
        mend_below: A track whose mask overlaps its detection less than this (IoU) has gone wrong
            since the key frame before: it is followed back from this one to mend its labels,
            and what was remembered on the way is forgotten. 0: never.
        torn: A detection that overlaps its track so little corrects nothing if this share of it
            is on another track of its class: it is of both, and the tracker knows better.
        carry_overlap: Following back ends where this share of the smaller is on another object.
        look_again: An object that is lost brings the next key frame forward.
        change_gap: ... as a change of scene that is no cut does, if the last one is at least so
            many frames ago.
        identity: What counts as the same object.
        cues: What counts as another scene.
        deal: How pixels that two objects claim are dealt out.
    """

    keyframe_every: int = 10
    prompt_type: str = "mask"
    points: int = SHOWN
    refresh: bool = True
    carry_back: bool = True
    mend_below: float = 0.7
    torn: float = 0.2
    carry_overlap: float = 0.5
    look_again: bool = True
    change_gap: int = 3
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    cues: CueSettings = field(default_factory=CueSettings)
    deal: DealSettings = field(default_factory=DealSettings)

    def __post_init__(self) -> None:
        """Check what can be asked for."""
        if self.keyframe_every < 1 or self.points < 1:
            raise UsageError(
                f"keyframe_every and points: expected 1 or more, found {self.keyframe_every} "
                f"and {self.points}"
            )
        check_prompt_type(self.prompt_type)
