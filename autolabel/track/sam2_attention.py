"""SAM 2's memory attention for many objects in one frame, with what they share done once.

``MemoryAttention.forward`` (sam2 1.1.0) treats every object as a picture of its own. Written
out, two thirds of that work remains, and the result is the same up to rounding:

- the first layer's self-attention and queries come from the frame alone: once, not per object;
- values are a linear map of the tokens, and attention weights sum to one, so the map can follow
  the weighted sum instead of preceding it, and be one with the output's: ``softmax(q k)
  (m Wv + b) Wo = (softmax(q k) m) Wv Wo + b Wo``. Of memories the weighted sum is 64 wide
  instead of 256, and nothing is projected for their thousands of tokens;
- keys of memories are kept: see ``sam2_keys``.

Used on CPUs, where arithmetic is what costs; on a GPU fused attention kernels are faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor

from autolabel.track.sam2_keys import MemoryKeys, rotate, rotations
from autolabel.track.sam2_memory import Recall

_SCORES = 1 << 19
"""Attention weights held at a time (2 MB of float32: they stay in a core's cache)."""


@dataclass(frozen=True, slots=True)
class _ValueMap:
    """The value and output projections of one attention as one linear map."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, attention: RoPEAttention) -> _ValueMap:
        out, value = attention.out_proj, attention.v_proj
        return cls(out.weight @ value.weight, out.weight @ value.bias + out.bias)


def fits(attention: MemoryAttention) -> bool:
    """Whether ``SharedAttention`` computes what this module does (all released SAM 2 do)."""
    return (
        attention.batch_first
        and attention.pos_enc_at_input
        and all(
            isinstance(layer.cross_attn_image, RoPEAttention)
            and layer.cross_attn_image.num_heads == 1
            and layer.cross_attn_image.rope_k_repeat
            and layer.pos_enc_at_cross_attn_keys
            and not layer.pos_enc_at_cross_attn_queries
            and isinstance(layer.self_attn, RoPEAttention)
            and layer.self_attn.num_heads == 1
            and not layer.pos_enc_at_attn
            and layer.activation is F.relu
            for layer in attention.layers
        )
    )


class SharedAttention:
    """Memory attention of one frame to the memories of many objects.

    Args:
        attention: The model's module, for which ``fits`` holds, in eval mode, float32.
        positions: (slots, N, C_mem), the position encoding of a memory in each time slot.
    """

    def __init__(self, attention: MemoryAttention, positions: Tensor) -> None:
        self.attention = attention
        self._keys = MemoryKeys(attention, positions)
        with torch.no_grad():
            self._values = [_ValueMap.of(layer.cross_attn_image) for layer in attention.layers]
            self._own_values = [_ValueMap.of(layer.self_attn) for layer in attention.layers]

    def __call__(
        self,
        top: Tensor,
        position: Tensor,
        recalls: Sequence[Recall],
        memory: Tensor,
        ages: Tensor,
    ) -> Tensor:
        """(h * w, B, C): the frame's features in the light of each object's memory.

        Args:
            top: (h * w, 1, C) features.
            position: (h * w, 1, C), their position encoding.
            recalls: What each object attends to, all of one shape.
            memory: (B, L, C_mem), its tokens: the spatial memories', then the pointers'.
            ages: (B, P, C_mem), the position encoding of the P tokens of pointers, which have
                no place in the image.
        """
        frame_position = position.transpose(0, 1)
        output = top.transpose(0, 1) + 0.1 * frame_position
        maps = zip(self.attention.layers, self._own_values, self._values, strict=True)
        for number, (layer, own_values, values) in enumerate(maps):
            output = output + self._among(layer, own_values, output)
            pointers = memory[:, memory.shape[1] - ages.shape[1] :] + ages
            known = layer.cross_attn_image.k_proj(pointers)
            query = self._query(layer, output)
            sums = []
            for i, recall in enumerate(recalls):
                key = query.new_empty(memory.shape[1], query.shape[-1])
                self._keys.write(number, recall, key[: len(key) - len(known[i])])
                key[len(key) - len(known[i]) :] = known[i]
                sums.append(_weighted(query[i if len(query) > 1 else 0], key, memory[i]))
            output = output + F.linear(torch.stack(sums), values.weight, values.bias)
            hidden = layer.linear1(layer.norm3(output)).relu_()
            output = output + layer.linear2(hidden)
        normed: Tensor = self.attention.norm(output)
        return normed.transpose(0, 1)

    def _among(self, layer: MemoryAttentionLayer, values: _ValueMap, output: Tensor) -> Tensor:
        """(1 or B, N, C): what the frame's tokens (1 or B, N, C) add to each other."""
        attention = layer.self_attn
        tokens = layer.norm1(output)
        query, key = attention.q_proj(tokens), attention.k_proj(tokens)
        turns = rotations(attention, query.shape[1])
        query, key = rotate(query, turns), rotate(key, turns)
        sums = F.scaled_dot_product_attention(query[:, None], key[:, None], tokens[:, None])
        return F.linear(sums[:, 0], values.weight, values.bias)

    def _query(self, layer: MemoryAttentionLayer, output: Tensor) -> Tensor:
        """(1 or B, N, C): what the frame's tokens (1 or B, N, C) ask the memories."""
        attention = layer.cross_attn_image
        query = attention.q_proj(layer.norm2(output))
        return rotate(query, rotations(attention, query.shape[1])).div_(math.sqrt(query.shape[-1]))


def _weighted(query: Tensor, key: Tensor, memory: Tensor) -> Tensor:
    """(N, C_mem): softmax(query key) memory, some queries at a time."""
    rows = max(128, _SCORES // len(key))
    parts = [
        torch.softmax(query[start : start + rows] @ key.T, dim=-1) @ memory
        for start in range(0, len(query), rows)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
