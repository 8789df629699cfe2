"""SAM 2's memory attention for many objects in one frame, with what they share done once.

``MemoryAttention.forward`` (sam2 1.1.0) treats every object as a picture of its own. Written
out, two thirds of that work remains, and the result is the same up to rounding:

- the first layer's self-attention and queries come from the frame alone: once, not per object;
- values are a linear map of the tokens, and attention weights sum to one, so the map can follow
  the weighted sum instead of preceding it, and be one with the output's: ``softmax(q k)
  (m Wv + b) Wo = (softmax(q k) m) Wv Wo + b Wo``. Of memories the weighted sum is 64 wide
  instead of 256, and nothing is projected for their thousands of tokens.

Used on CPUs, where arithmetic is what costs; on a GPU fused attention kernels are faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor

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
    """

    def __init__(self, attention: MemoryAttention) -> None:
        self.attention = attention
        with torch.no_grad():
            self._values = [_ValueMap.of(layer.cross_attn_image) for layer in attention.layers]
            self._own_values = [_ValueMap.of(layer.self_attn) for layer in attention.layers]

    def __call__(
        self, top: Tensor, position: Tensor, memory: Tensor, where: Tensor, pointers: int
    ) -> Tensor:
        """(h * w, B, C): the frame's features in the light of each object's memory.

        Args:
            top: (h * w, 1, C) features.
            position: (h * w, 1, C), their position encoding.
            memory: (B, L, C_mem).
            where: (B, L, C_mem), the position encoding of the memories.
            pointers: How many tokens at the end are pointers, which have no place in the image.
        """
        frame_position = position.transpose(0, 1)
        output = top.transpose(0, 1) + 0.1 * frame_position
        keys = memory + where
        maps = zip(self._own_values, self._values, strict=True)
        for layer, (own_values, values) in zip(self.attention.layers, maps, strict=True):
            output = output + self._among(layer, own_values, output)
            output = output + self._cross(layer, values, output, memory, keys, pointers)
            hidden = layer.linear1(layer.norm3(output)).relu_()
            output = output + layer.linear2(hidden)
        normed: Tensor = self.attention.norm(output)
        return normed.transpose(0, 1)

    def _among(self, layer: MemoryAttentionLayer, values: _ValueMap, output: Tensor) -> Tensor:
        """(1 or B, N, C): what the frame's tokens (1 or B, N, C) add to each other."""
        attention = layer.self_attn
        tokens = layer.norm1(output)
        query, key = attention.q_proj(tokens), attention.k_proj(tokens)
        turns = _rotations(attention, query)
        query, key = _rotate(query, turns, 0), _rotate(key, turns, 0)
        sums = F.scaled_dot_product_attention(query[:, None], key[:, None], tokens[:, None])
        return F.linear(sums[:, 0], values.weight, values.bias)

    def _cross(
        self,
        layer: MemoryAttentionLayer,
        values: _ValueMap,
        output: Tensor,
        memory: Tensor,
        keys: Tensor,
        pointers: int,
    ) -> Tensor:
        """(B, N, C): what the objects' memories add to the frame's tokens (1 or B, N, C)."""
        attention = layer.cross_attn_image
        query = attention.q_proj(layer.norm2(output))
        turns = _rotations(attention, query)
        query = _rotate(query, turns, 0) / math.sqrt(query.shape[-1])
        sums = []
        for i in range(len(memory)):
            key = _rotate(attention.k_proj(keys[i : i + 1]), turns, pointers)[0]
            sums.append(_weighted(query[i if len(query) > 1 else 0], key, memory[i]))
        return F.linear(torch.stack(sums), values.weight, values.bias)


def _weighted(query: Tensor, key: Tensor, memory: Tensor) -> Tensor:
    """(N, C_mem): softmax(query key) memory, some queries at a time."""
    rows = max(128, _SCORES // len(key))
    parts = [
        torch.softmax(query[start : start + rows] @ key.T, dim=-1) @ memory
        for start in range(0, len(query), rows)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _rotations(attention: RoPEAttention, query: Tensor) -> Tensor:
    """complex64 (N, C / 2): the rotation of every place of a square image."""
    if attention.freqs_cis.shape[0] != query.shape[-2]:
        side = math.isqrt(query.shape[-2])
        attention.freqs_cis = attention.compute_cis(end_x=side, end_y=side)
    turns: Tensor = attention.freqs_cis.to(query.device)
    return turns


def _rotate(tokens: Tensor, turns: Tensor, unplaced: int) -> Tensor:
    """Tokens (B, L, C), all but the last ``unplaced`` turned in place, image after image."""
    batch, length, width = tokens.shape
    pairs = torch.view_as_complex(tokens.view(batch, length, width // 2, 2))
    # In place: the pairs are a view of the tokens, which nobody else holds.
    pairs = pairs[:, : length - unplaced].view(batch, -1, *turns.shape)
    pairs *= turns
    return tokens
