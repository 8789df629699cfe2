"""Pixels that two tracks claim: each goes to the track that is expected there.

Masks of what is visible don't overlap, but a tracker's do where objects are alike or one hides
the other: a mask takes in the neighbour, or leaves its object for it. Where each object was found
last, and how it moved before that, tells whose pixels they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label

from autolabel import masks as rle
from autolabel.track.regions import Box, Region, common_box, iou, share
from autolabel.track.settings import DealSettings
from autolabel.types import RLE

_LOOKED_AT = 1 << 16
"""Pixels whose distances are looked at, about."""


@dataclass(frozen=True, slots=True)
class _Path:
    """Where a key frame found an object, and its pace in pixels a frame, x and y.

    Of one that was found for the first time no pace is known, but where it was seen last.
    """

    at: int
    region: Region
    pace: tuple[float, float] | None = None
    seen: Region | None = None

    def paced(self, position: int, region: Region, size: tuple[int, int]) -> tuple[float, float]:
        """How fast it moved to a region, in a picture of that width and height."""
        since = position - self.at
        moves = (
            _shift(self.region.box[k::2], region.box[k::2], length) for k, length in enumerate(size)
        )
        x, y = (move / since for move in moves)
        return x, y


def _shift(before: Sequence[int], now: Sequence[int], length: int) -> float:
    """How far an extent (from, to) has moved; an end at the picture's edge tells nothing."""
    ends = [(before[0], now[0], 0), (before[1], now[1], length)]
    moves = [to - at for at, to, edge in ends if edge not in (at, to)]
    return sum(moves) / len(moves) if moves else 0.0


class Paths:
    """Where key frames found each object last, and how it moves."""

    def __init__(self, rules: DealSettings) -> None:
        self._rules = rules
        self._paths: dict[int, _Path] = {}

    def found(self, track_id: int, position: int, region: Region, size: tuple[int, int]) -> None:
        """Note that a key frame found an object."""
        path, pace = self._paths.get(track_id), None
        if path is not None and 0 < position - path.at <= self._rules.within:
            pace = path.paced(position, region, size)
        self._paths[track_id] = _Path(position, region, pace)

    def saw(self, regions: Mapping[int, Region]) -> None:
        """Note where objects are seen in a frame that is no key frame."""
        for track_id, region in regions.items():
            path = self._paths.get(track_id)
            if path is not None and path.pace is None:
                self._paths[track_id] = replace(path, seen=region)

    def expected(self, position: int) -> dict[int, Region]:
        """Where the objects that were found lately should be in a frame."""
        places = {}
        for track_id, path in self._paths.items():
            since = position - path.at
            if since <= self._rules.within:
                x, y = path.pace or (0.0, 0.0)
                place = path.region if path.seen is None else path.seen
                places[track_id] = place.moved(round(x * since), round(y * since))
        return places

    def keep(self, track_ids: Container[int]) -> None:
        """Forget all other tracks."""
        self._paths = {i: path for i, path in self._paths.items() if i in track_ids}

    def state(self) -> list[list[Any]]:
        """Everything, as JSON can hold it."""
        return [
            [i, p.at, _as_json(p.region), p.pace, None if p.seen is None else _as_json(p.seen)]
            for i, p in self._paths.items()
        ]

    def load(self, state: Iterable[Sequence[Any]]) -> None:
        """Take the place of the paths whose ``state()`` this is."""
        self._paths = {
            track_id: _Path(
                at,
                _from_json(region),
                None if pace is None else (pace[0], pace[1]),
                None if seen is None else _from_json(seen),
            )
            for track_id, at, region, pace, seen in state
        }


def deal(
    claims: Mapping[int, Region],
    expected: Mapping[int, Region],
    rules: DealSettings,
    exempt: Callable[[int, int], bool],
) -> dict[int, Region]:
    """What every track keeps of its region; those that keep nearly nothing are left out.

    Args:
        claims: Track id -> where the tracker sees it.
        expected: Track id -> where it should be, of the tracks of which that is known.
        rules: What is a dispute.
        exempt: Whether two tracks may have pixels in common.
    """
    lost: dict[int, list[Region]] = {}
    for a, b in combinations(sorted(claims), 2):
        if share(claims[a], claims[b]) < rules.disputed or exempt(a, b):
            continue
        for track_id, part in _losses(a, b, claims, expected).items():
            lost.setdefault(track_id, []).append(part)
    kept: dict[int, Region] = {}
    for track_id, region in claims.items():
        if track_id not in lost:
            kept[track_id] = region
            continue
        place, rest = expected.get(track_id, region), region.without(lost[track_id])
        rest = None if rest is None else _coherent(rest, place)
        if rest is not None and rest.area >= rules.crumbs * place.area:
            kept[track_id] = rest
    return kept


def parted(
    found: Mapping[int, Region],
    expected: Mapping[int, Region],
    rules: DealSettings,
    exempt: Callable[[int, int], bool],
) -> dict[int, Region]:
    """What is left of detections that cover two objects: each one's own part.

    Two detections that overlap are dealt out like masks; one is where it fits its own object and
    another that wasn't found together better than its own alone.

    Args:
        found: Track id -> its detection.
        expected: Track id -> where it should be.
        rules: What is a dispute.
        exempt: Whether two tracks may have pixels in common.
    """
    claims, places = dict(found), dict(expected)
    for a, region in found.items():
        if a in expected:
            alone = iou(region, expected[a])
            for b, place in expected.items():
                if b not in found and not exempt(a, b):
                    together = iou(region, expected[a].joined(place))
                    if together >= alone + rules.disputed:
                        claims[b] = place
        else:
            others = [expected[b] for b in found if b in expected and not exempt(a, b)]
            own = region.without(others)
            if own is not None:
                places[a] = own
    kept = deal(claims, places, rules, exempt)
    return {i: kept[i] for i in found if i in kept and kept[i].area < found[i].area}


def _losses(
    a: int, b: int, claims: Mapping[int, Region], expected: Mapping[int, Region]
) -> dict[int, Region]:
    """What each of two tracks loses to the other of the pixels that both claim."""
    known = [i for i in (a, b) if i in expected]
    if not known:
        return {}
    box = common_box(claims[a].box, claims[b].box)
    if box is None:
        return {}
    both = claims[a].within(box) & claims[b].within(box)
    if len(known) == 1:
        loser = b if known[0] == a else a
        part = Region.of(both & expected[known[0]].within(box), box[:2])
        return {} if part is None else {loser: part}
    far = {i: _distances(expected[i], box) for i in known}
    fits = {i: iou(claims[i], expected[i]) for i in known}
    first = far[a] < far[b]
    if fits[a] >= fits[b]:
        first |= far[a] == far[b]
    parts = {a: Region.of(both & ~first, box[:2]), b: Region.of(both & first, box[:2])}
    return {i: part for i, part in parts.items() if part is not None}


def _distances(region: Region, box: Box) -> NDArray[np.float64]:
    """How far each pixel in a box is from a region; 0 in it.

    Where that is a lot of pixels every second, third, ... of them and of the rows is looked at.
    """
    rx1, ry1, rx2, ry2 = region.box
    x1, y1, x2, y2 = box
    if common_box(region.box, box) is None:  # its box will do
        xs, ys = np.arange(x1, x2), np.arange(y1, y2)
        across = np.maximum(np.maximum(rx1 - xs, xs - rx2 + 1), 0)
        down = np.maximum(np.maximum(ry1 - ys, ys - ry2 + 1), 0)
        far: NDArray[np.float64] = np.hypot(across[None, :], down[:, None])
        return far
    x0, y0 = min(x1, rx1), min(y1, ry1)
    around = (x0, y0, max(x2, rx2), max(y2, ry2))
    outside = ~region.within(around)
    step = max(1, math.isqrt(outside.size // _LOOKED_AT))
    if outside[::step, ::step].all():  # thinner than the steps
        step = 1
    far = distance_transform_edt(outside[::step, ::step]) * step
    rows, columns = (np.arange(y1 - y0, y2 - y0) // step, np.arange(x1 - x0, x2 - x0) // step)
    cut: NDArray[np.float64] = far[np.ix_(rows, columns)]
    return cut


def _coherent(region: Region, place: Region) -> Region:
    """A region without the slivers, along the edge of what it lost, that lie off a place."""
    parts, count = label(region.crop, np.ones((3, 3)))
    if count < 2:
        return region
    here = np.unique(parts[place.within(region.box) & region.crop])
    if not len(here):
        here = np.array([1 + np.argmax(np.bincount(parts.ravel())[1:])])
    rest = Region.of(np.isin(parts, here) & region.crop, region.box[:2])
    assert rest is not None
    return rest


def _as_json(region: Region) -> list[Any]:
    return [region.box[:2], asdict(rle.encode(region.crop))]


def _from_json(said: Sequence[Any]) -> Region:
    corner, crop = said
    region = Region.of(rle.decode(RLE(**crop)), (corner[0], corner[1]))
    assert region is not None
    return region
