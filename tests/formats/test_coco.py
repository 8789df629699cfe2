"""COCO export: what a training script reads must be what the project holds, always complete."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import sys
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from autolabel import masks
from autolabel.errors import StorageError, UsageError
from autolabel.formats import FORMATS, ExportReport, export
from autolabel.store import Project, Result
from autolabel.types import RLE, Candidates, Instance, MediaRecord, Proposals

CLASSES = [("zebra", "#ff0000"), ("apple", "#00ff00")]
NAMES = ["a b.jpg", 'it\'s "q".jpg', "sub/ü 漢字 😀.png", "z&<>.jpg"]


def hard_mask() -> np.ndarray:
    """A ring with an island in its hole, a separate pixel and two diagonal neighbours."""
    mask = np.zeros((40, 60), bool)
    mask[5:25, 5:30] = True
    mask[10:20, 10:25] = False
    mask[14:16, 16:18] = True
    mask[0, 59] = True
    mask[30, 40] = mask[31, 41] = True
    return mask


def record(name: str, **changes: Any) -> MediaRecord:
    values = {"path": f"/in/{name}", "kind": "image", "key": name, "height": 40, "width": 60}
    return MediaRecord(name, **{**values, **changes})


def labelled(mask: np.ndarray | None, **changes: Any) -> Instance:
    rle = masks.encode(mask) if mask is not None else None
    box = masks.tight_box(rle) if rle is not None else (1.254, 2, 11.5, 12)
    values: dict[str, Any] = {"class_id": 0, "box": tuple(map(float, box or (0, 0, 0, 0)))}
    return Instance(**{**values, "mask": rle, "score": float(np.float32(0.9)), **changes})


def make_project(folder: Path, results: Iterable[Result]) -> Project:
    project = Project.open(folder, create=True)
    project.set_run({}, CLASSES, ["p"])
    project.commit(list(results))
    return project


def picture(name: str, *instances: Instance, **changes: Any) -> Result:
    return Result(record(name, **changes), 1, 2, {}, instances)


def read(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "annotations.json").read_text(encoding="utf-8"))
    return loaded


def load(out: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(out / "annotations.json")


def test_the_file_is_as_documented_down_to_the_byte(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), bool)
    mask[3:5, 2:12] = True
    counts = masks.encode(mask).counts
    results = [
        picture("b.jpg", labelled(mask, class_id=1), labelled(None, score=None)),
        picture("a.jpg"),
        picture("broken.jpg", status="failed", reason="truncated"),
    ]
    with make_project(tmp_path / "p", results) as project:
        report = export(project, "coco", tmp_path / "out")
    assert (tmp_path / "out" / "annotations.json").read_text() == (
        '{"info":{"description":"Labelled by autolabel"},\n'
        '"categories":[{"id":1,"name":"zebra","supercategory":""},'
        '{"id":2,"name":"apple","supercategory":""}],\n'
        '"images":[\n'
        '{"id":1,"file_name":"a.jpg","height":40,"width":60},\n'
        '{"id":2,"file_name":"b.jpg","height":40,"width":60}\n'
        '],\n"annotations":[\n'
        '{"id":1,"image_id":2,"category_id":1,"bbox":[1.25,2,10.25,10],"area":102.46,'
        '"iscrowd":0,"segmentation":[]},\n'
        '{"id":2,"image_id":2,"category_id":2,"bbox":[2,3,10,2],"area":20,"iscrowd":0,'
        f'"segmentation":{{"size":[40,60],"counts":{json.dumps(counts)}}},"score":0.9}}\n'
        "]}\n"
    )
    assert report == ExportReport(
        "coco",
        tmp_path / "out",
        2,
        2,
        ("1 left out: inputs that could not be labelled (see autolabel info)",),
    )
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        ".autolabel-export",
        "annotations.json",
    ]


@pytest.mark.parametrize("polygons", [False, True])
def test_pycocotools_draws_every_mask_exactly(tmp_path: Path, polygons: bool) -> None:
    full, column, pixel = (np.zeros((40, 60), bool) for _ in range(3))
    full[:] = True
    column[:, 59] = True
    pixel[39, 0] = True
    drawn = [hard_mask(), full, column, pixel]
    labels = [labelled(mask, class_id=1, score=0.9 - 0.1 * i) for i, mask in enumerate(drawn)]
    with make_project(tmp_path / "p", [picture("a.jpg", *labels)]) as project:
        export(project, "coco", tmp_path / "out", polygons=polygons)
    coco = load(tmp_path / "out")
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == 4
    for annotation, mask in zip(annotations, drawn, strict=True):
        assert isinstance(annotation["segmentation"], list) is polygons
        assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
        assert annotation["area"] == mask.sum()
    assert [annotation["bbox"] for annotation in annotations] == [
        [5, 0, 55, 32],
        [0, 0, 60, 40],
        [59, 0, 1, 40],
        [0, 39, 1, 1],
    ]


def test_names_survive_and_images_are_numbered_by_name(tmp_path: Path) -> None:
    with make_project(tmp_path / "p", [picture(name) for name in reversed(NAMES)]) as project:
        export(project, "coco", tmp_path / "out")
    coco = load(tmp_path / "out")
    assert [coco.imgs[index]["file_name"] for index in (1, 2, 3, 4)] == NAMES
    assert "漢字" in (tmp_path / "out" / "annotations.json").read_text(encoding="utf-8")
    assert coco.loadCats(coco.getCatIds()) == [
        {"id": 1, "name": "zebra", "supercategory": ""},
        {"id": 2, "name": "apple", "supercategory": ""},
    ]


def test_the_order_in_which_pictures_were_labelled_does_not_show(tmp_path: Path) -> None:
    labels = [labelled(hard_mask(), class_id=i % 2, score=0.5 + i / 10) for i in range(4)]
    digests = set()
    for turn, (names, order) in enumerate([(NAMES, labels), (NAMES[::-1], labels[::-1])]):
        results = [picture(name, *order) for name in names]
        with make_project(tmp_path / f"p{turn}", results) as project:
            export(project, "coco", tmp_path / f"out{turn}")
        data = (tmp_path / f"out{turn}" / "annotations.json").read_bytes()
        digests.add(hashlib.sha256(data).hexdigest())
    assert len(digests) == 1


def test_rejected_labels_are_not_exported(tmp_path: Path) -> None:
    labels = [labelled(hard_mask(), status=status) for status in ("accepted", "rejected")]
    with make_project(tmp_path / "p", [picture("a.jpg", *labels)]) as project:
        assert export(project, "coco", tmp_path / "out").instances == 1


def test_an_empty_mask_is_left_out_and_said(tmp_path: Path) -> None:
    empty = labelled(np.zeros((40, 60), bool))
    with make_project(tmp_path / "p", [picture("a.jpg", empty)]) as project:
        report = export(project, "coco", tmp_path / "out")
    assert report.notes == ("1 left out: labels whose mask is empty",)
    assert read(tmp_path / "out")["annotations"] == []


def test_a_project_without_anything_is_valid_coco(tmp_path: Path) -> None:
    with make_project(tmp_path / "p", []) as project:
        export(project, "coco", tmp_path / "out")
    assert load(tmp_path / "out").imgs == {}


def test_a_video_becomes_its_labelled_frames_with_track_ids(tmp_path: Path) -> None:
    def clip(name: str) -> Result:
        labels = [
            labelled(hard_mask(), frame_index=index, track_id=track, score=None)
            for index, track in [(7, 2), (7, 1), (120, 2)]
        ]
        return Result(record(name, kind="video", frames=200), 1, 2, {}, labels)

    results = [clip("in/clip.mp4"), clip("in/clip.avi"), picture("a.jpg")]
    with make_project(tmp_path / "p", results) as project:
        report = export(project, "coco", tmp_path / "out")
    found = read(tmp_path / "out")
    assert [image["file_name"] for image in found["images"]] == [
        "a.jpg",
        "in/clip/000007.jpg",
        "in/clip/000120.jpg",
        "in/clip.mp4/000007.jpg",
        "in/clip.mp4/000120.jpg",
    ]
    assert found["images"][2] == {
        "id": 3,
        "file_name": "in/clip/000120.jpg",
        "video_id": 1,
        "frame_index": 120,
        "height": 40,
        "width": 60,
    }
    assert [
        (one["image_id"], one["video_id"], one["track_id"]) for one in found["annotations"]
    ] == [(2, 1, 1), (2, 1, 2), (3, 1, 2), (4, 2, 1), (4, 2, 2), (5, 2, 2)]
    assert found["videos"] == [
        {
            "id": 1,
            "name": "in/clip.avi",
            "file_name": "in/clip.avi",
            "height": 40,
            "width": 60,
            "length": 200,
        },
        {
            "id": 2,
            "name": "in/clip.mp4",
            "file_name": "in/clip.mp4",
            "height": 40,
            "width": 60,
            "length": 200,
        },
    ]
    assert (report.pictures, report.instances) == (5, 6)
    assert len(load(tmp_path / "out").anns) == 6


@pytest.mark.parametrize("images", ["link", "copy"])
def test_pictures_can_lie_beside_the_labels(tmp_path: Path, images: str) -> None:
    source = tmp_path / "in" / "x.jpg"
    source.parent.mkdir()
    source.write_bytes(b"picture")
    results = [
        picture("sub/x.jpg", path=str(source)),
        picture("gone.jpg", path=str(tmp_path / "gone")),
        picture("../out.jpg", path=str(source)),
    ]
    with make_project(tmp_path / "p", results) as project:
        report = export(project, "coco", tmp_path / "out", images=images)
    placed = tmp_path / "out" / "images" / "sub" / "x.jpg"
    assert placed.read_bytes() == b"picture"
    assert placed.is_symlink() is (images == "link")
    assert not (tmp_path / "out" / "out.jpg").exists()
    assert len(report.notes) == 2


# A folder that is complete or not there


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "mine.jpg").write_text("dear")
    with make_project(tmp_path / "p", [picture("a.jpg")]) as project:
        with pytest.raises(UsageError, match="is not empty"):
            export(project, "coco", photos)
        with pytest.raises(UsageError, match="no export of autolabel wrote"):
            export(project, "coco", photos, overwrite=True)
        with pytest.raises(UsageError, match="is a file"):
            export(project, "coco", photos / "mine.jpg")
    assert [file.name for file in photos.iterdir()] == ["mine.jpg"]


def test_an_earlier_export_is_replaced_whole_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()  # an empty folder is no obstacle
    with make_project(tmp_path / "p", [picture("a.jpg")]) as project:
        export(project, "coco", out)
        (out / "old.txt").write_text("from before")
        project.commit([picture("b.jpg")])
        with pytest.raises(UsageError, match="is not empty"):
            export(project, "coco", out)
        export(project, "coco", out, overwrite=True)
    assert len(read(out)["images"]) == 2
    assert not (out / "old.txt").exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "p"]


class Failing:
    """A project whose labels end in an error after one picture."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def classes(self) -> list[tuple[str, str]]:
        return CLASSES

    def media(self, status: str | None = None) -> Iterator[MediaRecord]:
        return iter(())

    def labelled(
        self, statuses: Sequence[str] = ()
    ) -> Iterator[tuple[MediaRecord, Iterator[Instance]]]:
        yield record("a.jpg"), iter(())
        raise self.error


def test_an_export_that_fails_leaves_the_old_one_and_no_rubbish(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with make_project(tmp_path / "p", [picture("a.jpg")]) as project:
        export(project, "coco", out)
    before = (out / "annotations.json").read_bytes()
    with pytest.raises(KeyError):
        export(Failing(KeyError("x")), "coco", out, overwrite=True)
    with pytest.raises(StorageError, match=r"No space left on device\. Nothing was changed"):
        export(Failing(OSError(28, "No space left on device")), "coco", tmp_path / "new")
    assert (out / "annotations.json").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "p"]


STEPS = {"os.mkdir", "open", "os.rename", "os.remove", "os.chmod", "shutil.rmtree"}


def export_killed(project: Path, out: Path, steps: int) -> int:
    """Export in a process of its own that is killed before step ``steps``; return its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]

    def trace(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal steps
        told = str(arguments)
        if (event in STEPS and str(out.parent) in told) or "renameat2" in told:
            steps -= 1
            if steps < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        with Project.open(project, readonly=True) as opened:
            sys.addaudithook(trace)
            export(opened, "coco", out, overwrite=True)
        os._exit(0)
    finally:
        os._exit(1)


def test_kill_9_before_every_step_leaves_the_old_or_the_new_export(tmp_path: Path) -> None:
    out = tmp_path / "exports" / "out"
    old = make_project(tmp_path / "old", [picture("old.jpg")])
    make_project(tmp_path / "new", [picture("new.jpg")]).close()
    seen = []
    for steps in range(60):
        export(old, "coco", out, overwrite=True)
        status = export_killed(tmp_path / "new", out, steps)
        seen.append(read(out)["images"][0]["file_name"])
        assert (out / ".autolabel-export").is_file()
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    swap = seen.index("new.jpg")
    assert set(seen[:swap]) == {"old.jpg"}
    assert set(seen[swap:]) == {"new.jpg"}
    assert 8 < swap < len(seen) - 1 < 59  # killed while the old one was removed, too
    export(old, "coco", out, overwrite=True)
    assert [file.name for file in out.parent.iterdir()] == ["out"]  # no rubbish of killed ones
    old.close()


# What the command line passes on


def test_unknown_formats_and_options_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with make_project(tmp_path / "p", []) as project:
        with pytest.raises(UsageError, match=r"expected one of coco.*, found 'cocco' .*'coco'\?"):
            export(project, "cocco", tmp_path / "out")
        with pytest.raises(UsageError, match="no option 'polygon'"):
            export(project, "coco", tmp_path / "out", polygon=True)
        with pytest.raises(UsageError, match="expected one of none, link, copy, found 'move'"):
            export(project, "coco", tmp_path / "out", images="move")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_what_it_keeps(name: str) -> None:
    assert 20 < len(FORMATS[name].fidelity) < 200


def test_memory_does_not_grow_with_the_data_set(tmp_path: Path) -> None:
    rle = RLE(40, 60, masks.encode(hard_mask()).counts)
    boxes = Proposals(np.array([[0, 0, 9, 9]], np.float32), np.ones((1, 1), np.float32))
    found = Candidates(40, 60, boxes, (rle,), (0.5,))
    label = Instance(0, (5.0, 0.0, 60.0, 32.0), (0.0, 0.0, 9.0, 9.0), rle, 0.9, 0.5)

    def peak(pictures: int) -> int:
        results = [
            Result(record(f"{number:06d}.jpg"), 1, 2, {0: found}, [label] * 5)
            for number in range(pictures)
        ]
        with make_project(tmp_path / f"p{pictures}", results) as project:
            tracemalloc.start()
            export(project, "coco", tmp_path / f"out{pictures}")
            grown = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return grown

    peak(1)  # what is loaded on first use
    assert peak(600) < 1.3 * peak(100)
