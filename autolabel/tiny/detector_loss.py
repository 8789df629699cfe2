"""Losses of the small detector.

transformers' own Grounding DINO loss mislabels batches of different texts and teaches the
proposals nothing, so these are written on the model's raw outputs.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.grounding_dino.modeling_grounding_dino import (
    GroundingDinoObjectDetectionOutput,
)

from autolabel.tiny.detector_model import ALL_COLOURS, ALL_SHAPES, STRIDE


class DenseHeads(nn.Module):
    """Colour, shape and box of the thing at every cell: what the features must hold anyway.

    Only used in training; learning what things look like densely takes minutes, through the
    queries hours.
    """

    def __init__(self, width: int) -> None:
        """Takes the width of the features."""
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.colour = nn.Linear(width, len(ALL_COLOURS))
        self.shape = nn.Linear(width, len(ALL_SHAPES))
        self.thing = nn.Linear(width, 1)
        self.box = nn.Linear(width, 4)
        nn.init.constant_(self.thing.bias, -2.5)

    def forward(self, features: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the losses for features (B, N, d)."""
        hidden = F.relu(self.hidden(features))
        colours, shapes = batch["dense"].unbind(-1)
        there = shapes >= 0
        inside = hidden[there]
        found = max(1, int(there.sum()))
        thing = focal(self.thing(hidden)[..., 0], there.float(), 0.25).sum() / found
        colour = F.cross_entropy(self.colour(inside), colours[there], reduction="sum") / found
        logits = self.shape(inside)
        shape = F.cross_entropy(logits, shapes[there], reduction="sum") / found
        spread = centre_cells(batch["pixel_values"].shape[-2:])[there.nonzero()[:, 1]]
        reach = F.softplus(self.box(inside))
        middle, step = spread[:, :2], spread[:, 2:]
        boxes = torch.cat([middle - reach[:, :2] * step, middle + reach[:, 2:] * step], -1)
        box = (1 - paired_giou(boxes, batch["dense_boxes"][there])).sum() / found
        right = (logits.argmax(-1) == shapes[there]).float().sum() / found
        return {"thing": thing, "colour": colour, "shape": shape, "box": box, "right": right}


def centre_cells(size: torch.Size) -> Tensor:
    """Gives each cell's centre and one stride in x and y, (N, 4), in shares of the picture."""
    height, width = size
    y, x = torch.meshgrid(
        torch.arange(-(-height // STRIDE)), torch.arange(-(-width // STRIDE)), indexing="ij"
    )
    centre = torch.stack([(x + 0.5) * STRIDE / width, (y + 0.5) * STRIDE / height], -1)
    step = torch.tensor([2 * STRIDE / width, 2 * STRIDE / height]).expand_as(centre)
    return torch.cat([centre, step], -1).reshape(-1, 4)


def focal(logits: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Gives the focal loss, gamma 2, per element (Lin et al., arXiv 1708.02002)."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    missed = torch.where(target > 0.5, 1 - logits.sigmoid(), logits.sigmoid())
    return torch.where(target > 0.5, alpha, 1 - alpha) * missed.square() * loss


def corners(boxes: Tensor) -> Tensor:
    """Turns (cx, cy, w, h) into (x1, y1, x2, y2)."""
    middle, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([middle - half, middle + half], -1)


def iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Gives IoU and GIoU of corner boxes that broadcast against each other."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    inner = (high - low).clamp(min=0).prod(-1)
    union = _area(first) + _area(second) - inner + 1e-9
    hull = torch.maximum(first[..., 2:], second[..., 2:])
    hull = (hull - torch.minimum(first[..., :2], second[..., :2])).clamp(min=0).prod(-1) + 1e-9
    overlap = inner / union
    return overlap, overlap - (hull - union) / hull


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def paired_giou(first: Tensor, second: Tensor) -> Tensor:
    """Gives GIoU of corner boxes row by row."""
    return iou(first, second)[1]


def box_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Gives 5 x L1 + 2 x GIoU loss, summed; logits are (cx, cy, w, h) before the sigmoid."""
    boxes = corners(logits.sigmoid())
    distance = F.l1_loss(boxes, truth, reduction="sum")
    return 5 * distance + 2 * (1 - paired_giou(boxes, truth)).sum()


def proposal_loss(outputs: GroundingDinoObjectDetectionOutput, batch: dict[str, Tensor]) -> Tensor:
    """Gives the loss of the encoder's proposals: the few cells nearest to each asked object."""
    assert outputs.enc_outputs_class is not None
    assert outputs.enc_outputs_coord_logits is not None
    length = batch["input_ids"].shape[1]
    logits = outputs.enc_outputs_class[..., :length].float()
    owner = batch["proposals"]
    taken = owner >= 0
    rows = torch.arange(len(owner))[:, None].expand_as(owner)[taken]
    target = torch.zeros_like(logits)
    target[taken] = batch["named"][rows, owner[taken]]
    count = max(1, int(taken.sum()))
    classes = _token_loss(logits, target, batch["attention_mask"], None)
    coordinates = outputs.enc_outputs_coord_logits.float()[taken]
    finite = torch.isfinite(coordinates).all(-1)
    truth = batch["boxes"][rows, owner[taken]][finite]
    return (classes + box_loss(coordinates[finite], truth)) / count


def _token_loss(
    logits: Tensor, target: Tensor, attention: Tensor, ignored: Tensor | None
) -> Tensor:
    """Gives the focal loss over real tokens (a padded one's logit is minus infinity), summed."""
    real = attention.bool()[:, None, :].expand_as(logits)
    if ignored is not None:
        real = real & ~ignored[..., None]
    return focal(logits[real], target[real], 0.35).sum()


def decoder_loss(
    logits: Tensor, boxes: Tensor, reference: Tensor, batch: dict[str, Tensor]
) -> Tensor:
    """Gives one decoder layer's loss.

    Args:
        logits: (B, Q, tokens).
        boxes: predicted (B, Q, 4) as (cx, cy, w, h) in shares of the picture.
        reference: the proposals the queries started from, alike.
        batch: from `collate`.
    """
    owner, ignored = _assign(logits.detach(), boxes.detach(), reference.detach(), batch)
    taken = owner >= 0
    rows = torch.arange(len(owner))[:, None].expand_as(owner)[taken]
    target = torch.zeros_like(logits)
    target[taken] = batch["named"][rows, owner[taken]]
    count = max(1, int(taken.sum()))
    classes = _token_loss(logits, target, batch["attention_mask"], ignored)
    truth = batch["boxes"][rows, owner[taken]]
    found = corners(boxes[taken])
    distance = 5 * F.l1_loss(found, truth, reduction="sum")
    return (classes + distance + 2 * (1 - paired_giou(found, truth)).sum()) / count


def _assign(
    logits: Tensor, boxes: Tensor, reference: Tensor, batch: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Gives each query's object, -1 for none, and which queries are neither here nor there.

    Every query whose proposal lies on an object has it (suppression of duplicates follows, as
    with any detector here), and each object at least its best one.
    """
    real = batch["real"]
    overlap, _ = iou(corners(reference)[:, :, None], batch["boxes"][:, None])
    overlap = overlap.masked_fill(~real[:, None], -1)
    best, owner = overlap.max(-1)
    taken = best >= 0.5
    _, giou = iou(corners(boxes)[:, :, None], batch["boxes"][:, None])
    named = batch["named"] / batch["named"].sum(-1, keepdim=True).clamp(min=1)
    likely = logits.masked_fill(~batch["attention_mask"].bool()[:, None], -30).sigmoid()
    cost = (-2 * giou - 2 * likely @ named.transpose(1, 2)).float().numpy()
    forced = np.full(owner.shape, -1, np.int64)
    for row, count in enumerate(real.sum(1).tolist()):
        queries, objects = linear_sum_assignment(cost[row][:, :count])
        forced[row, queries] = objects
    must = torch.from_numpy(forced)
    ignored = (best >= 0.4) & ~taken & (must < 0)
    owner = torch.where(taken, owner, torch.full_like(owner, -1))
    return torch.where(must >= 0, must, owner), ignored
