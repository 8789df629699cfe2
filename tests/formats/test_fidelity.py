"""What an export says about itself after reading itself back, and what it must not miss."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from autolabel import api
from autolabel.cli import cli
from autolabel.errors import UsageError
from autolabel.formats import FORMATS, Selection, SplitRequest, export, verify
from autolabel.store import Project, Result
from tests.formats import cases

VIDEO = ("ytvis", "cvat-video", "mots", "davis")
EXACT = [name for name in FORMATS if name not in ("yolo-seg", "yolo")]
SPLIT = SplitRequest("train=0.5,val=0.5")


def project(tmp_path: Path, name: str) -> Project:
    return cases.video(tmp_path) if name in VIDEO else cases.hard(tmp_path)


@pytest.mark.parametrize("split", [None, SPLIT])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reads_itself_back(
    tmp_path: Path, name: str, split: SplitRequest | None
) -> None:
    with project(tmp_path, name) as opened:
        report = export(opened, name, tmp_path / "out", split=split)
        found = report.fidelity
        assert found is not None
        assert (found.objects, found.lost, found.extra, found.changed) == (
            report.instances, 0, 0, 0,
        )  # fmt: skip
        assert report.instances == (7 if name in VIDEO else 11)
        assert report.notes == ()
        overlap = found.boxes if name == "yolo" else found.masks
        assert overlap.count == report.instances
        assert overlap.lowest == 1 if name in EXACT else 0.98 <= overlap.lowest <= overlap.mean
        later = verify(tmp_path / "out", opened)
        assert (later.fidelity, later.notes) == (found, ())
    alone = verify(tmp_path / "out")
    assert (alone.objects, alone.expected, alone.notes) == (report.instances,) * 2 + ((),)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("coco", {"polygons": True}),
        ("cvat-images", {"polygons": True}),
        ("cvat-images", {"boxes": True}),
        ("label-studio", {"polygons": True}),
        ("labelme", {"boxes": True}),
    ],
)
def test_other_shapes_read_back_too(tmp_path: Path, name: str, options: dict[str, bool]) -> None:
    with cases.hard(tmp_path) as opened:
        found = export(opened, name, tmp_path / "out", **options).fidelity
    assert found is not None
    assert (found.lost, found.masks.lowest, found.boxes.lowest) == (0, 1, 1)
    assert found.boxes.count == (11 if "boxes" in options else 0)


def change_json(change: Callable[[list[str]], None]) -> Callable[[Path], None]:
    def damage(out: Path) -> None:
        path = out / "annotations.json"
        lines = path.read_text("utf-8").split("\n")
        change(lines)
        path.write_text("\n".join(lines), "utf-8")

    return damage


def first_label(lines: list[str]) -> int:
    return lines.index('"annotations":[') + 1


def drop(lines: list[str]) -> None:
    del lines[first_label(lines)]


def shift(lines: list[str]) -> None:
    at = first_label(lines)
    entry = json.loads(lines[at].rstrip(","))
    entry["segmentation"] = {"size": [40, 60], "counts": [5, 10, 2385]}
    lines[at] = json.dumps(entry) + ","


def rename(lines: list[str]) -> None:
    at = first_label(lines)
    lines[at] = lines[at].replace('"category_id":1', '"category_id":2', 1)


def garble(lines: list[str]) -> None:
    at = first_label(lines)
    lines[at] = lines[at].replace('"counts":"', '"counts":"~', 1)


def double(lines: list[str]) -> None:
    at = first_label(lines)
    lines.insert(at, lines[at])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "1 lost: written, but not found"),
        (shift, "1 lost: written, but not found"),
        (rename, "1 changed: another class"),
        (garble, "1 objects that can't be read back (first: "),
        (double, "1 too many: read back"),
    ],
)
def test_damage_is_told(tmp_path: Path, change: Callable[[list[str]], None], message: str) -> None:
    with cases.hard(tmp_path) as opened:
        export(opened, "coco", tmp_path / "out")
        change_json(change)(tmp_path / "out")
        report = verify(tmp_path / "out", opened)
    assert any(note.startswith(message) for note in report.notes), report.notes


def test_a_mask_that_is_not_what_it_was_is_told_with_its_picture(tmp_path: Path) -> None:
    results = [cases.picture(tmp_path / "images", "a.jpg", cases.label(cases.upright()))]
    with cases.make(tmp_path / "p", results) as opened:
        export(opened, "yolo-seg", tmp_path / "out")
        (path,) = (tmp_path / "out" / "labels").iterdir()
        words = path.read_text().split()
        path.write_text(" ".join([words[0], *(f"{float(w) * 0.9:.6f}" for w in words[1:])]))
        path.write_text("0 0.1 0.1 0.13 0.1 0.13 0.9 0.1 0.9\n")
        report = verify(tmp_path / "out", opened)
    assert "the lowest mask IoU is 0." in report.notes[0]
    assert "'a.jpg'" in report.notes[0]


def test_a_file_that_ends_too_soon_is_an_error_on_the_command_line(tmp_path: Path) -> None:
    with cases.hard(tmp_path) as opened:
        export(opened, "coco", tmp_path / "out")
    path = tmp_path / "out/annotations.json"
    path.write_bytes(path.read_bytes()[:-40])
    result = CliRunner().invoke(cli, ["verify", str(tmp_path / "out")])
    assert "can't be read back" in str(result.exception) or "ends inside" in str(result.exception)


def test_masks_under_others_are_told_once_and_not_as_damage(tmp_path: Path) -> None:
    labels = [cases.label(~cases.blank()), cases.label(cases.ring(), class_id=1)]
    results = [cases.picture(tmp_path / "images", "a.jpg", *labels)]
    with cases.make(tmp_path / "p", results) as opened:
        report = export(opened, "voc", tmp_path / "out")
        assert report.fidelity is not None
        assert report.fidelity.masks.lowest < 0.8
        assert len(report.notes) == 1
        assert verify(tmp_path / "out", opened).notes == ()


def test_what_was_chosen_is_what_is_compared(tmp_path: Path) -> None:
    with cases.hard(tmp_path) as opened:
        select = Selection(classes=(cases.CLASSES[1][0],), min_score=0.1, exclude_empty=True)
        for name in ("coco", "yolo-seg", "voc"):
            report = export(opened, name, tmp_path / name, select=select, split=SPLIT)
            assert report.instances == 5
            assert report.notes == ()
            assert verify(tmp_path / name, opened).notes == ()


def test_verify_off_reads_nothing(tmp_path: Path) -> None:
    with cases.hard(tmp_path) as opened:
        assert export(opened, "coco", tmp_path / "out", verify=False).fidelity is None


def test_pictures_that_the_project_has_got_since_are_not_lost(tmp_path: Path) -> None:
    images = tmp_path / "images"
    results = [cases.picture(images, f"{i}.jpg", cases.label(cases.ring())) for i in (1, 3)]
    with cases.make(tmp_path / "p", results) as opened:
        for name in ("coco", "cvat-images", "yolo-seg"):
            export(opened, name, tmp_path / name)
        opened.commit([cases.picture(images, f"{i}.jpg") for i in (0, 2, 4)])
        for name in ("coco", "cvat-images", "yolo-seg"):
            assert verify(tmp_path / name, opened).notes == ()


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no export of autolabel"):
        verify(tmp_path)
    with cases.hard(tmp_path) as opened:
        export(opened, "voc", tmp_path / "out")
    with pytest.raises(UsageError, match="not read by this reader"):
        verify(tmp_path / "out", reader="other")
    with pytest.raises(UsageError, match="expected own or other"):
        api.verify(tmp_path / "out", reader="mine")


@pytest.mark.parametrize("options", [{}, {"polygons": True}])
def test_pycocotools_reads_coco_back(tmp_path: Path, options: dict[str, bool]) -> None:
    with cases.hard(tmp_path) as opened:
        export(opened, "coco", tmp_path / "out", **options)
        report = verify(tmp_path / "out", opened, "other")
        assert report.notes == ()
        assert report.fidelity is not None
        assert report.fidelity.masks.lowest == 1


def test_ultralytics_reads_yolo_back(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    with cases.hard(tmp_path) as opened:
        export(opened, "yolo-seg", tmp_path / "out")
        report = verify(tmp_path / "out", opened, "other")
    assert report.notes == ()
    assert report.fidelity is not None
    assert (report.fidelity.lost, report.objects) == (0, 11)


def test_the_command_prints_one_line_and_says_by_its_code_whether_all_is_well(
    tmp_path: Path,
) -> None:
    cases.hard(tmp_path).close()
    out = str(tmp_path / "out")
    told = CliRunner().invoke(cli, ["export", str(tmp_path / "project"), "--out", out])
    line = "read back: 11 objects, none lost; mask IoU mean 1.0000, lowest 1.0000"
    assert line in told.output
    off = ["export", str(tmp_path / "project"), "--out", f"{out}2", "--verify", "off"]
    assert "read back" not in CliRunner().invoke(cli, off).output

    def run(*arguments: str) -> tuple[object, str]:
        result = CliRunner().invoke(cli, ["verify", out, *arguments], standalone_mode=False)
        return result.return_value, result.output

    assert run() == (0, "coco, read back: 11 of 11 objects\n")
    assert run("--project", str(tmp_path / "project")) == (0, f"coco, {line}\n")
    assert run("--project", str(tmp_path / "project"), "--reader", "other")[0] == 0
    change_json(drop)(Path(out))
    code, text = run()
    assert code == 3
    assert "note: 11 objects were written, 10 were read" in text


@pytest.mark.parametrize("name", ["coco", "cvat-images", "label-studio", "yolo-seg"])
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path, name: str) -> None:
    label, media = cases.label(cases.island()), cases.picture(tmp_path, "a.jpg").media

    def peak(pictures: int) -> int:
        results = [
            Result(replace(media, name=f"{i:05d}.jpg"), 1, 2, {}, [label]) for i in range(pictures)
        ]
        with cases.make(tmp_path / f"p{pictures}", results) as opened:
            out = tmp_path / f"out{pictures}"
            export(opened, name, out, verify=False)
            gc.collect()
            tracemalloc.start()
            assert verify(out, opened).notes == ()
            grown = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return grown

    peak(10)  # imports
    assert peak(1200) - peak(400) < 800 * 128  # bytes a picture; its labels are thousands
