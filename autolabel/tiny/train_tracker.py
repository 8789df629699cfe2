"""Trains the bundled SAM 2's memory on clips: ``python -m autolabel.tiny.train tracker``.

The image model stays as ``train_segmenter`` left it, so frames are encoded once and kept. Two
stages, each resumable (see ``loop.Loop``):

- ``recall``: the memory, primed to look by nearness (``memory_reading``) and by likeness
  (``memory_matching``), learns to find objects again (``memory_recall``).
- ``follow``: pairs of similar objects go through ``SAM2Base.track_step``, from a mask or a box in
  the first frame, with memories made more and more of the model's own answers; every frame
  teaches the mask, and whether the object is there.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from autolabel.tiny.loop import Loop, load_weights
from autolabel.tiny.memory_matching import prime_matching
from autolabel.tiny.memory_reading import Memory, missed, position_of, prime_memory
from autolabel.tiny.memory_recall import figures_of, recall
from autolabel.tiny.segmenter_config import (
    DEFAULT_CONFIG,
    WEIGHTS,
    build_model,
    feature_sizes,
    save_model,
)
from autolabel.tiny.segmenter_data import (
    Pool,
    PromptKind,
    iou_of,
    make_prompts,
    mask_loss,
    sure_of,
)
from autolabel.tiny.segmenter_heads import freeze
from autolabel.tiny.tracker_data import (
    Reunion,
    Run,
    draw_reunion,
    draw_run,
    in_a_row,
    in_groups,
    make_window,
)

FIRST_SEED = 5_000_000
MEMORY = ("memory_", "maskmem_", "no_obj_", "obj_ptr_", "mask_downsample")
"""How the names of the memory's tensors begin."""
Spoken = tuple[Tensor, Tensor, Tensor]
"""What the decoder said of one frame: mask logits (N, 1, h, w), IoU (N, 1), presence (N, 1)."""


@dataclass(frozen=True)
class Heard:
    """What was said in each frame of a run: by the decoder, and by the memory attention."""

    spoken: list[Spoken]
    read: list[Tensor]

    def clear(self) -> None:
        """Forgets it all."""
        self.spoken.clear()
        self.read.clear()


def main(argv: Sequence[str] | None = None) -> None:
    """Trains the memory for the given minutes and exports the model."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    model = build_model(DEFAULT_CONFIG)
    start = args.start or args.work / "tune.pt"
    if args.stage != "follow":
        load_weights(model, start, without=() if args.primed else MEMORY)
        train_recall(model, args)
        start = args.work / "recall.pt"
    if args.stage != "recall":
        load_weights(model, start)
        train_following(model, args)
    print(f"{save_model(model, DEFAULT_CONFIG, args.out)} bytes in {args.out}")


def train_recall(model: SAM2Base, args: argparse.Namespace) -> None:
    """The memory learns to find objects again (``memory_recall``)."""
    if not args.primed and not (args.work / "recall.pt").exists():
        _prime(model, args)
    groups = _groups(model, args.recall_lr, 0.7 * args.recall_lr)
    loop = Loop(args.work, "recall", model, groups, args.recall_minutes, args.seed)
    draw = _reunions(model, args, loop.step)
    loop.run(lambda rng: _recall_step(model, draw(rng, 2 * args.clips), rng))


def _recall_step(
    model: SAM2Base, sample: Reunion, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """The loss of reading one sample, and its figures."""
    only_first = bool(rng.random() < 0.5)
    told = recall(model, sample, rng, only_first=only_first)
    there = sample.now.masks.flatten(1).any(1)
    each, ious = _frame_loss(told.masks, sample.now.masks, there)
    loss = missed(model, told.said, sample.now) + 0.7 * each.mean()
    return loss, figures_of(told, ious, there, only_first=only_first)


def _prime(model: SAM2Base, args: argparse.Namespace) -> None:
    """Gives the new memory a beginning from which it learns."""
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    draw = _reunions(model, args, 0)
    read_one = partial(recall, model, rng=rng, only_first=True)
    sample = draw(rng, 4)
    with torch.no_grad():
        prime_memory(model, sample.now, lambda: recall(model, sample, rng, only_first=False))
    prime_matching(model, lambda: draw(rng, 6), read_one)


def _reunions(
    model: SAM2Base, args: argparse.Namespace, skip: int
) -> Callable[[np.random.Generator, int], Reunion]:
    """A function that draws so many pairs of objects that meet again."""
    first = args.first_seed + 2_000_000 + skip
    pool = Pool(lambda seed: make_window(model, seed, in_groups), first, args.pool, args.reuse)

    def draw(rng: np.random.Generator, pairs: int) -> Reunion:
        return draw_reunion((pool.draw(rng) for _ in itertools.count()), rng, pairs)

    return draw


def train_following(model: SAM2Base, args: argparse.Namespace) -> None:
    """The memory learns to follow objects on its own answers, and in turn goes on recalling."""
    loop = Loop(
        args.work, "follow", model, _groups(model, args.lr, 0.3 * args.lr), args.minutes, args.seed
    )
    draw = _drawing(model, args, 100_000 + loop.step)
    again = _reunions(model, args, 100_000 + loop.step)
    heard = _listen(model)

    def one_step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        if rng.random() < 0.5:
            return _recall_step(model, again(rng, 2 * args.clips), rng)
        frames = 4 if loop.progress < args.short else args.frames
        how = "mask" if rng.random() < 0.6 else "box"
        led = max(0.0, 0.6 - loop.progress)
        return run_loss(model, draw(rng, frames), how, rng, heard, led)

    loop.run(one_step)


def _drawing(
    model: SAM2Base, args: argparse.Namespace, skip: int
) -> Callable[[np.random.Generator, int], Run]:
    """A function that draws runs of so many frames."""
    first = args.first_seed + skip
    pool = Pool(lambda seed: make_window(model, seed, in_a_row), first, args.pool, args.reuse)

    def draw(rng: np.random.Generator, frames: int) -> Run:
        while True:
            windows = [pool.draw(rng) for _ in range(args.clips)]
            run = draw_run(windows, rng, frames, per_window=2)
            if run is not None:
                return run

    return draw


def run_loss(
    model: SAM2Base, run: Run, how: str, rng: np.random.Generator, heard: Heard, led: float
) -> tuple[Tensor, dict[str, float]]:
    """The loss over one run of frames, and its figures.

    Args:
        model: in eval mode: only there does sam2 1.1.0 give object scores.
        run: the objects to follow.
        how: "mask" or "box", the prompt in the first frame.
        rng: draws the prompts.
        heard: filled by ``_listen``.
        led: see ``follow``.
    """
    heard.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        follow(model, run, how, rng, led)
    losses, right, gone = [], [], []
    for index, spoken in enumerate(heard.spoken):
        truth = run.masks[:, index]
        there = truth.flatten(1).any(1)
        each, ious = _frame_loss(spoken, truth, there)
        losses.append(each * (0.3 if index == 0 else 1.0))
        if index:
            right.append(ious[there])
            gone.append(spoken[2].detach()[~there, 0] <= 0)
    values = {"j": float(torch.cat(right).mean())}
    if len(absent := torch.cat(gone)):
        values["said gone"] = float(absent.float().mean())
    each_missed = [missed(model, said, run.at(k)) for k, said in enumerate(heard.read, 1)]
    reading = torch.stack(each_missed).mean()
    values["reading"] = float(reading.detach())
    return torch.stack(losses).mean() + 0.4 * reading, values


def _frame_loss(spoken: Spoken, truth: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Each object's loss in one frame and its IoU, (N,) each; masks count where it is there."""
    masks, iou, presence = (part.float() for part in spoken)
    fine = F.interpolate(masks, scale_factor=2, mode="bilinear")[:, 0]
    half = F.avg_pool2d(truth[:, None].float(), 2)[:, 0]
    real = iou_of(fine.detach(), half > 0.5)
    seen = there.float()
    doubt = F.binary_cross_entropy_with_logits(presence[:, 0], seen, reduction="none")
    rare = 6.0 - 4.0 * seen  # absence is the rarer: it weighs more
    guess = (iou[:, 0] - real).abs()
    return seen * (mask_loss(fine, half, 0.15) + 0.3 * guess) + rare * doubt, real


def follow(model: SAM2Base, run: Run, how: str, rng: np.random.Generator, led: float) -> None:
    """Takes the objects of ``run`` through ``track_step`` frame by frame.

    Args:
        model: the tracker.
        run: the objects.
        how: "mask" or "box", the prompt in the first frame.
        rng: draws the prompts.
        led: the share of frames remembered with their true masks, not the found ones. What is
            remembered wrong can't be read right: without a lead the memory unlearns to read.
    """
    sizes = feature_sizes(model.image_size)
    position = position_of(model, run.at(0))
    memory: Memory = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    for index in range(run.masks.shape[1]):
        points = given = None
        current = [level[index].flatten(2).permute(2, 0, 1) for level in run.features]
        if index == 0 and how == "mask":
            given = run.masks[:, 0, None].float()
        elif index == 0:
            kind: PromptKind = "box" if rng.random() < 0.5 else "loose box"
            asked = make_prompts(run.masks[:, 0], kind, rng)
            points = {"point_coords": asked.points, "point_labels": asked.labels}
        out = model.track_step(
            frame_idx=index,
            is_init_cond_frame=index == 0,
            current_vision_feats=current,
            current_vision_pos_embeds=[position] * 3,
            feat_sizes=sizes,
            point_inputs=points,
            mask_inputs=given,
            output_dict=memory,
            num_frames=1_000_000,
            run_mem_encoder=False,
        )
        if index + 1 < run.masks.shape[1]:
            _remember(model, run, index, current, out, shown=rng.random() < led)
        memory["cond_frame_outputs" if index == 0 else "non_cond_frame_outputs"][index] = out


def _remember(
    model: SAM2Base,
    run: Run,
    index: int,
    current: list[Tensor],
    out: dict[str, Any],
    *,
    shown: bool,
) -> None:
    """Adds the frame's memory to ``out``, made of the mask found or, if ``shown``, the true one.

    No gradient goes back through a remembered mask: the memory's steep scale makes it explode.
    """
    masks, presence = out["pred_masks_high_res"], out["object_score_logits"]
    if shown:
        masks, presence = sure_of(run.masks[:, index])
    model._encode_memory_in_output(
        current,
        feature_sizes(model.image_size),
        out["point_inputs"],
        True,
        masks.detach(),
        presence.detach(),
        out,
    )


def _listen(model: SAM2Base) -> Heard:
    """What the mask decoder and the memory attention say inside ``track_step`` from now on.

    ``track_step`` itself overwrites the masks where it takes an object for absent.
    """
    heard = Heard([], [])
    side = model.image_size // 16

    def note_masks(module: nn.Module, given: object, said: tuple[Tensor, ...]) -> None:
        heard.spoken.append((said[0], said[1], said[3]))

    def note_reading(module: nn.Module, given: object, said: Tensor) -> None:
        heard.read.append(said.permute(1, 2, 0).reshape(said.shape[1], -1, side, side))

    model.sam_mask_decoder.register_forward_hook(note_masks)
    model.memory_attention.register_forward_hook(note_reading)
    return heard


def _groups(model: SAM2Base, rate: float, look_rate: float) -> list[dict[str, object]]:
    """The optimiser's groups: the memory at ``rate``; encoder, prompts and decoder not at all.

    Under a decoder that stays as it is the memory learns faster, as the encoder did under the
    teacher's, and masks from boxes stay as good as they were. Where the memory attention looks is
    learnt at ``look_rate``: it is primed, and forgets that before anything can be read otherwise.
    """
    freeze(model)
    attention = model.memory_attention
    looks = [layer.cross_attn_image for layer in attention.layers]
    look = [p for a in looks for part in (a.q_proj, a.k_proj) for p in part.parameters()]
    parts = (attention, model.memory_encoder, model.obj_ptr_proj, model.mask_downsample)
    memory = [p for part in parts for p in part.parameters()]
    memory += model.sam_mask_decoder.pred_obj_score_head.parameters()
    memory += [model.maskmem_tpos_enc, model.no_obj_ptr, model.no_obj_embed_spatial]
    memory = [p for p in memory if all(p is not q for q in look)]
    for parameter in [*memory, *look]:
        parameter.requires_grad_(True)
    return [{"params": memory, "lr": rate}, {"params": look, "lr": look_rate}]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m autolabel.tiny.train tracker")
    parser.add_argument("--stage", choices=("recall", "follow", "all"), default="all")
    parser.add_argument("--recall-minutes", type=float, default=60.0, help="wall clock of recall")
    parser.add_argument("--minutes", type=float, default=60.0, help="wall clock of following")
    parser.add_argument("--work", type=Path, default=Path("runs/segmenter"))
    parser.add_argument(
        "--start", type=Path, help="checkpoint or .safetensors to start from (WORK/tune.pt)"
    )
    parser.add_argument("--primed", action="store_true", help="START's memory is trained already")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--recall-lr", type=float, default=3e-4, help="peak rate of recall")
    parser.add_argument("--lr", type=float, default=1e-4, help="peak rate of following")
    parser.add_argument("--clips", type=int, default=3, help="clips in a step, two objects each")
    parser.add_argument("--frames", type=int, default=6, help="frames in a step")
    parser.add_argument("--short", type=float, default=0.15, help="share trained on 4 frames")
    parser.add_argument("--pool", type=int, default=150, help="windows kept in memory (8 MB each)")
    parser.add_argument("--reuse", type=int, default=8, help="draws of a window, on average")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
