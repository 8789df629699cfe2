"""What other people's programs read from the exports; those that aren't installed are skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolabel import masks
from autolabel.formats import export
from autolabel.store import Project
from tests.formats import cases


def expected(project: Project) -> dict[str, list[np.ndarray]]:
    return {
        media.name: [masks.decode(one.mask) for one in found if one.mask]
        for media, found in project.iter_labelled()
    }


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


# Ultralytics


def ultralytics_masks(out: Path, media: Any) -> tuple[list[np.ndarray], str]:
    """What the loader checks and what its training draws, resampled as it does."""
    utils = pytest.importorskip("ultralytics.data.utils")
    ops = pytest.importorskip("ultralytics.utils.ops")
    picture = str(out / "images" / media.name)
    (text,) = utils.img2label_paths([picture])
    found = utils.verify_image_label((picture, text, "", False, 2, 0, 0, False))
    assert found[0] == picture, found[-1]
    size = np.array([media.width, media.height], np.float32)
    drawn = []
    for segment in found[3]:
        (dense,) = ops.resample_segments([segment.copy()], n=max(1000, len(segment) + 1))
        for points in (segment, dense):
            polygon = [(points * size).reshape(-1)]
            drawn.append(utils.polygon2mask((media.height, media.width), polygon).astype(bool))
    return drawn, found[-1]


def test_ultralytics_draws_the_masks(tmp_path: Path) -> None:
    with cases.hard(tmp_path) as project:
        export(project, "yolo-seg", tmp_path / "y", images="link")
        wanted = expected(project)
        lowest: dict[str, float] = {}
        changed = set()
        for media in project.media():
            drawn, message = ultralytics_masks(tmp_path / "y", media)
            assert message == ""
            assert len(drawn) == 2 * len(wanted[media.name])
            if drawn:
                (mask,) = wanted[media.name]
                lowest[media.name] = min(iou(found, mask) for found in drawn)
                changed |= {media.name} if iou(drawn[0], mask) < 1 else set()
    assert min(lowest.values()) >= 0.98
    assert len(changed) == 2  # the island in the hole and the separate parts: their bridges


def test_ultralytics_finds_the_pictures_and_classes(tmp_path: Path) -> None:
    utils = pytest.importorskip("ultralytics.data.utils")
    with cases.hard(tmp_path) as project:
        for name in ("yolo-seg", "yolo"):
            out = tmp_path / name
            export(project, name, out, images="link")
            data = utils.check_det_dataset(str(out / "data.yaml"), autodownload=False)
            assert data["names"] == {i: text for i, (text, _) in enumerate(cases.CLASSES)}
            assert Path(data["train"]) == out / "images"
            nothing = str(out / "images" / "nothing.jpg")
            (text,) = utils.img2label_paths([nothing])
            found = utils.verify_image_label((nothing, text, "", False, 2, 0, 0, False))
            assert found[5:9] == (0, 1, 1, 0)  # missing, found, empty, corrupt


def test_ultralytics_keeps_boxes_of_single_pixels(tmp_path: Path) -> None:
    utils = pytest.importorskip("ultralytics.data.utils")
    mask = [cases.pixel(), cases.upright(), cases.lying()]
    results = [cases.picture(tmp_path / "images", "a.jpg", *map(cases.label, mask))]
    with cases.make(tmp_path / "p", results) as project:
        export(project, "yolo-seg", tmp_path / "y", images="link")
    picture = str(tmp_path / "y/images/a.jpg")
    text = utils.img2label_paths([picture])[0]
    boxes = utils.verify_image_label((picture, text, "", False, 2, 0, 0, False))[1]
    assert (boxes[:, 3:] > 0).all()  # else training drops them as empty


# supervision


def test_supervision_reads_yolo_coco_voc_and_labelme(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    with cases.hard(tmp_path) as project:
        wanted = expected(project)
        boxes = {media.name: found for media, found in project.iter_labelled()}
        for name in ("yolo-seg", "coco", "voc", "labelme"):
            export(project, name, tmp_path / name, images="copy")
        images = str(tmp_path / "images")
        read = {
            "coco": supervision.DetectionDataset.from_coco(
                images, str(tmp_path / "coco/annotations.json"), force_masks=True
            )
        }
        flat = [name for name in wanted if "/" not in name]
        for path, _, found in read["coco"]:
            name = str(Path(path).relative_to(images))
            assert len(found) == len(wanted[name])
            for mask, given in zip(found.mask if len(found) else [], wanted[name], strict=True):
                assert iou(mask, given) == 1.0
        yolo = supervision.DetectionDataset.from_yolo(
            str(tmp_path / "yolo-seg/images"),
            str(tmp_path / "yolo-seg/labels"),
            str(tmp_path / "yolo-seg/data.yaml"),
        )
        assert yolo.classes == [name for name, _ in cases.CLASSES]
        counts = {Path(path).name: len(found) for path, _, found in yolo}
        assert {name: counts[name] for name in flat} == {name: len(wanted[name]) for name in flat}
        voc = supervision.DetectionDataset.from_pascal_voc(
            str(tmp_path / "voc/JPEGImages"), str(tmp_path / "voc/Annotations")
        )
        for path, _, found in voc:
            name = Path(path).name
            if name in flat and boxes[name]:
                assert found.xyxy.shape == (1, 4)
                assert np.abs(found.xyxy[0] - boxes[name][0].box).max() <= 1


def test_supervision_reads_labelme(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    results = [
        cases.picture(tmp_path / "images", name, cases.label(cases.ring(), class_id=index % 2))
        for index, name in enumerate(["a b.jpg", "z&<>.jpg", "dots.in.name.jpg"])
    ]
    with cases.make(tmp_path / "p", results) as project:
        export(project, "labelme", tmp_path / "l", images="copy")
    read = supervision.DetectionDataset.from_labelme(str(tmp_path / "l"), str(tmp_path / "l"))
    assert sorted(read.classes) == sorted(name for name, _ in cases.CLASSES)
    found = [detections for _, _, detections in read]
    assert [len(one) for one in found] == [1, 1, 1]
    # Its own drawing makes outlines a pixel wider; the hole is still there.
    assert all(iou(one.mask[0], cases.ring()) > 0.75 and not one.mask[0, 20, 25] for one in found)


# COCO's own tools


def test_pycocotools_reads_what_was_converted_through_every_format(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from autolabel.importing import import_labels

    with cases.hard(tmp_path) as project:
        export(project, "cvat-images", tmp_path / "cvat", polygons=True)
        import_labels("cvat-images", tmp_path / "cvat", tmp_path / "images", tmp_path / "p2")
        with Project.open(tmp_path / "p2", readonly=True) as second:
            export(second, "coco", tmp_path / "coco")
        from pycocotools.coco import COCO

        coco = COCO(str(tmp_path / "coco/annotations.json"))
        wanted = expected(project)
        for image in coco.dataset["images"]:
            found = [coco.annToMask(a) for a in coco.loadAnns(coco.getAnnIds(image["id"]))]
            given = wanted[image["file_name"]]
            assert [one.astype(bool).tolist() for one in found] == [one.tolist() for one in given]


# CVAT


def test_cvat_sdk_encodes_the_same_masks(tmp_path: Path) -> None:
    sdk = pytest.importorskip("cvat_sdk.masks", reason="cvat-sdk is not installed")
    from xml.etree import ElementTree

    with cases.hard(tmp_path) as project:
        export(project, "cvat-images", tmp_path / "c")
        wanted = expected(project)
    for image in ElementTree.parse(tmp_path / "c/annotations.xml").iter("image"):
        found = list(image.iter("mask"))
        given = wanted[image.get("name") or ""]
        assert len(found) == len(given)
        for element, mask in zip(found, given, strict=True):
            runs = [int(run) for run in (element.get("rle") or "").split(",")]
            left, top, width, height = (
                int(element.get(name) or "") for name in ("left", "top", "width", "height")
            )
            box = [left, top, left + width - 1, top + height - 1]
            assert sdk.encode_mask(mask) == [*runs, *box]


def datumaro_items(path: Path, name: str) -> Any:
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed")
    return datumaro.Dataset.import_from(str(path), name)


def datumaro_mask(annotation: Any) -> np.ndarray:
    """A mask as it is, a polygon as Datumaro itself draws it."""
    if hasattr(annotation, "points"):
        from pycocotools import mask as coco

        run = coco.frPyObjects([annotation.points], cases.HEIGHT, cases.WIDTH)
        return np.asarray(coco.decode(coco.merge(run)), bool)
    return np.asarray(annotation.image, bool)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("cvat-images", "cvat", {}),
        ("cvat-images", "cvat", {"polygons": True}),
        ("coco", "coco", {}),
        ("voc", "voc", {}),
    ],
)
def test_datumaro_reads_the_masks(
    tmp_path: Path, ours: str, theirs: str, options: dict[str, bool]
) -> None:
    pytest.importorskip("datumaro", reason="datumaro is not installed")
    with cases.hard(tmp_path) as project:
        out = tmp_path / "out"
        export(project, ours, out, images="copy", **options)
        if ours == "coco":  # Datumaro wants its folders
            (out / "annotations").mkdir()
            (out / "annotations.json").rename(out / "annotations" / "instances_default.json")
            (out / "images").rename(out / "pictures")
            (out / "images").mkdir()
            (out / "pictures").rename(out / "images" / "default")
        items = {item.id: item for item in datumaro_items(out, theirs)}
        wanted = expected(project)
        for name, given in wanted.items():
            item = items[str(Path(name).with_suffix(""))]
            found = [one for one in item.annotations if one.type.name in ("mask", "polygon")]
            assert len(found) == len(given), name
            for one, mask in zip(found, given, strict=True):
                assert iou(datumaro_mask(one), mask) == 1.0, name


def test_datumaro_reads_the_tracks_of_a_video(tmp_path: Path) -> None:
    pytest.importorskip("datumaro", reason="datumaro is not installed")
    with cases.video(tmp_path) as project:
        export(project, "cvat-video", tmp_path / "c")
        found = {
            (item.attributes["frame"], one.attributes["track_id"])
            for item in datumaro_items(tmp_path / "c" / "a clip", "cvat")
            for one in item.annotations
            if not one.attributes["outside"]
        }
        assert found == {(i, 1) for i in (0, 1, 4, 5)} | {(i, 2) for i in (1, 2, 3)}


def test_datumaro_reads_mots(tmp_path: Path) -> None:
    pytest.importorskip("datumaro", reason="datumaro is not installed")
    with cases.video(tmp_path) as project:
        export(project, "mots", tmp_path / "m")
        wanted = project.instances("a clip")
    items = {item.id: item for item in datumaro_items(tmp_path / "m", "mots")}
    assert sorted(items) == [f"a clip/{index:06d}" for index in range(6)]
    for one in wanted:
        found = items[f"a clip/{one.frame_index:06d}"].annotations
        assert one.mask is not None
        same = [a for a in found if a.label == one.class_id]
        assert iou(np.asarray(same[0].image, bool), masks.decode(one.mask)) == 1.0


# Parquet


def test_parquet_is_read_by_polars_and_names_its_classes(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    with cases.hard(tmp_path) as project:
        export(project, "parquet", tmp_path / "q", images="copy")
        (path,) = (tmp_path / "q" / "data").iterdir()
        assert path.name == "train-00000-of-00001.parquet"
        rows = pyarrow.read_table(path).to_pylist()
        wanted = expected(project)
        assert [row["name"] for row in rows] == list(wanted)
        for row in rows:
            found = [
                masks.decode(masks.RLE(*one["size"], one["counts"]))
                for one in row["objects"]["segmentation"]
            ]
            assert [m.tolist() for m in found] == [m.tolist() for m in wanted[row["name"]]]
            media = project.find(row["name"])
            assert media is not None
            assert row["image"]["bytes"] == Path(media.path).read_bytes()
    features = json.loads(pyarrow.read_schema(path).metadata[b"huggingface"])["info"]["features"]
    names = [name for name, _ in cases.CLASSES]
    assert features["objects"]["category"]["feature"] == {"names": names, "_type": "ClassLabel"}
    assert features["image"] == {"_type": "Image"}
    polars = pytest.importorskip("polars")
    try:
        frame = polars.read_parquet(path)
    except NameError:
        pytest.skip("polars is installed without its binary")
    assert frame["objects"].struct.field("category").list.len().sum() == len(cases.MASKS)


# Label Studio


def test_label_studio_reads_the_brush(tmp_path: Path) -> None:
    converter = pytest.importorskip(
        "label_studio_converter.brush", reason="label-studio-converter is not installed"
    )
    with cases.hard(tmp_path) as project:
        export(project, "label-studio", tmp_path / "l")
        wanted = expected(project)
    tasks = json.loads((tmp_path / "l/tasks.json").read_text("utf-8"))
    assert [task["data"]["name"] for task in tasks] == list(wanted)
    for task in tasks:
        results = task["predictions"][0]["result"]
        for result, mask in zip(results, wanted[task["data"]["name"]], strict=True):
            size = result["original_height"], result["original_width"]
            flat = converter.decode_rle(result["value"]["rle"])
            assert (flat.reshape(*size, 4)[:, :, 3] == mask * 255).all()
