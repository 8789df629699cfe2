"""Masks as the app has them: a crop of the box, compressed; and back to whole pixels.

The app keeps a mask as a zlib-compressed ``.npy`` array of any resolution that is stretched over
its box. What is loaded has one value a pixel; what a human brushed may come back at another size.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from functools import lru_cache

import numpy as np

from autolabel import masks
from autolabel.types import RLE, Mask

MAX_BYTES = 1 << 28
"""Largest array that is taken from the app."""


def crop(rle: RLE, box: masks.Box) -> Mask:
    """Return the part of a mask that lies in a box of whole pixels, bool (h, w).

    Only the box's columns are decoded: a small object in a large picture costs little.
    """
    x1, y1, x2, y2 = box
    low, high = x1 * rle.height, x2 * rle.height
    ends = np.clip(np.cumsum(masks.to_runs(rle)), low, high)
    inside = np.zeros(len(ends), bool)
    inside[1::2] = True
    columns = np.repeat(inside, np.diff(ends, prepend=low)).reshape(x2 - x1, rle.height)
    return np.ascontiguousarray(columns[:, y1:y2].T)


@lru_cache(maxsize=4096)
def _header(height: int, width: int) -> bytes:
    """Return how an .npy file of a bool array of this size begins."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|b1", "fortran_order": False, "shape": (height, width)}
    )
    return file.getvalue()


def pack(mask: Mask) -> bytes:
    """Return a bool array (h, w) as the app's database keeps it."""
    return zlib.compress(_header(*mask.shape) + mask.tobytes(), 1)


def unpack(data: bytes) -> Mask:
    """Return what the app's database keeps as a bool array (h, w).

    Raises:
        ValueError: If it is not such an array, or far too large.
    """
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data, MAX_BYTES)
        if inflater.unconsumed_tail:
            raise ValueError("the mask is larger than any picture")
        array = np.load(io.BytesIO(raw), allow_pickle=False)
    except (zlib.error, EOFError, OSError) as error:
        raise ValueError(f"the mask can't be read: {error}") from None
    if array.ndim == 3 and array.shape[2] in (1, 3, 4):
        array = array[:, :, 0]
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise ValueError(f"the mask has shape {array.shape} and dtype {array.dtype}")
    return np.asarray(array > 0)


def digest(data: bytes) -> str:
    """Return what tells two byte strings apart."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def content(mask: Mask) -> str:
    """Return what tells two masks apart, however they are compressed."""
    return digest(repr(mask.shape).encode() + mask.tobytes())


def paste(mask: Mask, box: tuple[float, float, float, float], height: int, width: int) -> Mask:
    """Return a mask that is stretched over a box as pixels of the picture, bool (H, W).

    A pixel takes the value that its centre falls on. What is outside of the picture is lost.

    Args:
        mask: bool (h, w), any resolution.
        box: x1, y1, x2, y2 in pixels, fractions allowed.
        height: Rows of the picture.
        width: Columns of the picture.
    """
    x1, y1, x2, y2 = box
    whole = np.zeros((height, width), bool)
    if not (mask.size and x2 > x1 and y2 > y1):
        return whole
    columns, from_columns = _sampled(x1, x2, width, mask.shape[1])
    rows, from_rows = _sampled(y1, y2, height, mask.shape[0])
    if len(columns) and len(rows):
        whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = mask[
            np.ix_(from_rows, from_columns)
        ]
    return whole


def _sampled(start: float, end: float, limit: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of one side whose centres are in the box, and each one's cell."""
    first, last = (
        max(0, int(np.ceil(start - 0.5 - 1e-6))),
        min(limit, int(np.ceil(end - 0.5 - 1e-6))),
    )
    pixels = np.arange(first, max(first, last))
    # The small shift decides for the right cell where a centre is on an edge but for rounding.
    cell = np.floor((pixels + 0.5 - start) / (end - start) * cells + 1e-6).astype(np.intp)
    return pixels, np.clip(cell, 0, cells - 1)
