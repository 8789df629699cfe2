"""Masks as COCO run lengths: encode, decode, measure, combine; the only user of pycocotools.mask.

Run lengths count pixels column by column (down, then right), background first. What comes
from outside is read by `to_runs`, in numpy, before pycocotools' C code sees it: that code
trusts its input and crashes on counts that don't add up. Outlines: `autolabel.outlines`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as _coco

from autolabel.outlines import Part, Ring, bridge, fill, trace
from autolabel.types import RLE, Mask, Masks

MAX_PIXELS = 2**31 - 1
"""Largest mask: pycocotools counts in 32 bits."""

Box = tuple[int, int, int, int]
Runs = NDArray[np.int64]


def encode(mask: Mask) -> RLE:
    """Return a bool mask (H, W) as run lengths.

    Raises:
        TypeError: If it isn't bool.
        ValueError: If it isn't (H, W), or has no pixels.
    """
    if mask.dtype != np.bool_:
        raise TypeError(f"mask: expected bool, found {mask.dtype}")
    if mask.ndim != 2 or not mask.size:
        raise ValueError(f"mask: expected shape (H, W) with pixels, found {mask.shape}")
    return _from_coco(_coco.encode(np.asfortranarray(mask.view(np.uint8))))


def encode_many(masks: Masks) -> tuple[RLE, ...]:
    """Return bool masks (N, H, W) as run lengths, one at a time to keep copies small.

    Raises:
        TypeError: If they aren't bool.
        ValueError: If they aren't (N, H, W), or have no pixels.
    """
    if masks.ndim != 3:
        raise ValueError(f"masks: expected shape (N, H, W), found {masks.shape}")
    return tuple(encode(mask) for mask in masks)


def decode(rle: RLE) -> Mask:
    """Return a mask as bool (H, W).

    Raises:
        ValueError: If the run lengths are not valid.
    """
    runs = to_runs(rle)
    inside = np.zeros(len(runs), bool)
    inside[1::2] = True
    return np.repeat(inside, runs).reshape(rle.width, rle.height).T


def validate(rle: RLE) -> RLE:
    """Return a mask from outside as pycocotools would write it itself.

    Raises:
        ValueError: If its counts are not a valid string, or don't add up to its size.
    """
    runs = to_runs(rle)
    # Empty runs between others are allowed by the format and trip pycocotools' loops.
    return rle if len(runs) < 2 or runs[1:].all() else from_runs(runs, rle.height, rle.width)


def to_runs(rle: RLE) -> Runs:
    """Return the run lengths as numbers, int64 (K,), background first.

    The string holds six bits a character from '0' (48) on: five bits of a number, low ones
    first, and a flag that more follow; the last one's fifth bit is the sign. From the fourth
    on, a number is the difference to the one two before (maskApi.c, rleFrString).

    Raises:
        ValueError: If the counts are not such a string, or don't add up to the size.
    """
    height, width = rle.height, rle.width
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        raise ValueError(f"RLE: found size {height} x {width}, expected 1 to {MAX_PIXELS} pixels")
    runs, _ = _numbers(rle.counts)
    # Numbers 1, 3, 5... and 2, 4, 6... are two chains of differences; 0 stands alone.
    runs[1::2].cumsum(out=runs[1::2])
    runs[2::2].cumsum(out=runs[2::2])
    if runs.min() < 0 or runs.max() > MAX_PIXELS or runs.sum() != height * width:
        raise ValueError(
            f"RLE: found counts that don't add up to the {height * width} pixels of "
            f"{height} x {width}"
        )
    return runs


def spans(rles: Sequence[RLE]) -> tuple[Runs, Runs]:
    """Return where each run of pixels inside begins and ends, the masks laid end to end.

    A mask's pixels are counted on from the one before; no run is empty or touches the next,
    except from one mask to the next.

    Raises:
        ValueError: If run lengths are not valid, or sizes differ.
    """
    if not rles:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    outside, inside, _ = _runs_together(rles)
    pixels = rles[0].height * rles[0].width
    ends = np.cumsum(outside + inside)
    starts = ends - inside
    kept = inside > 0
    starts, ends = starts[kept], ends[kept]
    apart = (starts[1:] > ends[:-1]) | (starts[1:] % pixels == 0)
    return (
        np.concatenate([starts[:1], starts[1:][apart]]),
        np.concatenate([ends[:-1][apart], ends[-1:]]),
    )


def _runs_together(rles: Sequence[RLE]) -> tuple[Runs, Runs, Runs]:
    """Return runs outside and inside in turn, and each mask's first, of one mask or more.

    Raises:
        ValueError: If run lengths are not valid, or sizes differ.
    """
    _same_size(rles)
    pixels = rles[0].height * rles[0].width
    found = _pairs(rles) if 0 < pixels <= MAX_PIXELS else None
    if found is None or not _add_up(*found, pixels):
        for rle in rles:
            to_runs(rle)  # says what is wrong
        raise ValueError("RLE: found counts that can't be read")
    return found


def _pairs(rles: Sequence[RLE]) -> tuple[Runs, Runs, Runs] | None:
    """Return runs outside and inside in turn, and each mask's first; None if one can't be read."""
    if not all(isinstance(rle.counts, str) and rle.counts for rle in rles):
        return None
    numbers, last = _numbers("".join([rle.counts for rle in rles]))
    ends = np.array([len(rle.counts) for rle in rles]).cumsum() - 1
    stops = last.searchsorted(ends)
    if (last[stops] != ends).any():
        return None
    counts = stops + 1
    counts[1:] -= counts[:-1].copy()
    odd = counts & 1  # these end outside: a run inside of no pixels follows
    flat = np.zeros(len(numbers) + int(odd.sum()), np.int64)
    flat[np.arange(len(numbers)) + (odd.cumsum() - odd).repeat(counts)] = numbers
    outside, inside = flat[0::2].copy(), flat[1::2]
    pairs = (counts + odd) // 2
    first = pairs.cumsum() - pairs
    # The first number stands alone; the others are two chains of differences.
    alone = outside[first]
    outside[first] = 0
    outside, sums = outside.cumsum(), inside.cumsum()
    outside -= outside[first].repeat(pairs)
    outside[first] = alone
    inside = sums - (sums[first] - inside[first]).repeat(pairs)
    inside[(first + pairs - 1)[odd > 0]] = 0
    return outside, inside, first


def _add_up(outside: Runs, inside: Runs, first: Runs, pixels: int) -> bool:
    """Return whether all run lengths are possible and each mask's add up to its size."""
    if min(outside.min(), inside.min()) < 0 or max(outside.max(), inside.max()) > MAX_PIXELS:
        return False
    return bool((np.add.reduceat(outside + inside, first) == pixels).all())


def from_runs(runs: Sequence[int] | Runs, height: int, width: int) -> RLE:
    """Return uncompressed COCO run lengths (column-major, background first) as an RLE.

    Raises:
        ValueError: If they are not whole numbers from 0 that add up to the size.
    """
    try:
        lengths = np.asarray(runs)
    except (ValueError, OverflowError):
        lengths = np.zeros((0, 0))
    if lengths.ndim != 1 or not len(lengths) or lengths.dtype.kind not in "iu":
        raise ValueError("RLE: expected a list of whole numbers as counts")
    if height <= 0 or width <= 0 or height * width > MAX_PIXELS:
        raise ValueError(f"RLE: found size {height} x {width}, expected 1 to {MAX_PIXELS} pixels")
    if lengths.min() < 0 or lengths.max() > MAX_PIXELS or lengths.sum() != height * width:
        raise ValueError(f"RLE: found counts that don't add up to {height} x {width} pixels")
    # Edges at one place twice cancel: that is what an empty run between others means.
    edges = np.cumsum(lengths[:-1], dtype=np.int64)
    places, times = np.unique(edges, return_counts=True)
    places = places[(times % 2 == 1) & (places < height * width)]
    merged = np.diff(places, prepend=0, append=height * width)
    coco = {"size": [height, width], "counts": merged.tolist()}
    return _from_coco(_coco.frPyObjects(coco, height, width))


def area(rle: RLE) -> int:
    """Return the number of pixels inside.

    Raises:
        ValueError: If the run lengths are not valid.
    """
    return int(to_runs(rle)[1::2].sum())


def areas(rles: Sequence[RLE]) -> list[int]:
    """Return the number of pixels inside each of a picture's masks, decoded together.

    Raises:
        ValueError: If run lengths are not valid, or sizes differ.
    """
    if not rles:
        return []
    _, inside, first = _runs_together(rles)
    found: list[int] = np.add.reduceat(inside, first).tolist()
    return found


def tight_box(rle: RLE) -> Box | None:
    """Return x1, y1, x2, y2 (exclusive) of the pixels inside; None when there are none.

    Raises:
        ValueError: If the run lengths are not valid.
    """
    runs = to_runs(rle)
    ends = np.cumsum(runs)[1::2]
    starts = ends - runs[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts] - 1
    if not len(starts):
        return None
    columns, last_columns = starts // rle.height, ends // rle.height
    top, bottom = int((starts % rle.height).min()), int((ends % rle.height).max())
    if (columns != last_columns).any():  # such a run leaves at the bottom, enters at the top
        top, bottom = 0, rle.height - 1
    return int(columns[0]), top, int(last_columns[-1]) + 1, bottom + 1


def iou(a: Sequence[RLE], b: Sequence[RLE]) -> NDArray[np.float64]:
    """Return the IoU of every mask in ``a`` with every mask in ``b``, (M, N); 0 if both empty.

    Raises:
        ValueError: If the run lengths are not valid, or sizes differ.
    """
    _same_size([*a, *b])
    if not a or not b:
        return np.zeros((len(a), len(b)))
    found = _coco.iou(_to_coco(a), _to_coco(b), [0] * len(b))
    return np.nan_to_num(np.asarray(found, np.float64).reshape(len(a), len(b)))


def merge(rles: Sequence[RLE], intersect: bool = False) -> RLE:
    """Return the union of the masks, or what they have in common.

    Raises:
        ValueError: If there are none, they are not valid, or sizes differ.
    """
    if not rles:
        raise ValueError("merge: expected at least one mask")
    _same_size(rles)
    return _from_coco(_coco.merge(_to_coco(rles), intersect))


def pasted(rle: RLE, left: int, top: int, height: int, width: int) -> RLE:
    """Return a part's mask as the mask of the whole picture that it was cut from.

    Args:
        rle: The part's mask.
        left: Column of the picture where the part begins.
        top: Row of the picture where the part begins.
        height: Rows of the picture.
        width: Columns of the picture.

    Raises:
        ValueError: If the run lengths are not valid, or the part leaves the picture.
    """
    if left < 0 or top < 0 or left + rle.width > width or top + rle.height > height:
        raise ValueError(
            f"pasted: a part of {rle.height} x {rle.width} at row {top}, column {left} leaves a "
            f"picture of {height} x {width}"
        )
    if (rle.height, rle.width) == (height, width):
        return rle
    # A column of the part is followed by a row of background, so that no run leaves its column.
    columns = np.zeros((rle.width, rle.height + 1), np.int8)
    columns[:, :-1] = decode(rle).T
    steps = np.diff(columns.ravel(), prepend=0).nonzero()[0]
    place = (steps // (rle.height + 1) + left) * height + steps % (rle.height + 1) + top
    return from_runs(np.diff(place, prepend=0, append=height * width), height, width)


def to_rings(rle: RLE) -> list[Part]:
    """Return the mask's pieces as outlines along pixel edges; none when it is empty.

    Raises:
        ValueError: If the run lengths are not valid.
    """
    box = tight_box(rle)
    if box is None:
        return []
    x1, y1, x2, y2 = box
    shift = np.array([x1, y1], np.int32)
    return [
        Part(part.outer + shift, tuple(hole + shift for hole in part.holes))
        for part in trace(decode(rle)[y1:y2, x1:x2])
    ]


def from_rings(rings: Iterable[Ring], height: int, width: int) -> RLE:
    """Return the mask that rings along pixel edges enclose; holes are cut out.

    Raises:
        ValueError: If a ring's sides aren't horizontal and vertical in turn, or it leaves
            the picture.
    """
    return encode(fill(rings, height, width))


def bridged_ring(rle: RLE) -> list[int]:
    """Return one polygon, [x, y, x, y, ...], that COCO draws as exactly this mask.

    Holes and separate parts hang on it by bridges without width. Empty for an empty mask.

    Raises:
        ValueError: If the run lengths are not valid.
    """
    return bridge(to_rings(rle))


def from_polygons(polygons: Iterable[Sequence[float]], height: int, width: int) -> RLE:
    """Return the union of COCO polygons ([x, y, x, y, ...], pixel edges) as COCO draws them.

    Raises:
        ValueError: If a polygon has fewer than three points, an odd number of values, values
            that are not numbers, or points more than the picture's size outside of it.
    """
    if height <= 0 or width <= 0 or height * width > MAX_PIXELS:
        raise ValueError(f"polygon: found size {height} x {width}")
    parts = [_polygon(polygon, height, width) for polygon in polygons]
    if not parts:
        return from_runs([height * width], height, width)
    return _from_coco(_coco.merge(_coco.frPyObjects(parts, height, width)))


def _numbers(counts: str) -> tuple[Runs, Runs]:
    """Return the numbers of a compressed string as they are there, and each's last character.

    Raises:
        ValueError: If it is no such string.
    """
    if not isinstance(counts, str) or not counts:
        raise ValueError(f"RLE: found counts {counts!r}, expected a non-empty text")
    if not counts.isascii():
        raise ValueError("RLE: found counts with characters that are not ASCII")
    chars = np.frombuffer(counts.encode("ascii"), np.uint8) - np.uint8(48)  # below wraps
    if chars.max() > 63:
        raise ValueError("RLE: found counts with a character outside '0' to 'o'")
    last = (chars < 32).nonzero()[0]
    bits = chars.astype(np.int64)
    if not len(last) or last[-1] != len(bits) - 1:
        raise ValueError("RLE: found counts that end inside a number")
    first = np.zeros_like(last)
    first[1:] = last[:-1] + 1
    if (last - first).max() > 6:
        raise ValueError("RLE: found counts with a number beyond 32 bits")
    place = 5 * (np.arange(len(bits)) - first.repeat(last - first + 1))
    numbers: Runs = np.add.reduceat((bits & 31) << place, first)
    numbers -= ((bits[last] & 16) > 0).astype(np.int64) << (place[last] + 5)
    return numbers, last


def _polygon(polygon: Sequence[float], height: int, width: int) -> list[float]:
    """Return a polygon that pycocotools can draw: it reserves memory by a line's length."""
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        raise ValueError("polygon: expected a flat list of numbers") from None
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        raise ValueError(
            f"polygon: found {points.size} values, expected x, y of at least three points"
        )
    size = np.array([width, height])
    # Written so that NaN fails too.
    if not ((points.reshape(-1, 2) >= -size) & (points.reshape(-1, 2) <= 2 * size)).all():
        raise ValueError(f"polygon: found points far outside the picture ({height} x {width})")
    flat: list[float] = points.tolist()
    return flat


def _same_size(rles: Sequence[RLE]) -> None:
    """Raise unless all masks are of one size."""
    sizes = {(rle.height, rle.width) for rle in rles}
    if len(sizes) > 1:
        raise ValueError(f"masks: expected one size, found {sorted(sizes)}")


def _to_coco(rles: Sequence[RLE]) -> list[dict[str, object]]:
    """Return masks as pycocotools takes them, checked."""
    return [
        {"size": [rle.height, rle.width], "counts": validate(rle).counts.encode("ascii")}
        for rle in rles
    ]


def _from_coco(coco: dict[str, object]) -> RLE:
    """Return what pycocotools gave, its counts as text."""
    size, counts = coco["size"], coco["counts"]
    assert isinstance(size, list)
    assert isinstance(counts, bytes)
    return RLE(int(size[0]), int(size[1]), counts.decode("ascii"))
