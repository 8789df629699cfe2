"""SAM 2's image path taken apart, as training needs it: features, decoding, the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from autolabel.tiny.segmenter_config import Config, build_model
from autolabel.tiny.segmenter_data import Prompts


@dataclass(frozen=True)
class Decoded:
    """What the mask decoder says of N prompts.

    Attributes:
        masks: logits of the single mask and the three others, (N, 4, S/4, S/4).
        iou: the IoU it expects of each, (N, 4).
        presence: logits that the object is there at all, (N, 1).
    """

    masks: Tensor
    iou: Tensor
    presence: Tensor


def load_teacher(path: Path, config: Config) -> SAM2Base:
    """A model with the checkpoint's prompt encoder and mask decoder; its encoder means nothing.

    Both parts are the same at every image size. The checkpoint has no head for the object score.
    """
    teacher = build_model(config)
    tensors = torch.load(path, map_location="cpu", weights_only=True)["model"]
    for name in ("sam_prompt_encoder", "sam_mask_decoder"):
        part = {
            key.removeprefix(f"{name}."): value.float()
            for key, value in tensors.items()
            if key.startswith(f"{name}.")
        }
        result = getattr(teacher, name).load_state_dict(part, strict=False)
        missing = [key for key in result.missing_keys if not key.startswith("pred_obj_score_head")]
        if missing or result.unexpected_keys:
            raise ValueError(f"{path}: {name} lacks {missing}, has {result.unexpected_keys} over")
    return teacher


def freeze(module: nn.Module) -> None:
    """Takes the module's parameters out of training."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def high_res(heads: SAM2Base, levels: list[Tensor]) -> list[Tensor]:
    """The encoder's three levels as the decoder of ``heads`` takes them: s0, s1, embedding."""
    decoder = heads.sam_mask_decoder
    embedding = levels[2] + heads.no_mem_embed.permute(0, 2, 1)[..., None]
    return [decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1]), embedding]


def image_features(encoder: nn.Module, heads: SAM2Base, images: Tensor) -> list[Tensor]:
    """What the decoder of ``heads`` sees of the images: three levels, the last an embedding."""
    return high_res(heads, encoder(images)["backbone_fpn"])


def decode(heads: SAM2Base, features: list[Tensor], owner: Tensor, prompts: Prompts) -> Decoded:
    """The decoder's answer to N prompts, each on the picture that ``owner`` says, in bfloat16."""
    s0, s1, embedding = (level[owner] for level in features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sparse, dense = heads.sam_prompt_encoder(
            points=(prompts.points, prompts.labels), boxes=None, masks=prompts.masks
        )
        masks, iou, _, presence = heads.sam_mask_decoder.predict_masks(
            image_embeddings=embedding,
            image_pe=heads.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=[s0, s1],
        )
    return Decoded(masks, iou, presence)
