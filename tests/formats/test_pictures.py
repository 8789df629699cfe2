"""Pictures beside the labels: frames of a video as files, and originals as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.errors import UsageError
from autolabel.formats import export
from autolabel.importing import import_labels
from autolabel.media.pictures import file_key
from autolabel.store import Project, Result
from autolabel.types import MediaRecord
from tests.formats import cases
from tests.pictures import write_video

LABELLED = (2, 3, 7)


def clip(tmp_path: Path) -> Project:
    """A real video of ten grey steps; three of its frames have labels."""
    frames = [np.full((cases.HEIGHT, cases.WIDTH, 3), 20 * i, np.uint8) for i in range(10)]
    (tmp_path / "in").mkdir()
    path = write_video(tmp_path / "in" / "a clip.mp4", frames)
    labels = [cases.label(cases.ring(), frame_index=i, track_id=1) for i in LABELLED]
    media = MediaRecord(
        "a clip.mp4", str(path), "video", file_key(path), cases.HEIGHT, cases.WIDTH, 10
    )
    return cases.make(tmp_path / "p", [Result(media, 1, 2, {}, labels)])


@pytest.mark.parametrize("name", ["coco", "yolo-seg", "voc", "labelme", "cvat-images"])
def test_labelled_frames_of_a_video_become_files_by_the_names_in_the_labels(
    tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    with clip(tmp_path) as project:
        report = export(project, name, out, images="copy")
        assert (report.pictures, report.instances, report.notes) == (3, 3, ())
    folder = {"voc": "JPEGImages", "labelme": "."}.get(name, "images")
    wanted = [f"a clip/{index:06d}.jpg" for index in LABELLED]
    found = sorted(p.relative_to(out / folder).as_posix() for p in (out / folder).rglob("*.jpg"))
    assert found == wanted
    for index, file in zip(LABELLED, wanted, strict=True):
        with Image.open(out / folder / file) as picture:
            assert picture.size == (cases.WIDTH, cases.HEIGHT)
            assert abs(float(np.array(picture).mean()) - 20 * index) < 4
    if name == "coco":
        data = json.loads((out / "annotations.json").read_text("utf-8"))
        assert [image["file_name"] for image in data["images"]] == wanted
    import_labels(name, out, out / folder, tmp_path / "back")
    with Project.open(tmp_path / "back", readonly=True) as back:
        assert [media.name for media in back.media()] == wanted
        assert all(len(back.instances(one)) == 1 for one in wanted)


def test_frames_that_are_files_keep_their_extension_in_the_labels(tmp_path: Path) -> None:
    with cases.video(tmp_path) as project:
        export(project, "coco", tmp_path / "out", images="copy")
        data = json.loads((tmp_path / "out/annotations.json").read_text("utf-8"))
        for image in data["images"]:
            placed = tmp_path / "out" / "images" / image["file_name"]
            source = tmp_path / "images" / "a clip" / f"{image['frame_index']:05d}.png"
            assert placed.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("where", ["frames", "out/pictures"])
def test_frames_are_extracted_by_the_names_in_coco_whatever_the_format(
    tmp_path: Path, where: str
) -> None:
    with clip(tmp_path) as project:
        report = export(project, "yolo-seg", tmp_path / "out", frames=tmp_path / where)
        assert (report.frames, report.notes) == (3, ())
        export(project, "coco", tmp_path / "coco")
        with pytest.raises(UsageError, match="choose another"):
            export(project, "coco", tmp_path / "a" / "b", frames=tmp_path / "a")
    names = [one["file_name"] for one in json.loads(read(tmp_path / "coco"))["images"]]
    found = sorted(p.relative_to(tmp_path / where).as_posix() for p in jpegs(tmp_path / where))
    assert found == names == [f"a clip/{index:06d}.jpg" for index in LABELLED]
    for index, name in zip(LABELLED, names, strict=True):
        with Image.open(tmp_path / where / name) as picture:
            assert abs(float(np.array(picture).mean()) - 20 * index) < 4


def test_frames_that_cannot_be_had_are_told_and_cost_nothing_else(tmp_path: Path) -> None:
    with clip(tmp_path) as project:
        (tmp_path / "in" / "a clip.mp4").unlink()
        report = export(project, "coco", tmp_path / "out", frames=tmp_path / "frames")
    assert (report.pictures, report.frames) == (3, 0)
    assert report.notes == ("1 affected: videos that can't be read any more: frames missing",)


def read(folder: Path) -> str:
    """Return what an export of COCO says."""
    return (folder / "annotations.json").read_text("utf-8")


def jpegs(folder: Path) -> list[Path]:
    """Return the JPEGs under a folder."""
    return list(folder.rglob("*.jpg"))


def odd(tmp_path: Path) -> Project:
    """A 16-bit, a grey, a transparent and a palette picture, and one with a strange end."""
    folder = tmp_path / "images"
    folder.mkdir()
    ramp = np.linspace(0, 65535, cases.HEIGHT * cases.WIDTH).reshape(cases.HEIGHT, cases.WIDTH)
    size = (cases.WIDTH, cases.HEIGHT)
    pictures = {
        "16 bit.png": Image.fromarray(ramp.astype(np.uint16)),
        "grey.jpg": Image.new("L", size, 90),
        "clear.png": Image.new("RGBA", size, (1, 2, 3, 4)),
        "table.png": Image.new("P", size, 3),
        "tail.jpg": Image.new("RGB", size, (9, 8, 7)),
    }
    results = []
    for name, picture in pictures.items():
        path = folder / name
        picture.save(path)
        if name == "tail.jpg":  # what Ultralytics would "restore"
            path.write_bytes(path.read_bytes() + b"\0tail")
        results.append(cases.picture(folder, name, cases.label(cases.ring()), saved=path))
    return cases.make(tmp_path / "p", results)


@pytest.mark.parametrize("name", ["coco", "yolo-seg", "voc", "labelme", "cvat-images"])
def test_pictures_of_all_kinds_are_exported_as_they_are(tmp_path: Path, name: str) -> None:
    folder = {"voc": "JPEGImages", "labelme": "."}.get(name, "images")
    with odd(tmp_path) as project:
        for how in ("copy", "link"):
            out = tmp_path / how
            report = export(project, name, out, images=how)
            assert (report.pictures, report.instances, report.notes) == (5, 5, ())
            for media in project.media():
                placed = out / folder / media.name
                assert placed.read_bytes() == Path(media.path).read_bytes()
        import_labels(name, tmp_path / "copy", tmp_path / "copy" / folder, tmp_path / "back")
        with Project.open(tmp_path / "back", readonly=True) as back:
            assert {iou for _, iou in cases.overlaps(project, back)} == {1.0}


def test_parquet_holds_the_files_bytes(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    with odd(tmp_path) as project:
        export(project, "parquet", tmp_path / "out", images="copy")
        rows = parquet.read_table(next((tmp_path / "out/data").iterdir())).to_pylist()
        held = {row["name"]: row["image"]["bytes"] for row in rows}
        assert held == {media.name: Path(media.path).read_bytes() for media in project.media()}


def test_verifying_with_ultralytics_touches_no_picture(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    from autolabel.formats import verify

    with odd(tmp_path) as project:
        before = {media.name: Path(media.path).read_bytes() for media in project.media()}
        export(project, "yolo-seg", tmp_path / "out", images="link")
        assert verify(tmp_path / "out", project, "other").notes == ()
        assert before == {media.name: Path(media.path).read_bytes() for media in project.media()}
