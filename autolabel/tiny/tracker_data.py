"""What the memory trains on: short windows of clips, encoded once and drawn several times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from autolabel.tiny.scenes import Scene, make_training_clip
from autolabel.tiny.segmenter_data import normalised

CLIP_FRAMES = 60
KEPT_FRAMES = 10
GROUPS, IN_GROUP = 3, 4
CLEAR = 80
"""Visible pixels an object needs in a window's first frame to be prompted there."""


@dataclass(frozen=True)
class Window:
    """Some frames of a clip as the frozen encoder sees them, and the truth.

    Attributes:
        features: the three levels, float16 (T, C, h, w) each.
        masks: bool (K, T, S, S), all false where object k is not in the frame.
        looks: shape and colour of each object.
    """

    features: tuple[Tensor, Tensor, Tensor]
    masks: npt.NDArray[np.bool_]
    looks: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Seen:
    """A frame of each of N objects: features (N, C, h, w), masks (N, S, S)."""

    features: tuple[Tensor, Tensor, Tensor]
    masks: Tensor


@dataclass(frozen=True)
class Run:
    """N objects followed over T frames: features (T, N, C, h, w) and masks (N, T, S, S)."""

    features: tuple[Tensor, Tensor, Tensor]
    masks: Tensor

    def at(self, index: int) -> Seen:
        """One of the frames."""
        s0, s1, top = (level[index] for level in self.features)
        return Seen((s0, s1, top), self.masks[:, index])


@dataclass(frozen=True)
class Reunion:
    """N objects, each two of one clip: a frame where they are clear, and another with some before.

    Attributes:
        first: where both are clear to see; anywhere in the clip, later too.
        before: the frames that lead to ``now``, close together.
        now: where they are to be found; one may be gone.
    """

    first: Seen
    before: list[Seen]
    now: Seen


def in_a_row(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Frames 1 to 4 apart, which may run backwards."""
    step = int(rng.choice([1, 1, 2, 2, 3, 4]))
    first = int(rng.integers(0, CLIP_FRAMES - (KEPT_FRAMES - 1) * step))
    frames = first + step * np.arange(KEPT_FRAMES)
    return frames[::-1] if rng.random() < 0.5 else frames


def in_groups(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Groups of frames 1 or 2 apart, anywhere in the clip."""
    steps = [int(rng.choice([1, 1, 2])) for _ in range(GROUPS)]
    firsts = [int(rng.integers(0, CLIP_FRAMES - (IN_GROUP - 1) * step)) for step in steps]
    pairs = zip(firsts, steps, strict=True)
    return np.concatenate([first + step * np.arange(IN_GROUP) for first, step in pairs])


def make_window(
    model: SAM2Base, seed: int, choose: Callable[[np.random.Generator], npt.NDArray[np.int64]]
) -> Window:
    """A window out of a clip with two similar objects, encoded by ``model``.

    Of a few choices of frames, half of the time the one in which most objects go away is taken:
    absence is rare otherwise.
    """
    rng = np.random.default_rng((seed, 77))
    scenes = list(make_training_clip(seed, frames=CLIP_FRAMES, size=model.image_size))
    tracks = sorted({o.track_id for s in scenes for o in s.objects})
    choices = [choose(rng) for _ in range(8 if rng.random() < 0.5 else 1)]
    shown = {t: [any(o.track_id == t for o in s.objects) for s in scenes] for t in tracks}

    def losses(frames: npt.NDArray[np.int64]) -> int:
        return sum(int(s[frames[0]]) * int((~np.array(s)[frames]).sum()) for s in shown.values())

    window = [scenes[int(i)] for i in max(choices, key=losses)]
    looks = {o.track_id: (o.shape, o.colour) for s in scenes for o in s.objects}
    with torch.no_grad():
        seen = model.forward_image(normalised(np.stack([s.image for s in window])))
    s0, s1, top = (level.half() for level in seen["backbone_fpn"])
    return Window((s0, s1, top), masks_of(window, tracks), tuple(looks[t] for t in tracks))


def draw_run(
    windows: list[Window], rng: np.random.Generator, frames: int, per_window: int
) -> Run | None:
    """A run of ``per_window`` objects from each window, or None where no window has enough.

    Objects that share their shape or colour go together when they can: where a neighbour looks
    alike, following what stands out is no way to be right.
    """
    start = int(rng.integers(KEPT_FRAMES - frames + 1))
    shown = slice(start, start + frames)
    levels: list[list[Tensor]] = [[], [], []]
    masks = []
    for window in windows:
        picks = _alike(window, start, rng, per_window)
        for pick in picks:
            masks.append(torch.from_numpy(window.masks[pick, shown]))
            for level, feature in zip(levels, window.features, strict=True):
                level.append(feature[shown])
    if not masks:
        return None
    s0, s1, top = (torch.stack(level, dim=1).float() for level in levels)
    return Run((s0, s1, top), torch.stack(masks))


def draw_reunion(windows: Iterable[Window], rng: np.random.Generator, count: int) -> Reunion:
    """``count`` pairs out of windows of frames ``in_groups``, as many as a window gives from each.

    Args:
        windows: as many as are needed; an endless iterator will do.
        rng: draws the frames and the pairs.
        count: how many pairs.
    """
    found: list[tuple[Window, list[int], int, list[int]]] = []
    for window in windows:
        for _ in range(2):
            first = int(rng.integers(GROUPS * IN_GROUP))
            pair = _alike(window, first, rng, 2)
            other = (first // IN_GROUP + int(rng.integers(1, GROUPS))) % GROUPS
            group = other if rng.random() < 0.6 else int(rng.integers(GROUPS))
            frames = [group * IN_GROUP + k for k in range(IN_GROUP)]
            frames = frames[::-1] if rng.random() < 0.5 else frames
            if pair and frames[-1] != first:
                found.append((window, pair, first, frames))
        if len(found) >= count:
            break
    found = found[:count]
    several = [_seen([(w, p, frames[k]) for w, p, _, frames in found]) for k in range(IN_GROUP)]
    return Reunion(_seen([(w, p, first) for w, p, first, _ in found]), several[:-1], several[-1])


def _seen(picks: list[tuple[Window, list[int], int]]) -> Seen:
    """The objects of each pick in its frame."""
    pairs = [(window, k, frame) for window, objects, frame in picks for k in objects]
    s0, s1, top = (
        torch.stack([window.features[level][frame].float() for window, _, frame in pairs])
        for level in range(3)
    )
    masks = [torch.from_numpy(window.masks[k, frame]) for window, k, frame in pairs]
    return Seen((s0, s1, top), torch.stack(masks))


def masks_of(scenes: Sequence[Scene], tracks: Sequence[int]) -> npt.NDArray[np.bool_]:
    """The masks (K, T, S, S) of K tracks in T frames, all false where one is not in a frame."""
    empty = np.zeros(scenes[0].image.shape[:2], np.bool_)
    by_track = [{o.track_id: o.mask for o in s.objects} for s in scenes]
    return np.stack([np.stack([m.get(t, empty) for m in by_track]) for t in tracks])


def _alike(window: Window, start: int, rng: np.random.Generator, count: int) -> list[int]:
    clear = [k for k, m in enumerate(window.masks[:, start]) if m.sum() >= CLEAR]
    if len(clear) < count:
        return []
    first = clear[int(rng.integers(len(clear)))]
    others = [k for k in rng.permutation(clear) if k != first]
    shared = [
        sum(a == b for a, b in zip(window.looks[first], window.looks[k], strict=True))
        for k in others
    ]
    order = np.argsort([-s for s in shared], kind="stable") if rng.random() < 0.7 else range(99)
    return [first, *[int(others[i]) for i in list(order)[: count - 1]]]
