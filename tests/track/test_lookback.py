"""What a key frame teaches about the frames before it: lost objects are mended from both ends."""

import dataclasses

import numpy as np
import pytest

from autolabel import masks as rle
from autolabel.track.lookback import LookBack, Window
from autolabel.track.regions import Region, look
from autolabel.track.settings import DealSettings, IdentitySettings, TrackSettings
from autolabel.track.values import Prompt
from autolabel.track.video import label_video
from autolabel.track.windows import Pending, label_of
from tests.track.blocks import ColourSession, ColourTracker, Detector, draw, frames_of

SETTINGS = TrackSettings(keyframe_every=8, look_again=False)


class Slipping(ColourTracker):
    """A tracker that is right for three frames after a prompt and then drifts off."""

    def session(self) -> "SlippingSession":
        return SlippingSession(self.reach)


class SlippingSession(ColourSession):
    def __init__(self, reach):
        super().__init__(reach)
        self.age = {}

    def step(self, frame):
        told = super().step(frame)
        self.age = {i: self.age.get(i, 0) + 1 for i in told.ids}
        masks = [
            np.roll(m, 9 if self.age[i] > 3 else 0, 0)
            for i, m in zip(told.ids, told.masks, strict=True)
        ]
        return dataclasses.replace(told, masks=np.stack(masks) if masks else told.masks)

    def add(self, ids, prompts):
        self.age |= dict.fromkeys(ids, 0)
        return super().add(ids, prompts)


def clip():
    return [draw([(0, 10 + i, 20)]) for i in range(17)]


def overlaps(settings) -> list[float]:
    """IoU of the label with the block in each frame."""
    windows = label_video(frames_of(clip()), Detector(), Slipping(), settings)
    found = {}
    for window in windows:
        for index, labels in window.frames:
            truth = Detector()(clip()[index])[0].mask
            (label,) = labels
            found[index] = float(rle.iou([truth], [label.mask])[0, 0])
    return [round(found[i], 2) for i in range(17)]


def test_an_object_lost_on_the_way_is_mended_from_the_next_key_frame():
    # Strangers are told by colour; here the drift has to be seen by its place alone.
    blind = IdentitySettings(stranger_look=0.0)
    mended = dataclasses.replace(SETTINGS, identity=blind)
    as_before = dataclasses.replace(mended, mend_below=0.0)
    assert overlaps(as_before)[:9] == [1, 1, 1, 1, 0.14, 0.14, 0.14, 0.14, 1]
    assert overlaps(mended)[:9] == [1, 1, 1, 1, pytest.approx(0.14), 1, 1, 1, 1]


def test_what_has_not_the_colours_of_its_object_is_no_label():
    windows = label_video(frames_of(clip()), Detector(), Slipping(), SETTINGS)
    frames = {index: labels for window in windows for index, labels in window.frames}
    for index in range(9):
        for label in frames[index]:
            truth = Detector()(clip()[index])[0].mask
            assert rle.iou([truth], [label.mask])[0, 0] > 0.9


def test_a_lost_object_brings_the_next_key_frame_forward():
    detector = Detector()
    settings = dataclasses.replace(SETTINGS, look_again=True)
    windows = list(label_video(frames_of(clip()), detector, Slipping(), settings))
    frames = {index: labels for window in windows for index, labels in window.frames}
    assert [len(frames[i]) for i in range(17)] == [1] * 17
    assert detector.calls == 5  # frames 0, 4, 8, 12 and 16; without it 0, 8 and 16
    without = Detector()
    list(label_video(frames_of(clip()), without, Slipping(), SETTINGS))
    assert without.calls == 3


def test_a_newcomer_is_not_carried_back_on_the_object_it_came_out_from_behind_of():
    # Where it appears its mask is on both, so that being on the other is no news. Without the
    # ends of the window its id would lie on the other in every frame before.
    tracker = ColourTracker()
    pictures = [draw([(0, 20, 20)]) for _ in range(4)] + [draw([(0, 20, 20), (0, 33, 20)])]
    frames = [tracker.prepare(picture) for picture in pictures]
    old, new = sorted(Detector()(pictures[-1]), key=lambda found: found.box)
    pending = Pending()
    for position in range(5):
        pending.begin(position, position)
        detection = old if position in (0, 4) else None
        pending.labels[position][1] = label_of(rle.decode(old.mask), 0.9, detection)
    both = rle.decode(old.mask) | rle.decode(new.mask)
    pending.labels[4][2] = label_of(both, 0.9, new)
    back = LookBack(
        tracker,
        pending,
        Window(0, frames[:4], frames[4]),
        DealSettings(),
        lambda a, b: False,
        overlap=0.5,
        stranger_look=0.3,
    )
    prompt = Prompt(mask=rle.decode(new.mask))
    colours = look(pictures[4], Region.of(rle.decode(new.mask)))
    back.run({2: prompt}, {2: colours}, [2])
    assert [sorted(pending.labels[i]) for i in range(5)] == [[1], [1], [1], [1], [1, 2]]
    assert back.earlier == {}
