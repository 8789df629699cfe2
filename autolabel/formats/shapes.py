"""What several formats make of a mask: its pixels in their box, and runs row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from autolabel import masks
from autolabel.types import RLE, Mask


def crop(rle: RLE) -> tuple[masks.Box, Mask] | None:
    """Return a mask's tight box and bool (h, w) inside it; None for an empty mask.

    Only the columns of the box are decoded.

    Raises:
        ValueError: If the run lengths are not valid.
    """
    box = masks.tight_box(rle)
    if box is None:
        return None
    x1, y1, x2, y2 = box
    ends = np.cumsum(masks.to_runs(rle))
    clipped = np.clip(ends, x1 * rle.height, x2 * rle.height)
    inside = np.zeros(len(ends), bool)
    inside[1::2] = True
    columns = np.repeat(inside, np.diff(clipped, prepend=x1 * rle.height))
    return box, columns.reshape(x2 - x1, rle.height).T[y1:y2]


def uncrop(box: masks.Box, inside: Mask, height: int, width: int) -> RLE:
    """Return the mask of a picture whose pixels in a box are given.

    Raises:
        ValueError: If the box leaves the picture or is not of the pixels' size.
    """
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"mask: found box {box} in a picture of {height} x {width}")
    if inside.shape != (y2 - y1, x2 - x1):
        raise ValueError(f"mask: found {inside.shape} pixels for a box of {(y2 - y1, x2 - x1)}")
    full = np.zeros((height, width), np.bool_)
    full[y1:y2, x1:x2] = inside
    return masks.encode(full)


def row_runs(inside: Mask) -> NDArray[np.int64]:
    """Return run lengths of bool (h, w) row by row, background first."""
    flat = inside.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(edges, prepend=0, append=len(flat))
    return np.concatenate([[0], runs]) if flat[0] else runs


def from_row_runs(runs: NDArray[np.int64], height: int, width: int) -> Mask:
    """Return bool (height, width) from run lengths row by row, background first.

    Raises:
        ValueError: If they don't add up to the size.
    """
    if len(runs) and runs.min() < 0:
        raise ValueError("run lengths: found a negative one")
    total = int(runs.astype(object).sum()) if len(runs) else 0  # no overflow
    if total != height * width:
        raise ValueError(f"run lengths: found {total} pixels, expected {height} x {width}")
    inside = np.zeros(len(runs), bool)
    inside[1::2] = True
    return np.repeat(inside, runs).reshape(height, width)


def number(value: float, digits: int = 2) -> str:
    """Return a number as short as it can be said: "12", "12.5"."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def stack(
    found: Iterable[tuple[int, RLE]], height: int, width: int
) -> tuple[NDArray[np.uint16], set[int]]:
    """Return objects drawn over each other, uint16 (H, W), and which of them lost pixels.

    Larger objects are drawn first, so that a small one on a large one stays whole.

    Args:
        found: Each object's value (from 1) and mask.
        height: Rows of the picture.
        width: Columns of the picture.
    """
    canvas = np.zeros((height, width), np.uint16)
    hidden: set[int] = set()
    for value, mask in sorted(found, key=lambda one: -masks.area(one[1])):
        cropped = crop(mask)
        if cropped is None:
            continue
        (x1, y1, x2, y2), inside = cropped
        window = canvas[y1:y2, x1:x2]
        below = np.unique(window[inside])
        hidden.update(int(other) for other in below if other)
        window[inside] = value
    return canvas, hidden


class Spool:
    """Texts that arrive mixed and leave by key: a file on disk holds them, memory their places.

    Args:
        path: The file, removed when closed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("w+b")
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._end = 0

    def put(self, key: int, text: str) -> None:
        """Add a text."""
        data = text.encode()
        self._file.write(data)
        self._places.setdefault(key, []).append((self._end, len(data)))
        self._end += len(data)

    def order(self) -> list[int]:
        """Return the keys in order."""
        return sorted(self._places)

    def texts(self, key: int) -> Iterator[str]:
        """Yield a key's texts in the order they came."""
        for place, length in self._places[key]:
            self._file.seek(place)
            yield self._file.read(length).decode()

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink()
