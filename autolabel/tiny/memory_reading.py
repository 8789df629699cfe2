"""Teaches the memory what to say before it is asked to track.

The prompt encoder already turns a mask into something that, added to a picture's features, makes
the decoder draw that mask. So the memory attention learns to say, of a frame, what its features
with its *true* mask as prompt would be, having read only earlier frames with theirs. Every place
of every frame is supervised and no decoder is run: it is quick, where learning the same from masks
alone first finds what stands out and stays there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from autolabel.tiny.segmenter_config import feature_sizes
from autolabel.tiny.segmenter_data import mask_prompt
from autolabel.tiny.tracker_data import Run


def reading_loss(
    model: SAM2Base, run: Run, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """What the memory attention misses of what it should say in each frame but the first.

    Memories are made of true masks, some of them a little off. No object pointers are read.
    """
    features = [level.flatten(3).permute(0, 3, 1, 2) for level in run.features]
    position = position_of(model, run)
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    missed = []
    frames = run.masks.shape[1]
    with torch.autocast("cpu", dtype=torch.bfloat16), without_pointers(model):
        for index in range(frames):
            here = [level[index] for level in features]
            if index:
                said = read(model, index, here, position, memory)
                missed.append(share_missed(said, *wanted(model, run, index)))
            if index + 1 < frames:
                bank = "cond_frame_outputs" if index == 0 else "non_cond_frame_outputs"
                memory[bank][index] = _remember(model, here, run.masks[:, index], rng)
    loss = torch.stack(missed).mean()
    return loss, {"first": float(missed[0].detach()), "last": float(missed[-1].detach())}


def position_of(model: SAM2Base, run: Run) -> Tensor:
    """The positional encoding of the lowest level for every object, (HW, N, C)."""
    encoding: Tensor = model.image_encoder.neck.position_encoding(run.features[2][0])
    return encoding.flatten(2).permute(2, 0, 1).expand(-1, len(run.masks), -1)


def wanted(model: SAM2Base, run: Run, index: int) -> tuple[Tensor, Tensor, Tensor]:
    """What should be said of a frame, where it counts, and how much the masks change it.

    Returns:
        Features as with the true mask as prompt, (N, C, h, w); weights that give the object and
        the rest the same share, (N, 1, h, w); the mean square that a mask adds, (1,).
    """
    with torch.no_grad():
        masks = run.masks[:, index, None].float()
        prompt = model.sam_prompt_encoder
        dense = prompt.mask_downscaling(mask_prompt(masks)).float()
        empty = prompt.mask_downscaling(mask_prompt(torch.zeros_like(masks[:1]))).float()
        shift = model.no_mem_embed.permute(0, 2, 1)[..., None]
        shift = shift - prompt.no_mask_embed.weight[..., None, None]
        side = dense.shape[-1]
        inside = (F.adaptive_max_pool2d(masks, side) > 0).float()
        weights = inside / (inside.sum() + 1.0) + (1.0 - inside) / ((1.0 - inside).sum() + 1.0)
        added = ((dense - empty).pow(2).mean(1, keepdim=True) * inside).sum() / (inside.sum() + 1.0)
    return run.features[2][index] + shift + dense, 0.5 * weights, added + 0.02


def share_missed(said: Tensor, target: Tensor, weights: Tensor, added: Tensor) -> Tensor:
    """The weighted squared error over what a mask adds."""
    error = (said.float() - target).pow(2).mean(1, keepdim=True)
    return (error * weights).sum() / added


def read(
    model: SAM2Base,
    index: int,
    here: list[Tensor],
    position: Tensor,
    memory: dict[str, dict[int, Any]],
) -> Tensor:
    """The frame's features after the memory attention, (N, C, h, w)."""
    said: Tensor = model._prepare_memory_conditioned_features(
        frame_idx=index,
        is_init_cond_frame=False,
        current_vision_feats=here[-1:],
        current_vision_pos_embeds=[position],
        feat_sizes=feature_sizes(model.image_size)[-1:],
        output_dict=memory,
        num_frames=1_000_000,
    )
    return said


class without_pointers:
    """A context in which the model reads no object pointers."""

    def __init__(self, model: SAM2Base) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._model.use_obj_ptrs_in_encoder = False

    def __exit__(self, *_: object) -> None:
        self._model.use_obj_ptrs_in_encoder = True


def _remember(
    model: SAM2Base, here: list[Tensor], masks: Tensor, rng: np.random.Generator
) -> dict[str, Any]:
    """The memory of a frame with these masks (N, S, S), a few moved by some pixels."""
    logits = masks[:, None].float() * 20.0 - 10.0
    if rng.random() < 0.4:
        logits = torch.roll(logits, tuple(int(v) for v in rng.integers(-4, 5, 2)), dims=(2, 3))
    presence = masks.flatten(1).any(1, keepdim=True).float() * 20.0 - 10.0
    logits = torch.where(presence[..., None, None] > 0, logits, torch.full_like(logits, -1024.0))
    features, position = model._encode_new_memory(
        current_vision_feats=here,
        feat_sizes=feature_sizes(model.image_size),
        pred_masks_high_res=logits,
        object_score_logits=presence,
        is_mask_from_pts=False,
    )
    return {"maskmem_features": features, "maskmem_pos_enc": position}
