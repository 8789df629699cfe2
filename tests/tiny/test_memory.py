"""What the bundled tracker's memory learns from, and the beginning that it is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from autolabel.tiny.memory_matching import CARRIED, learn_likeness, prime_matching
from autolabel.tiny.memory_reading import heard, remember
from autolabel.tiny.memory_recall import _mistake, _mistaken, recall
from autolabel.tiny.segmenter_config import load_model
from autolabel.tiny.tracker_data import Reunion, Window, draw_reunion, in_groups, make_window

SEED = 6_900_000


@pytest.fixture(scope="module")
def model() -> SAM2Base:
    torch.set_num_threads(1)
    return load_model()


@pytest.fixture(scope="module")
def windows(model: SAM2Base) -> list[Window]:
    return [make_window(model, SEED + k, in_groups) for k in range(4)]


def drawn(windows: list[Window], seed: int, pairs: int = 4) -> Reunion:
    rng = np.random.default_rng(seed)
    return draw_reunion((windows[int(rng.integers(4))] for _ in range(1000)), rng, pairs)


def test_a_reunion_is_of_pairs_that_are_clear_in_its_first_frame(windows: list[Window]) -> None:
    sample = drawn(windows, 0)
    assert sample.first.masks.shape == (8, 256, 256)
    assert [level.shape[1:] for level in sample.now.features] == [
        (32, 64, 64),
        (64, 32, 32),
        (256, 16, 16),
    ]
    assert len(sample.before) == 3
    assert sample.first.masks.flatten(1).sum(1).min() >= 80
    both = sample.first.masks[0::2] & sample.first.masks[1::2]
    assert not both.any()  # two objects, not one twice


def test_places_of_one_object_are_more_alike_than_others_are(windows: list[Window]) -> None:
    torch.manual_seed(0)
    seeds = iter(range(10_000))
    likeness = learn_likeness(lambda: drawn(windows, next(seeds), 2), steps=200)
    sample = drawn(windows, 20_000, 40)
    now, then = (likeness.of(s.features[2]).view(80, 256, -1) for s in (sample.now, sample.first))
    owned = torch.nn.functional.avg_pool2d(sample.first.masks[:, None].float(), 16).flatten(1)
    best = ((now @ then.transpose(1, 2)).softmax(2) @ owned[..., None])[..., 0].argmax(1)
    there = torch.nn.functional.max_pool2d(sample.now.masks[:, None].float(), 16).flatten(1)
    seen = there.any(1)
    assert there[seen, best[seen]].mean() >= 0.6  # a twentieth of the places is the object's


def test_a_primed_memory_carries_likeness_and_says_something_of_the_object(
    model: SAM2Base, windows: list[Window]
) -> None:
    torch.manual_seed(0)
    fresh = load_model()
    seeds = iter(range(10_000))
    rng = np.random.default_rng(0)
    prime_matching(
        fresh,
        lambda: drawn(windows, next(seeds), 2),
        lambda sample: recall(fresh, sample, rng, only_first=True),
    )
    sample = drawn(windows, 20_000, 2)
    with torch.no_grad():
        carried = remember(fresh, sample.first)["maskmem_features"][:, CARRIED]
        read = heard(
            lambda: recall(fresh, sample, rng, only_first=True),
            fresh.memory_attention.layers[0].cross_attn_image,
            channels=-1,
        )
    assert carried.std() == pytest.approx(4.0, rel=0.5)
    inside = torch.nn.functional.avg_pool2d(sample.now.masks[:, None].float(), 16).flatten() > 0.5
    loud = read.norm(dim=1)
    assert loud[inside].mean() > 1.5 * loud[~inside].mean()


@pytest.mark.parametrize(
    ("kind", "pixels"),
    [("lost", 0), ("on the neighbour", 100), ("on both", 500), ("half", 220), ("moved", 400)],
)
def test_a_mistaken_memory_has_another_mask(kind: str, pixels: int) -> None:
    mask, neighbour = (torch.zeros(64, 64, dtype=torch.bool) for _ in range(2))
    mask[20:40, 20:40], neighbour[50:60, 50:60] = True, True
    wrong = _mistake(kind, mask, neighbour, np.random.default_rng(1))
    assert int(wrong.sum()) == pixels
    assert not torch.equal(wrong, mask)
    assert int(mask.sum()) == 400


def test_mistakes_are_in_the_last_memories_of_the_spoilt_only(windows: list[Window]) -> None:
    sample = drawn(windows, 3)
    spoilt = torch.tensor([True, False] * 4)
    frames = _mistaken(sample.before, spoilt, np.random.default_rng(0))
    same = [
        (wrong.masks == right.masks).flatten(1).all(1)
        for wrong, right in zip(frames, sample.before, strict=True)
    ]
    assert all(one[1::2].all() for one in same)
    assert int((~same[-1][0::2]).sum()) >= 3
