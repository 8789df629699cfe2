"""SAM 2's features of a picture or frame, without what nobody reads.

``SAM2Base.forward_image`` (sam2 1.1.0) makes a position encoding of every level, every time;
only that of the coarsest is ever read, and it is always the same. A finer level that takes
nothing from the level above goes through two 1x1 convolutions one after the other, to 256
channels and back: they are one here. The features are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.image_encoder import FpnNeck
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Levels:
    """Features of B pictures, the finest level first.

    Attributes:
        maps: (B, C, h, w) of each level.
        position: (1, C, h, w), the position encoding of the coarsest.
    """

    maps: tuple[Tensor, ...]
    position: Tensor


def levels_of(model: SAM2Base) -> Callable[[Tensor], Levels]:
    """What makes the features of (B, 3, S, S) with a model in eval mode: quickly on a CPU."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    return LevelEncoder(model) if on_cpu and fits(model) else partial(all_levels, model)


def all_levels(model: SAM2Base, image: Tensor) -> Levels:
    """The features as the model itself makes them."""
    out = model.forward_image(image)
    maps = out["backbone_fpn"][-model.num_feature_levels :]
    return Levels(tuple(maps), out["vision_pos_enc"][-1][:1])


def fits(model: SAM2Base) -> bool:
    """Whether ``LevelEncoder`` computes what this model does (all released SAM 2 do)."""
    neck = model.image_encoder.neck
    return (
        type(neck) is FpnNeck
        and model.use_high_res_features_in_sam
        and model.num_feature_levels == 3
        and len(neck.convs) - model.image_encoder.scalp == 3
        and not {0, 1} & set(neck.fpn_top_down_levels)
        and all(_is_1x1(each.conv) for each in neck.convs)
        and _is_1x1(model.sam_mask_decoder.conv_s0)
        and _is_1x1(model.sam_mask_decoder.conv_s1)
    )


class LevelEncoder:
    """The image encoder, with its neck and the decoder's first convolutions as one.

    Args:
        model: A model that ``fits``, in eval mode.
    """

    def __init__(self, model: SAM2Base) -> None:
        self._trunk = model.image_encoder.trunk
        self._neck = model.image_encoder.neck
        seconds = model.sam_mask_decoder.conv_s0, model.sam_mask_decoder.conv_s1
        lateral = [each.conv for each in reversed(self._neck.convs)]
        with torch.no_grad():
            self._fine = [
                _one_after_the_other(first, second)
                for first, second in zip(lateral[:2], seconds, strict=True)
            ]
        self._coarse = lateral[2:]
        self._position: Tensor | None = None

    def __call__(self, image: Tensor) -> Levels:
        """The features of (B, 3, S, S)."""
        features = self._trunk(image)
        fine = [
            F.conv2d(x, weight, bias)
            for x, (weight, bias) in zip(features[:2], self._fine, strict=True)
        ]
        top = self._top(features[2:])
        if self._position is None:
            self._position = self._neck.position_encoding(top[:1]).to(top.dtype)
        return Levels((*fine, top), self._position)

    def _top(self, features: list[Tensor]) -> Tensor:
        """(B, C, h, w): the coarsest level that is read, in the light of those above it."""
        neck = self._neck
        above: Tensor | None = None
        for level in reversed(range(len(features))):
            here: Tensor = self._coarse[level](features[level])
            if above is not None and level + 2 in neck.fpn_top_down_levels:
                mode = neck.fpn_interp_model
                corners = None if mode == "nearest" else False
                here = here + F.interpolate(
                    above.float(), scale_factor=2.0, mode=mode, align_corners=corners
                )
                if neck.fuse_type == "avg":
                    here = here / 2
            above = here
        assert above is not None
        return above


def _is_1x1(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding == (0, 0)


def _one_after_the_other(first: nn.Conv2d, second: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the 1x1 convolution that does what two in a row do."""
    weight = second.weight[:, :, 0, 0] @ first.weight[:, :, 0, 0]
    assert first.bias is not None
    bias = second.weight[:, :, 0, 0] @ first.bias
    return weight[:, :, None, None], bias if second.bias is None else bias + second.bias
