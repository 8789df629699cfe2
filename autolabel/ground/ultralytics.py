"""Any Ultralytics detector: YOLO with its fixed names, YOLO-World, YOLOE, RT-DETR.

Ultralytics is AGPL-3.0, code and weights alike; it is an extra that the user chooses. Its
``.pt`` files are pickles: loading one runs code from it, so only files from people you trust
belong here.

The model is run directly rather than through ``YOLO.predict``: that gives the whole class
matrix (so a runner-up exists), and keeps out call-backs, telemetry and downloads.
"""

# ruff: noqa: E402 - the environment must be set before Ultralytics is imported.
from __future__ import annotations

import os

for _name, _value in {
    "YOLO_OFFLINE": "true",  # else importing it asks the network whether there is one
    "YOLO_AUTOINSTALL": "false",  # else a missing package is installed without asking
    "YOLO_VERBOSE": "false",
}.items():
    os.environ.setdefault(_name, _value)

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from ultralytics import __version__ as ultralytics_version
from ultralytics.data.augment import LetterBox
from ultralytics.nn.modules import OBB, Detect, RTDETRDecoder
from ultralytics.nn.tasks import RTDETRDetectionModel, YOLOEModel, load_checkpoint
from ultralytics.utils.ops import scale_boxes, xywh2xyxy

from autolabel.errors import UsageError, WeightsError
from autolabel.ground.names import Names, key_of
from autolabel.ground.spans import to_proposals
from autolabel.ground.ultralytics_names import obstacle_of
from autolabel.models.device import autocast
from autolabel.models.weights import sha256_of
from autolabel.types import Image, Proposals

SAME_OBJECT = 0.7
"""IoU above which the lesser of two boxes of one class is dropped: Ultralytics' default."""


class Ultralytics:
    """A Grounder around one Ultralytics checkpoint."""

    CARD = {
        "licence": "AGPL-3.0",
        "advice": "your own trained YOLO, or a fast detector with fixed names; mind the AGPL",
        "supports": ["names", "scores"],
        "files": "checkpoint",
        "package": "ultralytics",
        "extra": "ultralytics",
        "needs": "a .pt file (free text: YOLO-World, YOLOE)",
        "notice": "ultralytics is AGPL-3.0, code and weights: check that this suits your project. "
        "Its .pt files can run code when loaded: use only those you trust.",
    }

    def __init__(self, path: Path, *, device: str, dtype: str) -> None:
        """Load the checkpoint. This unpickles: the file can run code.

        Args:
            path: The ``.pt`` file.
            device: "cpu" or "cuda:N".
            dtype: "fp32", "bf16" or "fp16".

        Raises:
            WeightsError: If it isn't a detector that Ultralytics can load.
        """
        self._path, self._device, self._dtype = path, device, dtype
        self._model: Any = _load(path, device)
        self._side = int(self._model.args.get("imgsz") or 640)
        self._names = Names(self._model.names.values())
        # RT-DETR's pictures are stretched to a square; all others keep their aspect.
        self._stretched = isinstance(self._model, RTDETRDetectionModel)
        self._set: tuple[str, ...] | None = None  # what set_classes was last given

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file and the settings that change results."""
        settings = f"{ultralytics_version} {self._dtype} {self._side}"
        return f"ultralytics {settings} {sha256_of(self._path)}"

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return no warnings.

        Raises:
            UsageError: If prompts are not among the model's names and it can't learn new ones.
        """
        strange = [prompt for prompt in prompts if prompt not in self._names]
        obstacle = obstacle_of(self._model) if strange else None
        if obstacle:
            raise UsageError(self._names.unknown(self._path.name, strange, obstacle))
        return []

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture; see ``autolabel.stages.Grounder``."""
        if not prompts:
            return [Proposals.empty(0) for _ in images]
        self.check_prompts(prompts)
        columns = self._columns_of(prompts)
        found: dict[int, Proposals] = {}
        for rows, pixels in self._batches(images):
            size = (int(pixels.shape[2]), int(pixels.shape[3]))
            for row, raw in zip(rows, self._forward(pixels), strict=True):
                height, width = images[row].shape[:2]
                boxes, scores = self._read(raw, columns, size, floor)
                boxes = self._in_picture(boxes, size, height, width)
                found[row] = to_proposals(
                    boxes.cpu().numpy(), scores.cpu().numpy(), floor, height, width
                )
        return [found[row] for row in range(len(images))]

    def _columns_of(self, prompts: Sequence[str]) -> list[int]:
        """Return each prompt's column in the output, after setting classes if need be."""
        if self._set is None and all(prompt in self._names for prompt in prompts):
            return [self._names[prompt] for prompt in prompts]
        wanted = tuple(sorted({key_of(prompt) for prompt in prompts}))
        if wanted != self._set:
            if isinstance(self._model, YOLOEModel):
                self._model.set_classes(list(wanted), self._model.get_text_pe(list(wanted)))
            else:
                self._model.set_classes(list(wanted))
            self._set = wanted
        return [wanted.index(key_of(prompt)) for prompt in prompts]

    def _batches(self, images: Sequence[Image]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Yield rows of ``images`` and their pixels (B, 3, H, W) in [0, 1].

        Pictures share a batch where their letterboxed sizes agree, so that padding, and with
        it the result, doesn't depend on the neighbours; on a CPU each goes alone.
        """
        stride, whole = int(self._model.stride.max()), self._stretched
        box = LetterBox(self._side, auto=not whole, scale_fill=whole, stride=stride)
        groups: dict[tuple[int, ...], list[int]] = {}
        ready = []
        for row, image in enumerate(images):
            boxed = np.ascontiguousarray(box(image=image).transpose(2, 0, 1))
            ready.append(torch.from_numpy(boxed).float() / 255)
            alone = (row,) if self._device == "cpu" else ()
            groups.setdefault((*boxed.shape, *alone), []).append(row)
        for rows in groups.values():
            yield rows, torch.stack([ready[row] for row in rows])

    @torch.inference_mode()
    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the model's decoded output, float32, one row a picture."""
        with autocast(self._device, self._dtype):
            out = self._model(pixels.to(self._device))
            if self._stretched:  # out[0] has one class a box; out[1] boxes and logits by layer
                out = torch.cat([out[1][0][-1], out[1][1][-1].sigmoid()], dim=-1)
        while not isinstance(out, torch.Tensor):  # (boxes and scores, ...), nested for masks
            out = out[0]
        return out.float()

    def _read(
        self, raw: torch.Tensor, columns: list[int], size: tuple[int, int], floor: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return xyxy boxes (N, 4) in the model's pixels and scores (N, P) of one picture."""
        if self._stretched:  # (queries, 4 + classes), boxes normalised
            scale = raw.new_tensor([size[1], size[0], size[1], size[0]])
            return xywh2xyxy(raw[:, :4]) * scale, raw[:, 4:][:, columns]
        if self._model.model[-1].end2end:  # (300, 6): x1, y1, x2, y2, score, class
            asked = raw[:, 5:6] == raw.new_tensor(columns)
            return raw[:, :4], raw[:, 4:5] * asked
        boxes, scores = xywh2xyxy(raw[:4].T), raw[4:].T[:, columns]  # (4 + classes + extra, N)
        best, which = scores.max(1)
        rows = (best >= floor).nonzero().squeeze(1)
        # Prompts that name one class share its column: `which` is then the first of them.
        kept = torchvision.ops.batched_nms(boxes[rows], best[rows], which[rows], SAME_OBJECT)
        return boxes[rows[kept]], scores[rows[kept]]

    def _in_picture(
        self, boxes: torch.Tensor, size: tuple[int, int], height: int, width: int
    ) -> torch.Tensor:
        """Return the boxes in the original picture's pixels."""
        if self._stretched:
            return boxes * boxes.new_tensor([width / size[1], height / size[0]] * 2)
        scaled: torch.Tensor = scale_boxes(size, boxes.clone(), (height, width))
        return scaled


def _load(path: Path, device: str) -> Any:
    """Return the model in fp32 for inference, giving all classes' scores where it can."""
    if not path.is_file():
        raise WeightsError(f"{path}: expected an Ultralytics .pt file")
    try:
        model, _ = load_checkpoint(str(path), device=torch.device(device))
    except Exception as error:  # unpickling someone's file can raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path}: can't be loaded as an Ultralytics model: {reason}") from error
    head = model.model[-1]
    if not isinstance(head, Detect | RTDETRDecoder) or isinstance(head, OBB):
        found = type(head).__name__
        raise WeightsError(f"{path}: found a model that ends in {found}, expected a detector")
    if not all(torch.isfinite(tensor).all() for tensor in model.parameters()):
        raise WeightsError(f"{path}: the weights are damaged: some are NaN or infinite")
    if getattr(head, "end2end", False) and head.cv2 is not None:
        head.end2end = False  # the one-to-many head gives every class's score
    return model
