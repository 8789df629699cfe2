"""The generated scenes: the same seed gives the same pixels, and the truth is what is painted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from autolabel.ontology import load_ontology
from autolabel.tiny.scenes import (
    CLASSES,
    COLOURS,
    SHAPES,
    make_clip,
    make_scene,
    make_training_clip,
)
from autolabel.tiny.shapes import DISTANCES, PAINTS
from autolabel.tiny.truth import write_dataset

ONTOLOGY = Path(__file__).parents[2] / "ontologies" / "shapes.yaml"


def test_classes_are_those_of_the_ontology_in_its_order() -> None:
    assert [c.name for c in load_ontology(ONTOLOGY).classes] == list(CLASSES)
    assert len(CLASSES) == 42
    assert CLASSES[:3] == ("red heart", "yellow heart", "green heart")
    assert CLASSES[-1] == "pink moon"


def test_a_seed_gives_the_same_scene_and_another_seed_another() -> None:
    first, again, other = make_scene(7), make_scene(7), make_scene(8)
    assert first.image.tobytes() == again.image.tobytes()
    assert [(o.name, o.track_id) for o in first.objects] == [("blue moon", 0), ("blue moon", 1)]
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("hard", [False, True])
def test_masks_are_disjoint_and_large_enough_to_be_seen(hard: bool) -> None:
    for seed in range(30):
        scene = make_scene(seed, hard=hard)
        assert scene.image.shape == (256, 256, 3)
        assert scene.image.dtype == np.uint8
        layers = np.stack([o.mask for o in scene.objects + scene.distractors]).astype(int)
        assert layers.sum(0).max() == 1
        assert min(int(o.mask.sum()) for o in scene.objects) >= 12


def test_masked_pixels_have_the_colour_of_their_class() -> None:
    """Of all paints, the object's own is nearest in hue to the mean of its masked pixels."""

    def hue(rgb: np.ndarray) -> float:
        red, green, blue = rgb
        return float(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))

    right = total = 0
    for seed in range(40):
        for thing in (scene := make_scene(seed)).objects:
            found = hue(scene.image[thing.mask].mean(0))
            away = {
                name: abs(np.angle(np.exp(1j * (hue(np.array(PAINTS[name])) - found))))
                for name in COLOURS
            }
            right += min(away, key=away.__getitem__) == thing.colour
            total += 1
    # Red and pink are one hue and differ in lightness: they may be taken for each other.
    assert right / total > 0.95


def test_sizes_begin_where_the_task_says() -> None:
    def extents(hard: bool) -> np.ndarray:
        objects = [o for seed in range(60) for o in make_scene(seed, hard=hard).objects]
        return np.array([max(np.ptp(np.nonzero(o.mask), axis=1) + 1) / 256 for o in objects])

    normal, hard = extents(hard=False), extents(hard=True)
    assert 0.10 < np.percentile(normal, 5) < 0.15
    assert 0.05 < np.percentile(hard, 5) < 0.08
    assert normal.max() < 0.38


@pytest.mark.parametrize(("height", "width"), [(8, 8), (64, 200), (301, 97)])
def test_any_size_works(height: int, width: int) -> None:
    scene = make_scene(3, height=height, width=width)
    assert scene.image.shape == (height, width, 3)
    assert all(o.mask.shape == (height, width) for o in scene.objects)


def test_shapes_fill_their_radius_and_no_more() -> None:
    axis = np.linspace(-1.5, 1.5, 301, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    for shape in SHAPES:
        inside = DISTANCES[shape](x, y) < 0
        reach = np.hypot(x, y)[inside].max()
        assert 0.85 < reach < 1.16, shape


def test_a_clip_is_deterministic_lazy_and_keeps_identities() -> None:
    clip = list(make_clip(5, frames=12))
    assert next(make_clip(5, frames=12)).image.tobytes() == clip[0].image.tobytes()
    looks: dict[int, str] = {}
    for scene in clip:
        for thing in scene.objects:
            assert looks.setdefault(thing.track_id, thing.name) == thing.name
    assert len(looks) >= 2


def test_motion_is_smooth() -> None:
    for seed in range(8):
        centres: dict[int, list[np.ndarray]] = {}
        for scene in make_clip(seed, frames=10):
            for thing in scene.objects:
                rows, columns = np.nonzero(thing.mask)
                centres.setdefault(thing.track_id, []).append(
                    np.array([rows.mean(), columns.mean(), thing.mask.sum()])
                )
        for track in centres.values():
            moved = np.abs(np.diff(np.array(track), axis=0))[:, :2]
            assert moved.size == 0 or np.median(moved) < 25


def test_things_hide_leave_and_come_back_over_a_long_clip() -> None:
    gaps = 0
    for seed in range(6):
        seen: dict[int, list[int]] = {}
        for index, scene in enumerate(make_clip(seed, frames=90)):
            for thing in scene.objects:
                seen.setdefault(thing.track_id, []).append(index)
        gaps += sum(bool((np.diff(frames) > 1).any()) for frames in seen.values())
    assert gaps >= 3


def test_a_cut_changes_every_identity() -> None:
    scenes = list(make_clip(4, frames=8, cuts=1))
    before = {o.track_id for s in scenes[:4] for o in s.objects}
    after = {o.track_id for s in scenes[4:] for o in s.objects}
    assert before
    assert after
    assert not before & after


def test_training_clips_have_two_that_are_alike() -> None:
    for seed in range(20):
        looks = {
            o.track_id: (o.shape, o.colour)
            for scene in make_training_clip(seed, frames=12, size=96)
            for o in scene.objects
        }
        if len(looks) < 2:
            continue
        shapes, colours = zip(*looks.values(), strict=True)
        assert len(set(shapes)) < len(shapes) or len(set(colours)) < len(colours) or len(looks) < 4


def test_over_a_hundred_scenes_a_second_of_one_core() -> None:
    make_scene(0)
    begun = time.process_time()
    for seed in range(60):
        make_scene(seed)
    assert 60 / (time.process_time() - begun) > 100


# --- the written data set ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "set"
    write_dataset(out, count=3, clips=2, frames=6, seed=11, height=96, width=128, hard=False)
    return out


def test_truth_is_the_masks_of_the_scenes(written: Path) -> None:
    truth = json.loads((written / "truth.json").read_text())
    assert [c["name"] for c in truth["categories"]] == list(CLASSES)
    assert [c["id"] for c in truth["categories"]] == list(range(1, 43))
    assert [a["id"] for a in truth["annotations"]] == list(range(1, len(truth["annotations"]) + 1))
    scene = make_scene(11, height=96, width=128)
    assert truth["images"][0] == {
        "id": 1,
        "file_name": "images/scene_000011.png",
        "width": 128,
        "height": 96,
    }
    with Image.open(written / "images/scene_000011.png") as picture:
        assert np.array_equal(np.asarray(picture), scene.image)
    rows = [a for a in truth["annotations"] if a["image_id"] == 1]
    assert len(rows) == len(scene.objects)
    for row, thing in zip(rows, scene.objects, strict=True):
        assert np.array_equal(coco_mask.decode(row["segmentation"]).astype(bool), thing.mask)
        assert row["area"] == thing.mask.sum()
        assert row["iscrowd"] == 0
        x, y, w, h = row["bbox"]
        ys, xs = np.nonzero(thing.mask)
        assert (x, y, x + w, y + h) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert CLASSES[row["category_id"] - 1] == thing.name


def test_clips_are_playable_and_their_frames_are_in_the_truth(written: Path) -> None:
    truth = json.loads((written / "truth.json").read_text())
    assert truth["videos"] == [
        {"id": k + 1, "file_name": f"clips/clip_{11 + k:03d}.mp4", "width": 128, "height": 96}
        | {"length": 6}
        for k in range(2)
    ]
    frames = [i for i in truth["images"] if i.get("video_id") == 1]
    assert [f["frame_index"] for f in frames] == [0, 1, 2, 3, 4, 5]
    assert frames[2]["file_name"] == "clips/clip_011/000002.jpg"
    ids = {f["id"] for f in frames}
    assert all(a["track_id"] >= 0 for a in truth["annotations"] if a["image_id"] in ids)
    with av.open(str(written / "clips/clip_011.mp4")) as container:
        stream = container.streams.video[0]
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert len(decoded) == 6
    original = next(make_clip(11, frames=6, height=96, width=128)).image
    assert np.abs(decoded[0].astype(int) - original).mean() < 6


def test_clips_only_and_no_overwriting(tmp_path: Path) -> None:
    out = tmp_path / "set"
    size = {"height": 64, "width": 64}
    write_dataset(out, count=0, clips=1, frames=2, seed=0, hard=True, **size)
    assert sorted(p.name for p in out.iterdir()) == ["clips", "truth.json"]
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_dataset(out, count=1, clips=0, frames=1, seed=0, hard=False, **size)
    with pytest.raises(ValueError, match="even width and height, found 65x64"):
        write_dataset(
            tmp_path / "odd", count=0, clips=1, frames=1, seed=0, height=64, width=65, hard=False
        )
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
