"""Small SAM 2 video models with random weights, from sam2's own configurations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sam2.build_sam import build_sam2_video_predictor
from sam2.sam2_video_predictor import SAM2VideoPredictor

SAM2 = "configs/sam2/sam2_hiera_t.yaml"
SAM21 = "configs/sam2.1/sam2.1_hiera_t.yaml"


AS_BUNDLED = (
    "model.memory_attention.num_layers=3",
    "model.num_maskmem=4",
    "++model.max_obj_ptrs_in_encoder=1",
    "model.add_tpos_enc_to_obj_ptrs=false",
    "model.proj_tpos_enc_in_obj_ptrs=false",
    "model.multimask_output_for_tracking=false",
    "model.use_multimask_token_for_obj_ptr=false",
    "model.memory_encoder.fuser.num_layers=1",
    "model.memory_encoder.out_dim=128",
    "model.memory_encoder.position_encoding.num_pos_feats=128",
    "model.memory_attention.layer.cross_attention.kv_in_dim=128",
)
"""What differs in the bundled model (``autolabel.tiny.segmenter_config``), from SAM 2.1."""


def small_predictor(
    config: str = SAM21,
    *,
    image_size: int = 256,
    embed_dim: int = 32,
    seed: int = 0,
    overrides: Sequence[str] = (),
) -> SAM2VideoPredictor:
    """A video predictor with every setting of ``config`` but its size; 8 M parameters at 32.

    The random weights are balanced so that objects are visible, masks are neither empty nor
    full, and the memory has a say in them.

    Args:
        config: one of sam2's own configuration files.
        image_size: the model's, a multiple of 32.
        embed_dim: of the image encoder.
        seed: of the weights.
        overrides: more settings, in Hydra's grammar.
    """
    torch.manual_seed(seed)
    channels = ",".join(str(embed_dim * 2**i) for i in (3, 2, 1, 0))
    sizes = [
        f"++model.image_size={image_size}",
        f"model.image_encoder.trunk.embed_dim={embed_dim}",
        "model.image_encoder.trunk.stages=[1,1,2,1]",
        "model.image_encoder.trunk.global_att_blocks=[3]",
        f"model.image_encoder.neck.backbone_channel_list=[{channels}]",
        "model.memory_attention.num_layers=2",
        "model.memory_attention.layer.dim_feedforward=512",
    ]
    model = build_sam2_video_predictor(
        config, None, device="cpu", hydra_overrides_extra=[*sizes, *overrides]
    )
    # Needs sam2's CUDA extension; without it the predictor only warns on every frame.
    model.fill_hole_area = 0
    balance(model)
    return model


@torch.no_grad()
def balance(model: SAM2VideoPredictor, memory: float = 1.0) -> None:
    """Scale random weights so that what is tested shows in the masks.

    Args:
        model: changed in place.
        memory: how much more the memory's attention weighs than at random initialisation.
    """
    for name, weights in model.named_parameters():
        if name.endswith("gamma"):
            weights.fill_(0.5)
        elif "cross_attn_image" in name and name.endswith("weight"):
            weights.mul_(3 * memory if "q_proj" in name or "k_proj" in name else memory)
        elif "output_hypernetworks" in name and "layers.2.weight" in name:
            weights.mul_(6)
        elif name == "maskmem_tpos_enc":
            weights.mul_(20)
        elif "obj_ptr" in name and name.endswith("weight"):
            weights.mul_(2)
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(1.0)
