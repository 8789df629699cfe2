"""The streaming tracker against Meta's own predictor, same weights, same prompts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor

from autolabel.track.sam2_video import Prompt, Sam2Tracker, Session, Tracked
from benchmarks.small_sam2 import SAM2, SAM21, balance, small_predictor
from tests.track.clips import block, iou, jpeg_clip

FRAMES = 20
BLOCKS = {1: (5, 10), 2: (30, 60), 3: (60, 15), 7: (70, 85)}


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


def prompt_of(kind: str, top: int, left: int) -> Prompt:
    if kind == "mask":
        return Prompt(mask=block(top, left))
    if kind == "box":
        return Prompt(box=(left, top, left + 30, top + 20))
    if kind == "point":
        return Prompt(points=((left + 15, top + 10),), labels=(1,))
    return Prompt(
        points=((left + 15, top + 10), (left, top), (left + 8, top + 5)), labels=(1, 0, 1)
    )


def prompt_predictor(model, state, frame: int, object_id: int, prompt: Prompt) -> None:
    if prompt.mask is not None:
        model.add_new_mask(state, frame, object_id, prompt.mask)
    elif prompt.box is not None:
        model.add_new_points_or_box(state, frame, object_id, box=list(prompt.box))
    else:
        model.add_new_points_or_box(
            state, frame, object_id, points=list(prompt.points), labels=list(prompt.labels)
        )


def predicted(model: SAM2VideoPredictor, folder: Path, prompts) -> list[np.ndarray]:
    """Logits (N, H, W) of every frame; prompts: frame -> object -> prompt."""
    state = model.init_state(str(folder))
    for frame, given in prompts.items():
        for object_id, prompt in given.items():
            prompt_predictor(model, state, frame, object_id, prompt)
    return [logits[:, 0].numpy() for _, _, logits in model.propagate_in_video(state)]


def tracked(session: Session, frames, prompts) -> list[Tracked]:
    found = []
    for i, frame in enumerate(frames):
        now = session.step(frame)
        if i in prompts:
            session.add(list(prompts[i]), list(prompts[i].values()))
            now = session.add([], []) if not session.ids else now
        found.append(now)
    return found


def assert_same(logits, found, least=0.999) -> None:
    for frame, (want, got) in enumerate(zip(logits, found, strict=True)):
        for i, (a, b) in enumerate(zip(want > 0, got.masks, strict=True)):
            assert iou(a, b) >= least, f"frame {frame}, object {got.ids[i]}"


@pytest.mark.parametrize("config", [SAM2, SAM21])
@pytest.mark.parametrize("kind", ["mask", "box", "point", "points"])
def test_masks_equal_the_predictors_on_every_frame(models, clip, config, kind):
    folder, frames = clip
    prompts = {i: prompt_of(kind, *place) for i, place in BLOCKS.items()}
    want = predicted(models[config], folder, {0: prompts})
    session = Sam2Tracker(models[config]).session()
    session.step(frames[0])
    found = [session.add(list(prompts), list(prompts.values()))]
    found += [session.step(frame) for frame in frames[1:]]
    assert_same(want, found)
    # The comparison means something: masks are neither empty nor full, and they move.
    shares = np.array([now.masks.mean(axis=(1, 2)) for now in found])
    assert shares.min() > 0.01
    assert shares.max() < 0.9
    assert not np.array_equal(found[1].masks, found[-1].masks)
