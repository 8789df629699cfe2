"""Label files that are wrong or hostile: an error that names the place, never half a project."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autolabel.errors import FormatError, UsageError
from autolabel.formats import export
from autolabel.importing import ImportReport, import_labels
from autolabel.store import Project
from tests.formats import cases
from tests.pictures import save

Coco = dict[str, Any]


def coco(**changes: Any) -> Coco:
    good = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": []}
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}],
        "annotations": [good, {**good, "id": 2, **changes}],
        "categories": [{"id": 1, "name": "zebra"}],
    }


def load(tmp_path: Path, data: Any, **options: bool) -> ImportReport:
    save(tmp_path / "images" / "a.jpg")
    path = tmp_path / "labels.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
    return import_labels("coco", path, tmp_path / "images", tmp_path / "p", **options)


def rle(counts: Any, size: tuple[int, int] = (40, 60)) -> dict[str, Any]:
    return {"segmentation": {"size": list(size), "counts": counts}}


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "run lengths of the wrong sum": (lambda: coco(**rle([5, 5])), r"annotations\[1\].*add up"),
    "negative run lengths": (lambda: coco(**rle([2410, -10])), r"annotations\[1\]"),
    "run lengths of another size": (lambda: coco(**rle([2400], (60, 40))), "the picture has"),
    "damaged compressed run lengths": (lambda: coco(**rle("~~")), r"annotations\[1\]"),
    "a polygon of two points": (lambda: coco(segmentation=[[1, 1, 5, 5]]), "three points"),
    "a polygon that is not numbers": (lambda: coco(segmentation=[["a"] * 6]), "polygon"),
    "a polygon far outside": (lambda: coco(segmentation=[[1e9] * 6]), "outside"),
    "an id that is there twice": (lambda: coco(id=1), "twice"),
    "a picture id that doesn't exist": (lambda: coco(image_id=7), "image_id 7 doesn't exist"),
    "category 0": (lambda: coco(category_id=0), "category_id 0 doesn't exist"),
    "an empty box": (lambda: coco(bbox=[5, 5, 0, 4]), "empty or outside"),
    "a box of words": (lambda: coco(bbox=["x", 5, 1, 4]), "expected a number"),
    "no box and no mask": (lambda: coco(bbox=None), "bbox"),
    "a score beyond 1": (lambda: coco(score=55), "expected 0 to 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_error_names_the_place_and_nothing_is_left(tmp_path: Path, case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(FormatError, match=message) as caught:
        load(tmp_path, make())
    assert "labels.json" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "labels.json"]


@pytest.mark.parametrize("case", BAD)
def test_skip_bad_leaves_out_one_label_and_counts_it(tmp_path: Path, case: str) -> None:
    report = load(tmp_path, BAD[case][0](), skip_bad=True)
    assert (report.media, report.instances) == (1, 1)
    (line,) = report.skipped
    assert line.startswith("1 left out: ")
    assert "annotations[1]" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "expected JSON"),
        ("[]", "expected JSON with the lists"),
        ('{"images": [], "annotations": [NaN], "categories": []}', "NaN"),
        ("[" * 100_000, "expected JSON"),
        ('{"images": [], "annotations": [], "categories": []}', "no classes"),
    ],
)
def test_a_file_that_is_no_coco_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        load(tmp_path, text, skip_bad=True)
    assert not (tmp_path / "p").exists()


def test_a_picture_that_is_not_there(tmp_path: Path) -> None:
    data = coco()
    data["images"].append({"id": 2, "file_name": "gone.jpg", "height": 4, "width": 6})
    with pytest.raises(FormatError, match=r"images\[1\]: a picture that isn't there: 'gone.jpg'"):
        load(tmp_path, data)
    assert load(tmp_path, data, skip_bad=True).media == 1


def test_names_in_a_file_never_lead_out_of_the_folder(tmp_path: Path) -> None:
    save(tmp_path / "secret.jpg")
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg")):
        data = coco()
        data["images"][0]["file_name"] = name
        with pytest.raises(FormatError, match="isn't there"):
            load(tmp_path, data)


def test_labels_for_a_picture_of_another_size_are_refused(tmp_path: Path) -> None:
    data = coco()
    data["images"][0] |= {"height": 60, "width": 40}
    with pytest.raises(FormatError, match="the labels are for 40 x 60, the picture as displayed"):
        load(tmp_path, data)


def test_a_crowd_is_kept_but_never_exported_as_an_object(tmp_path: Path) -> None:
    load(tmp_path, coco(iscrowd=1, **rle([5, 10, 2385])))
    with Project.open(tmp_path / "p", readonly=True) as project:
        assert [one.status for one in project.instances("a.jpg")] == ["rejected", "accepted"]
        assert export(project, "coco", tmp_path / "again").instances == 1


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="not an empty folder"):
        load(tmp_path, coco())
    with pytest.raises(UsageError, match="written only"):
        import_labels("mots", tmp_path, tmp_path, tmp_path / "q")


BOMB = """<?xml version="1.0"?>
<!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotations><meta><task><labels><label><name>&b;</name></label></labels></task></meta>
</annotations>"""
OUTSIDE = BOMB.replace('<!ENTITY a "aaaaaaaaaa">', '<!ENTITY a SYSTEM "file:///etc/passwd">')


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
@pytest.mark.parametrize("name", ["cvat-images", "cvat-video", "voc"])
def test_xml_with_entities_is_refused_even_with_skip_bad(
    tmp_path: Path, name: str, text: str
) -> None:
    save(tmp_path / "images" / "a.jpg")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.xml").write_text(text)
    with pytest.raises(FormatError, match=r"DTD or entity|nothing was read|no classes"):
        import_labels(name, tmp_path / "x", tmp_path / "images", tmp_path / "p", skip_bad=True)
    assert not (tmp_path / "p").exists()


CVAT = """<annotations><meta><task><labels><label><name>zebra</name></label></labels></task></meta>
<image id="0" name="a.jpg" width="60" height="40">
<box label="zebra" xtl="1" ytl="2" xbr="30" ybr="20"/>{shape}</image></annotations>"""


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<mask label="zebra" rle="0, 5" left="0" top="0" width="2" height="2"/>', "pixels"),
        ('<mask label="zebra" rle="9, -5" left="0" top="0" width="2" height="2"/>', "negative"),
        ('<mask label="zebra" rle="x" left="0" top="0" width="2" height="2"/>', "whole numbers"),
        ('<mask label="zebra" rle="4" left="59" top="0" width="2" height="2"/>', "leaves"),
        (
            f'<mask label="zebra" rle="{2**62}, {2**62}" left="0" top="0" width="2" height="2"/>',
            "pixels",
        ),
        ('<polygon label="zebra" points="1,1;5,5"/>', "three points"),
        ('<polygon label="zebra" points="1,1;5"/>', "x,y"),
        ('<polygon label="horse" points="1,1;5,5;1,5"/>', "'horse' is not declared"),
        ('<box label="zebra" xtl="nan" ytl="2" xbr="30" ybr="20"/>', "expected a number"),
    ],
)
def test_one_bad_shape_of_cvat_names_itself(tmp_path: Path, shape: str, message: str) -> None:
    save(tmp_path / "images" / "a.jpg")
    path = tmp_path / "a.xml"
    path.write_text(CVAT.replace("{shape}", shape))
    with pytest.raises(FormatError, match=rf"image 0, shape 1.*{message}"):
        import_labels("cvat-images", path, tmp_path / "images", tmp_path / "p")
    report = import_labels("cvat-images", path, tmp_path / "images", tmp_path / "p", skip_bad=True)
    assert report.instances == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 0.5 0.5 0.1 0.1", "class 7 doesn't exist"),
        ("0 0.5 0.5 0.1", "expected a box or three points"),
        ("0 0.1 0.1 0.2 0.2", ""),
        ("0 0.1 0.1 0.2 0.2 0.3 nan", "expected a number"),
        ("0 10 10 50 50 10 50", "outside 0 to 1"),
        ("zebra 0.5 0.5 0.1 0.1", "expected a number"),
    ],
)
def test_one_bad_line_of_yolo_names_itself(tmp_path: Path, line: str, message: str) -> None:
    save(tmp_path / "images" / "a.jpg")
    (tmp_path / "y" / "labels").mkdir(parents=True)
    (tmp_path / "y" / "data.yaml").write_text("names: [zebra]\n")
    (tmp_path / "y" / "labels" / "a.txt").write_text(f"0 0.5 0.5 0.5 0.5\n{line}\n")

    def read(**options: bool) -> ImportReport:
        return import_labels("yolo", tmp_path / "y", tmp_path / "images", tmp_path / "p", **options)

    if not message:
        assert read().instances == 2
        return
    with pytest.raises(FormatError, match=rf"a\.txt:2: .*{message}"):
        read()
    assert read(skip_bad=True).instances == 1


def test_yaml_builds_no_objects(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg")
    (tmp_path / "data.yaml").write_text("names: !!python/object/apply:os.system ['touch hacked']\n")
    with pytest.raises(FormatError):
        import_labels("yolo", tmp_path / "data.yaml", tmp_path / "images", tmp_path / "p")


def zipped(tmp_path: Path, extra: str) -> Path:
    with cases.hard(tmp_path) as project:
        export(project, "cvat-images", tmp_path / "cvat")
    path = tmp_path / "labels.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "cvat" / "annotations.xml", "annotations.xml")
        if extra:
            archive.writestr(extra, "<annotations/>")
    return path


def test_a_zip_is_read(tmp_path: Path) -> None:
    path = zipped(tmp_path, "")
    report = import_labels("cvat-images", path, tmp_path / "images", tmp_path / "p")
    assert report.instances == len(cases.MASKS)


@pytest.mark.parametrize(
    "name", ["../evil.xml", "/tmp/evil.xml", "a/../../evil.xml", "C:/evil.xml"]
)
def test_a_zip_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path, name)
    with pytest.raises(FormatError, match="leaves the folder"):
        import_labels("cvat-images", path, tmp_path / "images", tmp_path / "p")
    report = import_labels("cvat-images", path, tmp_path / "images", tmp_path / "p", skip_bad=True)
    assert report.instances == len(cases.MASKS)
    assert not list(tmp_path.parent.glob("evil.xml"))


def test_an_error_inside_a_zip_names_the_zip(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg")
    path = tmp_path / "labels.zip"
    for data, options in ((coco(category_id=9), {}), (coco(category_id=9), {"skip_bad": True})):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("in/x.json", json.dumps(data))
        place = f"{path}/in/x.json: annotations[1]"
        if options:
            args = "coco", path, tmp_path / "images", tmp_path / "p"
            assert place in import_labels(*args, skip_bad=True).skipped[0]
            continue
        with pytest.raises(FormatError) as caught:
            import_labels("coco", path, tmp_path / "images", tmp_path / "p")
        assert str(caught.value).startswith(place)


def test_a_category_id_that_is_there_twice_is_told(tmp_path: Path) -> None:
    data = coco()
    data["categories"].append({"id": 1, "name": "horse"})
    with pytest.raises(FormatError, match=r"categories\[1\].*id 1 is there twice"):
        load(tmp_path, data)
    assert load(tmp_path, data, skip_bad=True).classes == ("zebra",)


def test_an_import_that_fails_leaves_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        load(tmp_path, coco(category_id=9))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
