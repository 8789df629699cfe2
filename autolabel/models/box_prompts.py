"""Boxes to masks with the SAM-like image models of transformers, picture by picture.

The processors stretch a picture to a square of the model's side, so a box is scaled by its
width and height each, and a mask is scaled back the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from autolabel.masks import encode_many
from autolabel.models.device import autocast
from autolabel.models.prompt_types import BOX, Heads, Points, shown_again
from autolabel.types import RLE, Boxes, Image, Masks, Segments

AT_ONCE = 16
"""Boxes in one decode."""
UPSCALED = 1 << 24
"""Numbers at full size at once (64 MiB); one mask at least."""


def pixels_of(prepare: Any, image: Image, device: str) -> torch.Tensor:
    """Return what an image processor makes of a picture, (1, 3, S, S)."""
    ready = prepare(image.copy(), return_tensors="pt", input_data_format="channels_last")
    pixels: torch.Tensor = ready["pixel_values"].to(device)
    return pixels


class BoxPrompted:
    """A model that makes a mask of each box: pixels once, then the boxes.

    Args:
        model: EdgeTamModel, Sam3TrackerModel or their like, in eval mode.
        prepare: Its image processor.
        device: "cpu" or "cuda:N".
        dtype: "fp32", "bf16" or "fp16".
    """

    def __init__(self, model: Any, prepare: Any, device: str, dtype: str) -> None:
        self._model, self._prepare, self._device, self._dtype = model, prepare, device, dtype
        self._prompt_type = BOX

    def prompted(self, prompt_type: str) -> BoxPrompted:
        """Return a segmenter of the same weights; see ``autolabel.stages.TakesPrompts``."""
        other = copy.copy(self)
        other._prompt_type = prompt_type
        return other

    def segment(self, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Segments]:
        """Return one Segments a picture; see ``autolabel.stages.Segmenter``."""
        return [self._one(image, own) for image, own in zip(images, boxes, strict=True)]

    @torch.inference_mode()
    def _one(self, image: Image, boxes: Boxes) -> Segments:
        if not len(boxes):
            return Segments((), np.zeros(0, np.float32))
        height, width = image.shape[:2]
        pixels = pixels_of(self._prepare, image, self._device)
        side = pixels.shape[-1]
        scale = torch.tensor([side / width, side / height] * 2, device=self._device)
        corners = torch.tensor(boxes, device=self._device) * scale
        masks: list[RLE] = []
        scores: list[torch.Tensor] = []
        with autocast(self._device, self._dtype):
            features = self._model.get_image_embeddings(pixels)
            for some in torch.split(corners, AT_ONCE):
                logits, quality = self._shown(features, some, side)
                scores.append(quality)
                for part in full_size(logits, height, width):
                    masks += encode_many(part)
        found = torch.cat(scores).cpu().numpy()
        return Segments(tuple(masks), np.nan_to_num(found).clip(0, 1).astype(np.float32))

    def _shown(self, features: Sequence[torch.Tensor], boxes: torch.Tensor, side: int) -> Heads:
        """Return logits (N, h, w) and scores (N,) of N boxes shown in this segmenter's way."""

        def ask(some: torch.Tensor, points: Points | None, masks: torch.Tensor | None) -> Heads:
            if points is not None:
                places, labels = points
                return self._heads(features, input_points=places[None], input_labels=labels[None])
            assert masks is not None
            pairs = zip(torch.split(boxes[some], 1), torch.split(masks, 1), strict=True)
            # The model takes one mask a picture: one object at a time.
            found = [
                self._heads(features, input_boxes=box[None], input_masks=mask[None])
                for box, mask in pairs
            ]
            return torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found])

        first = self._heads(features, input_boxes=boxes[None])
        return shown_again(self._prompt_type, first, side, ask)

    def _heads(self, features: Sequence[torch.Tensor], **prompts: torch.Tensor) -> Heads:
        """Return float32 logits (N, h, w) and scores (N,) of N objects in one picture."""
        # The model adds to the lists it is given: it gets its own each time.
        out = self._model(image_embeddings=list(features), multimask_output=False, **prompts)
        return out.pred_masks[0, :, 0].float(), out.iou_scores[0, :, 0].float()


def full_size(logits: torch.Tensor, height: int, width: int, over: float = 0.0) -> Iterator[Masks]:
    """Yield bool (n, H, W) masks, a few at a time, where numbers (N, h, w) scaled are above one."""
    at_once = max(1, UPSCALED // (height * width))
    for part in torch.split(logits, at_once):
        large = F.interpolate(part[:, None], (height, width), mode="bilinear", align_corners=False)
        yield (large[:, 0] > over).cpu().numpy()
