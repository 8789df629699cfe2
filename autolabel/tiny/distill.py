"""Teaches a new prompt encoder and mask decoder what a teacher's do, layer by layer.

Each layer of the student is given what the teacher's layers before it said, and learns to say what
the teacher's layer says. No layer waits for those before it to be right, so all learn at once.
The student starts from random weights, keeps its own tokens and positional encodings, and copies
no tensor: only what the parts say is compared, never the weights.
"""

from __future__ import annotations

import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from autolabel.tiny.segmenter_data import Prompts
from autolabel.tiny.segmenter_heads import high_res

Trace = dict[str, Tensor]
"""What each part said, by the part's name; a name ending in ``+`` is what a block adds."""


def layer_losses(
    teacher: SAM2Base,
    student: SAM2Base,
    levels: list[Tensor],
    owner: Tensor,
    prompts: Prompts,
    *,
    led: bool,
) -> tuple[dict[str, Tensor], Tensor]:
    """A loss for each part of the student, and its mask logits (N, 4, S/4, S/4).

    A loss is the squared error over the variance of what the teacher says.

    Args:
        teacher: frozen.
        student: its image encoder is not used here.
        levels: the image encoder's three levels for the pictures.
        owner: the picture of each prompt, (N,).
        prompts: N prompts.
        led: each part is given what the teacher says before it; else what the student itself
            says. Led, all parts learn at once; then small errors that add up are unlearnt.
    """
    embedding = high_res(student, levels)[2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            lead = _walk(teacher, levels, embedding, owner, prompts, None)
        said = _walk(student, levels, embedding, owner, prompts, lead if led else None)
    losses = {name: _share_missed(said[name], lead[name]) for name in said}
    if prompts.masks is None:
        losses["dense"] = losses["dense"] * 0.02  # one vector for all: it has no variance
    return losses, said["masks"]


def _share_missed(said: Tensor, wanted: Tensor) -> Tensor:
    wanted = wanted.float()
    if wanted.ndim == 4 and wanted.shape[1] == 4:
        # Mask logits: far from the edge their size means nothing.
        said, wanted = said.float().clamp(-16, 16), wanted.clamp(-16, 16)
    spread = (wanted - wanted.mean()).pow(2).mean()
    return (said.float() - wanted).pow(2).mean() / (spread + 0.01)


def _walk(
    model: SAM2Base,
    levels: list[Tensor],
    embedding: Tensor,
    owner: Tensor,
    prompts: Prompts,
    lead: Trace | None,
) -> Trace:
    """What every part of the model's heads says, each given what ``lead`` says of those before.

    The same steps as ``MaskDecoder.predict_masks``; ``lead`` None lets the model lead itself.
    """
    decoder = model.sam_mask_decoder
    sparse, dense = model.sam_prompt_encoder(
        points=(prompts.points, prompts.labels), boxes=None, masks=prompts.masks
    )
    tokens = torch.cat([_output_tokens(decoder).expand(len(owner), -1, -1), sparse], dim=1)
    position = model.sam_prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
    keys = (embedding[owner] + dense).flatten(2).transpose(1, 2)
    trace: Trace = {"dense": dense}
    queries, keys = _transformer(decoder.transformer, tokens, keys, position, trace, lead)
    s0, s1 = decoder.conv_s0(levels[0])[owner], decoder.conv_s1(levels[1])[owner]
    _masks(decoder, queries, keys, s0, s1, trace)
    return trace


def _output_tokens(decoder: MaskDecoder) -> Tensor:
    own = (decoder.obj_score_token, decoder.iou_token, decoder.mask_tokens)
    return torch.cat([part.weight for part in own], dim=0)[None]


def _transformer(
    transformer: TwoWayTransformer,
    tokens: Tensor,
    keys: Tensor,
    position: Tensor,
    trace: Trace,
    lead: Trace | None,
) -> tuple[Tensor, Tensor]:
    """Runs ``TwoWayTransformer`` block by block; gives the last queries and keys to go on from."""

    def keep(name: str, added: Tensor, state: Tensor) -> Tensor:
        trace[f"{name}+"], trace[name] = added, state
        return state if lead is None else lead[name]

    queries = tokens
    for index, layer in enumerate(transformer.layers):
        if layer.skip_first_layer_pe:
            added = layer.self_attn(q=queries, k=queries, v=queries)
            queries = keep(f"{index} self", added, layer.norm1(added))
        else:
            q = queries + tokens
            added = layer.self_attn(q=q, k=q, v=queries)
            queries = keep(f"{index} self", added, layer.norm1(queries + added))
        added = layer.cross_attn_token_to_image(q=queries + tokens, k=keys + position, v=keys)
        queries = keep(f"{index} look", added, layer.norm2(queries + added))
        added = layer.mlp(queries)
        queries = keep(f"{index} think", added, layer.norm3(queries + added))
        added = layer.cross_attn_image_to_token(q=keys + position, k=queries + tokens, v=queries)
        keys = keep(f"{index} tell", added, layer.norm4(keys + added))
    added = transformer.final_attn_token_to_image(q=queries + tokens, k=keys + position, v=keys)
    queries = keep("last", added, transformer.norm_final_attn(queries + added))
    return queries, keys


def _masks(
    decoder: MaskDecoder, queries: Tensor, keys: Tensor, s0: Tensor, s1: Tensor, trace: Trace
) -> None:
    """Adds to the trace what the heads make of the transformer's last words."""
    side = int(keys.shape[1] ** 0.5)
    plane = keys.transpose(1, 2).reshape(len(keys), -1, side, side)
    up1, norm, act1, up2, act2 = decoder.output_upscaling
    fine = act2(up2(act1(norm(up1(plane) + s1))) + s0)
    words = queries[:, 2 : 2 + decoder.num_mask_tokens]
    hyper = torch.stack(
        [mlp(words[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1
    )
    trace["fine"], trace["hyper"] = fine, hyper
    trace["masks"] = (hyper @ fine.flatten(2)).view(len(keys), -1, *fine.shape[-2:])
    trace["iou"] = decoder.iou_prediction_head(queries[:, 1])
