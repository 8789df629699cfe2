"""Two grounders on one picture: where they agree the score rises, where not a human should look.

Two scores for one object are taken as independent evidence: the prompt's score is the chance
that not both are wrong, ``1 - (1 - a)(1 - b)``. What only one of them found keeps its score.
What each said is kept beside that (``Proposals.opinions``), so that
``autolabel.views.agreement`` can tell, whatever becomes of thresholds and classes, where they
disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import UsageError
from autolabel.ground.pairing import best_first, mean_boxes, paired
from autolabel.stages import Grounder
from autolabel.types import Image, Proposals


class Consensus:
    """A Grounder made of two."""

    def __init__(self, first: Grounder, second: Grounder, names: tuple[str, str]) -> None:
        """Wrap two grounders.

        Args:
            first: One grounder.
            second: Another.
            names: What to call them in messages.

        Raises:
            UsageError: If both have the same weights.
        """
        if first.fingerprint() == second.fingerprint():
            raise UsageError(
                f"--grounder {names[0]} and --grounder {names[1]} have the same weights: a "
                "consensus needs two different grounders"
            )
        self._both, self._names = (first, second), names

    def fingerprint(self) -> str:
        """Return both grounders'."""
        return "consensus of " + " and ".join(one.fingerprint() for one in self._both)

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return both grounders' warnings, each with the grounder's name.

        Raises:
            UsageError: If one of them can't use a prompt at all.
        """
        warnings = []
        for name, one in zip(self._names, self._both, strict=True):
            try:
                warnings += [f"{name}: {text}" for text in one.check_prompts(prompts)]
            except UsageError as error:
                raise UsageError(f"--grounder {name}: {error}") from error
        return warnings

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture, with each grounder's opinions."""
        first, second = (one.ground(images, prompts, floor) for one in self._both)
        return [
            best_first(_together(one, two, floor), floor)
            for one, two in zip(first, second, strict=True)
        ]


def _together(one: Proposals, two: Proposals, floor: float) -> Proposals:
    """Return all objects with their scores and both opinions."""
    pairs = paired(one, two)
    count = len(pairs.first), len(pairs.only_first), len(pairs.only_second)
    nothing = np.zeros((max(count), one.scores.shape[1]), np.float32)
    first = (one.scores[pairs.first], one.scores[pairs.only_first], nothing[: count[2]])
    second = (two.scores[pairs.second], nothing[: count[1]], two.scores[pairs.only_second])
    boxes = (mean_boxes(one, two, pairs), one.boxes[pairs.only_first], two.boxes[pairs.only_second])
    opinions = np.stack([np.concatenate(first), np.concatenate(second)], axis=1)
    return Proposals(
        np.concatenate(boxes), _agreed(opinions), None, np.where(opinions >= floor, opinions, 0)
    )


def _agreed(opinions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the chance that not both are wrong, (N, P)."""
    return np.asarray(1 - (1 - opinions[:, 0]) * (1 - opinions[:, 1]), np.float32)
