"""Cuts are found; what only looks like one is not."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from autolabel.track.cues import Cue, SceneCues

H, W = 180, 320


def scene(seed: int, width: int = W, sharpness: float = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=(H, width, 3)), (sharpness, sharpness, 0))
    picture = 128 + 45 * noise / noise.std()
    for _ in range(8):
        x, y = rng.integers(0, width - 40), rng.integers(0, H - 40)
        picture[y : y + 40, x : x + 40] = rng.integers(0, 256, 3)
    return np.clip(picture, 0, 255).astype(np.uint8)


def cues(frames) -> list[Cue]:
    watcher = SceneCues()
    return [watcher.see(frame) for frame in frames]


@pytest.mark.parametrize("seed", range(10))
def test_a_cut_is_found_at_its_frame_and_nowhere_else(seed):
    a, b = scene(seed), scene(seed + 100)
    found = cues([a, a, a, b, b, a])
    assert [i for i, cue in enumerate(found) if cue is Cue.CUT] == [3, 5]


@pytest.mark.parametrize("seed", range(5))
def test_a_flash_is_a_change_and_not_a_cut(seed):
    a = scene(seed)
    bright = np.clip(a.astype(int) + 90, 0, 255).astype(np.uint8)
    white = np.full_like(a, 255)
    found = cues([a, bright, a, white, a])
    assert Cue.CUT not in found
    assert found[1] is Cue.CHANGE
    assert found[3] is Cue.CHANGE


@pytest.mark.parametrize("seed", range(5))
def test_a_fade_to_black_and_back_is_no_cut_but_black_hides_none(seed):
    a, b = scene(seed), scene(seed + 100)
    levels = [1, 0.8, 0.6, 0.4, 0.2, 0.05, 0, 0]
    out = [(a * level).astype(np.uint8) for level in levels]
    back = [(a * level).astype(np.uint8) for level in levels[::-1]]
    other = [(b * level).astype(np.uint8) for level in levels[::-1]]
    assert Cue.CUT not in cues(out + back)
    assert cues(out + other).count(Cue.CUT) == 1


@pytest.mark.parametrize("step", [4, 16, 48])
@pytest.mark.parametrize("seed", range(4))
def test_a_pan_is_no_cut_even_when_fast(seed, step):
    world = scene(seed, W + 10 * step)
    assert Cue.CUT not in cues([world[:, i * step : i * step + W] for i in range(10)])


@pytest.mark.parametrize("seed", range(4))
def test_a_large_object_passing_is_no_cut(seed):
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 256, 3)
    frames = []
    for i in range(12):
        frame = scene(seed)
        frame[40:160, i * 20 : i * 20 + 100] = colour
        frames.append(frame)
    assert Cue.CUT not in cues(frames)


def test_objects_that_pop_up_on_an_even_ground_are_no_cut():
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(12):
        frame = np.full((H, W, 3), 90, np.uint8)
        for x, y in rng.integers(0, 120, (3, 2)):
            frame[y : y + 60, x : x + 60] = rng.integers(0, 256, 3)
        frames.append(frame)
    assert Cue.CUT not in cues(frames)


def test_a_dissolve_has_no_hard_cut():
    a, b = scene(1).astype(float), scene(2).astype(float)
    frames = [(a * (1 - t) + b * t).astype(np.uint8) for t in np.linspace(0, 1, 24)]
    assert Cue.CUT not in cues(frames)


def test_noise_and_tiny_frames_do_no_harm():
    rng = np.random.default_rng(0)
    a = scene(3)
    noisy = [np.clip(a + rng.normal(0, 12, a.shape), 0, 255).astype(np.uint8) for _ in range(6)]
    assert set(cues(noisy)) == {Cue.SAME}
    tiny = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    assert cues([tiny, tiny]) == [Cue.SAME, Cue.SAME]
    assert cues([tiny[:1, :1]] * 2) == [Cue.SAME, Cue.SAME]


def test_a_restored_watcher_says_the_same():
    frames = [scene(1), scene(1), scene(2), scene(2)]
    whole = cues(frames)
    first = SceneCues()
    said = [first.see(frame) for frame in frames[:2]]
    second = SceneCues()
    second.load(first.state())
    assert said + [second.see(frame) for frame in frames[2:]] == whole
