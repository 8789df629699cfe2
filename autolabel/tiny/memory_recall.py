"""Teaches the memory to find an object again: after a long time, and after mistakes.

What loses a track is not one frame: it is a wrong mask that is remembered, and read, and
remembered again. So the memory learns from samples of three kinds: only the prompted frame is
remembered, which may be anywhere in the clip; the frames just before are remembered too; and they
are remembered *wrong*. What it should say is always the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from autolabel.tiny.memory_reading import Memory, read, remember
from autolabel.tiny.segmenter_data import Prompts
from autolabel.tiny.segmenter_heads import decode
from autolabel.tiny.tracker_data import Reunion, Seen

NOW = 30
"""The index of the frame that is read; any would do, if those before it fit."""
SPOILT = 0.6
"""The share of objects whose last memories are wrong, where there are any."""
MISTAKES = ("lost", "on the neighbour", "on both", "half", "moved", "grown")


@dataclass(frozen=True)
class Told:
    """What was said of the frame that was read.

    Attributes:
        said: features after the memory attention, (N, C, h, w).
        masks: the decoder's logits, (N, 1, h, w), with its guess of the IoU (N, 1) and of the
            presence (N, 1).
        spoilt: whose memories were wrong, bool (N,).
    """

    said: Tensor
    masks: tuple[Tensor, Tensor, Tensor]
    spoilt: Tensor


def recall(model: SAM2Base, sample: Reunion, rng: np.random.Generator, *, only_first: bool) -> Told:
    """Has ``model`` read the last frame of ``sample``.

    Args:
        model: in eval mode: only there does sam2 1.1.0 give object scores.
        sample: the frames.
        rng: draws the mistakes.
        only_first: whether nothing but the prompted frame is remembered.
    """
    count = len(sample.now.masks)
    spoilt = torch.zeros(count, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = remember(model, sample.first) | {"obj_ptr": _pointer(model, sample.first)}
        memory: Memory = {"cond_frame_outputs": {0: first}, "non_cond_frame_outputs": {}}
        if not only_first:
            spoilt = torch.from_numpy(rng.random(count) < SPOILT)
            for index, frame in enumerate(_mistaken(sample.before, spoilt, rng)):
                place = NOW - len(sample.before) + index
                memory["non_cond_frame_outputs"][place] = remember(model, frame)
        model.use_obj_ptrs_in_encoder = bool(rng.random() < 0.8)
        said = read(model, sample.now, memory, NOW)
        model.use_obj_ptrs_in_encoder = True
    nothing = Prompts(torch.zeros(count, 1, 2), -torch.ones(count, 1, dtype=torch.int32))
    features = [*sample.now.features[:2], said.float()]
    drawn = decode(model, features, torch.arange(count), nothing)
    return Told(said, (drawn.masks[:, :1], drawn.iou[:, :1], drawn.presence), spoilt)


def _pointer(model: SAM2Base, seen: Seen) -> Tensor:
    """The objects' pointers (N, C) from their masks; only their projection learns."""
    caught: list[Tensor] = []
    hook = model.obj_ptr_proj.register_forward_pre_hook(
        lambda module, given: caught.append(given[0])
    )
    with torch.no_grad():
        embedding = seen.features[2] + model.no_mem_embed.permute(0, 2, 1)[..., None]
        model._use_mask_as_output(embedding, list(seen.features[:2]), seen.masks[:, None].float())
    hook.remove()
    pointer: Tensor = model.obj_ptr_proj(caught[0])
    return pointer


def _mistaken(frames: list[Seen], spoilt: Tensor, rng: np.random.Generator) -> list[Seen]:
    """The frames, the last of them (one to all) with the wrong masks for the spoilt objects."""
    kinds = [str(rng.choice(MISTAKES)) for _ in spoilt]
    lengths = rng.integers(1, len(frames) + 1, len(spoilt))
    result = []
    for index, frame in enumerate(frames):
        masks = frame.masks.clone()
        for k, kind in enumerate(kinds):
            if spoilt[k] and index >= len(frames) - lengths[k]:
                masks[k] = _mistake(kind, frame.masks[k], frame.masks[k ^ 1], rng)
        result.append(replace(frame, masks=masks))
    return result


def _mistake(kind: str, mask: Tensor, neighbour: Tensor, rng: np.random.Generator) -> Tensor:
    """A wrong mask (S, S) for an object."""
    if kind == "lost":
        return torch.zeros_like(mask)
    if kind == "on the neighbour":
        return neighbour
    if kind == "on both":
        return mask | neighbour
    if kind == "half" and mask.any():
        rows, columns = torch.where(mask)
        kept = mask.clone()
        if rng.random() < 0.5:
            kept[:, : int(columns.float().median())] = False
        else:
            kept[: int(rows.float().median())] = False
        return kept
    if kind == "moved":
        return torch.roll(mask, tuple(int(v) for v in rng.integers(-14, 15, 2)), dims=(0, 1))
    if kind == "grown":
        width, sign = int(rng.integers(3, 8)), 1.0 if rng.random() < 0.6 else -1.0
        plane = sign * mask.float()[None, None]
        return sign * F.max_pool2d(plane, 2 * width + 1, stride=1, padding=width)[0, 0] > 0.5
    return mask


def figures_of(told: Told, ious: Tensor, there: Tensor, *, only_first: bool) -> dict[str, Any]:
    """Means of a step for the curve: J by what was remembered, and absence that was seen."""
    if only_first:
        kinds = {"j first only": there}
    else:
        kinds = {"j true": there & ~told.spoilt, "j spoilt": there & told.spoilt}
    figures = {name: float(ious[which].mean()) for name, which in kinds.items() if which.any()}
    if (~there).any():
        figures["said gone"] = float((told.masks[2][~there, 0] <= 0).float().mean())
    return figures
