"""What a grounder, a segmenter and a tracker must offer; adapters implement these.

An adapter keeps no results between calls: what it returns depends on its weights and on
its arguments alone, so that a run can be interrupted and continued anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from autolabel.types import Boxes, Image, Proposals, Segments


@runtime_checkable
class Grounder(Protocol):
    """Text to boxes."""

    def fingerprint(self) -> str:
        """Return what identifies the weights and every setting that changes results."""
        ...

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return warnings about prompts that this model can't understand well.

        Raises:
            UsageError: If a prompt can't be used at all (too long, not a known class).
        """
        ...

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture, scores in the order of ``prompts``.

        Args:
            images: uint8 (H, W, 3) RGB each; sizes may differ.
            prompts: Distinct texts, positive and negative ones alike.
            floor: Boxes whose best prompt scores less are left out.
        """
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Boxes to masks."""

    def fingerprint(self) -> str:
        """Return what identifies the weights and every setting that changes results."""
        ...

    def segment(self, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Segments]:
        """Return one Segments a picture, masks in the order of its boxes.

        Args:
            images: uint8 (H, W, 3) RGB each; sizes may differ.
            boxes: float32 (N, 4) pixels a picture; N may be 0.
        """
        ...


@runtime_checkable
class TakesPrompts(Protocol):
    """A Segmenter that can show its model an object by more than its box."""

    def prompted(self, prompt_type: str) -> Segmenter:
        """Return one of the same weights that first makes a mask of each box, and then another.

        Args:
            prompt_type: "point": from points in the first mask; "mask": from the first mask and
                the box; "box": the first mask it is.
        """
        ...


@runtime_checkable
class TextSegmenter(Protocol):
    """Text to boxes and their masks in one: also a Grounder and a Segmenter."""

    def ground_masks(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[tuple[Proposals, Segments]]:
        """Return what ``Grounder.ground`` does, with a mask for each box."""
        ...


@runtime_checkable
class TakesExamples(Protocol):
    """A Grounder that can be shown what to look for."""

    def learn(self, examples: Mapping[str, Image]) -> None:
        """Take pictures as the meaning of prompts; called before anything is asked.

        Args:
            examples: Prompt -> uint8 (H, W, 3) RGB, cut to the object. A prompt names its
                picture by content, so a fingerprint needs nothing of it.
        """
        ...


@runtime_checkable
class Compilable(Protocol):
    """A model that can be made faster where a minute for it pays."""

    def compile(self) -> None:
        """Compile what is called most, at once.

        Raises:
            UsageError: If it can't be done here.
        """
        ...


@runtime_checkable
class Paid(Protocol):
    """A Grounder behind an API: every picture is sent away, and counted."""

    @property
    def requests(self) -> int:
        """How many were sent."""
        ...

    def allow(self, most: int) -> None:
        """Send no more than so many; then ground() raises ServiceError."""
        ...
