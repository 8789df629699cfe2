"""What the tracker is shown of a detection."""

import numpy as np
import pytest

from autolabel import masks as rle
from autolabel.track.detections import Detections
from autolabel.track.regions import Region, look
from autolabel.track.values import Prompt
from autolabel.types import Instance

IMAGE = np.zeros((40, 60, 3), np.uint8)
BOTH = np.zeros((40, 60), bool)
BOTH[10:20, 10:50] = True
OWN = np.zeros((40, 60), bool)
OWN[10:20, 10:30] = True


def instance(mask) -> Instance:
    box = (10.0, 10.0, 50.0, 20.0)
    return Instance(0, box, box, None if mask is None else rle.encode(mask), 0.9, 0.9)


@pytest.mark.parametrize("mask", [BOTH, None])
def test_a_detection_of_two_objects_shows_the_tracker_only_its_own(mask):
    # Else the tracker would follow both objects under one id, whichever way it is prompted.
    detections = Detections.of(IMAGE, [instance(mask)])
    assert detections.prompt(0, "box", 3) == Prompt(box=(10.0, 10.0, 50.0, 20.0))
    region = Region.of(OWN)
    assert region is not None
    detections.cut({0: region})
    assert detections.prompt(0, "box", 3) == Prompt(box=(10.0, 10.0, 30.0, 20.0))
    assert np.array_equal(detections.masks[0], OWN)
    shown = detections.prompt(0, "mask", 3)
    if mask is None:
        assert shown == Prompt(box=(10.0, 10.0, 30.0, 20.0))
    else:
        assert np.array_equal(shown.mask, OWN)
        points = detections.prompt(0, "point", 3)
        assert points.labels == (1, 1, 1)
        assert all(10 <= x < 30 and 10 <= y < 20 for x, y in points.points)


def test_what_has_no_pixels_is_no_detection():
    empty = instance(np.zeros((40, 60), bool))
    assert Detections.of(IMAGE, [empty]).instances == []


def test_the_pictures_edge_cuts_an_object_off():
    corner = np.zeros((40, 60), bool)
    corner[30:40, 5:20] = True
    found = Detections.of(IMAGE, [instance(BOTH), instance(corner)]).found
    assert [one.cut for one in found] == [False, True]


def test_colours_are_taken_of_the_pixels_that_a_detection_has_for_itself():
    # A blue thing comes out from behind a red one: its mask has some red in it. If that told what
    # it looks like, it would not be taken for the blue one that went in, and get another id.
    image = IMAGE.copy()
    image[:, :30] = (200, 0, 0)
    image[:, 30:] = (0, 0, 200)
    red, blue = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    red[10:30, 5:30] = True
    blue[10:30, 20:55] = True
    together = Detections.of(image, [instance(red), instance(blue)]).found[1]
    alone = blue & ~red
    region = Region.of(alone)
    assert region is not None
    assert together.look == look(image, region)
    assert together.region.area == 700
    # What lies wholly within another keeps its own colours.
    part = np.zeros((40, 60), bool)
    part[12:18, 6:12] = True
    whole = Region.of(part)
    assert whole is not None
    found = Detections.of(image, [instance(red), instance(part)]).found
    assert found[1].look == look(image, whole)
