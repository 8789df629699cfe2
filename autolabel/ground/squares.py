"""What detectors share that resize every picture to one square: batches, texts, sizes, names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from autolabel.errors import UsageError, WeightsError
from autolabel.types import Image

AT_ONCE = 8
"""Pictures in one batch on a GPU. On a CPU, which gains nothing from batches, each goes alone:
a result depends on its picture, never on its neighbours."""


def batches(count: int, device: str) -> Iterator[list[int]]:
    """Yield which of ``count`` pictures go through the model together."""
    size = 1 if device == "cpu" else AT_ONCE
    for start in range(0, count, size):
        yield list(range(start, min(start + size, count)))


def pixels_of(prepare: Any, images: Sequence[Image], device: str) -> torch.Tensor:
    """Return what a transformers image processor makes of pictures, one by one, as a batch."""
    # The layout is said, not guessed: a picture of 3 rows looks like channels first.
    own = [image if image.flags.writeable else image.copy() for image in images]
    ready = [
        prepare(image, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        for image in own
    ]
    return torch.cat(ready).to(device)


def shrunk(image: Image, longest: int) -> Image:
    """Return the picture with its longer side at most ``longest``, and no side under 1."""
    size = shrunk_size(image.shape[0], image.shape[1], longest)
    if size == image.shape[:2]:
        return image
    planes = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    small = F.interpolate(planes, size, mode="bilinear", antialias=True)
    result: Image = small[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return result


def shrunk_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return the rows and columns of such a picture after ``shrunk``."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def extent(image: Image, longest: int) -> tuple[float, float]:
    """Return what part (height, width) of the picture a padded square covers, in its pixels.

    Args:
        image: uint8 (H, W, 3), which ``shrunk`` makes ``longest`` at most before it is padded.
        longest: See there.
    """
    height, width = image.shape[:2]
    rows, columns = shrunk_size(height, width, longest)
    side = max(rows, columns)
    return side * height / rows, side * width / columns


def token_ids(tokenizer: Any, texts: Sequence[str], limit: int) -> list[list[int]]:
    """Return each text's token ids with its special tokens.

    Raises:
        UsageError: If a text has no words, or more tokens than the model reads.
    """
    found: list[list[int]] = []
    for text in texts:
        ids = list(tokenizer(text)["input_ids"])
        shown = text if len(text) <= 60 else text[:57] + "..."
        if not list(tokenizer(text, add_special_tokens=False)["input_ids"]):
            raise UsageError(f"prompt '{shown}' has no words")
        if len(ids) > limit:
            raise UsageError(
                f"prompt '{shown}' has {len(ids)} tokens with its ends; the model reads {limit}"
            )
        found.append(ids)
    return found


def padded(tokenizer: Any, text: str, limit: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a text's ids and attention mask, each (1, limit)."""
    (ids,) = token_ids(tokenizer, [text], limit)
    blank = limit - len(ids)
    filled = torch.tensor([ids + [tokenizer.pad_token_id] * blank], device=device)
    return filled, torch.tensor([[1] * len(ids) + [0] * blank], device=device)


def unknown_words(tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """Return a warning for each prompt of which the tokenizer doesn't know every piece."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return []  # CLIP's byte pairs spell everything
    return [
        f"prompt '{prompt}': the model doesn't know parts of it"
        for prompt in prompts
        if unknown in tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ]


def check_finite(folder: Path, dtype: str, *tensors: torch.Tensor) -> None:
    """Raise unless all numbers are finite.

    Raises:
        WeightsError: If the model returned NaN or infinity.
    """
    if not all(bool(torch.isfinite(one).all()) for one in tensors):
        raise WeightsError(
            f"{folder}: the model returned NaN with --dtype {dtype}; try --dtype fp32"
        )
