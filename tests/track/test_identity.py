"""Who is who, decided on masks alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from autolabel.points import points_in
from autolabel.track.identity import Identity
from autolabel.track.regions import Region, intersection, iou, likeness, look, share
from autolabel.track.settings import IdentitySettings
from autolabel.track.tracks import Found

RED = (1.0,) + (0.0,) * 63
BLUE = (0.0,) * 63 + (1.0,)


def region(x, y, width=10, height=10) -> Region:
    mask = np.zeros((100, 100), bool)
    mask[y : y + height, x : x + width] = True
    found = Region.of(mask)
    assert found is not None
    return found


def found(x, y, class_id=0, score=0.9, colours=RED, width=10) -> Found:
    return Found(class_id, score, region(x, y, width), colours)


def started(*detections: Found, settings=None) -> Identity:
    identity = Identity(settings or IdentitySettings(), 141.0)
    identity.observe(0, {})
    identity.keyframe(0, {}, detections)
    return identity


def test_each_detection_gets_one_track_even_where_greed_would_not():
    identity = started(found(0, 0, width=20), found(8, 0, width=20))
    seen = {1: region(0, 0, 20), 2: region(8, 0, 20)}
    assert identity.observe(1, seen) == (1, 2)
    # Detection 0 is nearest to track 2, but only it can be matched to track 1.
    outcome = identity.keyframe(1, seen, [found(5, 0, width=20), found(12, 0, width=20)])
    assert outcome.matched == ((0, 1), (1, 2))
    assert outcome.born == ()


def test_a_second_detection_of_a_tracked_object_is_no_new_object():
    identity = started(found(0, 0))
    seen = {1: region(0, 0)}
    identity.observe(1, seen)
    outcome = identity.keyframe(1, seen, [found(0, 0), found(1, 1, score=0.8)])
    assert (outcome.matched, outcome.born) == (((0, 1),), ())


def test_a_flickering_class_keeps_the_id_and_the_vote_decides():
    identity = started(found(0, 0, class_id=3, score=0.6))
    for position, (class_id, score) in enumerate([(5, 0.5), (5, 0.4), (3, 0.1)], start=1):
        seen = {1: region(0, 0)}
        identity.observe(position, seen)
        identity.keyframe(position, seen, [found(0, 0, class_id=class_id, score=score)])
    track = identity.tracks[1]
    assert track.votes == ((3, pytest.approx(0.7)), (5, 0.9))
    assert track.class_id == 5
    assert track.score == pytest.approx(0.4)
    assert (track.first, track.last) == (0, 3)


def test_another_class_that_overlaps_little_is_another_object():
    identity = started(found(0, 0, class_id=1))
    seen = {1: region(0, 0)}
    identity.observe(1, seen)
    outcome = identity.keyframe(1, seen, [found(3, 0, class_id=2), found(0, 0, class_id=1)])
    assert outcome.matched == ((1, 1),)
    assert outcome.born == ((0, 2),)


def test_two_tracks_on_one_object_the_younger_yields():
    # The second was born on a part of the object that the first one's mask missed.
    identity = started(found(0, 0, width=30))
    seen = {1: region(0, 0, 14)}
    identity.observe(1, seen)
    assert identity.keyframe(1, seen, [found(8, 0, 1, width=22)]).born == ((0, 2),)
    both = {1: region(0, 0, 30), 2: region(0, 0, 29)}
    assert identity.observe(2, both) == (1,)
    outcome = identity.keyframe(2, {1: both[1]}, [found(0, 0, width=30)])
    assert outcome.ended == (2,)
    assert list(identity.tracks) == [1]


def test_a_track_that_jumps_on_another_object_yields_even_if_it_is_older():
    identity = started(found(0, 0), found(50, 50))
    apart = {1: region(0, 0), 2: region(50, 50)}
    assert identity.observe(1, apart) == (1, 2)
    assert identity.observe(2, {2: region(51, 50)}) == (2,)
    jumped = {1: region(52, 50), 2: region(52, 50)}
    assert identity.observe(3, jumped) == (2,)
    assert identity.observe(4, jumped) == (2,)
    # Its own object is found again: it is not ended, and takes its id.
    outcome = identity.keyframe(4, {2: region(52, 50)}, [found(52, 50), found(3, 0)])
    assert outcome.ended == ()
    assert (outcome.matched, outcome.revived) == (((0, 2),), ((1, 1),))


def test_tracks_that_fall_on_one_object_after_one_key_frame_are_not_ended():
    identity = started(found(0, 0), found(30, 30))
    assert identity.observe(1, {1: region(0, 0), 2: region(0, 0)}) == (1,)
    outcome = identity.keyframe(1, {1: region(0, 0)}, [found(0, 0), found(32, 30)])
    assert (outcome.matched, outcome.revived) == (((0, 1),), ((1, 2),))


def test_weak_detections_wait_for_the_next_key_frame():
    identity = started(found(0, 0, score=0.3), found(50, 50, score=0.3))
    assert identity.is_tentative(1)
    assert identity.is_tentative(2)
    seen = {1: region(0, 0), 2: region(50, 50)}
    identity.observe(1, seen)
    outcome = identity.keyframe(1, seen, [found(0, 0, score=0.2)])
    assert outcome.dropped == (2,)
    assert not identity.is_tentative(1)
    identity.observe(2, {1: region(0, 0)})
    assert identity.keyframe(2, {1: region(0, 0)}, [found(80, 80)]).born == ((0, 3),)


@pytest.mark.parametrize(
    ("one", "known"),
    [
        (found(30, 30), True),
        (found(30, 30, class_id=4), False),
        (found(30, 30, colours=BLUE), False),
        (found(85, 85), False),
        (found(30, 30, width=40), False),
    ],
)
def test_who_was_gone_is_known_by_class_looks_size_and_place(one, known):
    identity = started(found(10, 10))
    for position in range(1, 31):
        identity.observe(position, {})
    assert identity.tracks[1].status == "dormant"
    outcome = identity.keyframe(30, {}, [one])
    assert outcome.revived == (((0, 1),) if known else ())
    assert outcome.born == (() if known else ((0, 2),))


def test_a_track_that_lost_its_object_between_key_frames_gets_it_back():
    identity = started(found(10, 10), found(60, 60))
    drifted = {1: region(30, 30), 2: region(60, 60)}
    identity.observe(1, drifted)
    outcome = identity.keyframe(1, drifted, [found(14, 10), found(60, 60)])
    assert (outcome.matched, outcome.revived, outcome.born) == (((1, 2),), ((0, 1),), ())
    identity.observe(2, drifted)
    far = identity.keyframe(2, drifted, [found(85, 10), found(60, 60)])
    assert (far.revived, far.born) == ((), ((0, 3),))


def test_the_tracker_may_bring_a_dormant_track_back():
    identity = started(found(10, 10))
    for position in range(1, 20):
        identity.observe(position, {})
    assert identity.observe(20, {1: region(40, 40)}) == (1,)
    track = identity.tracks[1]
    assert (track.status, track.since, track.last) == ("live", 20, 20)


def test_who_is_gone_for_long_is_no_longer_looked_for_but_not_forgotten():
    identity = started(found(10, 10))
    for position in range(1, 61):
        identity.observe(position, {})
    assert identity.park(59) == ()
    assert identity.park(60) == (1,)
    assert identity.park(61) == ()
    assert identity.keyframe(200, {}, [found(12, 12)]).revived == ((0, 1),)
    assert not identity.tracks[1].parked


def test_dormant_tracks_are_limited_and_those_gone_longest_end():
    settings = IdentitySettings(dormant_limit=2, park_after=5)
    identity = started(*(found(20 * i, 0) for i in range(4)), settings=settings)
    identity.observe(1, {1: region(0, 0), 3: region(40, 0)})
    for position in range(2, 12):
        identity.observe(position, {})
    assert identity.park(11) == (1, 2, 3, 4)
    assert sorted(identity.tracks) == [1, 3]


def test_an_id_is_never_used_again():
    identity = started(found(0, 0), found(50, 50))
    assert [track.id for track in identity.end_all()] == [1, 2]
    identity.observe(1, {})
    assert identity.keyframe(1, {}, [found(0, 0)]).born == ((0, 3),)


def test_a_restored_identity_decides_the_same():
    identity = started(found(0, 0), found(50, 50), found(20, 70, score=0.2))
    seen = {1: region(1, 0), 2: region(50, 51), 3: region(20, 70)}
    identity.observe(1, seen)
    other = Identity(IdentitySettings(), 141.0)
    other.load(json.loads(json.dumps(identity.state())))
    assert other.tracks == identity.tracks
    detections = [found(1, 0), found(52, 51)]
    for one in (identity, other):
        one.observe(2, seen)
    assert identity.keyframe(2, seen, detections) == other.keyframe(2, seen, detections)
    assert identity.state() == other.state()


def test_regions_measure_pixels():
    a, b = region(0, 0), region(5, 5)
    assert (a.area, a.box, a.centre) == (100, (0, 0, 10, 10), (5.0, 5.0))
    assert intersection(a, b) == 25
    assert iou(a, b) == 25 / 175
    assert share(a, region(0, 0, 5, 5)) == 1.0
    assert intersection(a, region(10, 0)) == 0
    assert Region.of(np.zeros((4, 4), bool)) is None


def test_looks_are_shares_of_colours():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:5] = (255, 0, 0)
    seen = look(image, region(0, 0))
    assert (seen[0], seen[48]) == (0.5, 0.5)
    assert likeness(seen, seen) == 1.0
    assert likeness(seen, RED) == 0.5


def test_points_lie_deep_in_the_mask_and_apart():
    mask = np.zeros((40, 60), bool)
    mask[10:31, 5:56] = True
    points = points_in(mask, 3)
    assert len(set(points)) == 3
    assert all(mask[int(y), int(x)] for x, y in points)
    assert points[0][1] == 20.0
    assert abs(points[1][0] - points[0][0]) > 20
    assert points_in(mask, 3) == points
    one = np.zeros((5, 5), bool)
    one[2, 3] = True
    assert points_in(one, 4) == ((3.0, 2.0),)
    assert points_in(np.zeros((5, 5), bool), 2) == ()


def test_of_two_tracks_on_one_object_the_one_that_jumped_there_yields_at_once():
    identity = started(found(0, 0), found(60, 60))
    jumped = {1: region(60, 60), 2: region(61, 60)}
    assert identity.observe(1, jumped) == (2,)


def test_a_track_that_jumped_does_not_take_the_detection_of_another_class():
    identity = started(found(0, 0, class_id=1), found(60, 60, class_id=2))
    # Track 2 is lost, and track 1 sits where it was: the classes tell who is who.
    seen = {1: region(60, 60)}
    identity.observe(1, seen)
    outcome = identity.keyframe(1, seen, [found(60, 60, class_id=2), found(1, 0, class_id=1)])
    assert outcome.matched == ()
    assert outcome.revived == ((0, 2), (1, 1))
    assert outcome.born == ()


def test_who_comes_out_from_behind_something_is_known_by_a_part():
    identity = started(found(10, 10))
    for position in range(1, 31):
        identity.observe(position, {})
    part = Found(0, 0.9, region(14, 10, 3), RED)
    assert identity.keyframe(30, {}, [part]).revived == ((0, 1),)


def test_a_track_without_its_colours_is_on_something_else_unless_the_light_changed():
    identity = started(found(0, 0), found(30, 30), found(60, 60))
    mixed = (0.4,) + (0.0,) * 62 + (0.6,)
    assert identity.strangers({1: RED, 2: BLUE, 3: mixed}) == [2]
    assert identity.strangers({1: BLUE}) == [1]
    assert identity.strangers({1: BLUE, 2: BLUE, 3: RED}) == []
    two = started(found(0, 0), found(30, 30, colours=BLUE))
    assert two.strangers({1: BLUE, 2: RED}) == [1, 2]


def test_of_two_alike_under_one_track_the_other_gets_its_own_back():
    # Two of a class pass each other: 2 is lost, and what 1 is followed to lies on both.
    identity = started(found(0, 0), found(30, 0))
    identity.observe(1, {1: region(12, 0, width=17)})
    both = {1: region(12, 0, width=17)}
    outcome = identity.keyframe(1, both, [found(12, 0), found(21, 0)])
    assert outcome.matched == ((0, 1),)
    assert outcome.revived == ((1, 2),)
    # Where nobody is missing, it is no new object either.
    alone = started(found(0, 0))
    alone.observe(1, both)
    outcome = alone.keyframe(1, both, [found(12, 0), found(21, 0)])
    assert (outcome.matched, outcome.revived, outcome.born) == (((0, 1),), (), ())


def test_a_detection_within_another_must_be_found_again():
    # Half of an object detected as something else would be a second label on it for good.
    identity = started(found(0, 0, width=20), found(2, 0, class_id=5, width=6))
    assert not identity.is_tentative(1)
    assert identity.is_tentative(2)
    seen = {1: region(0, 0, 20), 2: region(2, 0, 6)}
    identity.observe(1, seen)
    assert identity.keyframe(1, seen, [found(0, 0, width=20)]).dropped == (2,)
    beside = started(found(0, 0, width=20), found(20, 0, class_id=5, width=6))
    assert not beside.is_tentative(2)


def test_who_was_cut_off_by_the_pictures_edge_is_known_whatever_its_size():
    # Else a new id each time an object leaves and comes back in part.
    whole, sliver = found(0, 10, width=40), found(0, 10, width=3)
    left = started(replace(sliver, cut=True))
    assert left.keyframe(30, {}, [whole]).revived == ((0, 1),)
    back = started(whole)
    assert back.keyframe(30, {}, [replace(sliver, cut=True)]).revived == ((0, 1),)
    assert started(whole).keyframe(30, {}, [sliver]).revived == ()


def test_a_sliver_at_the_edge_does_not_tell_what_an_object_looks_like():
    identity = started(found(0, 0, width=30))
    seen = {1: region(0, 0, 4)}
    identity.observe(1, seen)
    identity.keyframe(1, seen, [replace(found(0, 0, width=4, colours=BLUE), cut=True)])
    assert identity.tracks[1].look == RED
    identity.keyframe(2, seen, [found(0, 0, width=4, colours=BLUE)])
    assert identity.tracks[1].look == BLUE


def test_only_a_part_and_its_whole_may_have_pixels_in_common():
    nested = started(found(0, 0, width=30), found(5, 0, class_id=5))
    assert nested.may_overlap(1, 2)
    assert not started(found(0, 0, width=30), found(5, 0)).may_overlap(1, 2)
    apart = started(found(0, 0), found(50, 0, class_id=5))
    assert not apart.may_overlap(2, 1)


def test_regions_move_and_know_the_edge():
    one = region(5, 90)
    assert one.moved(-7, 3).box == (-2, 93, 8, 103)
    assert one.reaches_edge(100, 100)
    assert not one.reaches_edge(101, 101)
    assert np.array_equal(Region.of(one.mask(100, 100)).crop, one.crop)
