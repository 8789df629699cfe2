"""A grounder that also looks at the mirrored picture, and takes the mean of what both show."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from autolabel.ground.pairing import best_first, mean_boxes, paired
from autolabel.stages import Grounder
from autolabel.types import Image, Proposals


class Flipped:
    """A Grounder that averages another one's answers on a picture and on its mirror image.

    What only one of them shows keeps half of its score.
    """

    def __init__(self, inner: Grounder) -> None:
        """Wrap a grounder."""
        self._inner = inner

    def fingerprint(self) -> str:
        """Return the inner grounder's, marked."""
        return f"flip of {self._inner.fingerprint()}"

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return the inner grounder's warnings, and one about prompts that tell the sides apart."""
        warnings = self._inner.check_prompts(prompts)
        sided = [text for text in prompts if re.search(r"\b(left|right)\b", text, re.IGNORECASE)]
        if sided:
            warnings.append(
                "--tta flip mirrors the picture, in which left and right change places: "
                f"{', '.join(map(repr, sided))}"
            )
        return warnings

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture; see ``autolabel.stages.Grounder``."""
        # What one view shows barely, the other may show well: the mean decides.
        seen = self._inner.ground(images, prompts, floor / 2)
        mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        other = self._inner.ground(mirrored, prompts, floor / 2)
        return [
            best_first(_mean(one, _turned_back(two, image.shape[1])), floor)
            for image, one, two in zip(images, seen, other, strict=True)
        ]


def _turned_back(found: Proposals, width: int) -> Proposals:
    """Return the boxes of a mirrored picture as they lie in the picture itself."""
    x1, y1, x2, y2 = found.boxes.T
    return Proposals(np.stack([width - x2, y1, width - x1, y2], axis=1), found.scores)


def _mean(one: Proposals, two: Proposals) -> Proposals:
    """Return all objects with the mean of both views' scores."""
    pairs = paired(one, two)
    both = one.scores[pairs.first] + two.scores[pairs.second]
    single = (one.scores[pairs.only_first], two.scores[pairs.only_second])
    boxes = (mean_boxes(one, two, pairs), one.boxes[pairs.only_first], two.boxes[pairs.only_second])
    scores = np.concatenate([both, *single]) / np.float32(2)
    return Proposals(np.concatenate(boxes), np.asarray(scores, np.float32))
