"""Measures the bundled SAM 2 on scenes and clips of seeds never trained on, and prints JSON.

``python -m autolabel.tiny.train eval-segmenter`` and ``... eval-tracker``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor
from torch import Tensor

from autolabel.tiny.scenes import Scene, make_clip, make_scene
from autolabel.tiny.segmenter_config import WEIGHTS, feature_sizes, load_model
from autolabel.tiny.segmenter_data import boxes_of, normalised, sure_of
from autolabel.tiny.tracker_data import masks_of

FIRST_SEED = 900_000_000
Mask = npt.NDArray[np.bool_]


def eval_segmenter(argv: Sequence[str] | None = None) -> None:
    """Prints the mean IoU of masks from true boxes through ``SAM2ImagePredictor``."""
    args = _arguments("eval-segmenter", argv, count=200)
    model = load_model(args.weights)
    figures = {
        "scenes": image_figures(model, args.count, args.seed, hard=False),
        "hard": image_figures(model, max(1, args.count // 2), args.seed, hard=True),
    }
    print(json.dumps(figures, indent=2))


def eval_tracker(argv: Sequence[str] | None = None) -> None:
    """Prints mean J over clips tracked from the true masks of their first frame."""
    args = _arguments("eval-tracker", argv, count=20, frames=60)
    figures = clip_figures(
        load_model(args.weights), args.count, args.frames, args.seed, told=args.remember == "true"
    )
    print(json.dumps(figures, indent=2))


def image_predictor(model: SAM2Base) -> SAM2ImagePredictor:
    """The package's predictor, told the sizes of this model's features (it assumes 1024 px)."""
    predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = feature_sizes(model.image_size)
    return predictor


def image_figures(model: SAM2Base, count: int, seed: int, *, hard: bool) -> dict[str, float]:
    """Mean IoU over the objects of ``count`` scenes, asked by true box and nothing else."""
    predictor = image_predictor(model)
    single: list[float] = []
    best: list[float] = []
    for index in range(count):
        scene = make_scene(seed + index, hard=hard)
        if not scene.objects:
            continue
        truth = np.stack([o.mask for o in scene.objects])
        boxes = boxes_of(torch.from_numpy(truth)).numpy()
        predictor.set_image(scene.image)
        masks, _, _ = predictor.predict(box=boxes, multimask_output=False)
        single += mask_ious(masks.reshape(truth.shape) > 0, truth)
        masks, scores, _ = predictor.predict(box=boxes)
        masks, scores = masks.reshape(-1, 3, *truth.shape[1:]), scores.reshape(-1, 3)
        best += mask_ious(masks[np.arange(len(boxes)), scores.argmax(1)] > 0, truth)
    return {
        "objects": len(single),
        "iou_box": round(float(np.mean(single)), 4),
        "iou_box_multimask": round(float(np.mean(best)), 4),
        "share_over_0.75": round(float(np.mean(np.array(single) > 0.75)), 4),
    }


def mask_ious(found: Mask, truth: Mask) -> list[float]:
    """The IoU of each pair of masks (N, H, W); 1 where both are empty."""
    both, either = (found & truth).sum((1, 2)), (found | truth).sum((1, 2))
    return [float(b / e) if e else 1.0 for b, e in zip(both, either, strict=True)]


def clip_figures(
    model: SAM2Base, count: int, frames: int, seed: int, *, told: bool = False
) -> dict[str, float]:
    """J from the first frame's true masks, and how absence is reported, over ``count`` clips.

    With ``told``, every frame is remembered with its true masks: what is lost then is lost in one
    frame, and the rest of what is lost without it comes of remembering one's own mistakes.

    ``j`` is the mean over objects of the mean IoU over frames, 1 where an absent object is
    reported absent and 0 where it is not; ``j_present`` takes only frames where the object is.
    """
    per_object: list[float] = []
    present: list[float] = []
    gone: list[bool] = []
    here: list[bool] = []
    for index in range(count):
        scenes = list(make_clip(seed + index, frames=frames))
        for truth, found, scores in _tracks(model, scenes, told):
            ious = mask_ious(found, truth)
            there = np.asarray(truth.any((1, 2)))
            per_object.append(float(np.mean(ious)))
            present += [iou for iou, is_there in zip(ious, there, strict=True) if is_there]
            gone += list(scores[~there] <= 0)
            here += list(scores[there] > 0)
    return {
        "objects": len(per_object),
        "j": round(float(np.mean(per_object)), 4),
        "j_present": round(float(np.mean(present)), 4),
        "absent_frames": len(gone),
        "absent_reported_absent": round(float(np.mean(gone)), 4) if gone else 1.0,
        "present_reported_present": round(float(np.mean(here)), 4),
    }


def _tracks(
    model: SAM2Base, scenes: Sequence[Scene], told: bool
) -> Iterator[tuple[Mask, Mask, npt.NDArray[np.float32]]]:
    """Each object's true masks, found masks and presence logits, over the frames after the first.

    Objects are those of the first frame; what is found is by ``track_step`` with its memory.
    """
    tracks = [o.track_id for o in scenes[0].objects]
    if not tracks:
        return
    truth = masks_of(scenes, tracks)
    images = [s.image for s in scenes]
    found, scores = track_clip(model, images, truth[:, 0], truth if told else None)
    for index in range(len(tracks)):
        yield truth[index, 1:], found[index], scores[index]


@torch.no_grad()
def track_clip(
    model: SAM2Base,
    images: Sequence[npt.NDArray[np.uint8]],
    start: Mask,
    told: Mask | None = None,
) -> tuple[Mask, npt.NDArray[np.float32]]:
    """Masks (N, T - 1, S, S) and presence logits (N, T - 1) of the objects in later frames.

    Args:
        model: the tracker.
        images: T frames of the model's size.
        start: the objects' masks in the first frame, (N, S, S).
        told: what to remember of each frame in place of what was found, (N, T, S, S).
    """
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    masks, scores = [], []
    for index, image in enumerate(images):
        given = torch.from_numpy(start)[:, None].float() if index == 0 else None
        out = _step(model, index, image, given, len(start), memory)
        if told is not None and index:
            _remember(model, image, told[:, index], out)
        memory["cond_frame_outputs" if index == 0 else "non_cond_frame_outputs"][index] = out
        memory["non_cond_frame_outputs"].pop(index - 16, None)
        if index:
            masks.append((out["pred_masks_high_res"][:, 0] > 0).numpy())
            scores.append(out["object_score_logits"][:, 0].numpy())
    return np.stack(masks, axis=1), np.stack(scores, axis=1)


def _remember(
    model: SAM2Base, image: npt.NDArray[np.uint8], masks: Mask, out: dict[str, Any]
) -> None:
    """Puts these masks (N, S, S) into the frame's memory in place of the found ones."""
    logits, presence = sure_of(torch.from_numpy(masks))
    seen = model.forward_image(normalised(image[None]))
    _, features, _, sizes = model._prepare_backbone_features(seen)
    current = [f.expand(-1, len(masks), -1) for f in features]
    model._encode_memory_in_output(current, sizes, None, True, logits, presence, out)


def _step(
    model: SAM2Base,
    index: int,
    image: npt.NDArray[np.uint8],
    given: Tensor | None,
    objects: int,
    memory: dict[str, dict[int, Any]],
) -> dict[str, Any]:
    seen = model.forward_image(normalised(image[None]))
    _, features, positions, sizes = model._prepare_backbone_features(seen)
    result: dict[str, Any] = model.track_step(
        frame_idx=index,
        is_init_cond_frame=index == 0,
        current_vision_feats=[f.expand(-1, objects, -1) for f in features],
        current_vision_pos_embeds=[p.expand(-1, objects, -1) for p in positions],
        feat_sizes=sizes,
        point_inputs=None,
        mask_inputs=given,
        output_dict=memory,
        num_frames=1_000_000,
    )
    return result


def _arguments(
    command: str, argv: Sequence[str] | None, *, count: int, frames: int = 0
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m autolabel.tiny.train {command}")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the model")
    parser.add_argument("--count", type=int, default=count, help="scenes or clips")
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--threads", type=int, default=1)
    if frames:
        parser.add_argument("--frames", type=int, default=frames)
        parser.add_argument(
            "--remember",
            choices=("own", "true"),
            default="own",
            help="masks that are remembered: the found ones, or the true ones (a diagnosis)",
        )
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    return args
