"""What the memory trains on: short windows of clips, encoded once and drawn several times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from autolabel.tiny.scenes import Scene, make_training_clip
from autolabel.tiny.segmenter_data import normalised

KEPT_FRAMES = 10
CLIP_FRAMES = 40
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
class Run:
    """N objects followed over T frames: features (T, N, C, h, w) and masks (N, T, S, S)."""

    features: tuple[Tensor, Tensor, Tensor]
    masks: Tensor


def make_window(model: SAM2Base, seed: int) -> Window:
    """A window out of a clip with two similar objects, encoded by ``model``.

    Frames are 1 to 4 apart and may run backwards. Of a few choices, half of the time the one in
    which most objects go away is taken: absence is rare otherwise.
    """
    rng = np.random.default_rng((seed, 77))
    scenes = list(make_training_clip(seed, frames=CLIP_FRAMES, size=model.image_size))
    tracks = sorted({o.track_id for s in scenes for o in s.objects})
    choices = [_frames(rng) for _ in range(8 if rng.random() < 0.5 else 1)]
    shown = {t: [any(o.track_id == t for o in s.objects) for s in scenes] for t in tracks}

    def losses(frames: npt.NDArray[np.int64]) -> int:
        return sum(int(s[frames[0]]) * int((~np.array(s)[frames]).sum()) for s in shown.values())

    window = [scenes[int(i)] for i in max(choices, key=losses)]
    looks = {o.track_id: (o.shape, o.colour) for s in scenes for o in s.objects}
    with torch.no_grad():
        seen = model.forward_image(normalised(np.stack([s.image for s in window])))
    s0, s1, top = (level.half() for level in seen["backbone_fpn"])
    return Window((s0, s1, top), _masks(window, tracks), tuple(looks[t] for t in tracks))


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


def _frames(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    step = int(rng.choice([1, 1, 2, 2, 3, 4]))
    first = int(rng.integers(0, CLIP_FRAMES - (KEPT_FRAMES - 1) * step))
    frames = first + step * np.arange(KEPT_FRAMES)
    return frames[::-1] if rng.random() < 0.5 else frames


def _masks(scenes: list[Scene], tracks: list[int]) -> npt.NDArray[np.bool_]:
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
