"""What the memory attention should say of a frame, and the memory made ready to learn it.

The prompt encoder already turns a mask into something that, added to a picture's features, makes
the decoder draw that mask. So the memory attention learns to say, of a frame, what its features
with its *true* mask as prompt would be, having read only other frames. Every place of every frame
is supervised: it is quick, where learning the same from masks alone first finds what stands out
and stays there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from autolabel.tiny.segmenter_config import feature_sizes
from autolabel.tiny.segmenter_data import mask_prompt, sure_of
from autolabel.tiny.tracker_data import Seen

Memory = dict[str, dict[int, Any]]
"""What ``SAM2Base`` calls ``output_dict``: memories of prompted and of other frames."""


def wanted(model: SAM2Base, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
    """What should be said of a frame, where it counts, and how much the masks change it.

    Returns:
        Features as with the true mask as prompt, (N, C, h, w); weights that give the object and
        the rest the same share, (N, 1, h, w); the mean square that a mask adds, (1,).
    """
    with torch.no_grad():
        masks = seen.masks[:, None].float()
        prompt = model.sam_prompt_encoder
        dense = prompt.mask_downscaling(mask_prompt(masks)).float()
        empty = prompt.mask_downscaling(mask_prompt(torch.zeros_like(masks[:1]))).float()
        side = dense.shape[-1]
        inside = (F.adaptive_max_pool2d(masks, side) > 0).float()
        weights = inside / (inside.sum() + 1.0) + (1.0 - inside) / ((1.0 - inside).sum() + 1.0)
        added = ((dense - empty).pow(2).mean(1, keepdim=True) * inside).sum() / (inside.sum() + 1.0)
    return unprompted(model, seen) + dense, 0.5 * weights, added + 0.02


def unprompted(model: SAM2Base, seen: Seen) -> Tensor:
    """The frame's features as the decoder takes them, less its word for "no mask", (N, C, h, w)."""
    shift = model.no_mem_embed.permute(0, 2, 1)[..., None]
    word = model.sam_prompt_encoder.no_mask_embed.weight[..., None, None]
    features: Tensor = seen.features[2] + shift - word
    return features


def missed(model: SAM2Base, said: Tensor, seen: Seen) -> Tensor:
    """The loss of what was said of a frame: the share missed, pairs' differences counted again."""
    asked = wanted(model, seen)
    return share_missed(said, *asked) + confusion(said, *asked)


def share_missed(said: Tensor, target: Tensor, weights: Tensor, added: Tensor) -> Tensor:
    """The weighted squared error over what a mask adds."""
    error = (said.float() - target).pow(2).mean(1, keepdim=True)
    return (error * weights).sum() / added


def confusion(said: Tensor, target: Tensor, weights: Tensor, added: Tensor) -> Tensor:
    """As ``share_missed``, of the differences within pairs; 1 for the same answer to both.

    The two of a pair are in the same clip: what differs is only which of them is meant, so this
    is nothing but what was read from the memory.
    """
    between = (said.float()[0::2] - said.float()[1::2]) - (target[0::2] - target[1::2])
    inside = torch.maximum(weights[0::2], weights[1::2]) > weights.median()
    error = between.pow(2).mean(1, keepdim=True) * inside
    return error.sum() / (inside.sum() + 1.0) / added


def position_of(model: SAM2Base, seen: Seen) -> Tensor:
    """The positional encoding of the lowest level for every object, (HW, N, C)."""
    encoding: Tensor = model.image_encoder.neck.position_encoding(seen.features[2][:1])
    return encoding.flatten(2).permute(2, 0, 1).expand(-1, len(seen.masks), -1)


def read(model: SAM2Base, seen: Seen, memory: Memory, index: int) -> Tensor:
    """The features of frame ``index`` after the memory attention, (N, C, h, w)."""
    said: Tensor = model._prepare_memory_conditioned_features(
        frame_idx=index,
        is_init_cond_frame=False,
        current_vision_feats=[seen.features[2].flatten(2).permute(2, 0, 1)],
        current_vision_pos_embeds=[position_of(model, seen)],
        feat_sizes=feature_sizes(model.image_size)[-1:],
        output_dict=memory,
        num_frames=1_000_000,
    )
    return said


def remember(model: SAM2Base, seen: Seen) -> dict[str, Any]:
    """The memory of a frame with these masks; empty ones are remembered as absent."""
    logits, presence = sure_of(seen.masks)
    features, position = model._encode_new_memory(
        current_vision_feats=[seen.features[2].flatten(2).permute(2, 0, 1)],
        feat_sizes=feature_sizes(model.image_size),
        pred_masks_high_res=logits,
        object_score_logits=presence,
        is_mask_from_pts=False,
    )
    return {"maskmem_features": features, "maskmem_pos_enc": position}


def prime_memory(model: SAM2Base, seen: Seen, read_some: Callable[[], object]) -> None:
    """Sets the new memory's scales so that it has something to say from the first step.

    As sam2 initialises it, what is read from memory is hundreds of times weaker than the layer's
    own signal and is an average over all places. Here what is read begins centred and half as
    strong as the features, from the same place (equal biases make rotary attention fall with
    distance), and the last normalisation keeps the features' scale, which the decoder knows.

    Args:
        model: the tracker, with an image model that is trained.
        seen: a frame.
        read_some: has ``model`` read some frames.
    """
    attention, encoder = model.memory_attention, model.memory_encoder
    reads = [layer.cross_attn_image for layer in attention.layers]
    with torch.no_grad():
        for layer in attention.layers:
            layer.linear2.weight.mul_(0.2)
            layer.self_attn.out_proj.weight.mul_(0.2)
            layer.cross_attn_image.q_proj.bias.fill_(2.5)
            layer.cross_attn_image.k_proj.bias.fill_(2.5)
        target, _, _ = wanted(model, seen)
        attention.norm.weight.fill_(float(target.std(dim=1).mean()))
        _centre(read_some, encoder.out_proj, channels=1, spread=1.0)
        for part in reads:
            _centre(read_some, part.out_proj, channels=-1, spread=0.5 * float(target.std()))
        said = heard(read_some, attention.norm, channels=-1)
        attention.norm.bias.copy_(target.mean(dim=(0, 2, 3)) - said.mean(0))
        model.mask_downsample.weight.fill_(20.0 / 16)  # masks 0..1 become the logits of prompts
        model.mask_downsample.bias.fill_(-10.0)
        model.sam_mask_decoder.pred_obj_score_head.layers[2].bias.fill_(4.0)


def _centre(
    read_some: Callable[[], object],
    last: torch.nn.Linear | torch.nn.Conv2d,
    *,
    channels: int,
    spread: float,
) -> None:
    """Gives what the layer ``last`` says mean 0 in each channel and this spread in all."""
    said = heard(read_some, last, channels)
    gain = spread / (said - said.mean(0)).pow(2).mean().sqrt()
    last.weight.mul_(gain)
    if last.bias is not None:
        last.bias.sub_(said.mean(0)).mul_(gain)


def heard(read_some: Callable[[], object], part: torch.nn.Module, channels: int) -> Tensor:
    """All that ``part`` says while frames are read, (places, C); its C channels lie there."""
    told: list[Tensor] = []
    handle = part.register_forward_hook(lambda module, given, said: told.append(said.float()))
    read_some()
    handle.remove()
    return torch.cat([said.transpose(channels, -1).flatten(0, -2) for said in told])
