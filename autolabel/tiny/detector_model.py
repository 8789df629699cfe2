"""The small Grounding DINO: its configuration, its vocabulary, and a start that learns fast.

Everything is the stock class of transformers, `GroundingDinoForObjectDetection`; only the sizes
and the initial values differ. What ships loads with `from_pretrained` alone.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    ResNetConfig,
)

from autolabel.tiny.shapes import COLOURS, OTHER_COLOURS, OTHER_SHAPES, SHAPES

STRIDE = 16
# The shorter side's pixels after resizing. The architecture places boxes in shares of a grid of
# whole cells, so sides should be multiples of the stride: with 288, those of pictures of
# 1:1, 4:3, 3:2, 16:9 and 2:1 are.
SIDE = 288
ALL_SHAPES: tuple[str, ...] = SHAPES + OTHER_SHAPES
ALL_COLOURS: tuple[str, ...] = COLOURS + OTHER_COLOURS

# transformers hard-codes these ids (SPECIAL_TOKENS of Grounding DINO), whatever the tokenizer.
_FIXED_IDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
_FIXED_IDS |= {".": 1012, "?": 1029}
_FIRST_WORD_ID = 104
_VOCABULARY_SIZE = 1030

# Initial logit of a token on a place without anything (one in thirty).
_PRIOR_LOGIT = -3.5


def vocabulary() -> dict[str, int]:
    """Gives the whole WordPiece vocabulary: the words of the shapes and colours, no pieces."""
    ids = dict(_FIXED_IDS)
    for offset, word in enumerate(ALL_COLOURS + ALL_SHAPES):
        ids[word] = _FIRST_WORD_ID + offset
    taken = set(ids.values())
    for unused in range(_VOCABULARY_SIZE):
        if unused not in taken:
            ids[f"[unused{unused}]"] = unused
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def processor() -> GroundingDinoProcessor:
    """Gives the processor: resizes to 288 px on the shorter side, and tokenizes."""
    image_processor = GroundingDinoImageProcessor(
        size={"shortest_edge": SIDE, "longest_edge": 2 * SIDE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
    )
    tokenizer = BertTokenizer(vocab=vocabulary(), model_max_length=256)
    return GroundingDinoProcessor(image_processor, tokenizer)


def configuration() -> GroundingDinoConfig:
    """Gives the sizes: about 1.4 million parameters."""
    backbone = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[24, 64, 128],
        depths=[1, 2, 3],
        layer_type="basic",
        out_features=["stage3"],
    )
    text = BertConfig(
        vocab_size=_VOCABULARY_SIZE,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        num_queries=40,
        encoder_layers=1,
        encoder_ffn_dim=192,
        encoder_attention_heads=4,
        decoder_layers=2,
        decoder_ffn_dim=256,
        decoder_attention_heads=4,
        d_model=128,
        dropout=0.0,
        num_feature_levels=1,
        fusion_droppath=0.0,
        init_std=0.02,
    )


def new_model() -> GroundingDinoForObjectDetection:
    """Gives an untrained detector, set up so that it begins to learn at once."""
    model = GroundingDinoForObjectDetection(configuration())
    for parameter in model.parameters():
        parameter.requires_grad_(True)  # transformers freezes part of a ResNet
    _set_prior(model)
    with torch.no_grad():
        for layer in model.model.encoder.layers:
            # Stock 1e-4 is meant for two pretrained halves; from scratch text must reach pixels.
            layer.fusion_layer.vision_param.fill_(0.2)
            layer.fusion_layer.text_param.fill_(0.2)
    return live_batch_norm(model)


def _set_prior(model: GroundingDinoForObjectDetection) -> None:
    """Gives the class head, a dot product without bias, a constant: dimension 0 of both sides."""
    text_norm = model.model.encoder.layers[-1].text_enhancer_layer.layer_norm_after
    with torch.no_grad():
        text_norm.weight.fill_(0.15)
        text_norm.weight[0], text_norm.bias[0] = 0.0, _PRIOR_LOGIT
        for norm in (model.model.enc_output_norm, model.model.decoder.layer_norm):
            norm.weight[0], norm.bias[0] = 0.0, 1.0


def live_batch_norm(module: nn.Module) -> nn.Module:
    """Puts real batch normalisation where transformers put frozen; the state's names agree.

    A ResNet doesn't learn from scratch under frozen statistics. The shipped file holds the
    statistics learnt, and loads into the frozen ones.
    """
    for name, child in module.named_children():
        if type(child).__name__ == "GroundingDinoFrozenBatchNorm2d":
            live = nn.BatchNorm2d(len(child.state_dict()["weight"]), momentum=0.02)
            live.load_state_dict(child.state_dict(), strict=False)
            setattr(module, name, live)
        else:
            live_batch_norm(child)
    return module


def export(model: GroundingDinoForObjectDetection, folder: Path) -> None:
    """Writes the folder that `from_pretrained` reads: configuration, fp16 weights, processor."""
    frozen = GroundingDinoForObjectDetection(configuration())
    weights = {k: v for k, v in model.state_dict().items() if "num_batches_tracked" not in k}
    frozen.load_state_dict(weights)
    frozen.half().save_pretrained(folder)
    whole = processor()
    whole.save_pretrained(folder)
    whole.image_processor.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
