"""The streaming tracker against Meta's own predictor, same weights, same prompts."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor

from autolabel.errors import InputError, UsageError, WeightsError
from autolabel.track.cores import Cores
from autolabel.track.sam2_video import Sam2Tracker
from autolabel.track.values import Prompt, Tracked
from benchmarks.small_sam2 import SAM2, SAM21, small_predictor
from tests.track.clips import block, iou, jpeg_clip

FRAMES = 20


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models():
    return {
        config: small_predictor(config, image_size=128, embed_dim=16) for config in (SAM2, SAM21)
    }


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return folder, jpeg_clip(folder, FRAMES)


PROMPTS = {
    1: Prompt(mask=block(5, 10)),
    2: Prompt(box=(60, 30, 90, 50)),
    3: Prompt(points=((30, 70),), labels=(1,)),
    7: Prompt(points=((100, 80), (85, 70), (93, 75)), labels=(1, 0, 1)),
    8: Prompt(box=(20, 40, 50, 60)),
}


def prompt_predictor(model, state, frame: int, object_id: int, prompt: Prompt) -> None:
    if prompt.mask is not None:
        model.add_new_mask(state, frame, object_id, prompt.mask)
    elif prompt.box is not None:
        model.add_new_points_or_box(state, frame, object_id, box=list(prompt.box))
    else:
        model.add_new_points_or_box(
            state, frame, object_id, points=list(prompt.points), labels=list(prompt.labels)
        )


def predicted(model: SAM2VideoPredictor, folder: Path, rounds) -> list[np.ndarray]:
    """Logits (N, H, W) of every frame.

    Args:
        rounds: (frame, object -> prompt), ascending. The predictor tracks up to a round's
            frame, is prompted there, and goes on with the frame after.
    """
    state = model.init_state(str(folder))
    found = []
    for n, (frame, given) in enumerate(rounds):
        for object_id, prompt in given.items():
            prompt_predictor(model, state, frame, object_id, prompt)
        start = frame if frame == 0 else frame + 1
        end = rounds[n + 1][0] if n + 1 < len(rounds) else FRAMES - 1
        found += [
            logits[:, 0].numpy()
            for _, _, logits in model.propagate_in_video(state, start, end - start)
        ]
    return found


def tracked(tracker: Sam2Tracker, frames, rounds) -> list[Tracked]:
    """What the tracker says on every frame, as tracked before that frame's prompts."""
    session = tracker.session()
    prompts = dict(rounds)
    found = []
    for i, frame in enumerate(frames):
        now = session.step(frame)
        if i in prompts:
            told = session.add(list(prompts[i]), list(prompts[i].values()))
            now = told if i == 0 else now
        found.append(now)
    return found


def assert_same(logits, found, least=0.999) -> None:
    for frame, (want, got) in enumerate(zip(logits, found, strict=True)):
        for i, (a, b) in enumerate(zip(want > 0, got.masks, strict=True)):
            assert iou(a, b) >= least, f"frame {frame}, object {got.ids[i]}"


@pytest.mark.parametrize("config", [SAM2, SAM21])
def test_masks_equal_the_predictors_on_every_frame(models, clip, config):
    folder, frames = clip
    want = predicted(models[config], folder, [(0, PROMPTS)])
    found = tracked(Sam2Tracker(models[config]), frames, [(0, PROMPTS)])
    assert_same(want, found)
    # The comparison means something: masks are neither empty nor full, differ and move.
    shares = np.array([now.masks.mean(axis=(1, 2)) for now in found])
    assert shares.min() > 0.01
    assert shares.max() < 0.9
    assert iou(found[1].masks[0], found[1].masks[1]) < 0.99
    assert iou(found[1].masks[0], found[-1].masks[0]) < 0.9


@pytest.mark.parametrize("config", [SAM2, SAM21])
def test_logits_equal_the_predictors_to_rounding(models, clip, config):
    # Sharper than masks: a wrong time encoding or an unbinarized prompt shows here first.
    folder, frames = clip
    model = models[config]
    state = model.init_state(str(folder))
    session = Sam2Tracker(model).session()
    session.step(frames[0])
    session.add(list(PROMPTS), list(PROMPTS.values()))
    for object_id, prompt in PROMPTS.items():
        prompt_predictor(model, state, 0, object_id, prompt)
    apart = []
    for frame, _, _ in model.propagate_in_video(state, 0, 5):
        if frame > 0:
            session.step(frames[frame])
        for i, object_id in enumerate(PROMPTS):
            kept = state["output_dict_per_obj"][i]
            kind = "cond_frame_outputs" if frame == 0 else "non_cond_frame_outputs"
            want, got = kept[kind][frame]["pred_masks"][0], session._objects[object_id].logits
            apart.append(float((want - got).abs().max() / want.std()))
    assert max(apart) < 1e-4


def test_an_object_that_joins_later_is_tracked_as_the_predictor_does(models, clip):
    folder, frames = clip
    rounds = [(0, {1: PROMPTS[1]}), (6, {2: PROMPTS[2]})]
    want = predicted(models[SAM21], folder, rounds)
    assert_same(want, tracked(Sam2Tracker(models[SAM21]), frames, rounds))


@pytest.mark.parametrize("condition", [False, True])
def test_corrections_do_what_they_do_to_the_predictor(models, clip, condition):
    folder, frames = clip
    model = models[SAM21]
    model.add_all_frames_to_correct_as_cond = condition
    rounds = [
        (0, {1: PROMPTS[1], 2: PROMPTS[2]}),
        (7, {1: Prompt(mask=block(40, 50)), 2: Prompt(points=((40, 20),), labels=(1,))}),
    ]
    want = predicted(model, folder, rounds)
    tracker = Sam2Tracker(model, corrections_condition=condition)
    assert_same(want, tracked(tracker, frames, rounds))


def test_the_cap_on_conditioning_frames_is_sam2s_own(models, clip):
    folder, frames = clip
    model = models[SAM21]
    model.add_all_frames_to_correct_as_cond = True
    rounds = [(t, {1: Prompt(mask=block(5 + 3 * t, 10 + 3 * t))}) for t in (0, 4, 8, 12)]
    try:
        model.max_cond_frames_in_attn = 2
        capped = predicted(model, folder, rounds)
    finally:
        model.max_cond_frames_in_attn = -1
    assert_same(capped, tracked(Sam2Tracker(model, max_conditioning=2), frames, rounds))
    unlimited = predicted(model, folder, rounds)
    assert_same(unlimited, tracked(Sam2Tracker(model, max_conditioning=0), frames, rounds))
    # What the cap changes, by design: something, and only after it was reached.
    differ = [not np.array_equal(a > 0, b > 0) for a, b in zip(capped, unlimited, strict=True)]
    assert differ.index(True) == 9


def test_objects_alone_and_in_company_are_the_same(models, clip):
    _, frames = clip
    many = tracked(Sam2Tracker(models[SAM21]), frames[:12], [(0, PROMPTS)])
    pairs = tracked(Sam2Tracker(models[SAM21], batch=2), frames[:12], [(0, PROMPTS)])
    for a, b in zip(many, pairs, strict=True):
        assert min(iou(x, y) for x, y in zip(a.masks, b.masks, strict=True)) >= 0.999


def test_a_restored_session_goes_on_bit_for_bit(models, clip):
    _, frames = clip
    tracker = Sam2Tracker(models[SAM21])
    session = tracker.session()
    session.step(frames[0])
    session.add([1, 2], [PROMPTS[1], PROMPTS[2]])
    for frame in frames[1:9]:
        session.step(frame)
    state = session.state()
    assert tracker.restore(state).state() == state
    other = Sam2Tracker(models[SAM21]).restore(state)
    for frame in frames[9:14]:
        a, b = session.step(frame), other.step(frame)
        assert a.ids == b.ids == (1, 2)
        assert np.array_equal(a.masks, b.masks)
        assert np.array_equal(a.scores, b.scores)


def test_with_a_batch_on_each_core_masks_stay_the_predictors(models, clip):
    folder, frames = clip
    tracker = Sam2Tracker(models[SAM21], batch=2, cores=2)
    found = tracked(tracker, frames, [(0, PROMPTS)])
    assert_same(predicted(models[SAM21], folder, [(0, PROMPTS)]), found)
    alone = tracked(Sam2Tracker(models[SAM21], batch=2, cores=1), frames, [(0, PROMPTS)])
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(found, alone, strict=True))
    ways = tracker.cores.map(lambda _: torch.get_num_threads(), range(4))
    assert ways == [1, 1, 1, 1]


def test_other_threads_keep_all_the_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    cores = Cores(2)
    said: list[int] = []
    assert cores.map(lambda x: 10 * x, [1, 2, 3]) == [10, 20, 30]
    later = threading.Thread(target=lambda: said.append(torch.get_num_threads()))
    later.start()
    later.join()
    here = torch.get_num_threads()
    torch.set_num_threads(before)
    assert (here, said) == (3, [3])


def test_memory_stops_growing_after_the_models_reach(models, clip):
    _, frames = clip
    session = Sam2Tracker(models[SAM21]).session()
    session.step(frames[0])
    session.add([1], [PROMPTS[1]])
    held = []
    for i in range(40):
        if i % 3 == 0 and i > 12:
            session.add([1], [PROMPTS[1]])
        session.step(frames[i % FRAMES])
        held.append(session.memory_bytes())
    assert max(held[30:]) <= max(held[20:30])
    # 15 frames of pointers and memories, 4 prompted ones: 64 places x 64 numbers, 256 numbers;
    # of those that are attended to, 6 and 4, 64 keys of 256 numbers in each of 2 layers.
    assert max(held) <= (15 + 4) * (64 * 64 * 2 + 256 * 4) + (6 + 4) * (2 * 64 * 256 * 4)


def test_objects_come_and_go(models, clip):
    _, frames = clip
    session = Sam2Tracker(models[SAM21]).session()
    assert session.step(frames[0]).ids == ()
    session.add([5, 2], [PROMPTS[1], PROMPTS[2]])
    assert session.step(frames[1]).ids == (5, 2)
    session.remove([5, 77])
    now = session.step(frames[2])
    assert now.ids == (2,)
    assert now.masks.shape == (1, 96, 120)


def test_no_pixel_belongs_to_two_objects_where_that_is_asked_for(models, clip):
    _, frames = clip
    found = tracked(Sam2Tracker(models[SAM21], non_overlap=True), frames[:4], [(0, PROMPTS)])
    free = tracked(Sam2Tracker(models[SAM21]), frames[:4], [(0, PROMPTS)])
    assert max(now.masks.sum(axis=0).max() for now in found) == 1
    assert free[3].masks.sum(axis=0).max() > 1
    assert np.array_equal(found[3].masks.any(axis=0), free[3].masks.any(axis=0))


def test_what_cannot_be_done_is_refused(models, clip):
    _, frames = clip
    with pytest.raises(WeightsError, match="segments pictures only"):
        Sam2Tracker(models[SAM21], has_memory=False)
    with pytest.raises(UsageError, match="from 2, found 1"):
        Sam2Tracker(models[SAM21], max_conditioning=1)
    session = Sam2Tracker(models[SAM21]).session()
    with pytest.raises(UsageError, match="call step"):
        session.add([1], [PROMPTS[1]])
    session.step(frames[0])
    with pytest.raises(UsageError, match="one id twice"):
        session.add([1, 1], [PROMPTS[1], PROMPTS[1]])
    with pytest.raises(InputError, match=r"expected \(96, 120\).*found \(50, 60\)"):
        session.step(frames[0][:50, :60])
    with pytest.raises(UsageError, match="a mask, or a box"):
        Prompt()
