"""Grounding DINO and MM-Grounding-DINO through transformers: free text to boxes.

Liu et al. 2023, arXiv:2303.05499; Zhao et al. 2024, arXiv:2401.02361. ``spans`` has how
prompts are packed and scored. The processor's normalised boxes refer to the picture without
its padding. Padding itself does change what this architecture computes (windows, group
norms), so pictures share a batch only where they have the same size after resizing, and on a
CPU, which gains nothing from batches, never: there a result depends on its picture alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from autolabel.errors import WeightsError
from autolabel.ground.seen import SeenOnce
from autolabel.ground.spans import (
    Chunk,
    Reader,
    corners,
    joined,
    normalise,
    to_proposals,
    with_room,
)
from autolabel.models.device import autocast
from autolabel.models.pretrained import load_pretrained, model_files
from autolabel.models.weights import sha256_of
from autolabel.types import Image, Proposals

FAMILY = ("grounding-dino", "mm-grounding-dino")
LEAST_SIDE = 64
"""Pixels after resizing; a thinner picture is padded first, for backbones need some room."""


class GroundingDino:
    """A Grounder that reads all prompts as one text and scores each over its own tokens."""

    CARD = {
        "licence": "Apache-2.0",
        "advice": "free text, the safe choice; base is better, tiny faster",
        "supports": ["text", "scores"],
        "files": "transformers",
        "checkpoints": [
            ["IDEA-Research/grounding-dino-base", "Apache-2.0", "0.9 GB"],
            ["IDEA-Research/grounding-dino-tiny", "Apache-2.0", "0.7 GB"],
        ],
        "bundled": "detector",
    }

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        """Load the model from a folder in transformers' format.

        Raises:
            WeightsError: If the folder holds another architecture or damaged weights.
        """
        self._folder, self._device, self._dtype = folder, device, dtype
        self._files = model_files(folder, FAMILY)
        self._processor, self._model = load_pretrained(folder, self._files, device)
        self._once = self._model.model.backbone = SeenOnce(self._model.model.backbone)
        config = self._model.config
        limit = min(config.max_text_len, config.text_config.max_position_embeddings)
        self._reader = Reader(self._processor.tokenizer, limit)
        self._asked: tuple[list[str], list[Chunk]] = [], []  # a run asks the same again and again

    concurrent = True
    """Several threads may use it at once."""

    @property
    def parameters(self) -> int:
        """How many numbers the weights are."""
        return int(sum(one.numel() for one in self._model.parameters()))

    def fingerprint(self) -> str:
        """Return the SHA-256 of weights, settings and vocabulary, and the number format."""
        sums = [f"{path.name}:{sha256_of(path)}" for path in self._files]
        return f"grounding-dino {self._dtype} {' '.join(sums)}"

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return a warning for each prompt with words that the tokenizer doesn't know.

        Raises:
            UsageError: If a prompt has no words, or more tokens than the model reads.
        """
        return self._reader.check(prompts)

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture; see ``autolabel.stages.Grounder``.

        A box comes from one chunk of prompts; its scores for the other chunks' are 0.
        """
        if not prompts:
            return [Proposals.empty(0) for _ in images]
        texts = sorted({normalise(prompt) for prompt in prompts})
        asked = self._asked
        if asked[0] != texts:
            asked = self._asked = texts, self._reader.chunks(texts)
        chunks = asked[1]
        columns = [texts.index(normalise(prompt)) for prompt in prompts]
        found: dict[int, Proposals] = {}
        for rows, pixels, mask, extents in self._batches(images):
            answers = self._forward(pixels, mask, chunks)
            for place, row in enumerate(rows):
                boxes, scores = joined([a[place] for a in answers], chunks, len(texts))
                height, width = images[row].shape[:2]
                xyxy = corners(boxes, *extents[place])
                found[row] = to_proposals(xyxy, scores[:, columns], floor, height, width)
        return [found[row] for row in range(len(images))]

    def _batches(
        self, images: Sequence[Image]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor, list[tuple[int, int]]]]:
        """Yield rows of ``images``, their pixels, masks and the (height, width) boxes refer to."""
        prepare = self._processor.image_processor
        longest = getattr(prepare.size, "longest_edge", None)
        groups: dict[tuple[int, ...], list[int]] = {}
        ready = []
        for row, image in enumerate(images):
            roomy = with_room(image, LEAST_SIDE, longest)
            # The layout is said, not guessed: a picture of 3 rows looks like channels first.
            inputs = prepare(roomy, return_tensors="pt", input_data_format="channels_last")
            ready.append((inputs["pixel_values"], inputs["pixel_mask"], roomy.shape[:2]))
            alone = (row,) if self._device == "cpu" else ()
            groups.setdefault((*inputs["pixel_values"].shape, *alone), []).append(row)
        for rows in groups.values():
            pixels, masks, extents = zip(*(ready[row] for row in rows), strict=True)
            yield rows, torch.cat(pixels), torch.cat(masks), list(extents)

    @torch.inference_mode()
    def _forward(
        self, pixels: torch.Tensor, mask: torch.Tensor, chunks: Sequence[Chunk]
    ) -> list[list[tuple[NDArray[np.float32], NDArray[np.float32]]]]:
        """Return, per chunk and picture, cxcywh boxes (Q, 4) and raw logits (Q, T)."""
        pixels, mask = pixels.to(self._device), mask.to(self._device)
        answers = []
        with (
            autocast(self._device, self._dtype),
            self._once.seen(pixels, mask),
        ):
            for chunk in chunks:
                ids = torch.tensor([chunk.ids] * len(pixels), device=self._device)
                out = self._model(pixel_values=pixels, pixel_mask=mask, input_ids=ids)
                logits = out.logits[..., : len(chunk.ids)].float().cpu().numpy()
                boxes = out.pred_boxes.float().cpu().numpy()
                if np.isnan(logits).any() or not np.isfinite(boxes).all():
                    raise WeightsError(
                        f"{self._folder}: the model returned NaN with --dtype {self._dtype}; "
                        "try --dtype fp32"
                    )
                answers.append(list(zip(boxes, logits, strict=True)))
        return answers
