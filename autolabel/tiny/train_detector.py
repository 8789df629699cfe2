"""Trains the small detector from nothing on generated scenes.

    python -m autolabel.tiny.train detector --minutes 90 --folder runs/detector

Two stages, each annealed by the clock: the image half alone learns densely what is where, then
the whole Grounding DINO learns, the dense lesson going on beside it. Run again with the same
folder it goes on where it stopped; `--start autolabel/tiny/weights/detector` begins a new folder
from exported weights instead of from nothing (with a lower `--rate`, such as 2e-4).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import GroundingDinoForObjectDetection

from autolabel.tiny.detector_data import Batches
from autolabel.tiny.detector_loss import DenseHeads, decoder_loss, proposal_loss
from autolabel.tiny.detector_model import export, new_model
from autolabel.tiny.loop import Loop, load_weights

_WEIGHTS = Path(__file__).parent / "weights" / "detector"
_SEEDS_A_RUN = 10_000_000


class Trained(nn.Module):
    """The detector and what is only needed to train it."""

    def __init__(self) -> None:
        """Makes both anew."""
        super().__init__()
        self.detector: GroundingDinoForObjectDetection = new_model()
        self.dense = DenseHeads(self.detector.config.d_model)
        self.detector.model.backbone.to(memory_format=torch.channels_last)


def projected(detector: GroundingDinoForObjectDetection, pixels: Tensor) -> Tensor:
    """Gives what the image half hands to the encoder, (B, N, d)."""
    maps = detector.model.backbone.conv_encoder.model(pixels).feature_maps
    projections = detector.model.input_proj_vision
    levels = [p(m).flatten(2) for p, m in zip(projections, maps, strict=True)]
    return torch.cat(levels, 2).transpose(1, 2)


def dense_step(trained: Trained, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Gives the dense lesson's loss and its parts."""
    pixels = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        features = projected(trained.detector, pixels)
    return _dense_loss(trained, features, batch)


def _dense_loss(
    trained: Trained, features: Tensor, batch: dict[str, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    parts = trained.dense(features.float(), batch)
    right = float(parts.pop("right"))
    loss = parts["thing"] + parts["colour"] + parts["shape"] + parts["box"]
    return loss, {"right": right} | {key: float(value.detach()) for key, value in parts.items()}


def whole_step(trained: Trained, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Gives the whole detector's loss and its parts."""
    kept: list[Tensor] = []
    detector = trained.detector
    hooks = [
        layer.register_forward_hook(lambda _m, _i, out: kept.append(out.flatten(2)))
        for layer in detector.model.input_proj_vision
    ]
    with torch.autocast("cpu", torch.bfloat16):
        outputs = detector(
            pixel_values=batch["pixel_values"].contiguous(memory_format=torch.channels_last),
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
        )
    for hook in hooks:
        hook.remove()
    dense, figures = _dense_loss(trained, torch.cat(kept, 2).transpose(1, 2), batch)
    proposals = proposal_loss(outputs, batch)
    layers = [
        decoder_loss(logits, boxes, outputs.init_reference_points, batch)
        for logits, boxes in layer_outputs(detector, outputs, batch)
    ]
    figures |= {"proposals": float(proposals.detach()), "decoder": float(layers[-1].detach())}
    return dense + proposals + torch.stack(layers).sum(), figures


def layer_outputs(
    detector: GroundingDinoForObjectDetection, outputs: object, batch: dict[str, Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields each decoder layer's logits (B, Q, tokens) and boxes (B, Q, 4).

    The stock forward keeps only the last layer's unless it computes its own loss.
    """
    reference = outputs.init_reference_points  # type: ignore[attr-defined]
    text = outputs.encoder_last_hidden_state_text  # type: ignore[attr-defined]
    states = outputs.intermediate_hidden_states  # type: ignore[attr-defined]
    later = outputs.intermediate_reference_points  # type: ignore[attr-defined]
    for level in range(states.shape[1]):
        state = states[:, level].float()
        logits = state @ text.float().transpose(1, 2)
        start = reference if level == 0 else later[:, level - 1]
        delta = detector.bbox_embed[level](state)
        yield logits, (delta + torch.special.logit(start.float(), eps=1e-5)).sigmoid()


def _stage(
    trained: Trained, name: str, minutes: float, rate: float, options: argparse.Namespace
) -> None:
    """Runs one stage until its minutes are used up."""
    decayed = [p for p in trained.parameters() if p.ndim > 1]
    plain = [p for p in trained.parameters() if p.ndim <= 1]
    groups: list[dict[str, object]] = [
        {"params": decayed, "lr": rate},
        {"params": plain, "lr": rate, "weight_decay": 0.0},
    ]
    loop = Loop(options.folder, name, trained, groups, minutes, options.seed)
    first = _SEEDS_A_RUN * (1 + options.seed * 2 + (name != "dense")) + loop.step * options.batch
    batches = Batches(options.batch, first, options.pool)
    loader = iter(DataLoader(batches, batch_size=None, num_workers=options.workers))
    one = dense_step if name == "dense" else whole_step

    def step(_rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        return one(trained, next(loader))

    trained.train()
    loop.run(step, say=lambda line: print(line, flush=True), every=25)


def main(argv: Sequence[str]) -> None:
    """Trains and exports; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m autolabel.tiny.train detector")
    parser.add_argument("--minutes", type=float, default=80, help="for the whole model")
    parser.add_argument("--dense-minutes", type=float, default=12, help="for the image half first")
    parser.add_argument("--folder", type=Path, default=Path("runs/detector"))
    parser.add_argument("--out", type=Path, default=_WEIGHTS, help="where the weights go")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pool", type=int, default=0, help="overfit this many pictures (a check)")
    parser.add_argument("--start", type=Path, help="exported weights to begin from")
    parser.add_argument("--export-only", action="store_true", help="export the last checkpoint")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    trained = Trained()
    if options.export_only:
        load_weights(trained, options.folder / "whole.pt")
    else:
        if options.start:
            exported = load_file(options.start / "model.safetensors")
            trained.detector.load_state_dict(exported, strict=False)
        elif not (options.folder / "whole.pt").exists():
            _stage(trained, "dense", options.dense_minutes, 2 * options.rate, options)
        _stage(trained, "whole", options.minutes, options.rate, options)
    export(trained.detector, options.out)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
