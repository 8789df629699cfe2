"""What passes between a tracker and the labeler; holds no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from autolabel.errors import UsageError
from autolabel.types import Image, Mask, Masks, Scores


@dataclass(frozen=True, slots=True)
class Prompt:
    """Where one object is in one frame: a mask, or a box and/or points, in pixels.

    Attributes:
        mask: bool (H, W), the frame's size.
        box: x1, y1, x2, y2.
        points: x, y of each point.
        labels: 1 for a point on the object, 0 for one beside it; as many as points.
    """

    mask: Mask | None = None
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is something to go by, and only one kind of it."""
        if (self.mask is None) == (self.box is None and not self.points):
            raise UsageError("a prompt is a mask, or a box and/or points")
        if len(self.points) != len(self.labels):
            raise UsageError(
                f"a prompt has one label a point: {len(self.points)} points, "
                f"{len(self.labels)} labels"
            )

    @property
    def kind(self) -> tuple[str, int]:
        """Prompts of the same kind go through the model as one batch."""
        if self.mask is not None:
            return "mask", 0
        return "points", len(self.points) + (2 if self.box is not None else 0)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame as the model takes it; small enough to keep a window of them.

    Attributes:
        pixels: uint8 (S, S, 3) RGB, S the model's image size.
        height: Rows of the frame itself.
        width: Columns of the frame itself.
    """

    pixels: Image
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Tracked:
    """Where the objects of a session are in one frame.

    Attributes:
        ids: The objects, in the order in which they joined.
        masks: bool (N, H, W) at the frame's size; empty where an object isn't seen.
        scores: float32 (N,), the model's belief in [0, 1] that the object is visible at
            all (sigmoid of SAM 2's object score; 1 for models without one).
    """

    ids: tuple[int, ...]
    masks: Masks
    scores: Scores


class Session(Protocol):
    """One video on its way through a tracker."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects followed."""
        ...

    def step(self, frame: Image | Prepared) -> Tracked:
        """Where every object is in the next frame."""
        ...

    def add(self, ids: Sequence[int], prompts: Sequence[Prompt]) -> Tracked:
        """Where the prompted objects are in the current frame, in the order given."""
        ...

    def remove(self, ids: Sequence[int]) -> None:
        """Stop following these objects; unknown ids are ignored."""
        ...

    def forget(self, ids: Sequence[int]) -> None:
        """Drop what was tracked of these objects since their prompts, which stay."""
        ...

    def state(self) -> bytes:
        """What the tracker's ``restore`` needs to go on with the next frame."""
        ...


class Tracker(Protocol):
    """Follows prompted objects from frame to frame."""

    def prepare(self, image: Image) -> Prepared:
        """The frame as the model takes it."""
        ...

    def session(self) -> Session:
        """A new video, no objects in it yet."""
        ...

    def restore(self, state: bytes) -> Session:
        """The session whose ``state()`` this is."""
        ...
