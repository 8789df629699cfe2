"""OmDet-Turbo through transformers: free text to boxes, in real time on a GPU.

Zhao et al. 2024, arXiv:2403.06892. The processor stretches a picture to a square, so
normalised boxes refer to its own height and width. A class is scored by its own text; the task
("Detect cat, dog.") names all that are asked together, sorted, so that their order in a file
changes nothing, and in several tasks where one would be longer than the model reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from autolabel.ground.spans import corners, normalise, to_proposals
from autolabel.ground.squares import (
    batches,
    check_finite,
    padded,
    pixels_of,
    token_ids,
    unknown_words,
)
from autolabel.models.device import autocast
from autolabel.models.pretrained import fingerprint_of, load_pretrained, model_files
from autolabel.types import Image, Proposals


class OmDetTurbo:
    """A Grounder that scores each prompt by itself, told what is looked for beside it."""

    CARD = {
        "licence": "Apache-2.0",
        "advice": "fast: many pictures with free text on a modest GPU",
        "supports": ["text", "scores"],
        "files": "transformers",
        "checkpoints": [["omlab/omdet-turbo-swin-tiny-hf", "Apache-2.0", "0.5 GB"]],
        "package": "timm",
        "extra": "timm",
    }

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        """Load the model from a folder in transformers' format.

        Raises:
            WeightsError: If the folder holds another architecture or damaged weights.
        """
        self._folder, self._device, self._dtype = folder, device, dtype
        self._files = model_files(folder, ("omdet-turbo",))
        self._processor, self._model = load_pretrained(folder, self._files, device)
        self._limit = int(self._model.config.text_config.max_position_embeddings)

    def fingerprint(self) -> str:
        """Return the SHA-256 of weights, settings and vocabulary, and the number format."""
        return fingerprint_of("omdet-turbo", self._dtype, self._files)

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return a warning for each prompt that the tokenizer doesn't know.

        Raises:
            UsageError: If a prompt has no words, or more tokens than the model reads.
        """
        token_ids(self._processor.tokenizer, [_task([prompt]) for prompt in prompts], self._limit)
        token_ids(self._processor.tokenizer, prompts, self._limit)
        return unknown_words(self._processor.tokenizer, prompts)

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture; see ``autolabel.stages.Grounder``.

        A box comes from one task; its scores for the prompts of other tasks are 0.
        """
        if not prompts:
            return [Proposals.empty(0) for _ in images]
        texts = sorted({normalise(prompt) for prompt in prompts})
        columns = [texts.index(normalise(prompt)) for prompt in prompts]
        asked = [(chunk, *self._language(chunk)) for chunk in self._chunks(texts)]
        found = []
        for rows in batches(len(images), self._device):
            answers = self._forward([images[row] for row in rows], texts, asked)
            for row, (boxes, scores) in zip(rows, answers, strict=True):
                height, width = images[row].shape[:2]
                xyxy = corners(boxes, height, width)
                found.append(to_proposals(xyxy, scores[:, columns], floor, height, width))
        return found

    def _chunks(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the texts in order, as many in a task as the model reads."""
        chunks: list[list[str]] = [[]]
        for text in texts:
            longer = self._processor.tokenizer(_task([*chunks[-1], text]))["input_ids"]
            if chunks[-1] and len(longer) > self._limit:
                chunks.append([])
            chunks[-1].append(text)
        return chunks

    @torch.inference_mode()
    def _language(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return class features (C, 1, D), task features (T, 1, D) and the task's mask (1, T).

        Each text is encoded alone and past the model's own cache, which would hand out what
        was computed in other company.
        """
        encode = self._model.language_backbone
        with autocast(self._device, self._dtype):
            classes = [encode(self._padded(text)[0], encode_type="class").float() for text in texts]
            ids, mask = self._padded(_task(texts))
            task, mask = encode(ids, mask=mask, encode_type="task")
        return torch.stack(classes), task.float(), mask

    def _padded(self, text: str) -> tuple[torch.Tensor, torch.Tensor]:
        return padded(self._processor.tokenizer, text, self._limit, self._device)

    @torch.inference_mode()
    def _forward(
        self,
        images: Sequence[Image],
        texts: Sequence[str],
        asked: Sequence[tuple[list[str], torch.Tensor, torch.Tensor, torch.Tensor]],
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return, per picture, all tasks' cxcywh boxes (Q, 4) and scores (Q, texts)."""
        count = len(images)
        pixels = pixels_of(self._processor.image_processor, images, self._device)
        boxes, scores = [], []
        with autocast(self._device, self._dtype):
            seen = self._model.encoder(self._model.vision_backbone(pixels), return_dict=True)
            for chunk, classes, task, mask in asked:
                out = self._model.decoder(
                    seen.extracted_states,
                    classes.expand(-1, count, -1),
                    task.expand(-1, count, -1),
                    mask.expand(count, -1),
                    return_dict=True,
                )
                found, logits = out.decoder_coords[-1].float(), out.decoder_classes[-1].float()
                check_finite(self._folder, self._dtype, found, logits)
                matrix = torch.zeros(*logits.shape[:2], len(texts))
                matrix[..., [texts.index(text) for text in chunk]] = logits.sigmoid().cpu()
                boxes.append(found.cpu())
                scores.append(matrix)
        return list(zip(torch.cat(boxes, 1).numpy(), torch.cat(scores, 1).numpy(), strict=True))


def _task(texts: Sequence[str]) -> str:
    """Return the task as the processor words it."""
    return f"Detect {', '.join(texts)}."
