"""SAM 3 through transformers: text to boxes and masks in one; also boxes to masks.

Carion et al. 2025, arXiv:2511.16719. A prompt is a short noun phrase, asked alone; the score of
a box is its own times the model's belief that the thing is in the picture at all, as in the
processor's ``post_process_instance_segmentation``. Boxes are shares of the picture's own width
and height. SAM 3 judges a box and its mask by one score, which stands for both here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    Sam3ImageProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3TrackerModel,
)

from autolabel.ground.spans import chosen_rows
from autolabel.ground.squares import check_finite, padded, token_ids
from autolabel.masks import encode_many
from autolabel.models.box_prompts import BoxPrompted, full_size, pixels_of
from autolabel.models.device import autocast
from autolabel.models.pretrained import fingerprint_of, load_pretrained, model_files
from autolabel.types import RLE, Boxes, Image, Proposals, Segments

TRACKER_NAMES = {
    r"detector_model\.vision_encoder\.backbone\.": "vision_encoder.backbone.",
    r"tracker_neck\.": "vision_encoder.neck.",
    r"tracker_model\.(.+)": r"\1",
}
"""What the part that reads boxes calls the tensors of the whole: transformers 5.23 knows this
for the video model, and doesn't find it for the one that reads pictures."""


class Sam3:
    """A Grounder, a TextSegmenter and a Segmenter with the weights of one folder."""

    CARD = {
        "licence": "Apache-2.0",
        "advice": "the best masks from short names, one model for all; wants a large GPU",
        "supports": ["text", "video", "scores", "masks"],
        "files": "transformers",
        "checkpoints": [["facebook/sam3", "SAM License (gated)", "3.4 GB"]],
        "needs": "Meta's consent: ask on the page of facebook/sam3 at the hub, then set HF_TOKEN",
    }

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        """Load the detector from a folder in transformers' format.

        Raises:
            WeightsError: If the folder holds another architecture or damaged weights.
        """
        self._folder, self._device, self._dtype = folder, device, dtype
        self._files = model_files(folder, ("sam3_video", "sam3"))
        self._processor, self._model = load_pretrained(
            folder, self._files, device, Sam3Model, Sam3Processor
        )
        self._limit = int(self._model.config.text_config.max_position_embeddings)
        self._boxes: BoxPrompted | None = None  # the other head, loaded when it is asked for

    def fingerprint(self) -> str:
        """Return the SHA-256 of weights and settings, and the number format."""
        return fingerprint_of("sam3", self._dtype, self._files)

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return no warnings: CLIP's byte pairs spell every word.

        Raises:
            UsageError: If a prompt has no words, or more tokens than the model reads.
        """
        token_ids(self._processor.tokenizer, prompts, self._limit)
        return []

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture; see ``autolabel.stages.Grounder``."""
        return [self._one(image, prompts, floor, False)[0] for image in images]

    def ground_masks(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[tuple[Proposals, Segments]]:
        """Return what ``ground`` does, with a mask for each box."""
        return [self._one(image, prompts, floor, True) for image in images]

    def segment(self, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Segments]:
        """Return one Segments a picture, from boxes that anything found."""
        return self._by_boxes().segment(images, boxes)

    def prompted(self, prompt_type: str) -> BoxPrompted:
        """Return a segmenter of the same weights; see ``autolabel.stages.TakesPrompts``."""
        return self._by_boxes().prompted(prompt_type)

    def _by_boxes(self) -> BoxPrompted:
        """Return the other head."""
        if self._boxes is None:
            prepare, model = load_pretrained(
                self._folder,
                self._files,
                self._device,
                Sam3TrackerModel,
                Sam3ImageProcessor,
                TRACKER_NAMES,
            )
            self._boxes = BoxPrompted(model, prepare, self._device, self._dtype)
        return self._boxes

    @torch.inference_mode()
    def _one(
        self, image: Image, prompts: Sequence[str], floor: float, masked: bool
    ) -> tuple[Proposals, Segments]:
        """Return the boxes of one picture, which is looked at once, and their masks if asked."""
        none = Segments((), np.zeros(0, np.float32))
        if not prompts:
            return Proposals.empty(0), none
        height, width = image.shape[:2]
        with autocast(self._device, self._dtype):
            pixels = pixels_of(self._processor.image_processor, image, self._device)
            seen = self._model.get_vision_features(pixels)
            answers = [self._ask(seen, prompt) for prompt in prompts]
        boxes = np.concatenate([one.pred_boxes[0].float().cpu().numpy() for one in answers])
        logits = torch.cat([one.pred_masks[0] for one in answers])
        own = [self._scores(one) for one in answers]
        scores = np.zeros((len(boxes), len(prompts)), np.float32)
        columns = np.repeat(np.arange(len(prompts)), [len(one) for one in own])
        scores[np.arange(len(boxes)), columns] = np.concatenate(own)
        pixels_xyxy = boxes * np.array([width, height, width, height], np.float32)
        placed, rows = chosen_rows(pixels_xyxy, scores, floor, height, width)
        found = Proposals(placed, np.ascontiguousarray(scores[rows]))
        if not masked or not len(rows):
            return found, none
        masks: list[RLE] = []
        for part in full_size(logits[rows].float().sigmoid(), height, width, over=0.5):
            masks += encode_many(part)
        return found, Segments(tuple(masks), found.scores.max(axis=1))

    def _ask(self, seen: Any, prompt: str) -> Any:
        """Return the model's answer to one prompt."""
        ids, mask = padded(self._processor.tokenizer, prompt, self._limit, self._device)
        out = self._model(vision_embeds=seen, input_ids=ids, attention_mask=mask)
        check_finite(self._folder, self._dtype, out.pred_boxes, out.pred_logits)
        return out

    def _scores(self, out: Any) -> np.ndarray:
        """Return each box's score, float32 (Q,)."""
        chances = out.pred_logits[0].float().sigmoid()
        if out.presence_logits is not None:
            chances = chances * out.presence_logits[0].float().sigmoid()
        scores: np.ndarray = chances.cpu().numpy()
        return scores
