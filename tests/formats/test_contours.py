"""Polygons for Ultralytics, many masks at once: drawn again they are the masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from autolabel import masks
from autolabel.formats.yolo_fill import fill_pixels
from autolabel.formats.yolo_ring import pixel_rings
from autolabel.types import RLE
from tests.formats import cases

several = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: st.lists(arrays(np.bool_, size), max_size=5)
)


def check(found: list[np.ndarray]) -> None:
    rings = pixel_rings([masks.encode(mask) for mask in found])
    assert rings.areas == [int(mask.sum()) for mask in found]
    for place, mask in enumerate(found):
        if not mask.any():
            assert rings.begins[place] == rings.begins[place + 1]
            continue
        points = rings.points(place)
        assert len(points) >= 3
        assert (points.max(axis=0) > points.min(axis=0)).all()
        drawn = masks.decode(fill_pixels(points, *mask.shape))
        assert (drawn >= mask).all()
        if ndimage.label(mask)[1] == 1:  # no bridge to another part
            assert (drawn == mask).all()
            assert rings.drawn[place] == 0


@settings(max_examples=100, deadline=None)
@given(several)
def test_random_masks_are_drawn_again(found: list[np.ndarray]) -> None:
    check(found)


def test_every_hard_mask_is_drawn_again_beside_the_others() -> None:
    check([*cases.MASKS.values(), cases.blank(), *cases.MASKS.values()])


def test_many_holes_in_one_mask_are_all_there() -> None:
    sieve = np.ones((61, 61), bool)
    sieve[1::2, 1::3] = False
    check([sieve, ~sieve, sieve.T.copy()])


def test_spans_are_those_of_each_mask_and_merge_empty_runs() -> None:
    full, empty = masks.encode(np.ones((2, 3), bool)), masks.encode(np.zeros((2, 3), bool))
    split = RLE(2, 3, "1201")  # 1 outside, 2 inside, none outside, 3 inside
    assert masks.to_runs(split).tolist() == [1, 2, 0, 3]
    starts, ends = masks.spans([full, empty, split, full])
    assert (starts.tolist(), ends.tolist()) == ([0, 13, 18], [6, 18, 24])


def test_one_damaged_mask_among_others_is_refused() -> None:
    good = masks.encode(cases.ring())
    for counts in ("~~", "", "5", "P"):
        with pytest.raises(ValueError, match="RLE"):
            masks.spans([good, RLE(cases.HEIGHT, cases.WIDTH, counts), good])
    with pytest.raises(ValueError, match="one size"):
        masks.spans([good, masks.encode(np.ones((2, 2), bool))])
