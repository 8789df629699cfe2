"""Masks survive every way in and out, and bad run lengths are an error, not a crash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from autolabel import masks
from autolabel.types import RLE

random_masks = arrays(
    np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans()
)


def picture(*rows: str) -> np.ndarray:
    return np.array([[char == "#" for char in row] for row in rows])


SHAPES = {
    "one pixel": picture("...", ".#.", "..."),
    "full frame": picture("###", "###"),
    "one pixel frame": picture("#"),
    "hole": picture("####", "#..#", "####"),
    "island in hole": picture("#####", "#...#", "#.#.#", "#...#", "#####"),
    "several parts": picture("##..#", "##...", "....#"),
    "thin line": picture(".....", "#####", "....."),
    "thin column": picture(".#.", ".#.", ".#."),
    "touches all borders": picture(".#.", "###", ".#."),
    "diagonal neighbours": picture("#.", ".#"),
    "other diagonal": picture(".#", "#."),
    "ring closed by corners": picture(".#.", "#.#", ".#."),
    "two holes that touch": picture("####", "#.##", "##.#", "####"),
    "chessboard": np.indices((7, 9)).sum(0) % 2 == 0,
    "noise": np.random.default_rng(0).random((40, 60)) < 0.5,
}


def drawn_by_coco(ring: list[int], height: int, width: int) -> np.ndarray:
    (rle,) = coco.frPyObjects([ring], height, width)
    return coco.decode(rle).astype(bool)


def check_all_ways(mask: np.ndarray) -> None:
    height, width = mask.shape
    rle = masks.encode(mask)
    reference = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle == RLE(height, width, reference["counts"].decode())
    assert (masks.decode(rle) == mask).all()
    assert masks.area(rle) == mask.sum()
    assert masks.validate(rle) is rle
    rings = [ring for part in masks.to_rings(rle) for ring in (part.outer, *part.holes)]
    assert masks.from_rings(rings, height, width) == rle
    if mask.any():
        assert (drawn_by_coco(masks.bridged_ring(rle), height, width) == mask).all()


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_survive_exactly(name: str) -> None:
    check_all_ways(SHAPES[name])


@settings(max_examples=100, deadline=None)
@given(random_masks)
def test_random_masks_survive_exactly(mask: np.ndarray) -> None:
    check_all_ways(mask)


def test_many_rings_survive_the_shortcut_for_bridges() -> None:
    check_all_ways(np.random.default_rng(1).random((90, 90)) < 0.5)


def test_encode_wants_a_bool_picture() -> None:
    with pytest.raises(TypeError, match="expected bool, found uint8"):
        masks.encode(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"expected shape \(H, W\)"):
        masks.encode(np.zeros((1, 2, 2), bool))
    with pytest.raises(ValueError, match="with pixels"):
        masks.encode(np.zeros((0, 2), bool))


def test_encode_many_keeps_the_order() -> None:
    stack = np.array([[[1, 0]], [[0, 1]], [[0, 0]]], bool)
    assert [masks.tight_box(rle) for rle in masks.encode_many(stack)] == [
        (0, 0, 1, 1),
        (1, 0, 2, 1),
        None,
    ]
    assert masks.encode_many(np.zeros((0, 4, 4), bool)) == ()


def test_counts_are_text_that_json_can_hold() -> None:
    assert masks.encode(picture("..", ".#")) == RLE(2, 2, "31")


@given(random_masks)
def test_tight_box_is_what_a_loop_over_pixels_finds(mask: np.ndarray) -> None:
    found = [(x, y) for y, row in enumerate(mask) for x, on in enumerate(row) if on]
    want = None
    if found:
        xs, ys = zip(*found, strict=True)
        want = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
    assert masks.tight_box(masks.encode(mask)) == want


def test_rings_have_one_vertex_a_corner_and_holes_know_their_part() -> None:
    parts = masks.to_rings(masks.encode(SHAPES["island in hole"]))
    assert [part.outer.tolist() for part in parts] == [
        [[0, 0], [5, 0], [5, 5], [0, 5]],
        [[2, 2], [3, 2], [3, 3], [2, 3]],
    ]
    assert [hole.tolist() for hole in parts[0].holes] == [[[1, 1], [1, 4], [4, 4], [4, 1]]]
    assert parts[1].holes == ()


def test_pixels_that_touch_at_a_corner_are_two_parts() -> None:
    parts = masks.to_rings(masks.encode(SHAPES["diagonal neighbours"]))
    assert [part.outer.tolist() for part in parts] == [
        [[0, 0], [1, 0], [1, 1], [0, 1]],
        [[1, 1], [2, 1], [2, 2], [1, 2]],
    ]


def test_an_empty_mask_has_no_outline() -> None:
    empty = masks.encode(np.zeros((3, 4), bool))
    assert masks.area(empty) == 0
    assert masks.tight_box(empty) is None
    assert masks.to_rings(empty) == []
    assert masks.bridged_ring(empty) == []
    assert masks.from_rings([], 3, 4) == empty


def test_rings_that_are_no_pixel_edges_are_refused() -> None:
    slanted = np.array([[0, 0], [2, 1], [2, 2], [0, 2]], np.int32)
    with pytest.raises(ValueError, match="horizontal and vertical sides in turn"):
        masks.from_rings([slanted], 4, 4)
    outside = np.array([[0, 0], [9, 0], [9, 2], [0, 2]], np.int32)
    with pytest.raises(ValueError, match="outside the picture"):
        masks.from_rings([outside], 4, 4)


def test_iou_and_merge() -> None:
    left, right = masks.encode(picture("##..")), masks.encode(picture(".##."))
    nothing = masks.encode(picture("...."))
    found = masks.iou([left, nothing], [left, right, nothing])
    assert found == pytest.approx(np.array([[1, 1 / 3, 0], [0, 0, 0]]))
    assert masks.iou([], [left]).shape == (0, 1)
    assert (masks.decode(masks.merge([left, right])) == picture("###.")).all()
    assert (masks.decode(masks.merge([left, right], intersect=True)) == picture(".#..")).all()
    with pytest.raises(ValueError, match="at least one"):
        masks.merge([])
    with pytest.raises(ValueError, match="expected one size"):
        masks.iou([left], [masks.encode(picture("#"))])


def test_polygons_are_drawn_as_coco_draws_them() -> None:
    square = [1, 1, 3, 1, 3, 3, 1, 3]
    corner = [0, 0, 1, 0, 1, 1, 0, 1]
    assert (
        masks.decode(masks.from_polygons([square, corner], 4, 4))
        == picture("#...", ".##.", ".##.", "....")
    ).all()
    assert masks.area(masks.from_polygons([], 4, 4)) == 0


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([0, 0, 2, 2], "at least three points"),  # pycocotools takes four numbers for a box
        ([0, 0, 2, 2, 1, 1, 3], "at least three points"),
        ([0, 0, 2, float("nan"), 1, 1], "far outside"),
        ([0, 0, 1e9, 0, 1e9, 1e9], "far outside"),  # would reserve gigabytes
        ([0, 0, "x", 0, 1, 1], "flat list of numbers"),
        ([[0, 0], [1, 0], [1, 1]], "at least three points"),
    ],
)
def test_polygons_that_would_hurt_are_refused(polygon: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        masks.from_polygons([polygon], 4, 4)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (RLE(2, 2, ""), "non-empty text"),
        (RLE(2, 2, "3"), "don't add up to the 4 pixels of 2 x 2"),
        (RLE(2, 2, "3111"), "don't add up"),
        (RLE(2, 2, "o"), "end inside a number"),
        (RLE(2, 2, "ooooooooooooo0"), "beyond 32 bits"),
        (RLE(2, 2, "3 1"), "outside '0' to 'o'"),
        (RLE(2, 2, "31\u00e9"), "not ASCII"),
        (RLE(2, 2, "O5"), "don't add up"),  # -1 + 5
        (RLE(0, 2, "0"), "found size 0 x 2"),
        (RLE(10**9, 10**9, "0"), "found size"),
    ],
)
def test_bad_run_lengths_are_an_error_everywhere(rle: RLE, message: str) -> None:
    for use in (masks.validate, masks.decode, masks.area, masks.tight_box, masks.to_rings):
        with pytest.raises(ValueError, match=message):
            use(rle)
    with pytest.raises(ValueError, match=message):
        masks.iou([rle], [rle])
    with pytest.raises(ValueError, match=message):
        masks.merge([rle])


def test_counts_as_bytes_are_named() -> None:
    with pytest.raises(ValueError, match="found counts b'31'"):
        masks.validate(RLE(2, 2, b"31"))  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(min_codepoint=45, max_codepoint=115), max_size=12))
def test_any_string_of_counts_decodes_or_is_an_error(counts: str) -> None:
    try:
        mask = masks.decode(RLE(3, 4, counts))
    except ValueError:
        return
    assert mask.shape == (3, 4)
    # What is valid, C code agrees on.
    assert (coco.decode({"size": [3, 4], "counts": counts.encode()}).astype(bool) == mask).all()


def test_empty_runs_between_others_are_written_the_usual_way() -> None:
    odd = RLE(1, 4, "11001")  # pycocotools' own loops stop at the empty run
    assert masks.to_runs(odd).tolist() == [1, 1, 0, 1, 1]
    tidy = masks.validate(odd)
    assert masks.to_runs(tidy).tolist() == [1, 2, 1]
    assert (masks.decode(odd) == picture(".##.")).all()
    assert masks.iou([odd], [tidy]).tolist() == [[1.0]]


def test_uncompressed_counts_are_read_and_checked() -> None:
    assert (masks.decode(masks.from_runs([0, 2, 2], 2, 2)) == picture("#.", "#.")).all()
    for bad in ([1, 2], [5, -1], [1.5, 2.5], [], [[1, 3]], ["4"], [2**70]):
        with pytest.raises(ValueError, match="RLE"):
            masks.from_runs(bad, 2, 2)


def test_areas_of_many_are_those_of_each() -> None:
    rng = np.random.default_rng(3)
    pictures = [rng.random((7, 9)) < share for share in (0.5, 0.0, 1.0, 0.1)]
    found = [masks.encode(picture) for picture in pictures]
    assert masks.areas(found) == [int(picture.sum()) for picture in pictures]
    assert masks.areas([]) == []
    with pytest.raises(ValueError, match="inside a number"):
        masks.areas([*found, RLE(7, 9, found[0].counts + "o")])
