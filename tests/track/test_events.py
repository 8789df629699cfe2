"""Generated clips of every kind of event: with true detections nobody's id is lost or shared."""

from dataclasses import replace

import pytest
from scipy.ndimage import binary_dilation

from autolabel import masks as rle
from autolabel.tiny.scenes import Scene
from autolabel.track.settings import TrackSettings
from benchmarks.event_clips import EVENTS
from benchmarks.identity import Models, compared, true_labels
from benchmarks.stand_ins import SloppyTracker, TrueTracker, picture_key


@pytest.mark.parametrize("event", ["enter", "leave", "twins", "hide", "return"])
def test_with_a_true_tracker_every_object_has_one_id_from_first_to_last(event):
    scenes = list(EVENTS[event](5))
    labels = Models(None, TrueTracker).label(scenes, TrackSettings())
    score, shared = compared(event, scenes, labels)
    assert (score.tracks, shared) == (score.truth_tracks, 0)
    assert score.links.switches == 0
    assert score.links.idf1 > 0.99


def test_a_detection_that_covers_two_of_a_class_moves_neither_id():
    scenes = list(EVENTS["twins"](6))
    twins = sorted(scenes[0].objects[-2:], key=lambda thing: int(thing.mask.sum()))
    one, other = (thing.track_id for thing in twins)

    def detect(image):
        """The truth, but where the two touch one label has the pixels of both."""
        labels = true_labels(scene := by_picture[picture_key(image)])
        masks = {thing.track_id: thing.mask for thing in scene.objects}
        if one not in masks or other not in masks:
            return labels
        if not (binary_dilation(masks[one], iterations=3) & masks[other]).any():
            return labels
        torn.append(scene)
        index = [thing.track_id for thing in scene.objects].index(one)
        labels[index] = replace(labels[index], mask=rle.encode(masks[one] | masks[other]))
        return labels

    torn: list[Scene] = []
    by_picture = {picture_key(scene.image): scene for scene in scenes}
    labels = Models(detect, TrueTracker).label(scenes, TrackSettings(keyframe_every=5))
    score, shared = compared("twins", scenes, labels)
    assert torn
    assert (score.tracks, shared, score.links.switches) == (score.truth_tracks, 0, 0)


def test_key_frames_mend_what_a_tracker_that_jumps_and_drifts_got_wrong():
    scenes = list(EVENTS["cross"](5))
    found = {}
    for name, settings in (
        ("as it is", TrackSettings(mend_below=0.0, look_again=False)),
        ("mended", TrackSettings()),
    ):
        labels = Models(None, SloppyTracker).label(scenes, settings)
        found[name] = compared(name, scenes, labels)[0].links.idf1
    assert found["as it is"] < 0.7
    assert found["mended"] > 0.85
