"""Generated clips of every kind of event: with true detections nobody's id is lost or shared."""

import pytest

from autolabel.track.video import TrackSettings
from benchmarks.event_clips import EVENTS
from benchmarks.identity import Models, compared
from benchmarks.stand_ins import SloppyTracker, TrueTracker


@pytest.mark.parametrize("event", ["enter", "leave", "twins", "hide", "return"])
def test_with_a_true_tracker_every_object_has_one_id_from_first_to_last(event):
    scenes = list(EVENTS[event](5))
    labels = Models(None, TrueTracker).label(scenes, TrackSettings())
    score, shared = compared(event, scenes, labels)
    assert (score.tracks, shared) == (score.truth_tracks, 0)
    assert score.links.switches == 0
    assert score.links.idf1 > 0.99


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
