"""Prompts packed into one text, and each prompt's score over its own tokens of that text.

Grounding DINO reads all prompts as one text, "cat. traffic light.", and gives every box a
logit per token. A prompt's score is the mean over its own tokens of ``sigmoid(logit)``, the
convention of GLIP (Li et al. 2022, arXiv:2112.03857) and of MMDetection's
``convert_grounding_to_cls_scores``. Phrases are never decoded from the tokens that fired, so
no result can be a fragment ("##van") or a mixture of prompts ("red circle star").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import UsageError
from autolabel.types import Image, Proposals

MAX_BOXES = 300
"""At most so many boxes a picture, the best ones: as many as COCO's and LVIS's protocols count."""
AROUND = 3
"""Tokens of a text that holds one prompt, beside the prompt's own: [CLS], the dot, [SEP]."""
SMALL_VOCABULARY = 2000
"""A tokenizer with fewer entries knows so few words that a warning can list them."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Prompts that share one text.

    Attributes:
        members: Which prompts, as rows of what ``pack`` was given.
        ids: Token ids of the whole text.
        spans: First and last-plus-one token of each member in ``ids``.
    """

    members: tuple[int, ...]
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def normalise(prompt: str) -> str:
    """Return the prompt as the text holds it: lower case, no dots or question marks.

    Dots and question marks part the text's prompts, so inside a prompt ("St. Bernard") they
    become spaces.
    """
    return " ".join(prompt.lower().replace(".", " ").replace("?", " ").split())


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer with BERT's special tokens."""

    cls_token_id: int
    sep_token_id: int
    unk_token_id: int
    all_special_ids: list[int]

    def __call__(self, text: str, *, add_special_tokens: bool) -> Mapping[str, list[int]]:
        """Return the text's ``input_ids``."""
        ...

    def convert_tokens_to_ids(self, tokens: str) -> int:
        """Return a token's id."""
        ...

    def get_vocab(self) -> dict[str, int]:
        """Return all tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """How a model reads prompts.

    Attributes:
        tokenizer: The model's own.
        limit: Most tokens of one text, special ones included.
    """

    tokenizer: Tokenizer
    limit: int

    def chunks(self, texts: Sequence[str]) -> list[Chunk]:
        """Return normalised texts packed in the order given; see ``pack``."""
        tokenizer = self.tokenizer
        dot = tokenizer.convert_tokens_to_ids(".")
        tokens = [self.tokens(text) for text in texts]
        return pack(tokens, self.limit, tokenizer.cls_token_id, dot, tokenizer.sep_token_id)

    def tokens(self, prompt: str) -> list[int]:
        """Return the prompt's own token ids, without what parts prompts.

        Raises:
            UsageError: If it has no words, or more tokens than fit.
        """
        tokenizer, most = self.tokenizer, self.limit - AROUND
        apart = {*tokenizer.all_special_ids, tokenizer.convert_tokens_to_ids(".")}
        apart.discard(tokenizer.unk_token_id)
        ids = [token for token in self._ids(normalise(prompt)) if token not in apart]
        shown = prompt if len(prompt) <= 60 else prompt[:57] + "..."
        if not ids:
            raise UsageError(f"prompt '{shown}' has no words")
        if len(ids) > most:
            raise UsageError(f"prompt '{shown}' has {len(ids)} tokens; the model reads {most}")
        return ids

    def check(self, prompts: Sequence[str]) -> list[str]:
        """Return a warning for each prompt with unknown words; raise as ``tokens`` does."""
        warnings = []
        for prompt in prompts:
            self.tokens(prompt)
            words = normalise(prompt).split()
            strange = [w for w in words if self.tokenizer.unk_token_id in self._ids(w)]
            if strange:
                warnings.append(f"prompt '{prompt}': the model doesn't know {', '.join(strange)}")
        vocabulary = self.tokenizer.get_vocab()
        if warnings and len(vocabulary) < SMALL_VOCABULARY:
            known = sorted(word for word in vocabulary if word.isalpha() and len(word) > 1)
            warnings.append(f"this small model knows only these words: {', '.join(known)}")
        return warnings

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def pack(
    tokens: Sequence[Sequence[int]], limit: int, start: int, dot: int, end: int
) -> list[Chunk]:
    """Return chunks of at most ``limit`` tokens that together hold every prompt once.

    The chunks follow the order given: sort the prompts first, then the result doesn't
    depend on the order in which a user wrote them.

    Args:
        tokens: Each prompt's own token ids; none longer than ``limit - AROUND``.
        limit: Most tokens of one text, [CLS], dots and [SEP] included.
        start: Id of [CLS].
        dot: Id of ".".
        end: Id of [SEP].
    """
    chunks: list[Chunk] = []
    members: list[int] = []
    spans: list[tuple[int, int]] = []
    ids = [start]
    for member, own in enumerate(tokens):
        if members and len(ids) + len(own) + 2 > limit:
            chunks.append(Chunk(tuple(members), (*ids, end), tuple(spans)))
            members, spans, ids = [], [], [start]
        members.append(member)
        spans.append((len(ids), len(ids) + len(own)))
        ids += [*own, dot]
    if members:
        chunks.append(Chunk(tuple(members), (*ids, end), tuple(spans)))
    return chunks


def span_scores(logits: NDArray[np.float32], chunk: Chunk) -> NDArray[np.float32]:
    """Return the score of each of the chunk's prompts for each box.

    Args:
        logits: float32 (Q, T), raw, T at least the text's length; -inf where masked.
        chunk: The text and its spans.

    Returns:
        float32 (Q, len(chunk.members)) in [0, 1].
    """
    with np.errstate(over="ignore"):  # exp(inf) is inf, and 1 / inf the 0 that is meant
        chances = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    means = [chances[:, first:stop].mean(axis=1) for first, stop in chunk.spans]
    return np.stack(means, axis=1).astype(np.float32)


def joined(
    answers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    chunks: Sequence[Chunk],
    texts: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return all chunks' boxes (N, 4) and scores (N, texts) of one picture."""
    matrices = []
    for (boxes, logits), chunk in zip(answers, chunks, strict=True):
        scores = np.zeros((len(boxes), texts), np.float32)
        scores[:, chunk.members] = span_scores(logits, chunk)
        matrices.append(scores)
    return np.concatenate([boxes for boxes, _ in answers]), np.concatenate(matrices)


def corners(boxes: NDArray[np.float32], height: float, width: float) -> NDArray[np.float32]:
    """Return x1, y1, x2, y2 in pixels for normalised centres and sides."""
    centres, halves = boxes[:, :2], boxes[:, 2:] / 2
    scale = np.array([width, height, width, height], np.float32)
    return np.concatenate([centres - halves, centres + halves], axis=1) * scale


def with_room(image: Image, least_side: int, longest_edge: int | None) -> Image:
    """Return the picture, padded with black at the right or bottom where it is very thin.

    Args:
        image: uint8 (H, W, 3).
        least_side: Pixels that the shorter side must have after resizing.
        longest_edge: Pixels that the longer side is resized to; None leaves the picture alone.
    """
    if not longest_edge:
        return image
    height, width = image.shape[:2]
    least = -(-max(height, width) * least_side // longest_edge)
    more = ((0, max(0, least - height)), (0, max(0, least - width)), (0, 0))
    return np.pad(image, more) if height < least or width < least else image


def to_proposals(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    floor: float,
    height: int,
    width: int,
) -> Proposals:
    """Return the boxes that ``chosen_rows`` chooses, with their scores."""
    placed, rows = chosen_rows(boxes, scores, floor, height, width)
    return Proposals(placed, np.ascontiguousarray(scores[rows], dtype=np.float32))


def chosen_rows(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    floor: float,
    height: int,
    width: int,
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return the boxes that reach the floor, clipped, best first, at most ``MAX_BOXES``.

    With them the rows that they had. Boxes less than one pixel wide or high are left out.
    Equal scores are put in the order of their coordinates, so the result doesn't depend on
    the order given.

    Args:
        boxes: float32 (N, 4), x1, y1, x2, y2 in pixels of the picture.
        scores: float32 (N, P); NaN where a box was found without a score.
        floor: Least best score of a box.
        height: Rows of the picture.
        width: Columns of the picture.
    """
    edges = np.array([width, height, width, height], np.float32)
    clipped = np.clip(boxes.astype(np.float32), 0, edges)
    best = np.nan_to_num(scores, nan=1.0).max(axis=1, initial=0.0)
    sides = clipped[:, 2:] - clipped[:, :2]
    rows = np.flatnonzero((best >= floor) & (sides >= 1).all(axis=1))
    x1, y1, x2, y2 = clipped[rows].T
    rows = rows[np.lexsort((y2, x2, y1, x1, -best[rows]))][:MAX_BOXES]
    return np.ascontiguousarray(clipped[rows]), rows
