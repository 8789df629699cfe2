"""Small models with random weights and made-up vocabularies, saved as the hub has real ones.

The classes and processors are transformers' own; nothing is fetched. Weights are drawn from a
fixed seed and spread, so that boxes and scores vary as much as a test needs.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTokenizer

WORDS = ("cat", "dog", "red", "circle", "traffic", "light", "detect", "delivery", "van", "a")


def clip_tokenizer(length: int, pad: str | None = None) -> CLIPTokenizer:
    """Return a CLIP tokenizer of letters and a few words, its end token the highest id."""
    letters = string.ascii_lowercase + string.digits + ".,!?'-"
    tokens = ["!", *[c for c in letters if c != "!"]]
    tokens += [f"{c}</w>" for c in ["!", *[c for c in letters if c != "!"]]]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
            if "".join(pair) not in tokens:
                tokens.append("".join(pair))
            parts = ["".join(pair), *parts[2:]]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    made = CLIPTokenizer(
        vocab=vocabulary, merges=merges, pad_token=pad or "<|endoftext|>", model_max_length=length
    )
    assert made("cat")["input_ids"] == [
        vocabulary["<|startoftext|>"],
        vocabulary["cat</w>"],
        vocabulary["<|endoftext|>"],
    ]
    return made


def clip_text(tokenizer: CLIPTokenizer, length: int, **more: Any) -> CLIPTextConfig:
    """Return a small CLIP text encoder's configuration for a tokenizer."""
    return CLIPTextConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": length,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **more,
        }
    )


def owlv2(folder: Path, side: int = 64) -> Path:
    from transformers import (
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    torch.manual_seed(5)
    tokenizer = clip_tokenizer(16, pad="!")
    small = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        **small,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**small, "image_size": side, "patch_size": 16}
    config = Owlv2Config(text_config=text, vision_config=vision, projection_dim=32)
    model = Owlv2ForObjectDetection(config).eval()
    with torch.no_grad():
        torch.nn.init.normal_(model.box_head.dense2.weight, std=0.5)
        torch.nn.init.normal_(model.box_head.dense2.bias, std=0.5)
        torch.nn.init.normal_(model.class_head.dense0.weight, std=0.5)
        torch.nn.init.normal_(model.class_head.logit_shift.weight, std=0.2)
        torch.nn.init.normal_(model.objectness_head.dense2.weight, std=0.5)
    model.save_pretrained(folder)
    prepare = Owlv2ImageProcessor(size={"height": side, "width": side})
    Owlv2Processor(prepare, tokenizer).save_pretrained(folder)
    return folder


def mm_grounding_dino(folder: Path) -> Path:
    """Write a random MM Grounding DINO with the words of bert-base-uncased."""
    from transformers import MMGroundingDinoConfig, MMGroundingDinoForObjectDetection

    from tests.ground.test_grounding_dino import save

    return save(MMGroundingDinoForObjectDetection, MMGroundingDinoConfig, folder)


def omdet_turbo(folder: Path, side: int = 64) -> Path:
    from transformers import (
        DetrImageProcessor,
        OmDetTurboConfig,
        OmDetTurboForObjectDetection,
        OmDetTurboProcessor,
        SwinConfig,
    )

    torch.manual_seed(6)
    tokenizer = clip_tokenizer(77)
    backbone = SwinConfig(
        image_size=side,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_indices=[2, 3, 4],
    )
    config = OmDetTurboConfig(
        text_config=clip_text(tokenizer, 77, hidden_size=48),
        backbone_config=backbone,
        use_timm_backbone=False,
        apply_layernorm_after_vision_backbone=False,
        image_size=side,
        text_projection_in_dim=48,
        text_projection_out_dim=48,
        class_embed_dim=48,  # with decoder_hidden_dim's, transformers 5.23 lacks a projection
        task_encoder_hidden_dim=32,
        num_queries=30,
        encoder_hidden_dim=32,
        decoder_hidden_dim=32,
        vision_features_channels=[32, 32, 32],
        encoder_in_channels=[16, 32, 64],
        encoder_attention_heads=2,
        decoder_num_heads=2,
        encoder_dim_feedforward=32,
        decoder_dim_feedforward=32,
        decoder_num_layers=2,
    )
    model = OmDetTurboForObjectDetection(config).eval()
    with torch.no_grad():
        for head in [*model.decoder.decoder_bbox_head, model.decoder.encoder_bbox_head]:
            torch.nn.init.normal_(head.layers[-1].weight, std=0.4)
            torch.nn.init.normal_(head.layers[-1].bias, std=0.4)
    model.save_pretrained(folder)
    prepare = DetrImageProcessor(size={"height": side, "width": side}, do_pad=False)
    OmDetTurboProcessor(prepare, tokenizer).save_pretrained(folder)
    return folder


def florence2(folder: Path, side: int = 64) -> Path:
    from transformers import (
        BartConfig,
        BartTokenizer,
        CLIPImageProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
        Florence2VisionConfig,
    )

    torch.manual_seed(7)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *string.printable[:94], "Ġ"]
    tokens += [word for word in WORDS if len(word) > 1]
    tokenizer = BartTokenizer(
        vocab={token: place for place, token in enumerate(dict.fromkeys(tokens))},
        merges=[],
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.add_tokens([f"<loc_{i}>" for i in range(1000)] + ["<poly>", "</poly>", "<sep>"])
    text = BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=128,
    )
    vision = Florence2VisionConfig(
        depths=[1, 1, 1, 1],
        embed_dim=[8, 16, 16, 32],
        num_heads=[1, 1, 2, 2],
        num_groups=[1, 1, 2, 2],
        window_size=4,
        projection_dim=32,
    )
    config = Florence2Config(
        text_config=text, vision_config=vision, image_token_id=tokenizer.image_token_id
    )
    model = Florence2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        # It says nothing but places: an answer is a handful of boxes.
        model.lm_head.weight.normal_(std=0.6)
    model.save_pretrained(folder)
    prepare = CLIPImageProcessor(size={"height": side, "width": side}, do_center_crop=False)
    prepare.image_seq_length = (side // 32) ** 2 + 1
    Florence2Processor(prepare, tokenizer).save_pretrained(folder)
    return folder


def _sam_parts(side: int, patch: int) -> dict[str, Any]:
    """Return the parts that SAM-like trackers share, small."""
    return {
        "prompt_encoder_config": {
            "hidden_size": 128,
            "image_size": side,
            "patch_size": patch,
            "mask_input_channels": 4,
        },
        "mask_decoder_config": {
            "hidden_size": 128,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
        "image_size": side,
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 1,
        "memory_encoder_hidden_size": 128,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 32,
    }


def edgetam(folder: Path, side: int = 128) -> Path:
    from transformers import (
        EdgeTamVideoConfig,
        EdgeTamVideoModel,
        EdgeTamVisionConfig,
        Sam2ImageProcessor,
        TimmWrapperConfig,
    )

    torch.manual_seed(8)
    backbone = TimmWrapperConfig(
        architecture="repvit_m1",
        do_pooling=False,
        model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    )
    vision = EdgeTamVisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[384, 192, 96, 48],
        backbone_feature_sizes=[[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
        fpn_hidden_size=128,
    )
    config = EdgeTamVideoConfig(
        vision_config=vision,
        **_sam_parts(side, 16),
        memory_attention_mlp_hidden_size=32,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        memory_attention_rope_k_sizes=[4, 4],
        perceiver_resampler_num_latents=16,
        perceiver_resampler_num_latents_2d=16,
        perceiver_resampler_hidden_size=64,
        perceiver_resampler_mlp_intermediate_size=32,
        perceiver_resampler_attention_head_dim=64,
        perceiver_resampler_num_layers=1,
    )
    EdgeTamVideoModel(config).eval().save_pretrained(folder)
    Sam2ImageProcessor(
        size={"height": side, "width": side},
        mask_size={"height": side // 4, "width": side // 4},
    ).save_pretrained(folder)
    return folder


def sam3(folder: Path, side: int = 112) -> Path:
    from transformers import (
        Sam3Config,
        Sam3ImageProcessor,
        Sam3Processor,
        Sam3TrackerVideoConfig,
        Sam3VideoConfig,
        Sam3VideoModel,
        Sam3VisionConfig,
        Sam3ViTConfig,
    )

    torch.manual_seed(9)
    tokenizer = clip_tokenizer(32)
    grid = side // 14
    backbone = Sam3ViTConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        pretrain_image_size=side,
        window_size=4,
        global_attn_indexes=[1],
    )
    vision = Sam3VisionConfig(
        backbone_config=backbone,
        fpn_hidden_size=128,
        backbone_feature_sizes=[[grid * 4] * 2, [grid * 2] * 2, [grid] * 2],
    )
    small = {
        "hidden_size": 128,
        "num_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "dropout": 0.0,
    }
    detector = Sam3Config(
        vision_config=vision,
        text_config=clip_text(tokenizer, 32, projection_dim=32),
        geometry_encoder_config={**small, "roi_size": 3},
        detr_encoder_config=small,
        detr_decoder_config={**small, "num_queries": 12},
        mask_decoder_config={"hidden_size": 128, "num_attention_heads": 2},
    )
    tracker = Sam3TrackerVideoConfig(
        vision_config=vision,
        **_sam_parts(side, 14),
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[grid, grid],
    )
    config = Sam3VideoConfig(
        detector_config=detector.to_dict(), tracker_config=tracker.to_dict(), low_res_mask_size=32
    )
    model = Sam3VideoModel(config).eval()
    with torch.no_grad():
        head = model.detector_model.detr_decoder.box_head
        last = [one for one in head.modules() if isinstance(one, torch.nn.Linear)][-1]
        torch.nn.init.normal_(last.weight, std=0.3)
        torch.nn.init.normal_(last.bias, std=0.5)
    model.save_pretrained(folder)
    prepare = Sam3ImageProcessor(
        size={"height": side, "width": side}, mask_size={"height": side // 4, "width": side // 4}
    )
    Sam3Processor(prepare, tokenizer).save_pretrained(folder)
    return folder
