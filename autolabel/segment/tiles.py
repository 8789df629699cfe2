"""Small objects: a segmenter that looks at each box in the tile that shows it best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autolabel.config import Tiling
from autolabel.masks import pasted
from autolabel.stages import Segmenter
from autolabel.types import RLE, Boxes, Image, Segments
from autolabel.views.tiling import AT_EDGE, room_around, windows_of


class TiledSegmenter:
    """A Segmenter that gives another one the tile around a box in place of the picture.

    A box that no tile holds with some room around it is looked at in the whole picture.
    """

    def __init__(self, inner: Segmenter, tiling: Tiling, batch_size: int) -> None:
        """Wrap a segmenter.

        Args:
            inner: Makes the masks.
            tiling: Size and overlap of the tiles.
            batch_size: Tiles that go through it together.
        """
        self._inner, self._tiling, self._batch_size = inner, tiling, batch_size

    def fingerprint(self) -> str:
        """Return the inner segmenter's, and the tiles'."""
        return f"tiles {self._tiling} of {self._inner.fingerprint()}"

    def segment(self, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Segments]:
        """Return one Segments a picture, masks at the picture's size in the order of its boxes."""
        return [self._one(image, some) for image, some in zip(images, boxes, strict=True)]

    def _one(self, image: Image, boxes: Boxes) -> Segments:
        """Return the masks of one picture's boxes."""
        height, width = image.shape[:2]
        full = np.array([[0, 0, width, height]], np.float32)
        tiles = windows_of(height, width, self._tiling)
        windows = np.concatenate([full, tiles])
        chosen = 1 + _best_tiles(boxes, tiles, height, width)
        masks: list[RLE | None] = [None] * len(boxes)
        scores = np.zeros(len(boxes), np.float32)
        used = np.unique(chosen)
        for start in range(0, len(used), self._batch_size):
            some = used[start : start + self._batch_size]
            places = [windows[number].astype(int) for number in some]
            rows = [np.flatnonzero(chosen == number) for number in some]
            found = self._inner.segment(
                [np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in places],
                [
                    boxes[row] - np.tile(place[:2], 2).astype(np.float32)
                    for row, place in zip(rows, places, strict=True)
                ],
            )
            for place, row, one in zip(places, rows, found, strict=True):
                scores[row] = one.scores
                for index, mask in zip(row, one.masks, strict=True):
                    masks[index] = pasted(mask, int(place[0]), int(place[1]), height, width)
        return Segments(tuple(mask for mask in masks if mask is not None), scores)


def _best_tiles(boxes: Boxes, tiles: Boxes, height: int, width: int) -> np.ndarray:
    """Return the tile with most room around each box; -1 where none holds it."""
    if not len(tiles) or not len(boxes):
        return np.full(len(boxes), -1)
    room = room_around(boxes, tiles, height, width)
    # At a corner of the picture nothing limits the room: of several tiles the first will do.
    best = room.argmax(axis=1)
    least = 1.0 + AT_EDGE * float((tiles[0, 2:] - tiles[0, :2]).max())
    return np.where(room[np.arange(len(boxes)), best] > least, best, -1)
