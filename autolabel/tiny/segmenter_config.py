"""The bundled SAM 2: its sizes, and how to build, save and load it.

The model is the ``sam2`` package's own ``SAM2Base`` with its own parts; only the sizes are
small. torch and sam2 are imported here and in the training code, nowhere on the way to the CLI.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base

Config = dict[str, Any]

WEIGHTS = Path(__file__).parent / "weights" / "segmenter"
"""Where the shipped model lies: ``model.safetensors`` (fp16) beside ``config.json``."""

DEFAULT_CONFIG: Config = {
    "model_type": "sam2",
    "image_size": 256,
    "trunk": {
        "embed_dim": 32,
        "num_heads": 1,
        "stages": [1, 1, 2, 1],
        # sam2 divides by zero where the first block of a stage is global: 3 is the second of its.
        "global_att_blocks": [3],
        "window_spec": [8, 4, 16, 8],
        "window_pos_embed_bkg_spatial_size": [8, 8],
    },
    "neck": {
        "d_model": 256,
        "backbone_channel_list": [256, 128, 64, 32],
        "fpn_top_down_levels": [2, 3],
        "fpn_interp_model": "nearest",
    },
    "memory_attention": {"num_layers": 3, "dim_feedforward": 512, "dropout": 0.0},
    "memory_encoder": {"out_dim": 128, "fuser_layers": 1, "layer_scale_init_value": 0.1},
    "base": {
        "num_maskmem": 4,
        "sigmoid_scale_for_mem_enc": 20.0,
        "sigmoid_bias_for_mem_enc": -10.0,
        "use_mask_input_as_output_without_sam": True,
        "directly_add_no_mem_embed": True,
        "no_obj_embed_spatial": True,
        "use_high_res_features_in_sam": True,
        "multimask_output_in_sam": True,
        "multimask_min_pt_num": 0,
        "multimask_max_pt_num": 1,
        "multimask_output_for_tracking": False,
        "use_multimask_token_for_obj_ptr": False,
        "iou_prediction_use_sigmoid": True,
        "use_obj_ptrs_in_encoder": True,
        "max_obj_ptrs_in_encoder": 1,  # of prompted frames only: mistakes make none
        # No time in the pointers: its scale would depend on the clip's length.
        "add_tpos_enc_to_obj_ptrs": False,
        "only_obj_ptrs_in_the_past_for_eval": True,
        "pred_obj_scores": True,
        "pred_obj_scores_mlp": True,
        "fixed_no_obj_ptr": True,
        "use_mlp_for_obj_ptr_proj": True,
    },
}


def build_model(config: Config, kind: type[SAM2Base] = SAM2Base, **extra: Any) -> SAM2Base:
    """The ``SAM2Base`` that ``config`` describes, with fresh weights, in eval mode on the CPU.

    Args:
        config: sizes as in ``DEFAULT_CONFIG`` (what ``config.json`` beside the weights holds).
        kind: ``SAM2VideoPredictor`` or another child of ``SAM2Base``, built the same way.
        extra: further arguments of ``kind``.
    """
    d_model = config["neck"]["d_model"]
    model = kind(
        image_encoder=_image_encoder(config),
        memory_attention=_memory_attention(config, d_model),
        memory_encoder=_memory_encoder(config, d_model),
        image_size=config["image_size"],
        **config["base"],
        **extra,
    )
    return model.eval()


def save_model(model: SAM2Base, config: Config, folder: Path) -> int:
    """The size in bytes of the fp16 ``model.safetensors`` written in ``folder``.

    Args:
        model: the model to save; its own dtype is left alone.
        config: what ``build_model`` needs to make it again; written to ``config.json``.
        folder: made if missing; both files are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    path = folder / "model.safetensors"
    save_file(half, path, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return path.stat().st_size


def load_model(folder: Path = WEIGHTS, kind: type[SAM2Base] = SAM2Base, **extra: Any) -> SAM2Base:
    """The model in ``folder``, in float32 and eval mode on the CPU; see ``build_model``."""
    config = json.loads((folder / "config.json").read_text())
    model = build_model(config, kind, **extra)
    tensors = load_file(folder / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model


def feature_sizes(image_size: int) -> list[tuple[int, int]]:
    """The three feature maps' heights and widths; ``SAM2ImagePredictor`` assumes those of 1024."""
    return [(image_size // stride, image_size // stride) for stride in (4, 8, 16)]


def _image_encoder(config: Config) -> ImageEncoder:
    neck = config["neck"]
    position = PositionEmbeddingSine(
        num_pos_feats=neck["d_model"], normalize=True, scale=None, temperature=10000
    )
    trunk = Hiera(**{k: tuple(v) if isinstance(v, list) else v for k, v in config["trunk"].items()})
    return ImageEncoder(trunk=trunk, neck=FpnNeck(position_encoding=position, **neck), scalp=1)


def _memory_attention(config: Config, d_model: int) -> MemoryAttention:
    sizes = config["memory_attention"]
    side = config["image_size"] // 16

    def attention(**extra: Any) -> RoPEAttention:
        return RoPEAttention(
            embedding_dim=d_model,
            num_heads=1,
            downsample_rate=1,
            dropout=sizes["dropout"],
            rope_theta=10000.0,
            feat_sizes=[side, side],
            **extra,
        )

    layer = MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=sizes["dim_feedforward"],
        dropout=sizes["dropout"],
        pos_enc_at_attn=False,
        self_attention=attention(),
        d_model=d_model,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=attention(
            rope_k_repeat=True, kv_in_dim=config["memory_encoder"]["out_dim"]
        ),
    )
    return MemoryAttention(
        d_model=d_model, pos_enc_at_input=True, layer=layer, num_layers=sizes["num_layers"]
    )


def _memory_encoder(config: Config, d_model: int) -> MemoryEncoder:
    sizes = config["memory_encoder"]
    block = CXBlock(
        dim=d_model,
        kernel_size=7,
        padding=3,
        layer_scale_init_value=sizes["layer_scale_init_value"],
        use_dwconv=True,
    )
    return MemoryEncoder(
        out_dim=sizes["out_dim"],
        position_encoding=PositionEmbeddingSine(
            num_pos_feats=sizes["out_dim"], normalize=True, scale=None, temperature=10000
        ),
        mask_downsampler=MaskDownSampler(kernel_size=3, stride=2, padding=1, embed_dim=d_model),
        fuser=Fuser(block, num_layers=sizes["fuser_layers"]),
        in_dim=d_model,
    )


def parameter_count(model: torch.nn.Module) -> int:
    """How many numbers the model's parameters hold."""
    return sum(p.numel() for p in model.parameters())
