"""The keys of SAM 2's memories in its memory attention, kept from frame to frame.

A key is a linear map of a memory's token and of its position, turned by its place in the image.
The token's part stays what it is while the memory is attended to: it is computed once, not in
every frame. The position's part is that of the time slot, and the same for every object.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from sam2.modeling.memory_attention import MemoryAttention
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor

from autolabel.track.sam2_memory import Memory, Recall

MOST_PLACES = 400
"""Keys are kept of images of up to so many places (320 pixels a side). With more of them,
attention itself takes so much longer that keeping saves little, and keys far more memory."""


class MemoryKeys:
    """Keys for every layer of a model's memory attention.

    Args:
        attention: The module; its cross-attentions have one head and turn their keys.
        positions: (slots, N, C_mem), the position encoding of a memory in each time slot.
        most_places: Keys are kept where N is no more than this.
    """

    def __init__(
        self, attention: MemoryAttention, positions: Tensor, most_places: int = MOST_PLACES
    ) -> None:
        self._attentions = [layer.cross_attn_image for layer in attention.layers]
        self._positions = positions
        self.kept = positions.shape[1] <= most_places
        self._of_slots: list[Tensor] = []
        if self.kept:
            with torch.no_grad():
                self._of_slots = [
                    _turned(each, each.k_proj(positions)) for each in self._attentions
                ]
                self._weights = torch.cat([each.k_proj.weight for each in self._attentions])

    def write(self, layer: int, recall: Recall, keys: Tensor) -> None:
        """Write the keys of an object's memories in one layer.

        Args:
            layer: Its number.
            recall: The S memories and their time slots.
            keys: (S * N, C), where to.
        """
        parts = keys.view(len(recall.slots), -1, keys.shape[-1])
        for part, slot, memory in zip(parts, recall.slots, recall.memories, strict=True):
            if self.kept:
                torch.add(self._of(memory)[layer], self._of_slots[layer][slot], out=part)
            else:
                attention = self._attentions[layer]
                placed = memory.tokens.float() + self._positions[slot]
                part.copy_(_turned(attention, attention.k_proj(placed[None]))[0])

    def _of(self, memory: Memory) -> Tensor:
        """(layers, N, C): the part of the keys that comes from the tokens."""
        if memory.keys is None:
            # One memory at a time, so that its bits don't depend on what else is in a batch.
            mapped = F.linear(memory.tokens.float(), self._weights)
            split = mapped.view(len(mapped), len(self._attentions), -1).transpose(0, 1)
            memory.keys = _turned(self._attentions[0], split.contiguous())
        return memory.keys


def rotations(attention: RoPEAttention, places: int) -> Tensor:
    """complex64 (N, C / 2): the rotation of each of the N places of a square image."""
    if attention.freqs_cis.shape[0] != places:
        side = math.isqrt(places)
        attention.freqs_cis = attention.compute_cis(end_x=side, end_y=side)
    turns: Tensor = attention.freqs_cis
    return turns


def rotate(tokens: Tensor, turns: Tensor) -> Tensor:
    """Tokens (B, N, C), turned in place."""
    pairs = torch.view_as_complex(tokens.view(*tokens.shape[:-1], -1, 2))
    # In place: the pairs are a view of the tokens, which nobody else holds.
    pairs *= turns
    return tokens


def _turned(attention: RoPEAttention, keys: Tensor) -> Tensor:
    return rotate(keys, rotations(attention, keys.shape[1]))
