"""A video from frames to labels: ids, windows, the way back, and going on after a kill."""

import dataclasses

import numpy as np
import pytest

from autolabel import masks as rle
from autolabel.errors import UsageError
from autolabel.track.settings import IdentitySettings, TrackSettings
from autolabel.track.video import label_video
from tests.track.blocks import (
    ColourSession,
    ColourTracker,
    Detector,
    W,
    draw,
    frames_of,
    parts,
)

EVERY = TrackSettings(keyframe_every=5)


def run(pictures, detector=None, settings=EVERY, tracker=None):
    return list(
        label_video(
            frames_of(pictures), detector or Detector(), tracker or ColourTracker(), settings
        )
    )


def paths(windows) -> dict[int, list[int]]:
    """Track id -> the frames it is in."""
    found: dict[int, list[int]] = {}
    for window in windows:
        for index, instances in window.frames:
            for one in instances:
                assert one.frame_index == index
                found.setdefault(one.track_id, []).append(index)
    return found


def at(windows, frame) -> dict:
    return {
        one.track_id: one for w in windows for i, some in w.frames if i == frame for one in some
    }


def test_every_frame_comes_out_once_in_order():
    windows = run([draw([(0, 10 + i, 10)]) for i in range(23)])
    assert [i for w in windows for i, _ in w.frames] == list(range(23))
    assert [len(w.frames) for w in windows] == [5, 5, 5, 5, 3]
    assert paths(windows) == {1: list(range(23))}


def test_labels_say_what_the_detector_said_at_key_frames_and_follow_between():
    windows = run([draw([(2, 10 + i, 10)]) for i in range(8)])
    key, between = at(windows, 5)[1], at(windows, 6)[1]
    assert key.box == (15.0, 10.0, 27.0, 22.0)
    assert (key.class_id, key.score, key.detector_box) == (2, 0.9, (15.0, 10.0, 27.0, 22.0))
    assert between.box == (16.0, 10.0, 28.0, 22.0)
    assert (between.class_id, between.score, between.detector_box) == (2, 0.9, None)
    assert rle.area(between.mask) == 144
    summary = windows[-1].tracks[0]
    assert (summary.class_id, summary.first, summary.last) == (2, 0, 7)


def test_objects_cross_and_keep_their_ids():
    windows = run([draw([(0, 5 + 4 * i, 20), (1, 80 - 4 * i, 24)]) for i in range(19)])
    assert paths(windows) == {1: list(range(19)), 2: list(range(19))}
    assert at(windows, 18)[1].class_id == 0
    assert at(windows, 18)[2].class_id == 1


def test_an_object_found_at_a_key_frame_is_carried_back_to_where_it_appears():
    blocks = [[(0, 10, 10)] + ([(1, 60 + i, 30)] if i >= 7 else []) for i in range(16)]
    windows = run([draw(b) for b in blocks])
    assert paths(windows) == {1: list(range(16)), 2: list(range(7, 16))}
    assert at(windows, 7)[2].box == (67.0, 30.0, 79.0, 42.0)
    assert [s.first for s in windows[-1].tracks] == [0, 7]


def test_without_the_way_back_it_starts_at_the_key_frame():
    blocks = [[(1, 60, 30)] if i >= 7 else [] for i in range(12)]
    settings = dataclasses.replace(EVERY, carry_back=False)
    assert paths(run([draw(b) for b in blocks], settings=settings)) == {1: [10, 11]}


def test_the_way_back_ends_where_the_object_is_another_one():
    # Two blocks of one colour, one behind the other until frame 7: the second one's past
    # lies on the first, whose labels stay as they are.
    blocks = [[(0, 20, 20), (0, 20 + max(0, i - 6) * 13, 20)] for i in range(12)]
    blocks = [b if i >= 7 else b[:1] for i, b in enumerate(blocks)]
    found = paths(run([draw(b) for b in blocks[:8] + [blocks[7]] * 4]))
    assert found[1] == list(range(12))
    assert len(found) <= 2
    assert min(found.get(2, [7])) >= 7


def test_a_missed_detection_does_not_end_a_track():
    windows = run([draw([(0, 10 + i, 10)]) for i in range(23)], Detector(blind=[(1, 0), (3, 0)]))
    assert paths(windows) == {1: list(range(23))}


def test_an_object_behind_another_takes_its_id_again():
    def blocks(i):
        hidden = [(0, 44, 20, 8), (1, 40, 16, 24)] if 4 <= i < 13 else [(0, 30 + i, 20, 8)]
        return hidden if 4 <= i < 13 else [*hidden, (1, 70, 40)]

    windows = run([draw(blocks(i)) for i in range(24)])
    found = paths(windows)
    assert found[1][:4] == [0, 1, 2, 3]
    assert found[1][-1] == 23
    assert {at(windows, 23)[i].class_id for i in at(windows, 23)} == {0, 1}
    assert at(windows, 23)[1].class_id == 0


def test_an_object_that_left_and_comes_back_elsewhere_is_known_by_its_looks():
    blocks = [
        [(0, 5 - 3 * i, 20)] if i < 6 else [(0, 40, 25)] if i >= 17 else [] for i in range(30)
    ]
    windows = run([draw(b) for b in blocks])
    assert paths(windows) == {1: [*range(6), *range(17, 30)]}


def test_another_class_is_another_object():
    blocks = [[(0, 20, 20)] if i < 6 else [(3, 20, 20)] if i >= 12 else [] for i in range(20)]
    found = paths(run([draw(b) for b in blocks]))
    assert found == {1: list(range(6)), 2: list(range(12, 20))}


def test_a_weak_detection_must_be_found_again():
    moving = [draw([(0, 10 + i, 10)]) for i in range(16)]
    weak = Detector(score=0.3)
    assert paths(run(moving, weak)) == {1: list(range(16))}
    once = Detector(score=0.3, blind=[(1, 0), (2, 0), (3, 0)])
    assert paths(run(moving, once)) == {}
    strong = Detector(score=0.6, blind=[(1, 0), (2, 0), (3, 0)])
    settings = dataclasses.replace(EVERY, identity=IdentitySettings(max_misses=0))
    assert paths(run(moving, strong, settings)) == {1: list(range(16))}


def test_what_key_frames_keep_missing_is_let_go():
    still = [draw([(0, 10, 10)]) for _ in range(30)]
    seen_once = Detector(blind=[(i, 0) for i in range(1, 9)])
    assert paths(run(still, seen_once)) == {1: list(range(15))}


def test_a_cut_ends_every_track_and_starts_new_ones():
    def scenery(seed):
        rng = np.random.default_rng(seed)
        return np.kron(rng.integers(40, 200, (6, 10, 1)), np.ones((10, 10, 3))).astype(np.uint8)

    pictures = []
    for i in range(16):
        picture = scenery(1 if i < 8 else 2)
        picture[20:32, 30:42] = (250, 10, 10)
        pictures.append(picture)
    windows = run(pictures)
    assert paths(windows) == {1: list(range(8)), 2: list(range(8, 16))}
    assert [c for w in windows for c in w.cuts] == [8]


@pytest.mark.parametrize("prompt_type", ["mask", "box", "point"])
def test_every_kind_of_prompt_seeds_all_detections(prompt_type):
    settings = dataclasses.replace(EVERY, prompt_type=prompt_type)
    blocks = [(0, 5, 5), (1, 30, 5), (2, 55, 5), (3, 80, 40), (0, 30, 40)]
    windows = run([draw(blocks)] * 7, settings=settings)
    assert paths(windows) == {i: list(range(7)) for i in (1, 2, 3, 4, 5)}


def test_boxes_without_masks_are_enough():
    class BoxesOnly(Detector):
        def __call__(self, image):
            return [dataclasses.replace(one, mask=None) for one in super().__call__(image)]

    windows = run([draw([(0, 10 + i, 10)]) for i in range(9)], BoxesOnly())
    assert paths(windows) == {1: list(range(9))}
    assert rle.area(at(windows, 8)[1].mask) == 144


def test_nothing_there_everything_leaving_one_frame_and_no_frame():
    nothing = run([draw([])] * 7)
    assert [i for w in nothing for i, _ in w.frames] == list(range(7))
    assert paths(nothing) == {}
    leaving = run([draw([(0, W - 14 + 4 * i, 10)]) for i in range(12)])
    assert paths(leaving) == {1: [0, 1, 2, 3]}
    assert paths(run([draw([(0, 10, 10)])], Detector(score=0.2))) == {1: [0]}
    assert run([]) == []


def busy(n=37):
    """Blocks that come, go, cross and hide, with a class missed now and then."""
    rng = np.random.default_rng(4)
    start = rng.integers(0, 60, (4, 2))
    speed = rng.integers(-3, 4, (4, 2))
    pictures = []
    for i in range(n):
        blocks = []
        for c in range(4):
            if not 6 * c <= i % 40 < 22 + 5 * c:
                continue
            x, y = start[c] + speed[c] * i
            blocks.append((c, int(x) % 80, int(y) % 45))
        pictures.append(draw(blocks))
    return pictures


def flat(windows):
    return [(w.frames, w.tracks, w.next_index, w.cuts) for w in windows]


@pytest.mark.parametrize("kept", [1, 2, 3, 4, 5])
def test_going_on_after_any_window_gives_the_same_windows(kept):
    def detector(image):  # no memory of its own: what it finds depends on the picture alone
        blind = [(0, int(image.sum()) % 4)]
        return Detector(score=0.4 + (int(image.sum()) % 5) / 10, blind=blind)(image)

    frames = frames_of(busy())
    whole = list(label_video(iter(frames), detector, ColourTracker(), EVERY))
    state = whole[kept - 1].state
    rest = frames[whole[kept - 1].next_index :]
    again = list(label_video(iter(rest), detector, ColourTracker(), EVERY, state))
    assert flat(again) == flat(whole[kept:])
    assert [w.state for w in again] == [w.state for w in whole[kept:]]
    skipping = list(label_video(iter(frames), detector, ColourTracker(), EVERY, state))
    assert flat(skipping) == flat(again)


def test_no_id_is_on_two_places_and_none_comes_back_as_another_class():
    windows = run(busy(80))
    classes: dict[int, set[int]] = {}
    for window in windows:
        for _, instances in window.frames:
            ids = [one.track_id for one in instances]
            assert len(ids) == len(set(ids))
            for one in instances:
                classes.setdefault(one.track_id, set()).add(one.class_id)
    assert all(len(seen) == 1 for seen in classes.values())


def test_what_cannot_be_asked_for_is_refused():
    with pytest.raises(UsageError, match="found 0"):
        TrackSettings(keyframe_every=0)
    with pytest.raises(UsageError, match="found 'blob'"):
        TrackSettings(prompt_type="blob")


class Merging(ColourTracker):
    """A tracker that can't tell neighbours of one colour apart: its masks cover them all."""

    def session(self) -> "MergingSession":
        return MergingSession(self.reach)


class MergingSession(ColourSession):
    prompted = False

    def add(self, ids, prompts):
        self.prompted = True
        told = super().add(ids, prompts)
        self.prompted = False
        return told

    def _find(self, i):
        mask = super()._find(i)
        if self.prompted:
            return mask
        x, y, colour = self.objects[i]
        for other in parts(self.image, colour):
            rows, columns = np.nonzero(other)
            if np.hypot(columns.mean() - x, rows.mean() - y) <= self.reach and mask.any():
                mask = mask | other
        return mask


def test_neighbours_alike_keep_a_label_each_although_the_tracker_merges_them():
    # Without dealing, one id covers both for the whole video and the other is hidden.
    windows = run([draw([(0, 10 + i, 20), (0, 28 + i, 20)]) for i in range(23)], tracker=Merging())
    assert paths(windows) == {1: list(range(23)), 2: list(range(23))}
    for i in range(5, 23):  # by then two key frames have told how they move
        assert [at(windows, i)[n].box for n in (1, 2)] == [
            (10 + i, 20, 22 + i, 32),
            (28 + i, 20, 40 + i, 32),
        ]


def test_a_detection_of_two_neighbours_is_cut_to_each_ones_own():
    class Together(Detector):
        def __call__(self, image):
            one, other = sorted(super().__call__(image), key=lambda found: found.box)
            if self.calls == 3:
                both = rle.encode(rle.decode(one.mask) | rle.decode(other.mask))
                return [dataclasses.replace(one, box=(*one.box[:2], *other.box[2:]), mask=both)]
            return [one, other]

    pictures = [draw([(0, 10 + i, 20), (0, 28 + i, 20)]) for i in range(16)]
    windows = run(pictures, Together(), tracker=Merging())
    assert at(windows, 9)[1].box == (19, 20, 31, 32)
    assert at(windows, 10)[1].box == (20, 20, 32, 32)
    assert paths(windows)[1] == list(range(16))
    assert {len(at(windows, i)) for i in range(11, 16)} == {2}
