"""Pictures as SAM 2 takes them, and its masks at the pictures' size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autolabel.types import Image, Masks

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_UPSCALED_NUMBERS = 2**24  # logits at full size at once, in numbers (64 MiB); one mask at least


def square(image: Image, side: int, device: torch.device) -> Tensor:
    """Return the picture as the model takes it: float32 (3, side, side), normalised.

    One channel at a time, so that a picture of 100 megapixels needs 0.4 GB and not 1.2. The
    numbers are those of ``sam2.utils.transforms.SAM2Transforms``.
    """
    channels = []
    for i, (mean, std) in enumerate(zip(_MEAN, _STD, strict=True)):
        plane = torch.from_numpy(np.array(image[None, None, :, :, i], np.float32)).to(device)
        small = F.interpolate(plane.div_(255), (side, side), mode="bilinear", antialias=True)
        channels.append((small[0, 0] - mean) / std)
    return torch.stack(channels)


def full_size(logits: Tensor, height: int, width: int) -> Iterator[Masks]:
    """Yield bool (n, H, W) masks, a few at a time, from logits (N, h, w).

    Scaled lying on their side: run lengths go down the columns, and turning 24 megapixels
    for them costs more than scaling does.
    """
    at_once = max(1, _UPSCALED_NUMBERS // (height * width))
    for part in torch.split(logits.transpose(1, 2)[:, None].contiguous(), at_once):
        large = F.interpolate(part, (width, height), mode="bilinear", align_corners=False)
        yield (large[:, 0] > 0.0).cpu().numpy().transpose(0, 2, 1)
