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
) -> tuple[Tensor, dict[str, float], list[Tensor]]:
    """What the memory attention misses of what it should say in each frame but the first.

    Also gives figures, and what it says in each of these frames, (N, C, h, w).

    Memories are made of true masks, some of them a little off. No object pointers are read.
    """
    features = [level.flatten(3).permute(0, 3, 1, 2) for level in run.features]
    position = position_of(model, run)
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    missed, confused, answers = [], [], []
    frames = run.masks.shape[1]
    with torch.autocast("cpu", dtype=torch.bfloat16), without_pointers(model):
        for index in range(frames):
            here = [level[index] for level in features]
            if index:
                said = read(model, index, here, position, memory)
                target, weights, added = wanted(model, run, index)
                answers.append(said)
                missed.append(share_missed(said, target, weights, added))
                confused.append(confusion(said, target, weights, added))
            if index + 1 < frames:
                bank = "cond_frame_outputs" if index == 0 else "non_cond_frame_outputs"
                memory[bank][index] = _remember(model, here, run.masks[:, index], rng)
    plain, pairs = torch.stack(missed).mean(), torch.stack(confused).mean()
    figures = {"missed": float(plain.detach()), "confused": float(pairs.detach())}
    return plain + pairs, figures, answers


def confusion(said: Tensor, target: Tensor, weights: Tensor, added: Tensor) -> Tensor:
    """As ``share_missed``, of the differences within pairs; 1 for the same answer to both.

    The two of a pair are in the same clip: what differs is only which of them is meant, so this
    is nothing but what was read from the memory.
    """
    between = (said.float()[0::2] - said.float()[1::2]) - (target[0::2] - target[1::2])
    inside = torch.maximum(weights[0::2], weights[1::2]) > weights.median()
    error = between.pow(2).mean(1, keepdim=True) * inside
    return error.sum() / (inside.sum() + 1.0) / added


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


def prime_memory(model: SAM2Base, run: Run) -> None:
    """Sets the new memory's scales so that it has something to say from the first step.

    As sam2 initialises it, what is read from memory is hundreds of times weaker than the layer's
    own signal and is an average over all places. Here what is read begins centred and half as
    strong as the features, from the same place (equal biases make rotary attention fall with
    distance), and the last normalisation keeps the features' scale, which the decoder knows.
    """
    attention, encoder = model.memory_attention, model.memory_encoder
    reads = [layer.cross_attn_image for layer in attention.layers]
    with torch.no_grad():
        for layer in attention.layers:
            layer.linear2.weight.mul_(0.2)
            layer.self_attn.out_proj.weight.mul_(0.2)
            layer.cross_attn_image.q_proj.bias.fill_(2.5)
            layer.cross_attn_image.k_proj.bias.fill_(2.5)
        target, _, _ = wanted(model, run, 1)
        attention.norm.weight.fill_(float(target.std(dim=1).mean()))
        _centre(model, run, encoder.out_proj, channels=1, spread=1.0)
        for part in reads:
            _centre(model, run, part.out_proj, channels=-1, spread=0.5 * float(target.std()))
        said = _heard(model, run, attention.norm, channels=-1)
        attention.norm.bias.copy_(target.mean(dim=(0, 2, 3)) - said.mean(0))
        model.mask_downsample.weight.fill_(20.0 / 16)  # masks 0..1 become the logits of prompts
        model.mask_downsample.bias.fill_(-10.0)
        model.sam_mask_decoder.pred_obj_score_head.layers[2].bias.fill_(4.0)


def _centre(
    model: SAM2Base,
    run: Run,
    last: torch.nn.Linear | torch.nn.Conv2d,
    *,
    channels: int,
    spread: float,
) -> None:
    """Gives what the layer ``last`` says mean 0 in each channel and this spread in all."""
    said = _heard(model, run, last, channels)
    gain = spread / (said - said.mean(0)).pow(2).mean().sqrt()
    last.weight.mul_(gain)
    if last.bias is not None:
        last.bias.sub_(said.mean(0)).mul_(gain)


def _heard(model: SAM2Base, run: Run, part: torch.nn.Module, channels: int) -> Tensor:
    """All that ``part`` says while a run is read, (places, C)."""
    heard: list[Tensor] = []
    handle = part.register_forward_hook(lambda module, given, said: heard.append(said.float()))
    reading_loss(model, run, np.random.default_rng(0))
    handle.remove()
    return torch.cat([h.transpose(channels, -1).flatten(0, -2) for h in heard])


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
