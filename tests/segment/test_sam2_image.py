"""SAM 2 from any checkpoint, and the same masks as Meta's own predictor."""

from __future__ import annotations

import copy
import json
import os
import pickle
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sam2
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from sam2.build_sam import build_sam2
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor

from autolabel.errors import UsageError, WeightsError
from autolabel.masks import decode
from autolabel.media.pictures import read_image
from autolabel.models.prompt_types import points_of
from autolabel.models.sam2_checkpoint import KNOWN, load_sam2, trunk_layout
from autolabel.points import points_in
from autolabel.segment.sam2_image import Sam2Image
from autolabel.stages import Segmenter, TakesPrompts
from autolabel.tiny.segmenter_config import build_model
from autolabel.types import RLE
from tests.pictures import quadrants

SHARED = Path(os.environ.get("AUTOLABEL_SHARED", "/work/shared"))
REAL = SHARED / "weights/sam2_hiera_tiny_image.pt"
TRUCK = SHARED / "photos/truck.jpg"

SIZES = {
    "model_type": "sam2",
    "image_size": 128,
    "trunk": {
        "embed_dim": 16,
        "num_heads": 1,
        "stages": [1, 1, 2, 1],
        "global_att_blocks": [3],
        "window_spec": [8, 4, 8, 4],
        "window_pos_embed_bkg_spatial_size": [4, 4],
    },
    "neck": {
        "d_model": 64,
        "backbone_channel_list": [128, 64, 32, 16],
        "fpn_top_down_levels": [2, 3],
        "fpn_interp_model": "nearest",
    },
    "memory_attention": {"num_layers": 1, "dim_feedforward": 64, "dropout": 0.0},
    "memory_encoder": {"out_dim": 16, "fuser_layers": 1, "layer_scale_init_value": 0.1},
    "base": {
        "num_maskmem": 3,
        "directly_add_no_mem_embed": True,
        "use_high_res_features_in_sam": True,
        "multimask_output_in_sam": True,
        "iou_prediction_use_sigmoid": True,
        "use_obj_ptrs_in_encoder": True,
        "add_tpos_enc_to_obj_ptrs": False,
        "pred_obj_scores": True,
        "pred_obj_scores_mlp": True,
        "fixed_no_obj_ptr": True,
        "use_mlp_for_obj_ptr_proj": True,
    },
}


@pytest.fixture(scope="module")
def model() -> SAM2Base:
    """A small random SAM 2, built by code that shares nothing with the loader."""
    torch.manual_seed(0)
    return build_model(SIZES)


@pytest.fixture(scope="module")
def folder(model: SAM2Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(model, tmp_path_factory.mktemp("small sam2"))


def written(model: SAM2Base, folder: Path, name: str = "model.safetensors") -> Path:
    folder.mkdir(exist_ok=True)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    if name.endswith(".safetensors"):
        save_file(tensors, folder / name)
    else:
        torch.save({"model": tensors}, folder / name)
    (folder / "config.json").write_text(json.dumps(SIZES))
    return folder


def reference(model: SAM2Base, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, list]:
    """Masks (N, H, W) and scores by Meta's predictor, one box at a time."""
    predictor = SAM2ImagePredictor(model)
    side = model.image_size
    predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in (4, 8, 16)]
    predictor.set_image(image)
    found = [predictor.predict(box=box, multimask_output=False)[:2] for box in boxes]
    return np.stack([masks[0] > 0 for masks, _ in found]), [float(score[0]) for _, score in found]


def iou(rle: RLE, mask: np.ndarray) -> float:
    found = decode(rle)
    union = (found | mask).sum()
    return float((found & mask).sum() / union) if union else 1.0


def some_boxes(height: int, width: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    start = rng.uniform(0, 0.6, (count, 2)) * (width, height)
    size = rng.uniform(0.1, 0.4, (count, 2)) * (width, height)
    return np.concatenate([start, start + size], axis=1).astype(np.float32)


def test_the_masks_are_those_of_metas_predictor(model: SAM2Base, folder: Path) -> None:
    image = quadrants(150, 233)
    boxes = some_boxes(150, 233, 6)
    segmenter = Sam2Image(folder)
    assert isinstance(segmenter, Segmenter)
    [found] = segmenter.segment([image], [boxes])
    masks, scores = reference(model, image, boxes)
    assert masks.any()
    assert not masks.all()
    assert min(iou(rle, mask) for rle, mask in zip(found.masks, masks, strict=True)) > 0.999
    assert np.allclose(found.scores, scores, atol=1e-4)
    assert (found.masks[0].height, found.masks[0].width) == (150, 233)


def shown_again(model: SAM2Base, image: np.ndarray, box: np.ndarray, kind: str) -> np.ndarray:
    """Meta's predictor's mask (H, W) of a box, shown points in its first mask or that mask."""
    predictor, side = SAM2ImagePredictor(model), model.image_size
    predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in (4, 8, 16)]
    predictor.set_image(image)
    _, _, first = predictor.predict(box=box, multimask_output=False)
    height, width = image.shape[:2]
    # Points are chosen in the square that the model sees, where one number of the mask is 4 wide.
    places = (np.array(points_in(first[0] > 0, 3)) + 0.5) * 4 - 0.5
    again: dict[str, Any] = (
        {"box": box, "mask_input": first}
        if kind == "mask"
        else {
            "point_coords": places * (width / side, height / side),
            "point_labels": np.ones(len(places), int),
        }
    )
    masks, _, _ = predictor.predict(**again, multimask_output=False)
    return np.asarray(masks[0] > 0)


@pytest.mark.parametrize("kind", ["point", "mask"])
def test_an_object_is_shown_again_as_metas_predictor_would(
    model: SAM2Base, folder: Path, kind: str
) -> None:
    image, boxes = quadrants(150, 233), some_boxes(150, 233, 6)
    segmenter = Sam2Image(folder)
    assert isinstance(segmenter, TakesPrompts)
    [by_boxes] = segmenter.segment([image], [boxes])
    [found] = segmenter.prompted(kind).segment([image], [boxes])
    masks = [shown_again(model, image, box, kind) for box in boxes]
    assert min(iou(rle, mask) for rle, mask in zip(found.masks, masks, strict=True)) > 0.999
    assert found.masks != by_boxes.masks
    [same] = segmenter.prompted("box").segment([image], [boxes])
    assert same.masks == by_boxes.masks  # and nothing was kept from the calls between
    assert segmenter.segment([image], [boxes])[0].masks == by_boxes.masks


def test_points_are_as_far_into_the_picture_as_they_are_into_the_small_mask() -> None:
    small = np.zeros((3, 8, 8), bool)
    small[0, 2, 5] = True
    small[1, 3:6, 0:8] = True
    points, labels = points_of(small, 4.0)
    assert labels.tolist() == [[1, -1, -1], [1, 1, 1], [-1, -1, -1]]
    assert points[0, 0].tolist() == [21.5, 9.5]  # the middle of columns 20 to 23, rows 8 to 11
    assert points[1].tolist() == [[5.5, 17.5], [29.5, 13.5], [17.5, 21.5]]


def test_a_batch_gives_what_single_pictures_give(folder: Path) -> None:
    segmenter = Sam2Image(folder)
    images = [quadrants(40, 60), quadrants(90, 31), quadrants(64, 64)]
    boxes = [some_boxes(40, 60, 3), np.zeros((0, 4), np.float32), some_boxes(64, 64, 2)]
    together = segmenter.segment(images, boxes)
    assert [len(found) for found in together] == [3, 0, 2]
    for image, box, found in zip(images, boxes, together, strict=True):
        [alone] = segmenter.segment([image], [box])
        assert alone.masks == found.masks
        assert np.array_equal(alone.scores, found.scores)


def test_nothing_in_nothing_out(folder: Path) -> None:
    segmenter = Sam2Image(folder)
    assert segmenter.segment([], []) == []
    [found] = segmenter.segment([quadrants()], [np.zeros((0, 4), np.float32)])
    assert len(found) == 0
    assert found.scores.dtype == np.float32


def test_one_pixel_and_read_only_pictures(folder: Path) -> None:
    image = np.full((1, 1, 3), 9, np.uint8)
    image.flags.writeable = False
    [found] = Sam2Image(folder).segment([image], [np.array([[0, 0, 1, 1]], np.float32)])
    assert decode(found.masks[0]).shape == (1, 1)


def test_many_boxes_are_decoded_in_parts_without_a_difference(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, boxes = quadrants(80, 120), some_boxes(80, 120, 9)
    [whole] = Sam2Image(folder).segment([image], [boxes])
    monkeypatch.setattr("autolabel.segment.sam2_image._DECODED_NUMBERS", 1)
    monkeypatch.setattr("autolabel.segment.sam2_pixels._UPSCALED_NUMBERS", 1)
    [parts] = Sam2Image(folder).segment([image], [boxes])
    for rle, other in zip(whole.masks, parts.masks, strict=True):
        assert iou(rle, decode(other)) > 0.999


def test_half_precision_stays_near(folder: Path) -> None:
    image, boxes = quadrants(80, 120), some_boxes(80, 120, 4)
    [full] = Sam2Image(folder).segment([image], [boxes])
    [half] = Sam2Image(folder, dtype="bf16").segment([image], [boxes])
    assert np.abs(full.scores - half.scores).max() < 0.05


def test_two_hundred_boxes_on_a_large_picture_stay_small_in_memory(folder: Path) -> None:
    """All masks at once would be 4.8 GB as bool and 19 GB as logits."""
    segmenter = Sam2Image(folder)
    image = np.zeros((4000, 6000, 3), np.uint8)
    segmenter.segment([image], [some_boxes(4000, 6000, 1)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [found] = segmenter.segment([image], [some_boxes(4000, 6000, 24)])
    assert len(found) == 24
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 400e6


def test_a_picture_ten_thousand_pixels_wide(folder: Path) -> None:
    image = np.zeros((200, 10_000, 3), np.uint8)
    [found] = Sam2Image(folder).segment([image], [some_boxes(200, 10_000, 2)])
    assert decode(found.masks[0]).shape == (200, 10_000)


def test_compiling_without_a_compiler_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", (None, "/nowhere/g++"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    segmenter = Sam2Image(folder)
    before = segmenter.fingerprint()
    with pytest.raises(UsageError, match=r"--compile: .*C\+\+ compiler .*apt-get install g\+\+"):
        segmenter.compile()
    assert segmenter.fingerprint() == before


def test_the_fingerprint_follows_weights_sizes_and_format(
    model: SAM2Base, folder: Path, tmp_path: Path
) -> None:
    same = Sam2Image(folder).fingerprint()
    assert Sam2Image(written(model, tmp_path / "copy")).fingerprint() == same
    assert Sam2Image(folder, dtype="bf16").fingerprint() != same
    other = copy.deepcopy(model)
    other.no_mem_embed.data += 0.5
    assert Sam2Image(written(other, tmp_path / "other")).fingerprint() != same


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.safetensors"])
def test_any_kind_of_file_is_the_same_model(
    model: SAM2Base, folder: Path, tmp_path: Path, name: str
) -> None:
    there = written(model, tmp_path / "a", name)
    image, boxes = quadrants(), some_boxes(40, 60, 2)
    [expected] = Sam2Image(folder).segment([image], [boxes])
    for path in (there, there / name, str(there / name)):
        segmenter = Sam2Image(path)
        assert segmenter.has_memory
        assert segmenter.segment([image], [boxes])[0].masks == expected.masks


def test_a_plain_dict_of_tensors_and_half_precision_files(model: SAM2Base, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SIZES))
    halves = {key: value.half() for key, value in model.state_dict().items()}
    torch.save(halves, tmp_path / "a.pt")
    loaded, info = load_sam2(tmp_path / "a.pt")
    assert loaded.no_mem_embed.dtype == torch.float32
    assert (info.name, info.image_size, info.has_memory) == ("config.json", 128, True)
    assert not loaded.training


def test_an_image_only_checkpoint_is_fine_for_pictures(model: SAM2Base, tmp_path: Path) -> None:
    memory = ("memory_", "maskmem", "no_obj_ptr", "obj_ptr_proj", "mask_downsample", "no_mem_pos")
    tensors = {k: v for k, v in model.state_dict().items() if not k.startswith(memory)}
    tensors = {k: v for k, v in tensors.items() if "pred_obj_score_head" not in k}
    torch.save({"model": tensors}, tmp_path / "a.pt")
    (tmp_path / "config.json").write_text(json.dumps(SIZES))
    segmenter = Sam2Image(tmp_path / "a.pt")
    assert not segmenter.has_memory
    image, boxes = quadrants(), some_boxes(40, 60, 2)
    masks, _ = reference(model, image, boxes)
    [found] = segmenter.segment([image], [boxes])
    assert min(iou(rle, mask) for rle, mask in zip(found.masks, masks, strict=True)) > 0.999


@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
@pytest.mark.parametrize(("layout", "ending"), list(KNOWN.items()))
def test_released_sizes_are_told_from_their_tensors(
    layout: tuple[int, tuple[int, ...]], ending: str, version: str
) -> None:
    shipped = Path(sam2.__path__[0]) / f"configs/{version}/{version}_hiera_{ending}.yaml"
    trunk = OmegaConf.load(shipped).model.image_encoder.trunk
    stages = tuple(trunk.get("stages", (2, 3, 16, 3)))  # Hiera's own default
    assert (trunk.embed_dim, stages) == layout
    # Eight channels are enough to see where the stages begin.
    small = Hiera(embed_dim=8, num_heads=1, stages=stages, global_att_blocks=())
    tensors = {f"image_encoder.trunk.{k}": v for k, v in small.state_dict().items()}
    tensors |= {"no_mem_embed": torch.zeros(1), "sam_mask_decoder.x": torch.zeros(1)}
    assert trunk_layout(tensors, Path("x.pt")) == (8, stages)


def test_a_released_size_needs_no_config(tmp_path: Path) -> None:
    torch.manual_seed(0)
    meta = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", ckpt_path=None, device="cpu")
    halves = {key: value.half() for key, value in meta.state_dict().items()}
    torch.save({"model": halves}, tmp_path / "renamed to large.pt")
    # transformers' own config.json often lies beside it, and says nothing here
    (tmp_path / "config.json").write_text('{"model_type": "sam2_video"}')
    loaded, info = load_sam2(tmp_path)
    assert (info.name, info.image_size, info.has_memory) == ("sam2.1_hiera_t", 1024, True)
    assert torch.equal(loaded.no_obj_embed_spatial, halves["no_obj_embed_spatial"].float())
    assert loaded.sam_mask_decoder.dynamic_multimask_via_stability
    assert loaded.image_encoder.trunk.global_att_blocks == [5, 7, 9]


class Evil:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("/tmp/autolabel-evil-ran",)


def bad_checkpoint(folder: Path, case: str, model: SAM2Base) -> Path:
    path = folder / "x.pt"
    tensors = dict(model.state_dict())
    if case == "sam 1":
        names = ("image_encoder.blocks.0.norm1.weight", "mask_decoder.iou_token.weight")
        torch.save({name: torch.zeros(2) for name in names}, path)
    elif case == "transformers":
        torch.save({"vision_encoder.backbone.pos_embed": torch.zeros(2)}, path)
    elif case == "detector":
        torch.save({"model.0.conv.weight": torch.zeros(2)}, path)
    elif case == "empty dict":
        torch.save({}, path)
    elif case == "list":
        torch.save([torch.zeros(1)], path)
    elif case == "numbers":
        torch.save({"model": {"epoch": 3}}, path)
    elif case == "code":
        path.write_bytes(pickle.dumps({"model": Evil()}, protocol=2))
    elif case == "code in torch":
        torch.save({"model": Evil()}, path)
    elif case == "text":
        path.write_text("not weights")
    elif case == "zero bytes":
        path.write_bytes(b"")
    elif case == "cut":
        torch.save({"model": tensors}, path)
        path.write_bytes(path.read_bytes()[:-5000])
    elif case == "cut safetensors":
        path = folder / "x.safetensors"
        save_file(tensors, path)
        path.write_bytes(path.read_bytes()[:-5000])
    elif case == "unknown size":
        torch.save({"model": tensors}, path)
    else:
        (folder / "config.json").write_text(json.dumps(SIZES))
        if case == "lost":
            del tensors["sam_mask_decoder.iou_token.weight"]
        elif case == "extra":
            tensors["a_head_of_mine.weight"] = torch.zeros(2)
        elif case == "shape":
            tensors["no_mem_embed"] = torch.zeros(1, 1, 3)
        torch.save({"model": tensors}, path)
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("sam 1", r"expected a SAM 2 or 2\.1 .* found the first SAM"),
        ("transformers", r"found the layout of transformers; take the \.pt file"),
        ("detector", r"found 1 tensors of another architecture: model\.0\.conv\.weight"),
        ("empty dict", r"expected tensors by name, found dict"),
        ("list", r"expected tensors by name, found list"),
        ("numbers", r"expected tensors only, but not so: epoch"),
        ("code", r"holds code, which is never run"),
        ("code in torch", r"holds code, which is never run"),
        ("text", r"can't be read as weights"),
        ("zero bytes", r"can't be read as weights"),
        ("cut", r"can't be read as weights"),
        ("cut safetensors", r"can't be read as weights"),
        ("unknown size", r"16 channels and stages \[1, 1, 2, 1\], which is none of the released"),
        ("lost", r"1 tensors missing: sam_mask_decoder\.iou_token\.weight"),
        ("extra", r"1 tensors unexpected: a_head_of_mine\.weight"),
        ("shape", r"1 tensors of other shapes: no_mem_embed \(1, 1, 3\) for \(1, 1, 64\)"),
    ],
)
def test_what_is_no_sam_2_is_refused_with_the_reason(
    model: SAM2Base, tmp_path: Path, case: str, message: str
) -> None:
    path = bad_checkpoint(tmp_path, case, model)
    with pytest.raises(WeightsError, match=message) as caught:
        load_sam2(path)
    assert str(caught.value).startswith(str(path))
    assert not Path("/tmp/autolabel-evil-ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trunk": {"_target_": "os.getcwd"}}, "only plain sizes are allowed, found '_target_'"),
        ({"base": {"num_maskmem": "${oc.env:HOME}"}}, "only plain sizes are allowed"),
        ({"neck": {}}, "a size is missing or not a number: 'd_model'"),
        ({"image_size": "big"}, "a size is missing or not a number"),
        ({"base": {"nonsense": 3}}, "no model can be built with these sizes"),
    ],
)
def test_a_config_that_is_wrong_or_up_to_no_good(
    model: SAM2Base, tmp_path: Path, change: dict, message: str
) -> None:
    there = written(model, tmp_path / "a")
    (there / "config.json").write_text(json.dumps(SIZES | change))
    with pytest.raises(WeightsError, match=message):
        load_sam2(there)


def test_paths_without_a_checkpoint(model: SAM2Base, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file or folder"):
        load_sam2(tmp_path / "gone.pt")
    with pytest.raises(WeightsError, match=r"no checkpoint \(\*\.pt, \*\.pth, \*\.safetensors\)"):
        load_sam2(tmp_path)
    (tmp_path / "a.pt").touch()
    (tmp_path / "b.pt").touch()
    with pytest.raises(WeightsError, match=r"more than one checkpoint, name one of a\.pt, b\.pt"):
        load_sam2(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: can't be read"):
        load_sam2(tmp_path)


def test_a_device_or_format_that_is_not_there(folder: Path) -> None:
    with pytest.raises(UsageError, match="expected one of fp32, bf16, fp16"):
        Sam2Image(folder, dtype="int8")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no CUDA GPU is available"):
            Sam2Image(folder, device="cuda")


@pytest.mark.skipif(not (REAL.exists() and TRUCK.exists()), reason=f"{REAL} is not here")
def test_the_real_checkpoint_on_a_real_photo() -> None:
    image = read_image(TRUCK)[0].image
    boxes = np.array([[66, 270, 1720, 860], [425, 600, 700, 875]], np.float32)  # truck, wheel
    segmenter = Sam2Image(REAL)
    assert segmenter.info.name == "sam2_hiera_t"
    assert not segmenter.has_memory
    [found] = segmenter.segment([image], [boxes])
    masks, _ = reference(load_sam2(REAL)[0], image, boxes)
    for rle, mask, box in zip(found.masks, masks, boxes, strict=True):
        assert iou(rle, mask) > 0.999
        rows, columns = np.nonzero(decode(rle))
        tight = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert np.abs(tight - box).max() < 30
    assert found.scores.min() > 0.85
