"""OWLv2 through transformers: free text, or examples of what to look for, to boxes.

Minderer et al. 2023, arXiv:2306.09683. The processor pads a picture at the right and bottom to
a square, so its normalised boxes refer to the longer side on both axes. Every prompt is scored
by itself. An example becomes a query as in the paper: of the boxes that the model predicts in
the example's own picture, those that frame it best, and of these the surest object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torchvision.ops import box_iou

from autolabel.errors import UsageError
from autolabel.ground.spans import corners, to_proposals
from autolabel.ground.squares import (
    batches,
    check_finite,
    extent,
    padded,
    pixels_of,
    shrunk,
    token_ids,
)
from autolabel.models.device import autocast
from autolabel.models.pretrained import fingerprint_of, load_pretrained, model_files
from autolabel.types import Image, Proposals

MARGIN = 2
"""Pictures are shrunk to so many times the model's side before they are padded to a square:
a panorama of 20,000 x 10 pixels would take gigabytes otherwise."""
NEARLY_BEST = 0.8  # boxes with this share of the best IoU with an example are in question


class Owlv2:
    """A Grounder whose prompts are texts, or pictures given to ``learn``."""

    CARD = {
        "licence": "Apache-2.0",
        "advice": "examples of what words can't name; many rare classes",
        "supports": ["text", "examples", "scores"],
        "files": "transformers",
        "checkpoints": [
            ["google/owlv2-base-patch16-ensemble", "Apache-2.0", "0.6 GB"],
            ["google/owlv2-large-patch14-ensemble", "Apache-2.0", "1.8 GB"],
        ],
    }

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        """Load the model from a folder in transformers' format.

        Raises:
            WeightsError: If the folder holds another architecture or damaged weights.
        """
        self._folder, self._device, self._dtype = folder, device, dtype
        self._files = model_files(folder, ("owlv2",))
        self._processor, self._model = load_pretrained(folder, self._files, device)
        self._limit = int(self._model.config.text_config.max_position_embeddings)
        self._examples: dict[str, torch.Tensor] = {}

    def fingerprint(self) -> str:
        """Return what identifies weights and settings; examples are named by their content."""
        return fingerprint_of("owlv2", self._dtype, self._files)

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return no warnings: CLIP's byte pairs spell every word.

        Raises:
            UsageError: If a prompt has no words, or more tokens than the model reads.
        """
        texts = [text for text in prompts if text not in self._examples]
        token_ids(self._processor.tokenizer, texts, self._limit)
        return []

    def learn(self, examples: Mapping[str, Image]) -> None:
        """Take pictures as the meaning of prompts, from now on.

        Args:
            examples: Prompt -> uint8 (H, W, 3) RGB, cut to the object.
        """
        for prompt, image in examples.items():
            if min(image.shape[:2]) < 1:
                raise UsageError(f"example '{prompt}' has no pixels")
            self._examples[prompt] = self._query(image)

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture; see ``autolabel.stages.Grounder``."""
        if not prompts:
            return [Proposals.empty(0) for _ in images]
        found: list[Proposals] = []
        queries = torch.stack([self._text(prompt) for prompt in prompts])
        for rows in batches(len(images), self._device):
            features, boxes = self._look([images[row] for row in rows])
            with torch.inference_mode(), autocast(self._device, self._dtype):
                logits, _ = self._model.class_predictor(
                    features, queries.expand(len(rows), -1, -1), None
                )
            check_finite(self._folder, self._dtype, logits, boxes)
            scores = logits.float().sigmoid().cpu().numpy()
            for place, row in enumerate(rows):
                height, width = images[row].shape[:2]
                xyxy = corners(boxes[place].cpu().numpy(), *extent(images[row], self._longest))
                found.append(to_proposals(xyxy, scores[place], floor, height, width))
        return found

    @torch.inference_mode()
    def _text(self, prompt: str) -> torch.Tensor:
        """Return a prompt's query (D,); each is encoded alone, so company changes nothing."""
        if prompt in self._examples:
            return self._examples[prompt]
        ids, mask = padded(self._processor.tokenizer, prompt, self._limit, self._device)
        with autocast(self._device, self._dtype):
            out = self._model.owlv2.get_text_features(ids, mask)
        query: torch.Tensor = out.pooler_output[0].float()
        return torch.nn.functional.normalize(query, dim=0)

    @torch.inference_mode()
    def _look(self, images: Sequence[Image]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (B, N, D) and boxes (B, N, 4), cxcywh of the padded square."""
        small = [shrunk(image, self._longest) for image in images]
        pixels = pixels_of(self._processor.image_processor, small, self._device)
        with autocast(self._device, self._dtype):
            maps, _ = self._model.image_embedder(pixels)
            features = maps.flatten(1, 2)
            boxes = self._model.box_predictor(features, maps)
        return features, boxes.float()

    @torch.inference_mode()
    def _query(self, image: Image) -> torch.Tensor:
        """Return an example's query (D,)."""
        features, boxes = self._look([image])
        with autocast(self._device, self._dtype):
            _, embeddings = self._model.class_predictor(features)
            sure = self._model.objectness_predictor(features)[0].float()
        height, width = image.shape[:2]
        xyxy = torch.from_numpy(corners(boxes[0].cpu().numpy(), *extent(image, self._longest)))
        ious = box_iou(xyxy, torch.tensor([[0.0, 0.0, width, height]]))[:, 0].to(sure.device)
        sure = torch.where(ious >= NEARLY_BEST * ious.max(), sure, -torch.inf)
        chosen: torch.Tensor = embeddings[0, int(sure.argmax())].float()
        return chosen

    @property
    def _longest(self) -> int:
        return MARGIN * int(self._processor.image_processor.size["height"])
