"""Whose pixels they are where two tracks claim the same ones."""

import json

import numpy as np
import pytest

from autolabel.track.dealing import Paths, deal, parted
from autolabel.track.regions import Region, iou
from autolabel.track.settings import DealSettings

SIZE = (100, 100)
RULES = DealSettings()


def block(x, y, width=10, height=10) -> Region:
    return Region((x, y, x + width, y + height), np.ones((height, width), bool), width * height)


def never(a, b) -> bool:
    return False


def boxes(regions) -> dict:
    return {i: (region.box, region.area) for i, region in regions.items()}


def test_a_mask_that_takes_in_the_neighbour_gives_it_back():
    # Without this a user sees one label over two objects side by side, and the other's id nowhere.
    claims = {1: block(0, 0, 20), 2: block(10, 0)}
    expected = {1: block(1, 0), 2: block(11, 0)}
    assert boxes(deal(claims, expected, RULES, never)) == {
        1: ((0, 0, 11, 10), 110),
        2: ((11, 0, 20, 10), 90),
    }


def test_two_masks_on_both_objects_are_parted_between_them():
    both = {1: block(0, 0, 20), 2: block(0, 0, 20)}
    expected = {1: block(0, 0), 2: block(10, 0)}
    assert boxes(deal(both, expected, RULES, never)) == {
        1: ((0, 0, 10, 10), 100),
        2: ((10, 0, 20, 10), 100),
    }


def test_a_track_that_has_left_its_object_for_another_is_not_shown_there():
    # The one behind the other has jumped on it: its id would lie on two objects.
    jumped = {1: block(50, 50, 20, 20), 2: block(50, 50, 20, 20)}
    assert list(deal(jumped, {1: block(45, 55), 2: block(50, 50, 20, 20)}, RULES, never)) == [2]
    # ... nor one of which nothing is known by now.
    assert list(deal(jumped, {2: block(50, 50, 20, 20)}, RULES, never)) == [2]


def test_what_nobody_disputes_or_knows_stays_as_the_tracker_sees_it():
    apart = {1: block(0, 0), 2: block(30, 0)}
    assert deal(apart, {1: block(60, 60), 2: block(0, 0)}, RULES, never) == apart
    touching = {1: block(0, 0), 2: block(5, 0)}
    assert deal(touching, {}, RULES, never) == touching


def test_a_part_keeps_its_pixels_and_the_whole_does_too():
    hat_and_head = {1: block(0, 0, 10, 20), 2: block(0, 0, 10, 6)}
    kept = deal(hat_and_head, hat_and_head, RULES, lambda a, b: True)
    assert kept == hat_and_head


def test_a_detection_of_two_objects_is_cut_to_its_own():
    expected = {1: block(10, 10), 2: block(20, 10)}
    whole = {1: block(10, 10, 20)}
    assert boxes(parted(whole, expected, RULES, never)) == {1: ((10, 10, 20, 20), 100)}
    # It has moved, not grown: there is nothing to cut.
    assert parted({1: block(14, 10)}, expected, RULES, never) == {}
    # Of two detections that overlap, one of an object that nobody expected, each keeps its own.
    two = {1: block(10, 10, 20), 3: block(15, 10, 15)}
    assert boxes(parted(two, {1: block(10, 10)}, RULES, never)) == {
        1: ((10, 10, 20, 20), 100),
        3: ((20, 10, 30, 20), 100),
    }


def test_objects_are_expected_to_go_on_as_key_frames_saw_them_move():
    paths = Paths(RULES)
    paths.found(1, 0, block(10, 10), SIZE)
    assert paths.expected(5)[1].box == (10, 10, 20, 20)
    paths.found(1, 10, block(30, 10), SIZE)
    assert paths.expected(15)[1].box == (40, 10, 50, 20)
    assert paths.expected(41) == {}


def test_a_newcomer_is_expected_where_it_was_seen_last_until_its_pace_is_known():
    # Where it stood at its first key frame another would take its pixels, once it has gone on.
    paths = Paths(RULES)
    paths.found(1, 0, block(10, 10), SIZE)
    paths.saw({1: block(16, 10), 9: block(0, 0)})
    assert boxes(paths.expected(3)) == {1: ((16, 10, 26, 20), 100)}
    again = Paths(RULES)
    again.load(json.loads(json.dumps(paths.state())))
    assert boxes(again.expected(3)) == {1: ((16, 10, 26, 20), 100)}
    paths.found(1, 10, block(30, 10), SIZE)
    paths.saw({1: block(90, 90)})
    assert boxes(paths.expected(15)) == {1: ((40, 10, 50, 20), 100)}


def test_slivers_along_the_edge_of_a_neighbour_go_with_it():
    # Else the label's box would span both objects.
    canvas = np.zeros((12, 40), bool)
    canvas[:, :12] = True
    canvas[2:10, 28:36] = True
    both = Region((0, 0, 40, 12), canvas, int(canvas.sum()))
    kept = deal({1: both, 2: block(1, 1)}, {1: block(28, 2, 8, 8), 2: block(1, 1)}, RULES, never)
    assert boxes(kept) == {1: ((28, 2, 36, 10), 64), 2: ((1, 1, 11, 11), 100)}
    # Where nothing of it is where it should be, the largest part stays.
    kept = deal({1: both, 2: block(1, 1)}, {1: block(32, 30), 2: block(1, 1)}, RULES, never)
    assert boxes(kept)[1] == ((28, 2, 36, 10), 64)


def test_the_end_at_the_pictures_edge_does_not_move_with_the_object():
    paths = Paths(RULES)
    paths.found(1, 0, block(95, 10, 5), SIZE)
    paths.found(1, 5, block(90, 10), SIZE)
    assert paths.expected(6)[1].box == (89, 10, 99, 20)


def test_large_objects_are_parted_at_the_same_place():
    # Distances are looked at in steps then; far from both it is the boxes that count.
    both = {1: block(0, 0, 1600, 900), 2: block(0, 0, 1600, 900)}
    kept = deal(both, {1: block(0, 0, 800, 900), 2: block(800, 0, 800, 900)}, RULES, never)
    assert kept[1].box[0] == 0
    assert abs(kept[1].box[2] - 800) <= 8
    assert kept[1].area + kept[2].area == 1600 * 900
    far = {1: block(40, 40, 20), 2: block(40, 40, 20)}
    kept = deal(far, {1: block(20, 40), 2: block(70, 40)}, RULES, never)
    assert boxes(kept) == {1: ((40, 40, 50, 50), 100), 2: ((50, 40, 60, 50), 100)}


def test_restored_paths_expect_the_same():
    paths = Paths(RULES)
    ring = np.ones((9, 7), bool)
    ring[2:6, 2:5] = False
    for position in (0, 10):
        paths.found(1, position, Region((position, 3, position + 7, 12), ring, 51), SIZE)
    paths.found(2, 10, block(50, 50), SIZE)
    again = Paths(RULES)
    again.load(json.loads(json.dumps(paths.state())))
    assert again.state() == paths.state()
    assert iou(again.expected(15)[1], paths.expected(15)[1]) == pytest.approx(1.0)
    paths.keep({2})
    assert list(paths.expected(10)) == [2]
