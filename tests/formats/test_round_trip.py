"""Labels that go out and come back: what a user would lose on the way between two tools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autolabel.formats import export
from autolabel.importing import import_labels
from autolabel.store import Project
from tests.formats import cases

EXACT = [
    ("coco", {}),
    ("coco", {"polygons": True}),
    ("cvat-images", {}),
    ("cvat-images", {"polygons": True}),
    ("labelme", {}),
    ("voc", {}),
]


def there_and_back(project: Project, out: Path, name: str, **options: bool) -> Project:
    report = export(project, name, out / "export", **options)
    assert report.instances == sum(len(found) for _, found in project.iter_labelled())
    import_labels(name, out / "export", out / "images", out / "back")
    return Project.open(out / "back", readonly=True)


@pytest.mark.parametrize(("name", "options"), EXACT)
def test_every_pixel_comes_back(tmp_path: Path, name: str, options: dict[str, bool]) -> None:
    with (
        cases.hard(tmp_path) as project,
        there_and_back(project, tmp_path, name, **options) as back,
    ):
        assert back.classes() == project.classes() or name in ("coco", "voc", "labelme")
        assert [name for name, _ in back.classes()] == [name for name, _ in project.classes()]
        assert [one.name for one in back.media()] == [one.name for one in project.media()]
        assert {iou for _, iou in cases.overlaps(project, back)} == {1.0}


def test_yolo_keeps_every_object_and_nearly_every_pixel(tmp_path: Path) -> None:
    with cases.hard(tmp_path) as project, there_and_back(project, tmp_path, "yolo-seg") as back:
        found = dict(cases.overlaps(project, back))
    assert len(found) == len(cases.MASKS)
    assert min(found.values()) >= 0.98
    # Only what is not connected costs anything: the lines to the island and between the parts.
    assert sum(iou < 1 for iou in found.values()) == 2


@pytest.mark.parametrize("name", ["ytvis", "cvat-video"])
def test_a_track_that_leaves_and_comes_back_is_one_track(tmp_path: Path, name: str) -> None:
    with cases.video(tmp_path) as project, there_and_back(project, tmp_path, name) as back:
        assert {iou for _, iou in cases.overlaps(project, back)} == {1.0}
        wanted = [(one.frame_index, one.track_id) for one in project.instances("a clip")]
        found = [(one.frame_index, one.track_id) for one in back.instances("a clip")]
        assert found == wanted


@pytest.mark.parametrize("name", ["coco", "yolo-seg", "yolo", "cvat-images", "voc", "labelme"])
def test_boxes_without_masks_come_back(tmp_path: Path, name: str) -> None:
    plain = cases.label(None, box=(5.0, 6.0, 21.0, 30.0))
    results = [cases.picture(tmp_path / "images", "a.jpg", plain)]
    project = cases.make(tmp_path / "p", results)
    with project, there_and_back(project, tmp_path, name) as back:
        (one,) = back.instances("a.jpg")
    assert np.abs(np.subtract(one.box, plain.box)).max() <= (1.0 if name == "yolo-seg" else 0.001)


@pytest.mark.parametrize("name", ["coco", "yolo-seg", "cvat-images", "labelme", "voc"])
def test_four_hundred_objects_in_one_picture(tmp_path: Path, name: str) -> None:
    labels = []
    for index in range(400):
        mask = cases.blank()
        y, x = divmod(index, 25)
        mask[y * 2 : y * 2 + 2, x * 2 : x * 2 + 1 + index % 2] = True
        labels.append(cases.label(mask))
    with cases.make(
        tmp_path / "p", [cases.picture(tmp_path / "images", "a.jpg", *labels)]
    ) as project:
        report = export(project, name, tmp_path / "export")
        import_labels(name, tmp_path / "export", tmp_path / "images", tmp_path / "back")
        with Project.open(tmp_path / "back", readonly=True) as back:
            found = back.instances("a.jpg")
    assert len(found) == 400
    masked = {one.mask for one in found if one.mask}
    if name == "voc":  # a PNG of 8 bits holds 254, and the report says so
        assert len(masked) == 254
        assert any(note.startswith("146 affected") for note in report.notes)
    else:
        assert masked == {one.mask for one in labels}


def test_overlapping_masks_in_voc_are_counted(tmp_path: Path) -> None:
    labels = [cases.label(~cases.blank()), cases.label(cases.ring(), class_id=1)]
    results = [cases.picture(tmp_path / "images", "a.jpg", *labels)]
    with cases.make(tmp_path / "p", results) as project:
        report = export(project, "voc", tmp_path / "voc")
    assert report.notes == ("1 affected: masks under others: one pixel has one object in a PNG",)


def test_pictures_that_differ_only_in_their_extension_stay_apart(tmp_path: Path) -> None:
    results = [
        cases.picture(tmp_path / "images", "a.jpg", cases.label(cases.ring())),
        cases.picture(tmp_path / "images", "a.png", cases.label(cases.pixel())),
        cases.picture(tmp_path / "images", "images/b.jpg", cases.label(cases.parts())),
    ]
    with cases.make(tmp_path / "p", results) as project:
        for name in ("yolo-seg", "cvat-images", "voc", "labelme"):
            out = tmp_path / name
            export(project, name, out / "e", images="copy")
            (path,) = (out / "e").rglob("name_map.json")
            renamed = json.loads(path.read_text("utf-8"))
            assert renamed["a.png"] == "a_png.png"
            pictures = {"labelme": ".", "voc": "JPEGImages"}.get(name, "images")
            import_labels(name, out / "e", out / "e" / pictures, out / "back")
            with Project.open(out / "back", readonly=True) as back:
                assert len(back.instances("a_png.png")) == len(back.instances("a.jpg")) == 1
                if name == "yolo-seg":  # Ultralytics finds labels by the last folder "images"
                    assert back.find("images_/b.jpg")


def test_rotated_pictures_have_their_displayed_size(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "images" / "turned.jpg"
    path.parent.mkdir()
    Image.new("RGB", (cases.HEIGHT, cases.WIDTH)).rotate(0).save(path, exif=exif)
    with Image.open(path) as stored:
        assert stored.size == (cases.HEIGHT, cases.WIDTH)
    result = cases.picture(path.parent, "turned.jpg", cases.label(cases.border()), saved=path)
    assert (result.media.height, result.media.width) == (cases.HEIGHT, cases.WIDTH)
    with cases.make(tmp_path / "p", [result]) as project:
        for name in ("coco", "cvat-images", "labelme", "voc", "yolo-seg"):
            export(project, name, tmp_path / name)
            import_labels(name, tmp_path / name, path.parent, tmp_path / f"{name} back")
            with Project.open(tmp_path / f"{name} back", readonly=True) as back:
                assert dict(cases.overlaps(project, back)) == {"turned.jpg": 1.0}


def test_the_originals_are_linked_or_copied_to_the_byte(tmp_path: Path) -> None:
    with cases.hard(tmp_path) as project:
        for how in ("link", "copy"):
            export(project, "yolo-seg", tmp_path / how, images=how)
            for media in project.media():
                placed = tmp_path / how / "images" / media.name
                assert placed.is_symlink() == (how == "link")
                assert placed.read_bytes() == Path(media.path).read_bytes()


def test_frames_of_a_video_are_extracted_for_those_who_train_on_pictures(tmp_path: Path) -> None:
    with cases.video(tmp_path) as project:
        export(project, "yolo-seg", tmp_path / "yolo", images="copy")
        import_labels("yolo-seg", tmp_path / "yolo", tmp_path / "yolo/images", tmp_path / "back")
        with Project.open(tmp_path / "back", readonly=True) as back:
            names = [media.name for media in back.media()]
            assert names == [f"a clip/{index:06d}.png" for index in range(6)]
            wanted = {one.mask for one in project.instances("a clip")}
            assert {one.mask for name in names for one in back.instances(name)} == wanted


def test_a_score_and_who_made_a_label_decide_its_status(tmp_path: Path) -> None:
    labels = [cases.label(cases.ring()), cases.label(cases.pixel(), score=None, source="human")]
    results = [cases.picture(tmp_path / "images", "a.jpg", *labels)]
    project = cases.make(tmp_path / "p", results)
    with project, there_and_back(project, tmp_path, "coco") as back:
        found = {one.score: (one.source, one.status) for one in back.instances("a.jpg")}
    assert found == {0.5: ("model", "pending"), None: ("human", "accepted")}
