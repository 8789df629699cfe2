"""What the segmenter trains on: pools of generated scenes, prompts, and the losses on masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from autolabel.tiny.scenes import Scene, make_scene

T = TypeVar("T")
PromptKind = Literal["box", "loose box", "points", "box and point", "mask"]
SMALLEST = 40
"""Visible pixels below which an object is not asked for in training."""
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class Pool(Generic[T]):
    """Things made from seeds, each drawn several times on average before it is replaced.

    Making a scene costs as much as training on it: reuse keeps the core busy with training.

    Args:
        make: makes one thing from a seed.
        first_seed: the seeds used are this one and those after it.
        size: how many things are kept.
        reuse: how often a thing is drawn on average.
    """

    def __init__(self, make: Callable[[int], T], first_seed: int, size: int, reuse: int) -> None:
        self._make, self._seed, self._size, self._reuse = make, first_seed, size, reuse
        self._kept: list[T] = []

    def draw(self, rng: np.random.Generator) -> T:
        """One thing: a new one, or one drawn before."""
        full = len(self._kept) >= self._size
        if len(self._kept) > 8 and rng.random() > 1.0 / self._reuse:
            return self._kept[int(rng.integers(len(self._kept)))]
        made = self._make(self._seed)
        self._seed += 1
        if full:
            self._kept[int(rng.integers(self._size))] = made
        else:
            self._kept.append(made)
        return made


@dataclass(frozen=True)
class Batch:
    """Pictures and the objects asked for in them.

    Attributes:
        images: normalised, float32 (B, 3, S, S).
        owner: which picture each object is in, int64 (N,).
        masks: the objects' true masks, bool (N, S, S).
    """

    images: Tensor
    owner: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Prompts:
    """Prompts for N objects, as SAM 2's prompt encoder takes them.

    Attributes:
        points: x, y in pixels, float32 (N, P, 2).
        labels: 1 on the object, 0 off it, 2 and 3 a box's corners, int32 (N, P); -1 is padding.
        masks: mask logits at a quarter of the size, float32 (N, 1, S/4, S/4), or None.
    """

    points: Tensor
    labels: Tensor
    masks: Tensor | None = None


def normalised(images: npt.NDArray[np.uint8]) -> Tensor:
    """The pictures (B, H, W, 3) as SAM 2's encoder wants them, float32 (B, 3, H, W)."""
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
    return (scaled - MEAN) / STD


def training_scene(seed: int) -> Scene:
    """A scene of 256 px with an object to ask for; every third is a hard one."""
    scene = make_scene(seed, hard=seed % 3 == 0)
    while not any(o.mask.sum() >= SMALLEST for o in scene.objects):
        seed += 1_000_003
        scene = make_scene(seed, hard=False)
    return scene


def draw_batch(
    pool: Pool[Scene], rng: np.random.Generator, pictures: int, per_picture: int
) -> Batch:
    """A batch of ``pictures`` scenes with ``per_picture`` objects drawn from each."""
    images: list[npt.NDArray[np.uint8]] = []
    owner: list[int] = []
    masks: list[npt.NDArray[np.bool_]] = []
    for index in range(pictures):
        scene = pool.draw(rng)
        images.append(scene.image)
        seen = [o.mask for o in scene.objects if o.mask.sum() >= SMALLEST]
        picks = rng.permutation(len(seen))[:per_picture]
        while len(picks) < per_picture:
            picks = np.append(picks, rng.integers(len(seen)))
        masks.extend(seen[int(i)] for i in picks)
        owner.extend([index] * per_picture)
    return Batch(
        normalised(np.stack(images)), torch.tensor(owner), torch.from_numpy(np.stack(masks))
    )


def boxes_of(masks: Tensor) -> Tensor:
    """The boxes of non-empty masks (N, H, W): x1, y1, x2, y2, the last two exclusive, (N, 4)."""
    columns, rows = masks.any(dim=1).int(), masks.any(dim=2).int()
    x1, y1 = columns.argmax(dim=1), rows.argmax(dim=1)
    x2 = masks.shape[2] - columns.flip(1).argmax(dim=1)
    y2 = masks.shape[1] - rows.flip(1).argmax(dim=1)
    return torch.stack([x1, y1, x2, y2], dim=1).float()


def make_prompts(masks: Tensor, kind: PromptKind, rng: np.random.Generator) -> Prompts:
    """Prompts of one kind for the objects with these true masks (N, S, S)."""
    if kind == "points":
        return _points(masks, rng, int(rng.integers(1, 4)), int(rng.integers(0, 3)))
    if kind == "mask":
        nothing = torch.zeros(len(masks), 1, 2)
        labels = -torch.ones(len(masks), 1, dtype=torch.int32)
        return Prompts(nothing, labels, _worn_logits(masks, rng))
    boxes = boxes_of(masks)
    if kind != "box":
        boxes = loosened(boxes, rng, share=0.08)
    corners = boxes.view(-1, 2, 2)
    labels = torch.tensor([[2, 3]], dtype=torch.int32).repeat(len(masks), 1)
    if kind == "box and point":
        clicks = _points(masks, rng, 1, 0)
        corners = torch.cat([corners, clicks.points], dim=1)
        labels = torch.cat([labels, clicks.labels], dim=1)
    return Prompts(corners, labels)


def loosened(boxes: Tensor, rng: np.random.Generator, share: float) -> Tensor:
    """The boxes with every side moved by normal noise of ``share`` of the box's size."""
    sizes = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = torch.from_numpy(rng.normal(0.0, share, boxes.shape)).float().clamp(-0.2, 0.2)
    return boxes + noise * sizes


def _points(masks: Tensor, rng: np.random.Generator, inside: int, outside: int) -> Prompts:
    picks = [
        [_pixel(mask, rng) for _ in range(inside)] + [_pixel(~mask, rng) for _ in range(outside)]
        for mask in masks.numpy()
    ]
    labels = torch.tensor([[1] * inside + [0] * outside], dtype=torch.int32)
    points = torch.tensor(picks, dtype=torch.float32)
    return Prompts(points, labels.repeat(len(masks), 1))


def _pixel(mask: npt.NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float]:
    flat = np.flatnonzero(mask)
    place = int(flat[rng.integers(len(flat))]) if len(flat) else 0
    return float(place % mask.shape[1]), float(place // mask.shape[1])


def _worn_logits(masks: Tensor, rng: np.random.Generator) -> Tensor:
    """Mask prompts a little off: moved by some pixels, grown or shrunk; (N, 1, S/4, S/4)."""
    worn = []
    for mask in masks.float()[:, None]:
        moved = torch.roll(mask, tuple(int(v) for v in rng.integers(-5, 6, 2)), dims=(1, 2))
        width = int(rng.integers(-2, 3))
        if width:
            sign = 1.0 if width > 0 else -1.0
            size = 2 * abs(width) + 1
            moved = sign * F.max_pool2d(sign * moved, size, stride=1, padding=abs(width))
        worn.append(moved)
    return mask_prompt(torch.stack(worn))


def mask_prompt(masks: Tensor) -> Tensor:
    """Masks (N, 1, S, S) of 0 and 1 as prompts: logits (N, 1, S/4, S/4) from -10 to 10."""
    return F.avg_pool2d(masks, 4) * 20.0 - 10.0


def sure_of(masks: Tensor) -> tuple[Tensor, Tensor]:
    """What a model that is sure of these masks (N, S, S) says; of an empty one, that it is absent.

    Returns:
        Mask logits (N, 1, S, S), -1024 where sam2 writes that, and presence logits (N, 1).
    """
    presence = masks.flatten(1).any(1, keepdim=True).float() * 20.0 - 10.0
    logits = masks[:, None].float() * 20.0 - 10.0
    absent = presence[..., None, None] <= 0
    return logits.masked_fill(absent, -1024.0), presence


def mask_loss(logits: Tensor, truth: Tensor, entropy_share: float = 1.0) -> Tensor:
    """Balanced cross-entropy plus dice for each object, (N,).

    A plain mean over pixels collapses to background on small objects: here the object, what is
    near it, and what is far weigh the same whatever their sizes.

    Args:
        logits: (N, S, S) at any size.
        entropy_share: how much cross-entropy weighs against dice. Where the decoder is sure of a
            wrong object, cross-entropy teaches to be sure of nothing: little of it there.
        truth: bool or float (N, S, S) at any size; resampled by area to the logits' size.
    """
    target = truth.float()
    if target.shape != logits.shape:
        target = F.adaptive_avg_pool2d(target[:, None], logits.shape[-1])[:, 0]
    inside = target
    side = logits.shape[-1]
    coarse = F.adaptive_max_pool2d(target[:, None], 32)  # the ring is made small: pooling is slow
    near = F.max_pool2d(coarse, 3, stride=1, padding=1)
    near = F.interpolate(near, size=(side, side), mode="nearest")[:, 0] * (1.0 - inside)
    far = (1.0 - inside) * (1.0 - near)
    entropy = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    balanced = sum(
        share * (entropy * part).sum((1, 2)) / (part.sum((1, 2)) + 1.0)
        for share, part in ((1.0, inside), (1.0, near), (0.5, far))
    )
    chance = logits.float().sigmoid()
    overlap = 2.0 * (chance * target).sum((1, 2)) + 1.0
    dice = 1.0 - overlap / (chance.sum((1, 2)) + target.sum((1, 2)) + 1.0)
    return entropy_share * balanced + dice


def iou_of(logits: Tensor, truth: Tensor) -> Tensor:
    """The IoU of thresholded logits (..., S, S) with true masks of the same size, (...)."""
    found, real = logits > 0, truth.bool()
    both = (found & real).flatten(-2).sum(-1).float()
    either = (found | real).flatten(-2).sum(-1).float()
    return torch.where(either > 0, both / either.clamp(min=1.0), torch.ones_like(both))
