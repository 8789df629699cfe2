"""Measuring pictures: pycocotools' own figures, and truths that are wrong or don't fit."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from autolabel import api, masks
from autolabel.cli import cli
from autolabel.errors import FormatError
from autolabel.evaluate.truth import load_truth, match_names, rle
from autolabel.formats import export
from autolabel.store import Project, Result
from autolabel.types import RLE, Instance, MediaRecord

CLASSES = [("cat", "#ff0000"), ("dog", "#00ff00"), ("cow", "#0000ff")]
HEIGHT, WIDTH = 60, 80
Box = tuple[float, float, float, float]


def ellipse(x1: int, y1: int, x2: int, y2: int) -> RLE:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    middle, radius = ((x1 + x2) / 2, (y1 + y2) / 2), ((x2 - x1) / 2, (y2 - y1) / 2)
    return masks.encode(
        ((x - middle[0]) / radius[0]) ** 2 + ((y - middle[1]) / radius[1]) ** 2 <= 1
    )


def label(mask: RLE, class_id: int = 0, score: float | None = 0.9, **changes: Any) -> Instance:
    box = tuple(map(float, masks.tight_box(mask) or (0, 0, 0, 0)))
    return Instance(class_id, box, **{"mask": mask, "score": score, **changes})


def boxed(box: Box, class_id: int = 0, score: float | None = 0.9) -> Instance:
    return Instance(class_id, box, score=score)


def make_project(folder: Path, pictures: dict[str, list[Instance]]) -> Path:
    with Project.open(folder, create=True) as project:
        project.set_run({}, CLASSES, ["p"])
        for name, labels in pictures.items():
            media = MediaRecord(name, f"/in/{name}", "image", name, HEIGHT, WIDTH)
            project.commit([Result(media, 1, 2, {}, labels)])
    return folder


def truth_data(pictures: dict[str, list[tuple[int, RLE]]]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 10 + i, "name": name} for i, (name, _) in enumerate(CLASSES)],
    }
    for number, (name, things) in enumerate(pictures.items()):
        size = {"height": HEIGHT, "width": WIDTH}
        data["images"].append({"id": 50 - number, "file_name": name, **size})
        for class_id, mask in things:
            x1, y1, x2, y2 = masks.tight_box(mask) or (0, 0, 0, 0)
            data["annotations"].append(
                {
                    "id": len(data["annotations"]) + 1,
                    "image_id": 50 - number,
                    "category_id": 10 + class_id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": masks.area(mask),
                    "iscrowd": 0,
                    "segmentation": {"size": [HEIGHT, WIDTH], "counts": mask.counts},
                }
            )
    return data


def write(path: Path, data: Any) -> Path:
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def measured(
    tmp_path: Path, truth: dict[str, Any], pictures: dict[str, list[Instance]]
) -> dict[str, Any]:
    return api.measure(make_project(tmp_path / "p", pictures), write(tmp_path / "t.json", truth))


# pycocotools


def drawn(seed: int) -> tuple[dict[str, list[tuple[int, RLE]]], dict[str, list[Instance]]]:
    """Return pictures with ellipses, and labels that are near, double, elsewhere or missing."""
    rng = np.random.default_rng(seed)
    truth: dict[str, list[tuple[int, RLE]]] = {}
    found: dict[str, list[Instance]] = {}
    for number in range(12):
        truth[f"{number}.png"], found[f"in/{number}.png"] = [], []
        for _ in range(rng.integers(0, 6)):
            x, y, w, h = (int(v) for v in rng.integers([0, 0, 6, 6], [60, 40, 30, 30]))
            class_id = int(rng.integers(3))
            truth[f"{number}.png"].append((class_id, ellipse(x, y, x + w, y + h)))
            for _ in range(rng.integers(0, 3)):
                dx, dy, dw, dh = (int(v) for v in rng.integers(-3, 4, 4))
                mask = ellipse(x + dx, y + dy, x + dx + max(3, w + dw), y + dy + max(3, h + dh))
                guess = class_id if rng.random() < 0.85 else int(rng.integers(3))
                score = None if rng.random() < 0.1 else float(np.float32(rng.random()))
                if masks.area(mask):
                    found[f"in/{number}.png"].append(label(mask, guess, score))
    found["in/0.png"].append(label(masks.encode(np.zeros((HEIGHT, WIDTH), bool))))  # not exported
    found["in/0.png"].append(label(ellipse(1, 1, 9, 9), status="rejected"))
    return truth, found


def pycocotools_on(truth: Path, exported: Path, kind: str) -> dict[str, float]:
    """Return what pycocotools says of an export, images and categories mapped by name."""
    with contextlib.redirect_stdout(io.StringIO()):
        wanted, found = COCO(truth), COCO(exported)
        images = {one["file_name"]: one["id"] for one in wanted.dataset["images"]}
        categories = {one["name"]: one["id"] for one in wanted.dataset["categories"]}
        rows = []
        for one in found.dataset["annotations"]:
            name = found.imgs[one["image_id"]]["file_name"].removeprefix("in/")
            category = categories[found.cats[one["category_id"]]["name"]]
            row = {"image_id": images[name], "category_id": category, "bbox": one["bbox"]}
            rows.append({**row, "score": one.get("score", 1.0)})
            if one["segmentation"]:
                rows[-1]["segmentation"] = one["segmentation"]
        run = COCOeval(wanted, wanted.loadRes(rows), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {"ap": float(run.stats[0]), "ap50": float(run.stats[1])}


@pytest.mark.parametrize("seed", range(5))
def test_ap_is_that_of_pycocotools_on_the_export(tmp_path: Path, seed: int) -> None:
    truth, found = drawn(seed)
    path = write(tmp_path / "t.json", truth_data(truth))
    make_project(tmp_path / "p", found)
    with Project.open(tmp_path / "p", readonly=True) as project:
        export(project, "coco", tmp_path / "coco")
    result = api.measure(tmp_path / "p", path)
    exported = tmp_path / "coco" / "annotations.json"
    for kind, key in (("bbox", "box"), ("segm", "mask")):
        theirs = pycocotools_on(path, exported, kind)
        assert 0.02 < theirs["ap"] < theirs["ap50"] < 0.98
        assert result[key] == pytest.approx(theirs, abs=1e-6)


def test_ap_of_boxes_without_masks_is_that_of_pycocotools_too(tmp_path: Path) -> None:
    truth, found = drawn(9)
    rng = np.random.default_rng(1)
    plain = {
        name: [boxed(tuple(rng.normal(one.box, 0.7)), one.class_id, one.score) for one in labels]
        for name, labels in found.items()
    }
    path = write(tmp_path / "t.json", truth_data(truth))
    make_project(tmp_path / "p", plain)
    with Project.open(tmp_path / "p", readonly=True) as project:
        export(project, "coco", tmp_path / "coco")
    result = api.measure(tmp_path / "p", path)
    theirs = pycocotools_on(path, tmp_path / "coco" / "annotations.json", "bbox")
    assert result["box"] == pytest.approx(theirs, abs=1e-6)
    assert result["mask"] is None


def test_an_annotation_with_the_id_0_counts(tmp_path: Path) -> None:
    mask = ellipse(5, 5, 40, 40)
    data = truth_data({"a.png": [(0, mask)]})
    data["annotations"][0]["id"] = 0  # COCOeval alone takes it for "no match": AP 0
    assert measured(tmp_path, data, {"a.png": [label(mask)]})["mask"]["ap"] == pytest.approx(1)


# Figures worked out by hand


def test_precision_recall_and_f1_of_each_class(tmp_path: Path) -> None:
    one, two = ellipse(2, 2, 22, 22), ellipse(40, 20, 70, 50)
    data = truth_data({"a.png": [(0, one), (0, two)], "b.png": [(1, one)]})
    labels = {
        "a.png": [label(one), label(one, score=0.8), label(ellipse(60, 2, 70, 10), score=0.7)],
        "b.png": [label(one, 0)],
    }
    found = measured(tmp_path, data, labels)
    assert found["pictures"] == 2
    assert found["classes"] == {
        "cat": {
            "truths": 2,
            "labels": 4,
            "right": 1,
            "precision": 0.25,
            "recall": 0.5,
            "f1": pytest.approx(2 / 6),
        },
        "dog": {"truths": 1, "labels": 0, "right": 0, "precision": None, "recall": 0, "f1": 0},
        "cow": {
            "truths": 0,
            "labels": 0,
            "right": 0,
            **dict.fromkeys(("precision", "recall", "f1")),
        },
    }


def test_labels_in_a_crowd_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    one = ellipse(2, 2, 22, 22)
    data = truth_data({"a.png": [(0, one), (0, ellipse(30, 10, 78, 58))]})
    data["annotations"][1]["iscrowd"] = 1
    inside = [label(ellipse(40 + n, 20, 50 + n, 30), score=0.5) for n in (0, 12)]
    found = measured(tmp_path, data, {"a.png": [label(one), *inside]})
    assert (found["classes"]["cat"]["truths"], found["classes"]["cat"]["labels"]) == (1, 1)
    assert found["box"]["ap"] == pytest.approx(1)


def test_nothing_found_and_nothing_to_find(tmp_path: Path) -> None:
    mask = ellipse(2, 2, 22, 22)
    (tmp_path / "a").mkdir()
    missed = measured(tmp_path / "a", truth_data({"a.png": [(0, mask)]}), {"a.png": []})
    assert missed["box"] == {"ap": 0, "ap50": 0}
    empty = measured(tmp_path, truth_data({"a.png": []}), {"a.png": [label(mask)]})
    assert empty["box"] == empty["mask"] == {"ap": None, "ap50": None}
    assert empty["classes"]["cat"]["recall"] is None
    assert empty["video"] is None


# Truths that don't fit


def test_other_pictures_are_named(tmp_path: Path) -> None:
    data = truth_data({"x.png": [], "y.png": []})
    with pytest.raises(
        FormatError, match=r"has e\.g\. a\.png; the truth has e\.g\. x\.png, y\.png"
    ):
        measured(tmp_path, data, {"a.png": []})


def test_pictures_that_are_lacking_are_counted(tmp_path: Path) -> None:
    data = truth_data({"a.png": [], "y.png": []})
    found = measured(tmp_path, data, {"a.png": [], "b.png": []})
    assert found["pictures"] == 1
    assert found["notes"] == ["1 of the truth's 2 pictures are not in the project"]


def test_other_class_names_are_suggested(tmp_path: Path) -> None:
    data = truth_data({"a.png": []})
    for one, name in zip(data["categories"], ("CAT", "Dogs", "tree"), strict=True):
        one["name"] = name
    with pytest.raises(FormatError, match=r"no class in common.*cat -> CAT, dog -> Dogs\?"):
        measured(tmp_path, data, {"a.png": []})
    data["categories"][2]["name"] = "cow"
    notes = api.measure(tmp_path / "p", write(tmp_path / "t.json", data))["notes"]
    assert notes == [
        "classes of the truth that the ontology lacks, left out: CAT (is it cat?), "
        "Dogs (is it dog?)",
        "classes that the truth lacks, left out: cat, dog",
    ]


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    data = truth_data({"a.png": []})
    data["images"][0]["width"] = 640
    with pytest.raises(FormatError, match=r"is 640 x 60 in the truth, a\.png is 80 x 60 in"):
        measured(tmp_path, data, {"a.png": []})


def test_names_match_by_their_tails_where_only_one_fits() -> None:
    assert match_names(["a.png", "sub/b.png"], ["in/a.png", "b.png"]) == {
        "a.png": "in/a.png",
        "sub/b.png": "b.png",
    }
    assert match_names(["a.png"], ["x/a.png", "y/a.png"]) == {}
    assert match_names(["x/a.png", "y/a.png"], ["a.png"]) == {}
    assert match_names(["a.png", "y/a.png"], ["a.png"]) == {"a.png": "a.png"}


# Truths that are wrong


def test_every_kind_of_mask_is_the_same_mask(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 20:50] = True
    known = masks.encode(mask)
    kinds: list[Any] = [
        {"size": [HEIGHT, WIDTH], "counts": known.counts},
        {"size": [HEIGHT, WIDTH], "counts": masks.to_runs(known).tolist()},
        [[20, 10, 50, 10, 50, 30, 20, 30]],
        [[20, 10, 35, 10, 35, 30, 20, 30], [35, 10, 50, 10, 50, 30, 35, 30]],
    ]
    data = truth_data({"a.png": [(0, known)] * len(kinds)})
    for one, kind in zip(data["annotations"], kinds, strict=True):
        one["segmentation"] = kind
        del one["bbox"], one["area"], one["iscrowd"]
    for one in load_truth(write(tmp_path / "t.json", data)).data["annotations"]:
        assert one["bbox"] == [20, 10, 30, 20]
        assert one["area"] == 600
        assert rle(one) == known
        assert coco_mask.area(one["segmentation"]) == 600


def spoilt(place: str, **changes: Any) -> Any:
    """Return what changes the first entry of a section; None takes the key away."""

    def spoil(data: dict[str, Any]) -> None:
        entry = data[place][0]
        entry.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del entry[key]

    return spoil


RLE_OF = {"size": [HEIGHT, WIDTH]}
NAN = float("nan")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoilt("annotations", bbox=None, segmentation=None), r"annotations\[0\] has no 'bbox'"),
        (spoilt("annotations", bbox=[1, 2, "3", 4]), r"annotations\[0\]: bbox: .*found '3'"),
        (spoilt("annotations", bbox=[1, 2, NAN, 4]), r"annotations\[0\]: bbox: .*found nan"),
        (spoilt("annotations", bbox=[1, 2, 3]), r"annotations\[0\]: bbox: expected four"),
        (spoilt("annotations", bbox="1 2 3 4"), r"annotations\[0\]: bbox: expected four"),
        (spoilt("annotations", bbox=[1, 2, -3, 4]), r"annotations\[0\]: bbox: .*from 0"),
        (spoilt("annotations", area="big"), r"annotations\[0\]: area: .*found 'big'"),
        (spoilt("annotations", area=float("inf")), r"annotations\[0\]: area: .*found inf"),
        (spoilt("annotations", id=2), r"annotations\[1\]: id 2 is there twice"),
        (spoilt("annotations", id="a"), r"annotations\[0\]: id: expected a whole number"),
        (spoilt("annotations", image_id=7), r"annotations\[0\]: image_id 7 doesn't exist"),
        (spoilt("annotations", image_id=[7]), r"annotations\[0\]: image_id: .*found \[7\]"),
        (spoilt("annotations", category_id=None), r"annotations\[0\] has no 'category_id'"),
        (spoilt("annotations", category_id=7), r"annotations\[0\]: category_id 7 doesn't"),
        (spoilt("annotations", segmentation="x"), r"annotations\[0\]: segmentation: expected"),
        (spoilt("annotations", segmentation=[[1, 2]]), r"annotations\[0\]: polygon: found 2"),
        (spoilt("annotations", segmentation=[[1, 2, 3, 4, NAN, 6]]), r"\[0\]: polygon: .*outside"),
        (spoilt("annotations", segmentation={}), r"annotations\[0\]: segmentation: expected"),
        (spoilt("annotations", segmentation={"size": [3, 3], "counts": "9"}), r"size \[3, 3\]"),
        (spoilt("annotations", segmentation={**RLE_OF, "counts": "~"}), r"\[0\]: RLE: .*outside"),
        (spoilt("annotations", segmentation={**RLE_OF, "counts": [1, 2]}), r"\[0\]: RLE: .*add up"),
        (spoilt("annotations", segmentation={**RLE_OF, "counts": 5}), r"annotations\[0\]: RLE"),
        (spoilt("images", id=49), r"images\[1\]: id 49 is there twice"),
        (spoilt("images", file_name="b.png"), r"images\[1\]: 'b.png' is there twice"),
        (spoilt("images", file_name=3), r"images\[0\]: file_name: expected a text"),
        (spoilt("images", height=0), r"images\[0\]: height: expected 1 or more, found 0"),
        (spoilt("images", width=None), r"images\[0\] has no 'width'"),
        (spoilt("categories", name="dog"), r"categories\[1\]: 'dog' is there twice"),
        (spoilt("categories", id=11), r"categories\[1\]: id 11 is there twice"),
        (lambda d: d["annotations"].insert(0, 5), r"annotations\[0\]: expected an object"),
        (lambda d: d.update(images=[], annotations=[]), "has no images"),
        (lambda d: d.pop("categories"), "with the lists images, annotations, categories"),
    ],
)
def test_a_wrong_truth_is_refused_with_its_place(tmp_path: Path, spoil: Any, said: str) -> None:
    mask = ellipse(2, 2, 22, 22)
    data = truth_data({"a.png": [(0, mask)], "b.png": [(1, mask)]})
    spoil(data)
    with pytest.raises(FormatError, match=said):
        load_truth(write(tmp_path / "t.json", data))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "nul", '{"images": 3}'])
def test_what_is_not_coco_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError, match="expected COCO JSON"):
        load_truth(write(tmp_path / "t.json", text))


def test_a_truth_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read: No such file"):
        load_truth(tmp_path / "t.json")
    (tmp_path / "t.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="expected COCO JSON"):
        load_truth(tmp_path / "t.json")


def test_pictures_with_a_video_id_but_no_videos_are_pictures(tmp_path: Path) -> None:
    mask = ellipse(2, 2, 22, 22)
    data = truth_data({"a.png": [(0, mask)]})
    data["images"][0]["video_id"] = 3
    assert measured(tmp_path, data, {"a.png": [label(mask)]})["pictures"] == 1


# The terminal


def test_the_table_on_the_terminal(tmp_path: Path) -> None:
    mask = ellipse(2, 2, 22, 22)
    project = make_project(tmp_path / "p", {"a.png": [label(mask)]})
    data = truth_data({"a.png": [(0, mask)], "b.png": []})
    path = write(tmp_path / "t.json", data)
    said = CliRunner().invoke(cli, ["eval", str(project), "--truth", str(path)])
    assert said.output.splitlines() == [
        "1 picture",
        "",
        "          AP    AP50",
        "box    1.000   1.000",
        "mask   1.000   1.000",
        "",
        "class  truths  labels  precision  recall      F1",
        "cat         1       1      1.000   1.000   1.000",
        "",
        "macro F1  1.000",
        "mask IoU  1.000  of what is right",
        "0 duplicates",
        "",
        "note: 1 of the truth's 2 pictures are not in the project",
    ]
