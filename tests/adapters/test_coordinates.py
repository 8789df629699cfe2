"""Boxes and masks come back to the picture they belong to, to a pixel.

The model is replaced by one that sees nothing but the pixels that the family's real processor
made, finds the white marker in them by itself, and answers in the family's own way. Whatever the
processor does to a picture (padding, aspect, scale) the adapter must undo.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from autolabel import masks
from autolabel.ground.dds_api import DinoX
from autolabel.ground.dds_client import Client, Manners
from autolabel.ground.florence2 import Florence2, boxes_in
from autolabel.ground.grounding_dino import GroundingDino
from autolabel.ground.omdet_turbo import OmDetTurbo
from autolabel.ground.owlv2 import Owlv2
from autolabel.ground.sam3 import Sam3
from autolabel.registry import bundled
from autolabel.segment.edgetam import EdgeTam
from autolabel.track.hf_video import EdgeTamTracker
from autolabel.track.values import Prompt
from autolabel.types import Image
from tests.adapters.dds_server import TOKEN, Service, serve

SIZES = [(300, 900), (880, 240), (500, 500), (31, 47)]
SHARES = (0.31, 0.24, 0.78, 0.69)


def marked(height: int, width: int) -> tuple[Image, np.ndarray]:
    """Return a black picture with a white rectangle, and where that is."""
    x1, x2 = round(SHARES[0] * width), round(SHARES[2] * width)
    y1, y2 = round(SHARES[1] * height), round(SHARES[3] * height)
    image = np.zeros((height, width, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    return image, np.array([x1, y1, x2, y2], np.float32)


def found_in(pixels: torch.Tensor) -> np.ndarray:
    """Return where the marker is in pixels (3, H, W): x1, y1, x2, y2 as shares of H and W.

    By its mass: half-covered pixels at an edge count half, so this is finer than a pixel.
    """
    plane = pixels[0].double().numpy()
    weight = (plane - plane.min()) / (plane.max() - plane.min())
    place = []
    for axis in (0, 1):
        profile = weight.sum(axis=axis) / weight.sum(axis=axis).max()
        length = profile.sum()
        middle = (profile * (np.arange(len(profile)) + 0.5)).sum() / length
        place.append(((middle - length / 2) / len(profile), (middle + length / 2) / len(profile)))
    (x1, x2), (y1, y2) = place
    return np.array([x1, y1, x2, y2])


def centred(box: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = box
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def resized(prepare: Any, side: int) -> None:
    """Let a processor of a small model make pictures of the size that real ones have."""
    prepare.size = type(prepare.size)(height=side, width=side)


def owlv2(folder: Path) -> Any:
    grounder = Owlv2(folder, device="cpu", dtype="fp32")
    resized(grounder._processor.image_processor, 480)
    model = grounder._model
    model.image_embedder = lambda pixels: (pixels.permute(0, 2, 3, 1), None)
    model.box_predictor = lambda _features, maps: torch.tensor(
        [[centred(found_in(one.permute(2, 0, 1)))] for one in maps], dtype=torch.float32
    )
    model.class_predictor = lambda features, queries, _: (
        torch.full((len(features), 1, queries.shape[1]), 3.0),
        None,
    )
    return grounder


def omdet_turbo(folder: Path) -> Any:
    grounder = OmDetTurbo(folder, device="cpu", dtype="fp32")
    resized(grounder._processor.image_processor, 480)

    class Decoder(torch.nn.Module):
        def forward(self, pixels: Any, classes: Any, *_: Any, return_dict: bool) -> Any:
            boxes = [[centred(found_in(one))] for one in pixels]
            logits = torch.full((1, len(pixels), 1, len(classes)), 3.0)
            return SimpleNamespace(decoder_coords=torch.tensor([boxes]), decoder_classes=logits)

    class Same(torch.nn.Module):
        def forward(self, pixels: Any, return_dict: bool = False) -> Any:
            return SimpleNamespace(extracted_states=pixels) if return_dict else pixels

    grounder._model.vision_backbone = Same()
    grounder._model.encoder = Same()
    grounder._model.decoder = Decoder()
    return grounder


def florence2(folder: Path) -> Any:
    grounder = Florence2(folder, device="cpu", dtype="fp32")
    resized(grounder._processor.image_processor, 768)

    def answer(pixels: torch.Tensor, prompt: str) -> str:
        bins = [min(999, int(v * 1000)) for v in found_in(pixels[0])]
        return f"</s><s>{prompt}" + "".join(f"<loc_{one}>" for one in bins) + "</s>"

    grounder._answer = answer  # type: ignore[method-assign]
    return grounder


def sam3(folder: Path) -> Any:
    grounder = Sam3(folder, device="cpu", dtype="fp32")
    resized(grounder._processor.image_processor, 504)

    class Model:
        def get_vision_features(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels

        def __call__(self, vision_embeds: torch.Tensor, **_: Any) -> Any:
            box = torch.tensor(found_in(vision_embeds[0]), dtype=torch.float32)
            side = 252
            x1, y1, x2, y2 = (box * side).round().int().tolist()
            logits = torch.full((1, 1, side, side), -8.0)
            logits[..., y1:y2, x1:x2] = 8.0
            return SimpleNamespace(
                pred_boxes=box[None, None],
                pred_logits=torch.full((1, 1), 3.0),
                presence_logits=torch.full((1, 1), 3.0),
                pred_masks=logits,
            )

    grounder._model = Model()
    return grounder


def grounding_dino(_folder: Path) -> Any:
    grounder = GroundingDino(bundled("detector"), device="cpu", dtype="fp32")

    def forward(pixels: torch.Tensor, mask: torch.Tensor, chunks: Any) -> Any:
        answers = []
        for chunk in chunks:
            logits = np.full((1, len(chunk.ids)), 3.0, np.float32)
            rows = []
            for one, seen in zip(pixels, mask, strict=True):
                part = one[:, : int(seen[:, 0].sum()), : int(seen[0].sum())]
                rows.append((np.array([centred(found_in(part))], np.float32), logits))
            answers.append(rows)
        return answers

    grounder._forward = forward  # type: ignore[method-assign]
    return grounder


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("family", [grounding_dino, owlv2, omdet_turbo, florence2, sam3])
def test_a_box_comes_back_to_the_pixel(
    family: Callable[[Path], Any], size: tuple[int, int], made: Callable[[str], Path]
) -> None:
    maker = family.__name__
    grounder = family(made(maker) if maker != "grounding_dino" else Path())
    image, truth = marked(*size)
    other, truth_of_other = marked(size[1], size[0])
    results = grounder.ground([image, other], ["cat"], 0.1)
    for found, right in zip(results, (truth, truth_of_other), strict=True):
        assert np.abs(found.boxes[0] - right).max() <= 1.0


def test_a_panorama_is_shrunk_and_comes_back(made: Callable[[str], Path]) -> None:
    grounder = owlv2(made("owlv2"))
    image, truth = marked(101, 4001)
    (found,) = grounder.ground([image], ["cat"], 0.1)
    # The longer side is shrunk to 960 of 4001 pixels, then to 480: a pixel there is 8 here.
    assert np.abs(found.boxes[0] - truth).max() <= 2.0


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sam3s_masks_come_back_with_their_boxes(
    size: tuple[int, int], made: Callable[[str], Path]
) -> None:
    image, truth = marked(*size)
    ((found, segments),) = sam3(made("sam3")).ground_masks([image], ["cat"], 0.1)
    tight = masks.tight_box(segments.masks[0])
    step = max(size) / 252 / 2 + 1  # half a pixel of the model's own mask
    assert np.abs(found.boxes[0] - truth).max() <= 1.0
    assert tight is not None
    assert np.abs(np.array(tight) - truth).max() <= step


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_box_prompt_is_where_the_model_sees_the_object(
    size: tuple[int, int], made: Callable[[str], Path]
) -> None:
    segmenter = EdgeTam(made("edgetam"), device="cpu", dtype="fp32")
    resized(segmenter._prepare, 512)
    side, shown = 512, []

    class Model:
        def get_image_embeddings(self, pixels: torch.Tensor) -> list[torch.Tensor]:
            shown.append(found_in(pixels[0]) * side)
            return [pixels]

        def __call__(self, image_embeddings: Any, input_boxes: Any, **_: Any) -> Any:
            shown.append(input_boxes[0, 0].numpy())
            x1, y1, x2, y2 = input_boxes[0, 0].round().int().tolist()
            logits = torch.full((1, 1, 1, side, side), -8.0)
            logits[..., y1:y2, x1:x2] = 8.0
            return SimpleNamespace(pred_masks=logits, iou_scores=torch.full((1, 1, 1), 0.9))

    segmenter._model = Model()
    image, truth = marked(*size)
    (found,) = segmenter.segment([image], [truth[None]])
    seen, told = shown
    assert np.abs(seen - told).max() <= 1.0
    tight = masks.tight_box(found.masks[0])
    assert tight is not None
    assert np.abs(np.array(tight) - truth).max() <= max(1.0, max(size) / side)
    assert found.scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_trackers_prompts_are_where_the_model_sees_the_object(
    size: tuple[int, int], made: Callable[[str], Path]
) -> None:
    tracker = EdgeTamTracker(made("edgetam"), device="cpu", dtype="fp32")
    side = tracker.side
    image, truth = marked(*size)
    shown: list[dict[str, Any]] = []

    class Model:
        def __call__(self, session: Any, frame_idx: int, frame: torch.Tensor) -> Any:
            points = dict(session.point_inputs_per_obj[0])
            inputs = {**points, **session.mask_inputs_per_obj[0]}
            shown.append({"frame": found_in(frame[0]) * side, "inputs": inputs[frame_idx]})
            logits = torch.full((1, 1, 32, 32), -1.0)
            return SimpleNamespace(pred_masks=logits, object_score_logits=torch.ones(1, 1))

    tracker.model = Model()
    session = tracker.session()
    session.step(tracker.prepare(image))
    x1, y1, x2, y2 = (float(v) for v in truth)
    whole = np.zeros(size, np.bool_)
    whole[int(y1) : int(y2), int(x1) : int(x2)] = True
    session.add([1], [Prompt(box=(x1, y1, x2, y2))])
    session.add([2], [Prompt(mask=whole)])
    boxed, masked = shown
    corners = boxed["inputs"]["point_coords"][0, 0].numpy().reshape(-1)
    assert np.abs(corners - boxed["frame"]).max() <= 1.0
    assert boxed["inputs"]["point_labels"][0, 0].tolist() == [2, 3]
    rows, columns = np.nonzero(masked["inputs"][0, 0].numpy())
    around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(np.array(around) - masked["frame"]).max() <= 1.0


@pytest.mark.parametrize("size", [(300, 900), (2000, 3000)], ids=str)
def test_a_picture_sent_away_comes_back_to_the_pixel(size: tuple[int, int]) -> None:
    def look(image: Image, _prompts: list[str]) -> list[dict[str, Any]]:
        assert max(image.shape[:2]) <= 1536
        height, width = image.shape[:2]
        place = found_in(torch.from_numpy(image.copy()).permute(2, 0, 1).float())
        box = (place * [width, height, width, height]).tolist()
        return [{"bbox": box, "score": 0.8, "category": "cat"}]

    image, truth = marked(*size)
    with serve(Service(look=look)) as service:
        client = Client(service.address, TOKEN, Manners(poll=0.0), sleep=lambda _: None)
        api = DinoX("DINO-X-1.0", device="cpu", dtype="fp32", client=client)
        (found,) = api.ground([image], ["cat"], 0.1)
    assert np.abs(found.boxes[0] - truth).max() <= 1.0


def test_florences_answers_are_read_as_they_are_written() -> None:
    text = "</s><s>cat<loc_0><loc_10><loc_500><loc_999><loc_1><loc_2><loc_3><loc_4><loc_9></s>"
    found = [box.tolist() for box in boxes_in(text)]
    assert found == [[0.5, 10.5, 500.5, 999.5], [1.5, 2.5, 3.5, 4.5]]
    polygon = "dog<poly><loc_100><loc_200><loc_300><loc_250><loc_150><loc_400></poly>"
    assert [box.tolist() for box in boxes_in(polygon)] == [[100.5, 200.5, 300.5, 400.5]]
    assert list(boxes_in("nothing here")) == []
    assert not re.search("loc", "".join(str(one) for one in boxes_in("<loc_1><loc_2>")))
