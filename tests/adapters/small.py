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
        text_config=clip_text(tokenizer, 77),
        backbone_config=backbone,
        use_timm_backbone=False,
        apply_layernorm_after_vision_backbone=False,
        image_size=side,
        text_projection_in_dim=32,
        text_projection_out_dim=32,
        class_embed_dim=32,
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
