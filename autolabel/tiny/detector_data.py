"""Training batches for the small detector: scenes, the prompts asked of them, and the answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from autolabel.tiny.detector_model import ALL_COLOURS, ALL_SHAPES, STRIDE, vocabulary
from autolabel.tiny.scenes import COLOURS, SHAPES, SceneObject, make_scene

# A prompt as (colour, shape) indices; -1 where it names none: "red heart", "red", "heart".
Prompt: TypeAlias = tuple[int, int]
Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]

TRAINING_SEEDS = 1_000_000_000  # scenes of smaller seeds are never trained on
ONTOLOGY: tuple[Prompt, ...] = tuple(
    (colour, shape) for shape in range(len(SHAPES)) for colour in range(len(COLOURS))
)
_SIZES = ((256, 256), (256, 256), (256, 256), (256, 256), (224, 288), (288, 224), (256, 320))
_IDS = vocabulary()
_PER_OBJECT = 3  # proposals taught for each object
_MOST_PROMPTS = 28  # asked of one picture, unless all are
_REUSE_AFTER = 20  # batches until a picture comes again, mirrored


@dataclass(frozen=True)
class Things:
    """Everything painted in one picture: boxes (n, 4) in pixels, colours and shapes (n,)."""

    boxes: Floats
    colours: Ints
    shapes: Ints


def things_of(objects: Sequence[SceneObject]) -> Things:
    """Gives the objects' tight boxes (x1, y1, x2, y2) and what they are."""
    boxes = np.array([box_of(thing.mask) for thing in objects], np.float32).reshape(-1, 4)
    colours = np.array([ALL_COLOURS.index(thing.colour) for thing in objects], np.int64)
    shapes = np.array([ALL_SHAPES.index(thing.shape) for thing in objects], np.int64)
    return Things(boxes, colours, shapes)


def box_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Gives a mask's tight box, x2 and y2 exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def draw_prompts(rng: np.random.Generator, things: Things, every: bool) -> list[Prompt]:
    """Draws what is asked of one picture, in random order.

    Either `every` class of the ontology, or some of what is there, near misses that differ only
    in shape or only in colour, and colours and shapes alone.
    """
    prompts = list(ONTOLOGY) if every else _some_prompts(rng, things)
    rng.shuffle(prompts)
    return [(int(colour), int(shape)) for colour, shape in prompts]


def _some_prompts(rng: np.random.Generator, things: Things) -> list[Prompt]:
    colours, shapes = len(ALL_COLOURS), len(ALL_SHAPES)
    chosen: set[Prompt] = set()
    for colour, shape in zip(things.colours.tolist(), things.shapes.tolist(), strict=True):
        options = (
            (colour, shape),
            (int(rng.integers(colours)), shape),
            (colour, int(rng.integers(shapes))),
            (-1, shape),
            (colour, -1),
        )
        for option, share in zip(options, (0.7, 0.5, 0.5, 0.15, 0.15), strict=True):
            if rng.random() < share:
                chosen.add(option)
    for _ in range(int(rng.integers(1, 10))):
        chosen.add((int(rng.integers(colours)), int(rng.integers(shapes))))
    for _ in range(int(rng.integers(0, 4))):
        chosen.add((-1, int(rng.integers(shapes))))
        chosen.add((int(rng.integers(colours)), -1))
    # A text of one or two prompts must not make the model believe that they are there.
    most = int(rng.integers(1, 4)) if rng.random() < 0.3 else _MOST_PROMPTS
    return [sorted(chosen)[k] for k in rng.permutation(len(chosen))[:most]]


def tokens_of(prompts: Sequence[Prompt]) -> tuple[list[int], list[tuple[int, int]]]:
    """Gives the text's token ids, "red heart. ring. ..." and each prompt's span of tokens."""
    ids, spans = [_IDS["[CLS]"]], []
    for colour, shape in prompts:
        start = len(ids)
        if colour >= 0:
            ids.append(_IDS[ALL_COLOURS[colour]])
        if shape >= 0:
            ids.append(_IDS[ALL_SHAPES[shape]])
        spans.append((start, len(ids)))
        ids.append(_IDS["."])
    return [*ids, _IDS["[SEP]"]], spans


def answers(
    things: Things, prompts: Sequence[Prompt], spans: Sequence[tuple[int, int]], length: int
) -> Floats:
    """Gives for each thing the tokens of the prompts that name it, (n, length) of 0 and 1."""
    table = np.zeros((len(things.boxes), length), np.float32)
    for (colour, shape), (start, stop) in zip(prompts, spans, strict=True):
        same = (things.colours == colour) | (colour < 0)
        same &= (things.shapes == shape) | (shape < 0)
        table[same, start:stop] = 1
    return table


def cells(height: int, width: int) -> Floats:
    """Gives the centres (N, 2) of the feature map's cells, in pixels."""
    ys, xs = np.mgrid[0 : -(-height // STRIDE), 0 : -(-width // STRIDE)]
    return np.asarray((np.stack([xs.ravel(), ys.ravel()], 1) + 0.5) * STRIDE, np.float32)


def owners(boxes: Floats, centres: Floats) -> tuple[Ints, Ints]:
    """Gives each cell's object (N,), -1 for none: widely, and for the nearest few cells only.

    Where two claim a cell, the one whose middle is nearer in terms of its size has it; of the
    few, the smaller one.
    """
    wide = np.full(len(centres), -1, np.int64)
    few = np.full(len(centres), -1, np.int64)
    if not len(boxes):
        return wide, few
    size = boxes[:, 2:] - boxes[:, :2]
    away = np.abs(centres[None] - (boxes[:, None, :2] + boxes[:, None, 2:]) / 2)
    relative = (away / np.maximum(size[:, None], 1.5 * STRIDE)).max(2)
    wide = np.where(relative.min(0) < 0.36, relative.argmin(0), -1)
    order = np.argsort(relative, axis=1)[:, :_PER_OBJECT]
    for thing in np.argsort(-size.max(1)):
        near = order[thing][relative[thing, order[thing]] < 0.5]
        few[near] = thing
    return wide, few


def as_input(images: npt.NDArray[np.uint8]) -> Floats:
    """Gives pictures (B, H, W, 3) as the processor would: (B, 3, H, W), mean 0.5, std 0.25."""
    return np.asarray(images.transpose(0, 3, 1, 2), np.float32) * np.float32(4 / 255) - 2


@dataclass(frozen=True)
class View:
    """One picture with everything painted in it; a scene serves twice, once mirrored."""

    image: npt.NDArray[np.uint8]
    things: Things

    def mirrored(self) -> View:
        """Gives the same picture upside down and left to right."""
        height, width, _ = self.image.shape
        x1, y1, x2, y2 = self.things.boxes.T
        boxes = np.stack([width - x2, height - y2, width - x1, height - y1], 1)
        return View(self.image[::-1, ::-1], replace(self.things, boxes=boxes))


def view(seed: int, height: int, width: int) -> View:
    """Makes a training picture; half of them are hard ones."""
    scene = make_scene(seed, height=height, width=width, hard=bool(seed % 2))
    return View(scene.image, things_of(scene.objects + scene.distractors))


def example(
    seen: View, rng: np.random.Generator, every: bool
) -> dict[str, npt.NDArray[np.generic]]:
    """Draws the prompts for one picture and gives everything the losses ask about it."""
    things = seen.things
    height, width, _ = seen.image.shape
    prompts = draw_prompts(rng, things, every)
    ids, spans = tokens_of(prompts)
    named = answers(things, prompts, spans, len(ids))
    asked = named.any(1)
    centres = cells(height, width)
    wide, _ = owners(things.boxes, centres)
    _, few = owners(things.boxes[asked], centres)
    normal = things.boxes / np.array([width, height, width, height], np.float32)
    found = wide >= 0
    dense_boxes = np.zeros((len(wide), 4), np.float32)
    dense_boxes[found] = normal[wide[found]]
    dense = np.full((len(wide), 2), -1, np.int64)
    dense[found, 0], dense[found, 1] = things.colours[wide[found]], things.shapes[wide[found]]
    return {
        "pixel_values": seen.image,
        "input_ids": np.array(ids, np.int64),
        "boxes": normal[asked],
        "named": named[asked],
        "proposals": few,
        "dense": dense,
        "dense_boxes": dense_boxes,
    }


def collate(examples: Sequence[dict[str, npt.NDArray[np.generic]]]) -> dict[str, Tensor]:
    """Stacks examples of one size, padding texts and objects (`attention_mask`, `real`)."""
    count = len(examples)
    longest = max(len(e["input_ids"]) for e in examples)
    most = max(1, *(len(e["boxes"]) for e in examples))
    ids = np.zeros((count, longest), np.int64)
    attention = np.zeros((count, longest), np.int64)
    boxes = np.zeros((count, most, 4), np.float32)
    named = np.zeros((count, most, longest), np.float32)
    real = np.zeros((count, most), np.bool_)
    for row, e in enumerate(examples):
        tokens, n = len(e["input_ids"]), len(e["boxes"])
        ids[row, :tokens], attention[row, :tokens] = e["input_ids"], 1
        boxes[row, :n], real[row, :n] = e["boxes"], True
        named[row, :n, :tokens] = e["named"]
    batch = {"input_ids": ids, "attention_mask": attention, "boxes": boxes, "named": named}
    batch["real"] = real
    for key in ("proposals", "dense", "dense_boxes"):
        batch[key] = np.stack([e[key] for e in examples])
    batch["pixel_values"] = as_input(np.stack([e["pixel_values"] for e in examples]))
    return {key: torch.from_numpy(value) for key, value in batch.items()}


class Batches(IterableDataset[dict[str, Tensor]]):
    """Endless batches, each of one picture size, from the given place in the seeds onwards."""

    def __init__(self, size: int, first: int, pool: int = 0) -> None:
        """Takes the batch size, the first seed's offset, and `pool` > 0 to repeat that many."""
        self.size, self.first, self.pool = size, first, pool

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        number = self.first
        earlier: deque[list[View]] = deque()
        while True:
            height, width = (256, 256) if self.pool else _SIZES[(number // self.size) % len(_SIZES)]
            seeds = range(number, number + self.size)
            if self.pool:
                seeds = range(number % self.pool, number % self.pool + self.size)
            views = [view(TRAINING_SEEDS + seed, height, width) for seed in seeds]
            yield self._batch(views, number)
            earlier.append(views)
            if len(earlier) > _REUSE_AFTER and not self.pool:
                mirrored = [one.mirrored() for one in earlier.popleft()]
                yield self._batch(mirrored, number + 1)
            number += self.size

    def _batch(self, views: Sequence[View], number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((number, 9))
        every = bool(rng.random() < 0.35)  # a whole batch: texts of one length waste no padding
        return collate([example(seen, rng, every) for seen in views])
