"""Small objects: a grounder that also looks at tiles of a picture, each enlarged to its input.

An object is judged by the views that see it whole. A box that a tile's edge cuts is left out
where another tile shows the object whole, or where a box of another view goes on beyond the
edge. What is still there twice is merged on masks later (``autolabel.views.merging``), for which
every box says in which window it was found. The idea of tiles beside the whole picture is that
of Akyon et al. 2022, "Slicing Aided Hyper Inference", arXiv:2202.06934.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from autolabel.boxes import box_iou
from autolabel.config import Tiling
from autolabel.ground.pairing import best_first
from autolabel.stages import Grounder
from autolabel.types import Boxes, Image, Proposals
from autolabel.views.tiling import Sides, cut_sides, room_around, windows_of

LOG = logging.getLogger(__name__)
MOST_BOXES = 2000
"""At most so many boxes a picture, the best ones."""
COVERED = 0.7
"""Share of a cut box that lies in the box of the whole object."""
ALIKE = 0.5
"""A cut box that overlaps a whole one so much shows the same."""
CREDIBLE = 0.5
"""A box explains a cut one away if it scores at least this share of the cut one's score."""


class TiledGrounder:
    """A Grounder that asks another one about the whole picture and about its tiles."""

    def __init__(self, inner: Grounder, tiling: Tiling, batch_size: int) -> None:
        """Wrap a grounder.

        Args:
            inner: Is asked about every view.
            tiling: Size and overlap of the tiles.
            batch_size: Tiles that go through it together.
        """
        self._inner, self._tiling, self._batch_size = inner, tiling, batch_size
        self._told = False

    def fingerprint(self) -> str:
        """Return the inner grounder's, and the tiles'."""
        return f"tiles {self._tiling} of {self._inner.fingerprint()}"

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return the inner grounder's warnings."""
        return self._inner.check_prompts(prompts)

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture, each box with the window it was found in."""
        whole = self._inner.ground(images, prompts, floor)
        return [
            self._joined(image, found, prompts, floor)
            for image, found in zip(images, whole, strict=True)
        ]

    def _joined(
        self, image: Image, whole: Proposals, prompts: Sequence[str], floor: float
    ) -> Proposals:
        """Return what the whole picture and its tiles show."""
        height, width = image.shape[:2]
        tiles = windows_of(height, width, self._tiling)
        self._tell(height, width, len(tiles))
        full = np.array([[0, 0, width, height]], np.float32)
        parts = [_placed(whole, full[0])]
        for start in range(0, len(tiles), self._batch_size):
            some = tiles[start : start + self._batch_size]
            crops = [
                np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in some.astype(int)
            ]
            found = self._inner.ground(crops, prompts, floor)
            parts += [_placed(one, tile) for one, tile in zip(found, some, strict=True)]
        together = best_first(_concatenated(parts), floor)
        together = together.take(np.arange(min(MOST_BOXES, len(together))))
        return together.take(_whole_ones(together, tiles, height, width))

    def _tell(self, height: int, width: int, tiles: int) -> None:
        """Say once that a picture was too small for tiles."""
        if not tiles and not self._told:
            self._told = True
            LOG.warning(
                "--tile %s: pictures no larger than a tile are looked at whole (the first such "
                "one is %d x %d)",
                self._tiling,
                width,
                height,
            )


def _placed(found: Proposals, window: Boxes) -> Proposals:
    """Return what a window shows, in the picture's own coordinates."""
    shift = np.tile(window[:2], 2)
    return Proposals(
        found.boxes + shift,
        found.scores,
        np.repeat(window[None], len(found), axis=0),
        found.opinions,
    )


def _concatenated(parts: Sequence[Proposals]) -> Proposals:
    """Return all views' boxes."""
    opinions = [part.opinions for part in parts if part.opinions is not None]
    return Proposals(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.windows for part in parts if part.windows is not None]),
        np.concatenate(opinions) if opinions else None,
    )


def _whole_ones(found: Proposals, tiles: Boxes, height: int, width: int) -> np.ndarray:
    """Return the rows of boxes that no other view sees better."""
    assert found.windows is not None
    cut = cut_sides(found.boxes, found.windows, height, width)
    is_cut = cut.any(axis=1)
    if not is_cut.any():
        return np.arange(len(found))
    rows = np.flatnonzero(is_cut)
    grown = _grown(found.boxes[rows], cut[rows], height, width)
    elsewhere = (room_around(grown, tiles, height, width) >= 0).any(axis=1)
    fragment = _goes_on(found, rows, np.flatnonzero(~is_cut), cut[rows])
    gone = np.zeros(len(found), bool)
    gone[rows] = elsewhere | fragment
    return np.flatnonzero(~gone)


def _grown(boxes: Boxes, cut: Sides, height: int, width: int) -> Boxes:
    """Return the boxes with their own size added on the sides that are cut."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    outwards = np.array([-1, -1, 1, 1], np.float32) * sides * cut
    edges = np.array([width, height, width, height], np.float32)
    return np.asarray(np.clip(boxes + outwards, 0, edges), np.float32)


def _goes_on(
    found: Proposals, cut_rows: np.ndarray, whole_rows: np.ndarray, cut: np.ndarray
) -> np.ndarray:
    """Return which cut boxes show what a whole one shows: it goes on beyond the cut, or is alike.

    Of whatever class: part of a ring looks like a moon.
    """
    if not len(whole_rows):
        return np.zeros(len(cut_rows), bool)
    small, large = found.boxes[cut_rows], found.boxes[whole_rows]
    iou = box_iou(small, large)
    ahead = (large[None] - small[:, None]) * np.array([-1, -1, 1, 1], np.float32)
    beyond = ((ahead > 1) & cut[:, None]).any(axis=2)
    same = (beyond & (_share_inside(iou, small, large) >= COVERED)) | (iou >= ALIKE)
    best = found.scores.max(axis=1, initial=0.0)
    credible = best[whole_rows][None] >= CREDIBLE * best[cut_rows][:, None]
    explained: np.ndarray = (same & credible).any(axis=1)
    return explained


def _share_inside(iou: np.ndarray, small: Boxes, large: Boxes) -> np.ndarray:
    """Return the share of each small box that lies in each large one."""
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (small, large)]
    common = iou * (areas[0][:, None] + areas[1][None]) / (1 + iou)
    return np.asarray(common / np.maximum(areas[0][:, None], 1e-6))
