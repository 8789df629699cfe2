"""Masks from boxes with SAM 2 (Meta's ``sam2`` package), for single pictures.

An object can be shown again after that (``prompted``): by points in its first mask, or by that
mask together with its box, as SAM was trained to refine.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024. The results are those of
``sam2.sam2_image_predictor.SAM2ImagePredictor`` with ``multimask_output=False``; what
differs is that no state is kept between calls, model sizes other than 1024 work, and the
masks never lie in memory all at once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autolabel.clock import measured
from autolabel.errors import UsageError
from autolabel.masks import encode_many
from autolabel.models.compiling import compile_module
from autolabel.models.prompt_types import BOX, Heads, Points, shown_again
from autolabel.models.sam2_checkpoint import DTYPES, load_sam2
from autolabel.models.sam2_levels import all_levels, levels_of
from autolabel.segment.sam2_pixels import full_size, square
from autolabel.types import RLE, Boxes, Image, Segments

_BOX_CORNERS = (2, 3)  # the prompt encoder's labels for a box's two corners
# Bit-identical results whatever a picture is batched with: on a CPU batching gains nothing,
# and kernels chosen by batch size would change masks by a pixel when a run is continued.
_ENCODED_AT_ONCE = 1
_ENCODED_AT_ONCE_GPU = 8
# The decoder's widest layer, in numbers: 16 boxes at once for a model of 1024 pixels, which
# takes about 0.5 GB. A whole picture's boxes go in one decode where they fit.
_DECODED_NUMBERS = 2**25
_DECODED_NUMBERS_GPU = 2**28


@dataclass(frozen=True, slots=True)
class _Encoded:
    """One picture's features: (1, C, S/16, S/16), and the finer (1, C', S/4, S/4), ..."""

    coarse: Tensor
    fine: list[Tensor]


class Sam2Image:
    """A Segmenter: SAM 2 or 2.1 of any size.

    Args:
        path: A checkpoint file or a folder with one; see ``load_sam2``.
        device: "cpu", "cuda" or "cuda:N".
        dtype: "fp32", or "bf16" or "fp16" for autocast.

    Raises:
        WeightsError: If the checkpoint isn't a whole SAM 2.
        UsageError: If the device isn't there or the dtype unknown.
    """

    CARD = {
        "licence": "Apache-2.0",
        "advice": "SAM 2 and 2.1; large for the best masks, tiny where there is no GPU",
        "supports": ["video", "scores", "masks"],
        "files": "checkpoint",
        "checkpoints": [
            ["facebook/sam2.1-hiera-large", "Apache-2.0", "0.9 GB"],
            ["facebook/sam2.1-hiera-base-plus", "Apache-2.0", "0.3 GB"],
            ["facebook/sam2.1-hiera-small", "Apache-2.0", "0.2 GB"],
            ["facebook/sam2.1-hiera-tiny", "Apache-2.0", "0.2 GB"],
        ],
        "bundled": "segmenter",
    }

    def __init__(self, path: str | Path, *, device: str = "cpu", dtype: str = "fp32") -> None:
        """Load the checkpoint onto the device."""
        if dtype not in DTYPES:
            raise UsageError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UsageError(f"device {device!r}: no CUDA GPU is available here; use --device cpu")
        self._model, self.info = load_sam2(path, device)
        self._device = torch.device(device)
        self._dtype = dtype
        self._levels = levels_of(self._model)
        self._compiled = False
        self._prompt_type = BOX

    concurrent = True
    """Several threads may use it at once."""

    @property
    def parameters(self) -> int:
        """How many numbers the weights are."""
        return sum(one.numel() for one in self._model.parameters())

    @property
    def has_memory(self) -> bool:
        """Whether the checkpoint can follow objects through videos, too."""
        return self.info.has_memory

    def fingerprint(self) -> str:
        """Return what identifies the weights and every setting that changes results."""
        how = ":compiled" if self._compiled else ""
        return f"sam2-image:{self.info.sha256}:{self._dtype}:single-mask{how}"

    def compile(self) -> None:
        """Compile the image encoder, which sees every picture in one size.

        Raises:
            UsageError: If PyTorch can't: on a CPU it needs a C++ compiler.
        """
        self._levels = partial(all_levels, self._model)
        side = int(self._model.image_size)
        nothing = torch.zeros(1, 3, side, side, device=self._device)
        compile_module(self._model.image_encoder, lambda: self._encode_squares(nothing))
        self._compiled = True

    def prompted(self, prompt_type: str) -> Sam2Image:
        """Return a segmenter of the same weights that shows objects as "point", "mask" or "box"."""
        other = copy.copy(self)
        other._prompt_type = prompt_type
        return other

    def segment(self, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Segments]:
        """Return one Segments a picture, masks in the order of its boxes.

        Each picture with boxes is encoded once; a picture without any costs nothing.

        Args:
            images: uint8 (H, W, 3) RGB each; sizes may differ.
            boxes: float32 (N, 4) pixels a picture; N may be 0.
        """
        results = [Segments((), np.zeros(0, np.float32)) for _ in images]
        busy = [i for i, (_, found) in enumerate(zip(images, boxes, strict=True)) if len(found)]
        cpu = self._device.type == "cpu"
        at_once = _ENCODED_AT_ONCE if cpu else _ENCODED_AT_ONCE_GPU
        for start in range(0, len(busy), at_once):
            group = busy[start : start + at_once]
            encoded = self._encode([images[i] for i in group])
            for i, features in zip(group, encoded, strict=True):
                results[i] = self._decode(features, boxes[i], *images[i].shape[:2])
        return results

    def _encode(self, images: Sequence[Image]) -> list[_Encoded]:
        """Return the features of pictures, all encoded as one batch."""
        side = int(self._model.image_size)
        return self._encode_squares(
            torch.stack([square(image, side, self._device) for image in images])
        )

    @torch.no_grad()
    def _encode_squares(self, batch: Tensor) -> list[_Encoded]:
        """Return the features of pictures as the model takes them."""
        with self._autocast():
            *fine, coarse = self._levels(batch).maps
        if self._model.directly_add_no_mem_embed:
            coarse = coarse + self._model.no_mem_embed.reshape(1, -1, 1, 1)
        return [
            _Encoded(coarse[i : i + 1], [level[i : i + 1] for level in fine])
            for i in range(len(batch))
        ]

    @torch.no_grad()
    def _decode(self, features: _Encoded, boxes: Boxes, height: int, width: int) -> Segments:
        """Return the masks of one picture's boxes."""
        side = int(self._model.image_size)
        scale = torch.tensor([side / width, side / height], device=self._device)
        corners = torch.tensor(boxes, device=self._device).reshape(-1, 2, 2) * scale
        masks: list[RLE] = []
        scores: list[Tensor] = []
        for some in torch.split(corners, self._decoded_at_once(features)):
            logits, quality = self._shown(features, some)
            scores.append(quality)
            for part in full_size(logits, height, width):
                with measured("encode"):
                    masks += encode_many(part)
        found = torch.cat(scores).cpu().numpy()
        return Segments(tuple(masks), np.nan_to_num(found).clip(0.0, 1.0).astype(np.float32))

    def _shown(self, features: _Encoded, corners: Tensor) -> Heads:
        """Return logits (N, S/4, S/4) and scores (N,) of N boxes shown in this segmenter's way."""
        labels = torch.tensor([_BOX_CORNERS], dtype=torch.int, device=self._device)
        boxes = corners, labels.expand(len(corners), -1)

        def ask(some: Tensor, points: Points | None, masks: Tensor | None) -> Heads:
            given = points or (boxes[0][some], boxes[1][some])
            return self._heads(features, given, None if masks is None else masks[:, None])

        first = self._heads(features, boxes)
        return shown_again(self._prompt_type, first, int(self._model.image_size), ask)

    def _heads(self, features: _Encoded, points: Points, masks: Tensor | None = None) -> Heads:
        """Return logits and scores of N objects shown by points or corners, and masks if any."""
        with self._autocast():
            sparse, dense = self._model.sam_prompt_encoder(points=points, boxes=None, masks=masks)
            logits, quality, _, _ = self._model.sam_mask_decoder(
                image_embeddings=features.coarse,
                image_pe=self._model.sam_prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
                repeat_image=len(points[0]) > 1,
                high_res_features=features.fine,
            )
        return logits[:, 0].float(), quality.float().reshape(-1)

    def _decoded_at_once(self, features: _Encoded) -> int:
        """Return how many boxes fit in one decode."""
        channels, side = features.coarse.shape[1], 4 * features.coarse.shape[2]
        allowed = _DECODED_NUMBERS if self._device.type == "cpu" else _DECODED_NUMBERS_GPU
        return max(1, allowed // (channels // 8 * side * side))

    def _autocast(self) -> torch.autocast:
        """Return the context that runs layers in this adapter's number format."""
        dtype = DTYPES[self._dtype]
        enabled = dtype != torch.float32
        return torch.autocast(self._device.type, dtype=dtype if enabled else None, enabled=enabled)
