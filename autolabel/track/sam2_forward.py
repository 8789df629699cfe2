"""SAM 2's arithmetic for a batch of objects in one frame, stage by stage.

The same tensors that ``SAM2Base.track_step`` (sam2 1.1.0) makes for one object, made for many
at once. What doesn't depend on the object is computed once a frame and shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import get_1d_sine_pe
from torch import Tensor

from autolabel.models.sam2_levels import Levels, levels_of
from autolabel.track import sam2_attention
from autolabel.track.sam2_attention import SharedAttention
from autolabel.track.sam2_memory import Recall
from autolabel.types import Masks


@dataclass(frozen=True, slots=True)
class Heads:
    """What the mask decoder says of B objects.

    Attributes:
        low_res: float32 (B, 1, S/4, S/4) logits.
        high_res: float32 (B, 1, S, S) logits.
        pointers: (B, C).
        scores: (B, 1), logits of the object being visible.
    """

    low_res: Tensor
    high_res: Tensor
    pointers: Tensor
    scores: Tensor


class FrameFeatures:
    """The image features of one frame, computed when first asked for, for a batch of one."""

    def __init__(self, forward: Sam2Forward, image: Tensor) -> None:
        self._forward = forward
        self._image = image

    @cached_property
    def _levels(self) -> Levels:
        return self._forward.levels(self._image)

    def compute(self) -> None:
        """Computes now what all objects share: they may be on several threads."""
        _ = self.for_memory, self._forward.slot_positions, self._forward.shared

    @property
    def top(self) -> Tensor:
        """(h * w, 1, C): the coarsest level."""
        return _as_tokens(self._levels.maps[-1])

    @property
    def top_position(self) -> Tensor:
        """(h * w, 1, C): its position encoding."""
        return _as_tokens(self._levels.position)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the coarsest level."""
        height, width = self._levels.maps[-1].shape[-2:]
        return height, width

    def as_map(self, tokens: Tensor) -> Tensor:
        """(B, C, h, w) from (h * w, B, C)."""
        return tokens.permute(1, 2, 0).reshape(tokens.shape[1], tokens.shape[2], *self.size)

    def high_res(self, batch: int) -> list[Tensor] | None:
        """The finer levels (B, C, h, w) for the mask decoder, or None."""
        finer = self._levels.maps[:-1]
        return [x.expand(batch, -1, -1, -1) for x in finer] or None

    @cached_property
    def for_memory(self) -> Tensor:
        """(1, C, h, w): the frame's part of its memories, the same for every object."""
        projected: Tensor = self._forward.model.memory_encoder.pix_feat_proj(self.as_map(self.top))
        return projected

    @cached_property
    def unconditioned(self) -> Tensor:
        """(1, C, h, w): the coarsest level for an object that nothing is remembered of."""
        features: Tensor = self._forward.model._prepare_memory_conditioned_features(
            frame_idx=0,
            is_init_cond_frame=True,
            current_vision_feats=[self.top],
            current_vision_pos_embeds=[self.top_position],
            feat_sizes=[self.size],
            output_dict={"cond_frame_outputs": {}, "non_cond_frame_outputs": {}},
            num_frames=1,
        )
        return features


class Sam2Forward:
    """The stages of tracking, for a batch of objects.

    Args:
        model: The model.
        binarize_prompted: Memory of prompted frames is made from the hard mask.
        dtype: The type that the model computes in.
    """

    def __init__(self, model: SAM2Base, binarize_prompted: bool, dtype: torch.dtype) -> None:
        self.model = model
        self.binarize_prompted = binarize_prompted
        self.dtype = dtype
        self._on_cpu = next(model.parameters()).device.type == "cpu" and dtype == torch.float32
        self.levels = levels_of(model)

    def attend(self, frame: FrameFeatures, recalls: list[Recall], max_pointers: int) -> Tensor:
        """(B, C, h, w): the frame's features in the light of each object's memory.

        Args:
            frame: The frame.
            recalls: What each object attends to; all of the same shape.
            max_pointers: Normalises the pointers' age.
        """
        # float first: under float16 autocast torch.cat refuses bfloat16.
        memory = torch.stack([torch.cat([m.tokens.float() for m in r.memories]) for r in recalls])
        ages = memory.new_zeros(len(recalls), 0, memory.shape[-1])
        if recalls[0].pointers:
            pointers, ages = self._pointers(recalls, max_pointers)
            memory = torch.cat([memory, pointers], dim=1)
        if self.shared is not None:
            return frame.as_map(self.shared(frame.top, frame.top_position, recalls, memory, ages))
        slots = torch.tensor([recall.slots for recall in recalls], device=memory.device)
        position = torch.cat([self.slot_positions[slots].flatten(1, 2), ages], dim=1)
        attended = self.model.memory_attention(
            curr=frame.top.expand(-1, len(recalls), -1),
            curr_pos=frame.top_position.expand(-1, len(recalls), -1),
            memory=memory.transpose(0, 1),
            memory_pos=position.transpose(0, 1),
            num_obj_ptr_tokens=ages.shape[1],
        )
        return frame.as_map(attended)

    def decode(self, frame: FrameFeatures, pixels: Tensor) -> Heads:
        """The masks of objects that nothing prompts in this frame."""
        return self._heads(frame, pixels, None, None, self.model._use_multimask(False, None))

    def from_points(
        self,
        frame: FrameFeatures,
        coords: Tensor,
        labels: Tensor,
        recalled: tuple[Recall, int] | None,
        before: Tensor | None,
    ) -> Heads:
        """The masks of objects prompted by points or boxes.

        Args:
            frame: The frame.
            coords: float32 (B, P, 2) in the model's pixels.
            labels: int32 (B, P).
            recalled: What the object attends to, where it is being corrected (B is 1).
            before: Its logits (1, h, w) before, where it has been seen in this frame (B is 1).
        """
        points = {"point_coords": coords, "point_labels": labels}
        logits = None if before is None else before[None].clamp(-32.0, 32.0)
        multimask = self.model._use_multimask(recalled is None, points)
        pixels = self._prompted_pixels(frame, len(coords), recalled)
        return self._heads(frame, pixels, points, logits, multimask)

    def from_masks(
        self, frame: FrameFeatures, masks: Masks, recalled: tuple[Recall, int] | None
    ) -> Heads:
        """The masks of objects prompted by masks: (nearly) those masks.

        Args:
            frame: The frame.
            masks: bool (B, H, W) at the frame's size.
            recalled: What the object attends to, where it is being corrected (B is 1).
        """
        model = self.model
        given = self._resized(masks)
        batch = len(masks)
        if not model.use_mask_input_as_output_without_sam:
            multimask = model._use_multimask(recalled is None, None)
            pixels = self._prompted_pixels(frame, batch, recalled)
            return self._heads(frame, pixels, None, given, multimask)
        pixels = frame.as_map(frame.top).expand(batch, -1, -1, -1)
        out = model._use_mask_as_output(pixels, frame.high_res(batch), given)
        return Heads(low_res=out[3], high_res=out[4], pointers=out[5], scores=out[6])

    def upscale(self, low_res: Tensor) -> Tensor:
        """(B, 1, S, S) from low-resolution logits."""
        side = self.model.image_size
        return F.interpolate(low_res, (side, side), mode="bilinear", align_corners=False)

    def remember(
        self, frame: FrameFeatures, high_res: Tensor, scores: Tensor, prompted: bool
    ) -> Tensor:
        """bfloat16 (B, h * w, C_mem): the frame and the masks in it as later frames see them.

        ``SAM2Base._encode_new_memory``, but without its constraint that masks don't overlap:
        the predictor calls it with one object, where it does nothing.
        """
        model = self.model
        if prompted and self.binarize_prompted:
            mask = (high_res > 0).float()
        else:
            mask = torch.sigmoid(high_res)
        mask = mask * model.sigmoid_scale_for_mem_enc + model.sigmoid_bias_for_mem_enc
        encoder = model.memory_encoder
        fused = encoder.fuser(frame.for_memory + encoder.mask_downsampler(mask))
        features: Tensor = encoder.out_proj(fused)
        if model.no_obj_embed_spatial is not None:
            absent = 1 - (scores > 0).float()
            features = (
                features + absent[..., None, None] * model.no_obj_embed_spatial[..., None, None]
            )
        return features.to(torch.bfloat16).flatten(2).transpose(1, 2).contiguous()

    @cached_property
    def slot_positions(self) -> Tensor:
        """(num_maskmem, h * w, C_mem): the position encoding of a memory in each time slot."""
        model = self.model
        side = model.image_size // model.backbone_stride
        time: Tensor = model.maskmem_tpos_enc
        blank = torch.zeros(1, model.mem_dim, side, side, device=time.device, dtype=self.dtype)
        encoded: Tensor = model.memory_encoder.position_encoding(blank).to(self.dtype)
        # Slot 0 (prompted frames) has the last encoding, the frame just before has the first.
        return encoded.flatten(2).transpose(1, 2) + time.flip(0)[:, 0]

    @cached_property
    def shared(self) -> SharedAttention | None:
        """Attention for many objects, where it is what the model does, on a CPU."""
        attention = self.model.memory_attention
        if not self._on_cpu or not sam2_attention.fits(attention):
            return None
        return SharedAttention(attention, self.slot_positions)

    def _pointers(self, recalls: list[Recall], max_pointers: int) -> tuple[Tensor, Tensor]:
        """(B, L, C_mem) pointers, each cut into tokens of a memory's width, and their ages."""
        model = self.model
        pointers = torch.stack([torch.stack(r.pointers) for r in recalls])
        batch, count, width = pointers.shape
        pieces = width // model.mem_dim if model.mem_dim < width else 1
        if model.add_tpos_enc_to_obj_ptrs:
            ages = torch.tensor([r.ages for r in recalls], device=pointers.device)
            dim = width if model.proj_tpos_enc_in_obj_ptrs else model.mem_dim
            encoded = get_1d_sine_pe(ages / (max_pointers - 1), dim=dim)
            position = model.obj_ptr_tpos_proj(encoded)
        else:
            position = pointers.new_zeros(batch, count, model.mem_dim)
        tokens = pointers.reshape(batch, count * pieces, -1)
        return tokens, position.repeat_interleave(pieces, dim=1)

    def _prompted_pixels(
        self, frame: FrameFeatures, batch: int, recalled: tuple[Recall, int] | None
    ) -> Tensor:
        if recalled is None:
            return frame.unconditioned.expand(batch, -1, -1, -1)
        recall, max_pointers = recalled
        return self.attend(frame, [recall], max_pointers)

    def _heads(
        self,
        frame: FrameFeatures,
        pixels: Tensor,
        points: dict[str, Tensor] | None,
        masks: Tensor | None,
        multimask: bool,
    ) -> Heads:
        out = self.model._forward_sam_heads(
            backbone_features=pixels,
            point_inputs=points,
            mask_inputs=masks,
            high_res_features=frame.high_res(len(pixels)),
            multimask_output=multimask,
        )
        return Heads(low_res=out[3], high_res=out[4], pointers=out[5], scores=out[6])

    def _resized(self, masks: Masks) -> Tensor:
        """float32 (B, 1, S, S) of 0 and 1, as ``SAM2VideoPredictor.add_new_mask`` resizes."""
        side = self.model.image_size
        device = next(self.model.parameters()).device
        given = torch.from_numpy(np.ascontiguousarray(masks))[:, None].to(device).float()
        if given.shape[-2:] == (side, side):
            return given
        smooth = F.interpolate(
            given, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
        return (smooth >= 0.5).float()


def _as_tokens(maps: Tensor) -> Tensor:
    """(h * w, B, C) from (B, C, h, w)."""
    return maps.flatten(2).permute(2, 0, 1)
