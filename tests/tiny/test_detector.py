"""The small Grounding DINO: what it is taught, and that the shipped weights have learnt it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from autolabel.tiny import detector_data as data
from autolabel.tiny.detector_loss import corners, decoder_loss, focal, iou
from autolabel.tiny.detector_model import export, new_model, vocabulary
from autolabel.tiny.eval_detector import WEIGHTS, detect, evaluate, load
from autolabel.tiny.scenes import CLASSES, make_scene

UNSEEN = 77_000


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# --- what is asked and answered ----------------------------------------------------------------


def test_the_vocabulary_keeps_the_ids_that_transformers_hard_codes() -> None:
    ids = vocabulary()
    fixed = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
    assert {word: ids[word] for word in fixed} == fixed
    assert sorted(ids.values()) == list(range(1030))
    assert (ids["red"], ids["heart"]) == (104, 115)


def test_prompts_become_tokens_and_spans() -> None:
    ids = vocabulary()
    tokens, spans = data.tokens_of([(0, 0), (-1, 1), (2, -1)])
    words = ["[CLS]", "red", "heart", ".", "ring", ".", "green", ".", "[SEP]"]
    assert tokens == [ids[word] for word in words]
    assert spans == [(1, 3), (4, 5), (6, 7)]


def test_an_object_is_named_by_every_prompt_that_fits_it() -> None:
    red_heart = data.Things(np.array([[0, 0, 9, 9]], np.float32), np.array([0]), np.array([0]))
    prompts = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]  # red heart, red ring, ..., red, heart
    tokens, spans = data.tokens_of(prompts)
    table = data.answers(red_heart, prompts, spans, len(tokens))
    assert np.flatnonzero(table[0]).tolist() == [1, 2, 10, 12]


def test_each_small_object_owns_the_cell_under_its_middle() -> None:
    boxes = np.array([[1, 1, 15, 15], [96, 96, 160, 160]], np.float32)
    wide, few = data.owners(boxes, data.cells(256, 256))
    assert wide[0] == 0
    assert few[0] == 0
    assert (few == 1).sum() == 3
    assert (wide == 1).sum() == 4
    assert set(wide.tolist()) == {-1, 0, 1}


def test_a_mirrored_view_moves_its_boxes_with_its_pixels() -> None:
    seen = data.view(21, 224, 256)
    turned = seen.mirrored()
    x1, y1, x2, y2 = seen.things.boxes[0].astype(int)
    a1, b1, a2, b2 = turned.things.boxes[0].astype(int)
    assert np.array_equal(seen.image[y1:y2, x1:x2], turned.image[b1:b2, a1:a2][::-1, ::-1])


def test_a_batch_repeats_itself_and_never_uses_an_unseen_seed() -> None:
    first, again = (next(iter(data.Batches(4, 40))) for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert first["pixel_values"].shape[:2] == (4, 3)
    assert data.TRAINING_SEEDS > UNSEEN


# --- the losses --------------------------------------------------------------------------------


def test_focal_loss_has_the_value_of_its_formula() -> None:
    logits, target = torch.zeros(2), torch.tensor([1.0, 0.0])
    expected = torch.tensor([0.25, 0.75]) * 0.25 * np.log(2)
    torch.testing.assert_close(focal(logits, target, 0.25), expected.float())


def test_overlap_of_known_boxes() -> None:
    first = torch.tensor([0.0, 0.0, 2.0, 2.0])
    second = torch.tensor([1.0, 0.0, 3.0, 2.0])
    overlap, general = iou(first, second)
    assert (round(float(overlap), 4), round(float(general), 4)) == (0.3333, 0.3333)
    assert corners(torch.tensor([0.5, 0.5, 0.2, 0.4])).tolist() == pytest.approx(
        [0.4, 0.3, 0.6, 0.7]
    )


def test_right_answers_cost_nearly_nothing_and_wrong_ones_much() -> None:
    named = torch.tensor([[[0.0, 1, 1, 0, 0, 0, 0]]])
    batch = {
        "boxes": torch.tensor([[[0.4, 0.3, 0.6, 0.7]]]),
        "real": torch.tensor([[True]]),
        "named": named,
        "attention_mask": torch.ones(1, 7, dtype=torch.long),
    }
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    good = torch.full((1, 2, 7), -9.0)
    good[0, 0, 1:3] = 9.0
    assert float(decoder_loss(good, boxes, boxes, batch)) < 1e-3
    assert float(decoder_loss(good.flip(1), boxes, boxes, batch)) > 5


# --- the model and what is shipped -------------------------------------------------------------


def test_an_exported_model_is_the_one_that_was_trained(tmp_path: Path) -> None:
    made = new_model().eval().half().float()  # as exact as the file holds it
    export(made, tmp_path)
    model, processor = load(tmp_path)
    inputs = processor(images=[make_scene(1).image], text=["red heart. ring."], return_tensors="pt")
    with torch.inference_mode():
        before, after = made(**inputs).logits[..., :7], model(**inputs).logits[..., :7]
    torch.testing.assert_close(before, after, atol=1e-3, rtol=1e-3)


def test_shipped_files_are_small_half_precision_and_load_as_stock_classes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 8_000_000
    with safe_open(WEIGHTS / "model.safetensors", "pt") as tensors:
        kinds = {tensors.get_tensor(key).dtype for key in tensors.keys()}  # noqa: SIM118
    assert kinds == {torch.float16}
    model = AutoModelForZeroShotObjectDetection.from_pretrained(WEIGHTS)
    assert type(model).__name__ == "GroundingDinoForObjectDetection"
    tokenizer = AutoProcessor.from_pretrained(WEIGHTS).tokenizer
    assert tokenizer("Red heart. pen.")["input_ids"] == [101, 104, 115, 1012, 100, 1012, 102]


@pytest.mark.parametrize(("hard", "bar"), [(False, 0.92), (True, 0.82)])
def test_shipped_weights_find_the_objects_of_unseen_scenes(hard: bool, bar: float) -> None:
    figures = evaluate(WEIGHTS, count=24, seed=UNSEEN, hard=hard)
    assert figures["ap50"] > bar
    assert figures["absent_p95"] < 0.3


def test_a_shape_or_a_colour_alone_is_a_prompt_too() -> None:
    model, processor = load(WEIGHTS)
    scenes = [make_scene(UNSEEN + k) for k in range(16)]
    found = detect(model, processor, [s.image for s in scenes], ["ring", "star", "heart"])
    right = wanted = 0
    for scene, detections in zip(scenes, found, strict=True):
        for label, shape in enumerate(("ring", "star", "heart")):
            there = any(o.shape == shape for o in scene.objects + scene.distractors)
            best = detections.scores[detections.labels == label].max(initial=0)
            right += (best > 0.4) == there
            wanted += 1
    assert right / wanted > 0.85


@pytest.mark.parametrize(("height", "width"), [(384, 512), (270, 480), (512, 512)])
def test_pictures_of_other_sizes_are_found_in_their_own_pixels(height: int, width: int) -> None:
    model, processor = load(WEIGHTS)
    overlaps = []
    for seed in range(UNSEEN, UNSEEN + 6):
        scene = make_scene(seed, height=height, width=width)
        (found,) = detect(model, processor, [scene.image], CLASSES)
        sure = torch.from_numpy(found.boxes[found.scores > 0.4])
        for thing in scene.objects:
            box = torch.tensor(data.box_of(thing.mask), dtype=torch.float32)
            overlaps.append(float(iou(sure, box)[0].max()))
    assert np.mean(overlaps) > 0.8
