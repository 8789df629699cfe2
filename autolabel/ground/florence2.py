"""Florence-2 through transformers: it writes down where things are, one prompt at a time.

Xiao et al. 2023, arXiv:2311.06242. The answer is text with tokens <loc_0> to <loc_999>, the
thousandths of the picture's own width and height. It has no scores and none are made up: a
box that a prompt found has the score NaN, which passes every threshold (``autolabel.types``).
Each prompt is asked alone, so that what comes back can belong to no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Florence2ForConditionalGeneration

from autolabel.ground.seen import first_answer
from autolabel.ground.spans import to_proposals
from autolabel.ground.squares import pixels_of, token_ids, unknown_words
from autolabel.models.device import autocast
from autolabel.models.pretrained import fingerprint_of, load_pretrained, model_files
from autolabel.types import Image, Proposals

BINS = 1000  # places that a coordinate can have along a side of the picture
LONGEST = 1024  # tokens of one answer: about 200 boxes
BEAMS = 3  # as in the authors' own examples


class Florence2:
    """A Grounder by open-vocabulary detection: all that a prompt names."""

    CARD = {
        "licence": "MIT",
        "advice": "small and quick to understand odd words; no scores, so no thresholds",
        "supports": ["text"],
        "files": "transformers",
        "checkpoints": [
            ["florence-community/Florence-2-base-ft", "MIT", "0.5 GB"],
            ["florence-community/Florence-2-large-ft", "MIT", "1.6 GB"],
        ],
    }
    TASK = "<OPEN_VOCABULARY_DETECTION>"

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        """Load the model from a folder in transformers' format.

        Raises:
            WeightsError: If the folder holds another architecture or damaged weights.
        """
        self._device, self._dtype = device, dtype
        self._files = model_files(folder, ("florence2",))
        self._processor, self._model = load_pretrained(
            folder, self._files, device, Florence2ForConditionalGeneration
        )
        self._room = int(self._model.config.text_config.max_position_embeddings)
        self._longest = min(LONGEST, self._room - 2)

    def fingerprint(self) -> str:
        """Return the SHA-256 of weights, settings and vocabulary, task and number format."""
        return fingerprint_of(f"florence-2 {self.TASK}", self._dtype, self._files)

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return that there are no scores, and a warning for each prompt of unknown words.

        Raises:
            UsageError: If a prompt has no words, or more tokens than the model reads.
        """
        tokenizer, room = self._processor.tokenizer, self._room - self._processor.num_image_tokens
        token_ids(tokenizer, [*prompts, *(self._asked(prompt) for prompt in prompts)], room)
        return [
            "florence-2 gives no scores: its labels have none, and thresholds don't apply",
            *unknown_words(tokenizer, prompts),
        ]

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture; a box's score is NaN for its prompt, 0 for others."""
        return [self._one(image, prompts, floor) for image in images]

    def _one(self, image: Image, prompts: Sequence[str], floor: float) -> Proposals:
        """Return what all prompts find in one picture, which is looked at once."""
        if not prompts:
            return Proposals.empty(0)
        height, width = image.shape[:2]
        pixels = pixels_of(self._processor.image_processor, [image], self._device)
        boxes, columns = [], []
        with first_answer(self._model.model, "vision_tower"):
            for column, prompt in enumerate(prompts):
                for box in boxes_in(self._answer(pixels, prompt)):
                    boxes.append(box)
                    columns.append(column)
        scale = np.array([width, height, width, height], np.float32) / BINS
        scores = np.zeros((len(boxes), len(prompts)), np.float32)
        scores[np.arange(len(boxes)), columns] = np.nan
        places = (np.array(boxes, np.float32).reshape(-1, 4) * scale).astype(np.float32)
        return to_proposals(places, scores, floor, height, width)

    @torch.inference_mode()
    def _answer(self, pixels: torch.Tensor, prompt: str) -> str:
        """Return what the model writes about one prompt."""
        tokenizer = self._processor.tokenizer
        seen = tokenizer.image_token * self._processor.num_image_tokens
        text = seen + tokenizer.bos_token + self._asked(prompt) + tokenizer.eos_token
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(self._device)
        with autocast(self._device, self._dtype):
            written = self._model.generate(
                **{name: ids[name] for name in ("input_ids", "attention_mask")},
                pixel_values=pixels,
                max_new_tokens=self._longest,
                num_beams=BEAMS,
                do_sample=False,
            )
        return str(tokenizer.decode(written[0], skip_special_tokens=False))

    def _asked(self, prompt: str) -> str:
        """Return the question as the processor words it."""
        return str(self._processor.task_prompts_with_input[self.TASK].format(input=prompt))


class Florence2Grounding(Florence2):
    """A Grounder by phrase grounding: finds the thing that is said to be there."""

    CARD = {
        "licence": "MIT",
        "advice": "for pictures known to show what is named: it nearly always finds something",
        "supports": ["text"],
        "files": "transformers",
        "checkpoints": [["florence-community/Florence-2-large", "MIT", "1.6 GB"]],
    }
    TASK = "<CAPTION_TO_PHRASE_GROUNDING>"


def boxes_in(answer: str) -> Iterator[NDArray[np.float32]]:
    """Yield boxes x1, y1, x2, y2 in thousandths, the middle of their bins.

    A run of locations is boxes of four each, or a polygon between <poly> and </poly>, of which
    the frame is taken. What is left over of a run is an answer that broke off.
    """
    for polygon, run in re.findall(r"(<poly>)?((?:<loc_\d{1,3}>|<sep>)+)", answer):
        places = np.array([int(n) for n in re.findall(r"<loc_(\d+)>", run)], np.float32) + 0.5
        if polygon and len(places) >= 6:
            x, y = places[: len(places) // 2 * 2].reshape(-1, 2).T
            yield np.array([x.min(), y.min(), x.max(), y.max()], np.float32)
        elif not polygon:
            yield from places[: len(places) // 4 * 4].reshape(-1, 4)
