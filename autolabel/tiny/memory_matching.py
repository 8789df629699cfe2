"""Primes the memory attention to find an object by its looks, wherever it has gone.

Left to itself the memory learns to read from the same place in the last frames and nothing else:
the projections that say *where to look* hardly move in an hour, and a track that is lost once is
lost for good. But the encoder's features tell objects apart almost as they are: copying the mask
of one frame to another by likeness, with 32 numbers a place, puts the best place on the object 8
times in 10, however far apart the frames are (``learn_likeness`` learns these in a minute). So:

- Memories carry those 32 numbers, in channels of their own.
- In every layer, likeness counts in the attention beside nearness; it lies in the dimensions
  that the rotary encoding hardly turns, which nearness has no use for.
- In the first layer only likeness counts, and the prompted frame more than the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from autolabel.tiny.memory_reading import heard, remember, unprompted, wanted
from autolabel.tiny.tracker_data import Reunion, Seen

WIDTH = 32
"""Numbers in which places are compared."""
CARRIED = [*range(48, 64), *range(112, 128)]
"""The channels of a memory that carry them: those of its 128 in which positions vary least."""
FLAG = 47
"""The channel that marks a prompted frame."""
COMPARED = [*range(96, 128)]
"""The dimensions of queries and keys that hold them: those that turn least with a row's place."""
FLAG_AT = 224
"""The dimension in which prompted frames have their advantage: it hardly turns with columns."""
LOUDNESS = 4.0
"""How much louder than positions the channels of likeness are: positions share them."""
ADVANTAGE = 3.0
"""By how much the logits of prompted frames are raised in the first layer."""


@dataclass(frozen=True)
class Likeness:
    """Numbers whose inner product says how alike two places are: ``(f - mean) @ weight + bias``."""

    mean: Tensor
    weight: Tensor
    bias: Tensor

    def of(self, features: Tensor) -> Tensor:
        """The numbers (N * h * w, 32) of features (N, C, h, w)."""
        return (_places(features).flatten(0, 1) - self.mean) @ self.weight.T + self.bias


def learn_likeness(draw: Callable[[], Reunion], steps: int = 600) -> Likeness:
    """Learns which places of two frames show the same object, from 100 drawn samples."""
    samples = [_pair_of(draw()) for _ in range(100)]
    mean = torch.cat([then.flatten(0, 1) for _, (then, _) in samples]).mean(0)
    line = nn.Linear(len(mean), WIDTH)
    optimiser = torch.optim.AdamW(line.parameters(), 3e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1.0 - step / steps)
        (now, wanted_now), (then, owned_then) = samples[step % len(samples)]
        near = (line(now - mean) @ line(then - mean).transpose(1, 2)).softmax(2)
        found = (near @ owned_then[..., None])[..., 0].clamp(1e-4, 1.0 - 1e-4)
        missed = F.binary_cross_entropy(found, wanted_now, reduction="none")
        optimiser.zero_grad()
        (missed * (1.0 + 9.0 * wanted_now)).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return Likeness(mean, line.weight.detach(), line.bias.detach())


def prime_matching(
    model: SAM2Base, draw: Callable[[], Reunion], read_one: Callable[[Reunion], object]
) -> None:
    """Makes the memory attention of ``model`` look by likeness: see the words of this module.

    Args:
        model: the tracker, primed by ``prime_memory``.
        draw: draws a sample of pairs.
        read_one: has ``model`` read the last frame of a sample, remembering the first.
    """
    likeness = learn_likeness(draw)
    samples = [draw() for _ in range(10)]
    with torch.no_grad():
        _carry(model, likeness, samples)
        numbers = torch.cat([likeness.of(s.now.features[2]) for s in samples])
        for index, layer in enumerate(model.memory_attention.layers):
            inputs = torch.cat(
                [heard(partial(read_one, s), layer.norm2, channels=-1) for s in samples]
            )
            _look(layer.cross_attn_image, inputs, numbers, first=index == 0)
            if index == 0:
                _write(model, samples, read_one)


def _carry(model: SAM2Base, likeness: Likeness, samples: list[Reunion]) -> None:
    """Gives memories the numbers of likeness, and prompted frames a flag, in their channels."""
    encoder = model.memory_encoder
    fused = torch.cat(
        [heard(partial(remember, model, s.first), encoder.fuser, channels=1) for s in samples]
    )
    numbers = torch.cat([likeness.of(s.first.features[2]) for s in samples])
    weight, bias = _fit(fused, numbers / numbers.std(0) * LOUDNESS)
    encoder.out_proj.weight[CARRIED] = weight[..., None, None]
    encoder.out_proj.bias[CARRIED] = bias
    encoder.out_proj.weight[FLAG], encoder.out_proj.bias[FLAG] = 0.0, 0.0
    model.maskmem_tpos_enc[..., [*CARRIED, FLAG]] = 0.0
    model.maskmem_tpos_enc[-1, ..., FLAG] = LOUDNESS  # the row that prompted frames are given


def _look(attention: RoPEAttention, inputs: Tensor, numbers: Tensor, *, first: bool) -> None:
    """Makes one layer's attention count likeness; in the first layer nothing else counts."""
    queries, keys, values = attention.q_proj, attention.k_proj, attention.v_proj
    for part in (queries, keys):
        still = slice(None) if first else [*COMPARED, *range(FLAG_AT, FLAG_AT + WIDTH)]
        part.weight[still], part.bias[still] = 0.0, 0.0
    for part in (keys, values):
        part.weight[:, [*CARRIED, FLAG]] = 0.0
    weight, bias = _fit(inputs, numbers)
    # Attention divides by the root of its width, and likeness was learnt without.
    gain = float(len(queries.bias)) ** 0.25 * (1.0 if first else 0.7)
    queries.weight[COMPARED], queries.bias[COMPARED] = gain * weight, gain * bias
    keys.weight[COMPARED, CARRIED] = gain * numbers.std(0) / LOUDNESS
    if first:
        queries.bias[FLAG_AT] = 4.0
        keys.weight[FLAG_AT, FLAG] = ADVANTAGE * len(queries.bias) ** 0.5 / 4.0 / LOUDNESS


def _write(model: SAM2Base, samples: list[Reunion], read_one: Callable[[Reunion], object]) -> None:
    """Makes the first layer say half of the mask that it finds by likeness."""
    layer = model.memory_attention.layers[0]
    attention = layer.cross_attn_image
    width = attention.v_proj.in_features
    for part in (attention.v_proj, attention.out_proj):
        part.weight.zero_()
        part.bias.zero_()
    attention.v_proj.weight[:width] = torch.eye(width)
    attention.out_proj.weight.copy_(torch.eye(len(attention.out_proj.bias)))
    found, masks = [], []
    for sample in samples:
        found.append(heard(partial(read_one, sample), attention.out_proj, channels=-1)[:, :width])
        added = wanted(model, sample.now)[0] - unprompted(model, sample.now)
        masks.append(_places(added).flatten(0, 1))
    weight, bias = _fit(torch.cat(found), torch.cat(masks))
    attention.v_proj.weight.copy_(0.5 * weight)
    attention.v_proj.bias.copy_(0.5 * (bias - torch.cat(masks).mean(0)))
    for part in (layer.self_attn.out_proj, layer.linear2):
        nn.init.normal_(part.weight, std=0.01)
        part.bias.zero_()


def _fit(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the linear layer that comes nearest to ``outputs``, by least squares."""
    start, middle = inputs.mean(0), outputs.mean(0)
    centred = inputs - start
    square = centred.T @ centred
    ridge = 1e-3 * square.diagonal().mean() * torch.eye(len(square))
    weight = torch.linalg.solve(square + ridge, centred.T @ (outputs - middle)).T
    return weight, middle - weight @ start


def _places(features: Tensor) -> Tensor:
    """Features (N, C, h, w) as (N, h * w, C)."""
    return features.flatten(2).transpose(1, 2).contiguous()


def _pair_of(sample: Reunion) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Of the last frame and the first: features (N, h * w, C), and what is the object's there."""
    now, then = ((_places(seen.features[2]), _owned(seen)) for seen in (sample.now, sample.first))
    return now, then


def _owned(seen: Seen) -> Tensor:
    """The share of each place that is the object's, (N, h * w)."""
    return F.adaptive_avg_pool2d(seen.masks[:, None].float(), seen.features[2].shape[-1]).flatten(1)
