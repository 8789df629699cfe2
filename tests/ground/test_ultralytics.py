"""The ultralytics adapter: a real YOLO-World on real photos, and random models of each kind.

What is expected comes from Ultralytics' own ``predict``, which the adapter doesn't use.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from autolabel.errors import UsageError, WeightsError
from autolabel.stages import Grounder
from autolabel.types import Image

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
WORLD = SHARED / "weights" / "yolov8s-worldv2.pt"
PHOTOS = SHARED / "photos"

if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("the optional ultralytics is not installed", allow_module_level=True)

needs_world = pytest.mark.skipif(
    not WORLD.is_file(), reason=f"real weights are not here: {WORLD.name}"
)


def load(path: Path) -> Any:
    from autolabel.ground.ultralytics import Ultralytics

    return Ultralytics(path, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def world() -> Any:
    return load(WORLD)


def photo(name: str) -> Image:
    return np.array(Pillow.open(PHOTOS / name).convert("RGB"))


def random_model(folder: Path, kind: str, config: str, side: int = 192) -> Path:
    """Write a random model of the real class, as Ultralytics saves one."""
    import torch
    from ultralytics.nn import tasks

    torch.manual_seed(0)
    model = getattr(tasks, kind)(config, verbose=False)
    model.args = {"imgsz": side}
    path = folder / "model.pt"
    torch.save({"model": model, "train_args": {"imgsz": side}}, path)
    return path


def official(kind: str, path: Path, image: Image, side: int, floor: float) -> np.ndarray:
    """Return Ultralytics' own result: x1, y1, x2, y2, score, class, best first."""
    import ultralytics

    found = getattr(ultralytics, kind)(str(path)).predict(
        image[..., ::-1], imgsz=side, conf=floor, iou=0.7, device="cpu", verbose=False
    )
    data = found[0].boxes.data.numpy()
    return data[np.argsort(-data[:, 4], kind="stable")]


@needs_world
def test_the_truck_is_found_where_it_is(world: Any) -> None:
    found = world.ground([photo("truck.jpg")], ["person", "truck"], 0.1)[0]
    assert found.scores[0].argmax() == 1
    np.testing.assert_allclose(found.boxes[0], [99, 279, 1712, 857], atol=20)
    assert isinstance(world, Grounder)


@needs_world
@pytest.mark.parametrize(("height", "width"), [(1200, 1800), (733, 1201), (1200, 310)])
def test_boxes_and_scores_are_those_of_ultralytics(world: Any, height: int, width: int) -> None:
    image = photo("cars.jpg")[100 : 100 + height, 200 : 200 + width]
    expected = official("YOLOWorld", WORLD, image, 640, 0.05)
    names = list(world._model.names.values())
    found = world.ground([image], names, 0.05)[0]
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected[:, :4], atol=1)
    np.testing.assert_allclose(found.scores.max(1), expected[:, 4], atol=1e-3)
    assert found.scores.argmax(1).tolist() == expected[:, 5].astype(int).tolist()
    assert ((found.scores > 0).sum(1) > 1).all(), "a runner-up, not one class a box"


@needs_world
def test_prompts_are_names_whatever_their_case_and_order(world: Any) -> None:
    image = photo("groceries.jpg")
    one = world.ground([image], ["Bottle", "car"], 0.05)[0]
    two = world.ground([image], ["car", "bottle"], 0.05)[0]
    np.testing.assert_array_equal(one.boxes, two.boxes)
    np.testing.assert_array_equal(one.scores, two.scores[:, ::-1])


@needs_world
def test_an_unknown_prompt_is_refused_with_all_names_and_near_ones(world: Any) -> None:
    with pytest.raises(UsageError) as caught:
        world.check_prompts(["car", "personn", "lorry"])
    text = str(caught.value)
    assert "doesn't know 'personn' (near: person); 'lorry'." in text
    assert all(name in text for name in world._model.names.values())
    assert max(map(len, text.splitlines()[1:])) <= 100
    with pytest.raises(UsageError):
        world.ground([photo("truck.jpg")], ["lorry"], 0.1)
    assert world.check_prompts(["car", "traffic light"]) == []


@needs_world
def test_a_batch_gives_what_each_picture_alone_gives(world: Any) -> None:
    images = [photo("truck.jpg")[::4, ::4], photo("groceries.jpg"), photo("truck.jpg")[::4, ::4]]
    prompts = ["truck", "bottle", "car"]
    for image, found in zip(images, world.ground(images, prompts, 0.05), strict=True):
        alone = world.ground([image], prompts, 0.05)[0]
        np.testing.assert_array_equal(found.boxes, alone.boxes)
        np.testing.assert_array_equal(found.scores, alone.scores)


@needs_world
def test_loading_and_running_make_no_connection(tmp_path: Path) -> None:
    """In a home that can't be written to, with every way to the network recorded."""
    code = """
import socket, sys
calls = []
def refuse(*args, **kwargs):
    calls.append(args)
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import numpy as np
from pathlib import Path
from autolabel.errors import UsageError
from autolabel.ground.ultralytics import Ultralytics
model = Ultralytics(Path(sys.argv[1]), device="cpu", dtype="fp32")
model.ground([np.zeros((64, 64, 3), np.uint8)], ["car"], 0.5)
try:
    model.check_prompts(["lorry"])
except UsageError:
    print("refused", calls)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(WORLD)],
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path / "nowhere"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "refused []", done.stderr


def scene(height: int, width: int) -> Image:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (-(-height // 20), -(-width // 20), 3), dtype=np.uint8)
    return coarse.repeat(20, 0).repeat(20, 1)[:height, :width].copy()


def test_rt_detr_is_stretched_and_comes_back(tmp_path: Path) -> None:
    path = random_model(tmp_path, "RTDETRDetectionModel", "rtdetr-l.yaml", 160)
    image = scene(120, 300)
    model = load(path)
    names = list(model._model.names.values())
    found = model.ground([image], names, 0.01)[0]
    expected = official("RTDETR", path, image, 160, 0.01)
    best = expected[expected[:, 4] == expected[:, 4].max()][0]
    match = np.abs(found.boxes - best[:4]).max(1).argmin()
    np.testing.assert_allclose(found.boxes[match], best[:4], atol=1)
    assert found.scores[match].max() == pytest.approx(best[4], abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("DetectionModel", "yolo26n.yaml"),  # end to end: its other head gives all classes
        ("SegmentationModel", "yolo11n-seg.yaml"),
        ("YOLOEModel", "yoloe-11s.yaml"),
    ],
)
def test_every_kind_gives_boxes_in_the_picture(tmp_path: Path, kind: str, config: str) -> None:
    model = load(random_model(tmp_path, kind, config))
    names = list(model._model.names.values())
    prompts = [names[5], names[3].upper(), names[5]]
    for height, width in ((120, 300), (1, 1), (2, 900)):
        found = model.ground([scene(height, width)], prompts, 0.0)[0]
        assert found.scores.shape[1] == 3
        np.testing.assert_array_equal(found.scores[:, 0], found.scores[:, 2])
        assert found.boxes.min(initial=0) >= 0
        assert (found.boxes[:, 2:] <= [width, height]).all()
    assert 0 < len(model.ground([scene(120, 300)], prompts, 0.0)[0]) <= 300
    assert model.ground([scene(9, 9)], [], 0.0)[0].scores.shape == (0, 0)
    with pytest.raises(UsageError, match="Its names are"):
        model.check_prompts(["no such name"])


def test_what_is_no_detector_is_refused(tmp_path: Path) -> None:
    path = random_model(tmp_path, "ClassificationModel", "yolo11n-cls.yaml")
    with pytest.raises(WeightsError, match="ends in Classify, expected a detector"):
        load(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="can't be loaded as an Ultralytics model"):
        load(path)
    with pytest.raises(WeightsError, match=r"expected an Ultralytics \.pt file"):
        load(tmp_path / "gone.pt")
