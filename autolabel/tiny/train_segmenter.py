"""Trains the bundled SAM 2 on pictures: ``python -m autolabel.tiny.train segmenter``.

Three stages, each resumable (see ``loop.Loop``):

- ``encoder``: a new image encoder learns under a teacher's prompt encoder and mask decoder, which
  stay as they are. Prompting by box is slow to learn, and the teacher already can.
- ``decoder``: the project's own prompt encoder and mask decoder, from random weights, learn from
  the teacher layer by layer (``distill``).
- ``tune``: all of the project's own model learns from the truth. No tensor of the teacher is in it.

The memory is trained after these by ``train_tracker``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from autolabel.tiny import distill
from autolabel.tiny.loop import Loop, load_weights
from autolabel.tiny.segmenter_config import DEFAULT_CONFIG, WEIGHTS, build_model, save_model
from autolabel.tiny.segmenter_data import (
    Batch,
    Pool,
    PromptKind,
    draw_batch,
    iou_of,
    make_prompts,
    mask_loss,
    training_scene,
)
from autolabel.tiny.segmenter_heads import Decoded, decode, freeze, image_features, load_teacher

FIRST_SEED = 1_000_000
"""Training scenes count up from here; evaluation uses seeds from 900,000,000."""
KINDS: tuple[PromptKind, ...] = ("box", "loose box", "points", "box and point", "mask")
SHARES = {
    "encoder": (0.5, 0.3, 0.1, 0.0, 0.1),
    "decoder": (0.35, 0.2, 0.2, 0.05, 0.2),
    "tune": (0.35, 0.25, 0.15, 0.05, 0.2),
}
"""How often each kind of prompt is asked in each stage."""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one stage, or all of them, and exports the model."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    stages = ("encoder", "decoder", "tune") if args.stage == "all" else (args.stage,)
    for stage in stages:
        {"encoder": train_encoder, "decoder": train_decoder, "tune": tune}[stage](args)
    if stages[-1] == "tune":
        model = build_model(DEFAULT_CONFIG)
        load_weights(model, args.work / "tune.pt")
        print(f"{save_model(model, DEFAULT_CONFIG, args.out)} bytes in {args.out}")


def train_encoder(args: argparse.Namespace) -> None:
    """Stage A: the image encoder learns under the frozen teacher."""
    student = build_model(DEFAULT_CONFIG)
    teacher = load_teacher(args.teacher, DEFAULT_CONFIG)
    freeze(teacher)
    pupil = nn.ModuleDict({"encoder": student.image_encoder})
    groups: list[dict[str, object]] = [{"params": list(pupil.parameters()), "lr": 1e-3}]
    loop = Loop(args.work, "encoder", pupil, groups, args.minutes or 10.0, args.seed)
    pool = Pool(training_scene, FIRST_SEED + loop.step * 8, 1500, 4)

    def one_step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        batch = draw_batch(pool, rng, pictures=6, per_picture=4)
        features = image_features(student.image_encoder, teacher, batch.images)
        kind, answer = _ask(teacher, features, batch, rng, "encoder")
        return _image_loss(answer, batch, kind, whole=False)

    loop.run(one_step)


def train_decoder(args: argparse.Namespace) -> None:
    """Stage B: the own prompt encoder and mask decoder learn the teacher's layers."""
    student = build_model(DEFAULT_CONFIG)
    load_weights(nn.ModuleDict({"encoder": student.image_encoder}), args.work / "encoder.pt")
    teacher = load_teacher(args.teacher, DEFAULT_CONFIG)
    freeze(teacher)
    freeze(student.image_encoder)
    if args.stage == "decoder" and args.start:
        load_weights(student, args.start)
    heads = nn.ModuleList([student.sam_prompt_encoder, student.sam_mask_decoder])
    tokens = [m.weight for m in heads.modules() if isinstance(m, nn.Embedding)]
    own = [p for p in heads.parameters() if all(p is not t for t in tokens)]
    groups: list[dict[str, object]] = [
        {"params": own, "lr": 1e-3},
        {"params": tokens, "lr": 5e-3},  # they start large: far to go
    ]
    loop = Loop(args.work, "decoder", student, groups, args.minutes or 17.0, args.seed)
    pool = Pool(training_scene, FIRST_SEED + 200_000 + loop.step * 8, 1500, 6)

    def one_step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        batch = draw_batch(pool, rng, pictures=6, per_picture=4)
        kind = _kind(rng, "decoder")
        prompts = make_prompts(batch.masks, kind, rng)
        with torch.no_grad():
            levels = student.image_encoder(batch.images)["backbone_fpn"]
        led = rng.random() > args.alone + (0.9 - args.alone) * loop.progress
        losses, masks = distill.layer_losses(
            teacher, student, levels, batch.owner, prompts, led=led
        )
        loss = torch.stack(list(losses.values())).sum()
        figures = {f"{'led' if led else 'alone'} layers": float(loss.detach())}
        figures |= {n: float(v.detach()) for n, v in losses.items() if not led and "+" not in n}
        if led:
            return loss, figures
        answer = Decoded(masks, masks, masks)
        truth, seen = _image_loss(answer, batch, kind, whole=False)
        return loss + truth, figures | seen

    loop.run(one_step)


def tune(args: argparse.Namespace) -> None:
    """Stage C: the whole image model learns from the truth."""
    student = build_model(DEFAULT_CONFIG)
    alone = args.stage == "tune" and args.start
    load_weights(student, alone or args.work / "decoder.pt")
    heads = [*student.sam_prompt_encoder.parameters(), *student.sam_mask_decoder.parameters()]
    encoder = [*student.image_encoder.parameters(), student.no_mem_embed]
    groups: list[dict[str, object]] = [
        {"params": heads, "lr": 0.3 * args.lr},  # they forget at the rate that the encoder needs
        {"params": encoder, "lr": args.lr},
    ]
    loop = Loop(args.work, "tune", student, groups, args.minutes or 20.0, args.seed)
    pool = Pool(training_scene, FIRST_SEED + 400_000 + loop.step * 8, 1500, 4)

    def one_step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        batch = draw_batch(pool, rng, pictures=6, per_picture=4)
        features = image_features(student.image_encoder, student, batch.images)
        kind, answer = _ask(student, features, batch, rng, "tune")
        return _image_loss(answer, batch, kind, whole=True)

    loop.run(one_step)


def _kind(rng: np.random.Generator, stage: str) -> PromptKind:
    return KINDS[int(rng.choice(len(KINDS), p=SHARES[stage]))]


def _ask(
    heads: SAM2Base,
    features: list[Tensor],
    batch: Batch,
    rng: np.random.Generator,
    stage: str,
) -> tuple[PromptKind, Decoded]:
    kind = _kind(rng, stage)
    return kind, decode(heads, features, batch.owner, make_prompts(batch.masks, kind, rng))


def _image_loss(
    answer: Decoded, batch: Batch, kind: PromptKind, *, whole: bool
) -> tuple[Tensor, dict[str, float]]:
    """The loss on one batch's masks, and its figures.

    Args:
        answer: what the decoder said.
        batch: the truth.
        kind: the kind of prompt, for the figures.
        whole: train the three other masks and the predicted IoU too.
    """
    fine = nn.functional.interpolate(answer.masks[:, :1].float(), scale_factor=2, mode="bilinear")
    half = nn.functional.avg_pool2d(batch.masks[:, None].float(), 2)
    loss = mask_loss(fine[:, 0], half[:, 0]).mean()
    iou = iou_of(fine.detach()[:, 0], half[:, 0] > 0.5)
    if whole:
        others = answer.masks[:, 1:].float().flatten(0, 1)
        truth = nn.functional.avg_pool2d(half, 2)[:, 0].repeat_interleave(3, dim=0)
        loss = loss + 0.3 * mask_loss(others, truth).mean()
        real = torch.cat([iou[:, None], iou_of(others.detach(), truth > 0.5).view(-1, 3)], dim=1)
        loss = loss + (answer.iou.float() - real).abs().mean()
    return loss, {f"iou {kind}": float(iou.mean())}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m autolabel.tiny.train segmenter")
    parser.add_argument("--stage", choices=("encoder", "decoder", "tune", "all"), default="all")
    parser.add_argument("--minutes", type=float, help="wall clock of each stage")
    parser.add_argument("--teacher", type=Path, required=True, help="SAM 2 Hiera-tiny checkpoint")
    parser.add_argument("--work", type=Path, default=Path("runs/segmenter"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights that the one stage begins with")
    parser.add_argument("--alone", type=float, default=0.0, help="share of steps not led, at first")
    parser.add_argument("--lr", type=float, default=3e-4, help="peak rate of the last stage")
    return parser


if __name__ == "__main__":
    main()
