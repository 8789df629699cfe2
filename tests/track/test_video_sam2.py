"""The labeler on the real tracker (a small SAM 2 of random weights)."""

import numpy as np
import pytest
import torch

from autolabel import masks as rle
from autolabel.track.sam2_video import Sam2Tracker
from autolabel.track.settings import IdentitySettings, TrackSettings
from autolabel.track.video import label_video
from autolabel.types import Frame, Instance
from benchmarks.small_sam2 import small_predictor
from tests.track.clips import block, jpeg_clip


@pytest.fixture(scope="module")
def tracker():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Sam2Tracker(small_predictor(image_size=128, embed_dim=16))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    pictures = jpeg_clip(tmp_path_factory.mktemp("clip"), 14)
    return [Frame(picture, i, i / 25) for i, picture in enumerate(pictures)]


def detect(image) -> list[Instance]:
    """Three blocks, whose places and scores depend on the picture alone."""
    key = int(image[0, 0].sum())
    found = []
    for class_id, (top, left) in enumerate([(5, 10), (35, 60), (65, 20)][: 2 + key % 2]):
        mask = block(top + key % 5, left + key % 7)
        box = tuple(float(v) for v in rle.tight_box(rle.encode(mask)))
        score = 0.4 + (key % 4) / 10
        found.append(Instance(class_id=class_id, box=box, mask=rle.encode(mask), score=score))
    return found


@pytest.mark.parametrize("prompt_type", ["mask", "box", "point"])
def test_a_killed_run_goes_on_to_identical_labels(tracker, clip, prompt_type):
    settings = TrackSettings(
        keyframe_every=4, prompt_type=prompt_type, identity=IdentitySettings(max_misses=1)
    )
    whole = list(label_video(iter(clip), detect, tracker, settings))
    assert [i for w in whole for i, _ in w.frames] == list(range(14))
    assert sum(len(instances) for w in whole for _, instances in w.frames) > 14
    for kept in range(1, len(whole)):
        state = whole[kept - 1].state
        again = list(label_video(iter(clip), detect, tracker, settings, state))
        assert [w.frames for w in again] == [w.frames for w in whole[kept:]]
        assert [w.tracks for w in again] == [w.tracks for w in whole[kept:]]
        assert [w.state for w in again] == [w.state for w in whole[kept:]]


def test_masks_given_are_masks_labelled_at_key_frames(tracker, clip):
    windows = list(label_video(iter(clip[:1]), detect, tracker))
    for one, given in zip(windows[0].frames[0][1], detect(clip[0].image), strict=True):
        a, b = rle.decode(one.mask), rle.decode(given.mask)
        assert np.logical_and(a, b).sum() / np.logical_or(a, b).sum() > 0.9
