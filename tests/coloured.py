"""A grounder and a segmenter that know plain colours, exactly; small things they don't see.

They see as real ones do: what is small beside the picture they are given is lost, and of what
the picture's edge cuts they see the part inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from autolabel import masks
from autolabel.types import Boxes, Image, Proposals, Segments

PAINT = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def canvas(height: int, width: int, *things: tuple[str, int, int, int, int]) -> Image:
    """Return a black picture with filled boxes (colour, x1, y1, x2, y2)."""
    image = np.zeros((height, width, 3), np.uint8)
    for colour, x1, y1, x2, y2 in things:
        image[y1:y2, x1:x2] = PAINT[colour]
    return image


class Colours:
    """Finds regions of a prompt's colour that are at least a share of the picture's side."""

    def __init__(
        self,
        path: object = None,
        *,
        device: str = "cpu",
        dtype: str = "fp32",
        least: float = 0.05,
        score: float = 0.8,
    ) -> None:
        self.least, self.score = least, score
        self.asked: list[tuple[int, int]] = []

    def fingerprint(self) -> str:
        return f"colours {self.least} {self.score}"

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        return [f"prompt '{text}': not a colour" for text in prompts if text not in PAINT]

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        self.asked += [(int(image.shape[0]), int(image.shape[1])) for image in images]
        return [self._one(image, prompts, floor) for image in images]

    def _one(self, image: Image, prompts: Sequence[str], floor: float) -> Proposals:
        boxes, scores = [], []
        for column, text in enumerate(prompts):
            same = (image == PAINT.get(text, (1, 2, 3))).all(axis=2)
            for rows, columns in ndimage.find_objects(ndimage.label(same)[0]):
                box = (columns.start, rows.start, columns.stop, rows.stop)
                side = max(box[2] - box[0], box[3] - box[1])
                if side >= self.least * max(image.shape[:2]) and self.score >= floor:
                    boxes.append(box)
                    scores.append(self.score * np.eye(len(prompts))[column])
        return Proposals(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32).reshape(-1, len(prompts)),
        )


class Fill:
    """Masks what is not black in a box."""

    def __init__(self, path: object = None, *, device: str = "cpu", dtype: str = "fp32") -> None:
        self.seen: list[tuple[int, int]] = []

    def fingerprint(self) -> str:
        return "fill"

    def segment(self, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Segments]:
        self.seen += [(int(image.shape[0]), int(image.shape[1])) for image in images]
        return [self._one(image, some) for image, some in zip(images, boxes, strict=True)]

    def _one(self, image: Image, boxes: Boxes) -> Segments:
        found = []
        for x1, y1, x2, y2 in boxes.astype(int):
            mask = np.zeros(image.shape[:2], np.bool_)
            mask[y1:y2, x1:x2] = image[y1:y2, x1:x2].any(axis=2)
            found.append(masks.encode(mask))
        return Segments(tuple(found), np.full(len(found), 0.9, np.float32))
