"""A grounder and a segmenter that answer from the pixels at once, for tests of everything else.

They are adapters like any other (``--grounder tests.fakes:Blobs``), without weights: what
they return depends on the picture alone, so that two runs must agree to the byte.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autolabel import masks
from autolabel.types import Boxes, Image, Proposals, Segments


class Blobs:
    """Finds boxes from the bytes of the picture: as many as its brightness says."""

    def __init__(self, path: Path | None, *, device: str = "cpu", dtype: str = "fp32") -> None:
        self.pause = float(os.environ.get("AUTOLABEL_TEST_PAUSE", "0"))

    def fingerprint(self) -> str:
        return "blobs-" + os.environ.get("AUTOLABEL_TEST_FINGERPRINT", "1")

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        return []

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        time.sleep(self.pause)
        return [self._one(image, prompts, floor) for image in images]

    def _one(self, image: Image, prompts: Sequence[str], floor: float) -> Proposals:
        height, width = image.shape[:2]
        draw = np.random.default_rng(int(image.astype(np.uint64).sum()))
        count = int(draw.integers(2, 12))
        corner = draw.random((count, 2)) * 0.6
        size = 0.1 + draw.random((count, 2)) * 0.3
        scale = np.array([width, height, width, height])
        boxes = (np.concatenate([corner, corner + size], 1) * scale).astype(np.float32)
        look = int(draw.integers(1 << 30))
        columns = [self._scores(look, prompt, count) for prompt in prompts]
        scores = np.stack(columns, 1).astype(np.float32)
        keep = scores.max(1) >= floor
        return Proposals(boxes[keep], scores[keep])

    def _scores(self, look: int, prompt: str, count: int) -> np.ndarray:
        draw = np.random.default_rng((look, zlib.crc32(prompt.encode())))
        return np.sort(draw.random(count))[::-1]


class Ellipses:
    """Fills an ellipse into each box."""

    def __init__(self, path: Path | None, *, device: str = "cpu", dtype: str = "fp32") -> None:
        pass

    def fingerprint(self) -> str:
        return "ellipses-1"

    def segment(self, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Segments]:
        return [self._one(image, found) for image, found in zip(images, boxes, strict=True)]

    def _one(self, image: Image, boxes: Boxes) -> Segments:
        height, width = image.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        found = []
        for x1, y1, x2, y2 in boxes:
            across = (columns + 0.5 - (x1 + x2) / 2) / max(1.0, x2 - x1) * 2
            down = (rows + 0.5 - (y1 + y2) / 2) / max(1.0, y2 - y1) * 2
            found.append(masks.encode(across**2 + down**2 <= 1))
        return Segments(tuple(found), np.full(len(found), 0.9, np.float32))
