"""Which pictures go where, and which labels go at all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from autolabel import api
from autolabel.errors import UsageError
from autolabel.formats import Selection, SplitRequest, export
from autolabel.formats.split import Splitter, parse_split
from autolabel.types import MediaRecord
from tests.formats import cases

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def media(index: int, kind: str = "image", name: str = "") -> MediaRecord:
    return MediaRecord(name or f"{index}.jpg", "", kind, f"key {index}", 1, 1)


def test_the_split_of_a_content_never_changes() -> None:
    splitter = Splitter(SHARES, seed=0)
    parts = [splitter.part(media(index)) for index in range(12)]
    # Literal: a new version of the program must not move a picture from train to test.
    assert parts == ["train", "val"] + ["train"] * 10


def test_shares_are_kept_and_a_seed_gives_another_split() -> None:
    first, second = (Splitter(SHARES, seed) for seed in (0, 1))
    counts = Counter(first.part(media(index)) for index in range(5000))
    assert {name: round(count / 5000, 1) for name, count in counts.items()} == SHARES
    assert any(first.part(media(i)) != second.part(media(i)) for i in range(50))


def test_a_copy_under_another_name_shares_its_part() -> None:
    splitter = Splitter(SHARES)
    for index in range(50):
        assert splitter.part(media(index)) == splitter.part(media(index, name="copy.jpg"))


def test_pictures_of_a_folder_stay_together_if_asked() -> None:
    splitter = Splitter(SHARES, group="folder")
    parts = {splitter.part(media(index, name=f"clip 1/{index}.jpg")) for index in range(50)}
    assert len(parts) == 1


def results(tmp_path: Path, count: int = 30) -> list:
    def classes(index: int) -> list[int]:
        return [0] if index % 3 else [0, 1] if index % 2 else []

    return [
        cases.picture(
            tmp_path / "images",
            f"{index:03d}.jpg",
            *(cases.label(cases.pixel(index), class_id=one) for one in classes(index)),
        )
        for index in range(count)
    ]


def test_stratify_gives_each_class_its_share(tmp_path: Path) -> None:
    request = SplitRequest("train=0.6,val=0.4", stratify=True)
    with cases.make(tmp_path / "p", results(tmp_path)) as project:
        export(project, "voc", tmp_path / "v", split=request)
        lists = {
            part: (tmp_path / f"v/ImageSets/Main/{part}.txt").read_text().split()
            for part in ("train", "val")
        }
        rare = {m.name[:3] for m, found in project.iter_labelled() if len(list(found)) == 2}
    assert sum(map(len, lists.values())) == 30
    assert len(rare & set(lists["train"])) == 3
    assert len(rare & set(lists["val"])) == 2


@pytest.mark.parametrize("name", ["coco", "yolo-seg", "cvat-images", "labelme", "voc"])
def test_every_picture_is_in_exactly_one_part(tmp_path: Path, name: str) -> None:
    with cases.make(tmp_path / "p", results(tmp_path)) as project:
        split = SplitRequest("train=0.7,val=0.3")
        whole = export(project, name, tmp_path / "whole")
        parts = export(project, name, tmp_path / "parts", split=split)
    assert (parts.pictures, parts.instances) == (whole.pictures, whole.instances) == (30, 30)
    suffix = {"yolo-seg": "txt", "labelme": "json", "voc": "xml"}.get(name)
    if suffix:
        names = [path.stem for path in (tmp_path / "parts").rglob(f"0*.{suffix}")]
        assert sorted(names) == [f"{index:03d}" for index in range(30)]


def test_frames_of_a_video_are_all_in_one_part(tmp_path: Path) -> None:
    with cases.video(tmp_path) as project:
        export(project, "yolo-seg", tmp_path / "y", split=SplitRequest("train=0.5,val=0.5"))
    folders = {path.parts[-3] for path in (tmp_path / "y/labels").rglob("*.txt")}
    assert len(folders) == 1


def test_only_what_is_wanted_is_exported(tmp_path: Path) -> None:
    labels = [
        cases.label(cases.ring(), score=0.9, class_id=1),
        cases.label(cases.pixel(), score=0.2, class_id=1),
        cases.label(cases.parts(), score=None, class_id=0, source="human", status="accepted"),
    ]
    results = [
        cases.picture(tmp_path / "images", "a.jpg", *labels),
        cases.picture(tmp_path / "images", "b.jpg"),
    ]
    with cases.make(tmp_path / "p", results) as project:

        def count(**wanted: object) -> tuple[int, int]:
            report = export(
                project, "yolo", tmp_path / "y", overwrite=True, select=Selection(**wanted)
            )
            return report.pictures, report.instances

        assert count() == (2, 3)
        assert count(min_score=0.5) == (2, 2)  # a human's label has no score and stays
        assert count(status="accepted") == (2, 1)
        assert count(exclude_empty=True) == (1, 3)
        assert count(classes=(cases.CLASSES[1][0],), exclude_empty=True) == (1, 2)
        # The class that is left is class 0 of one.
        text = (tmp_path / "y/labels/a.txt").read_text()
        assert {line.split()[0] for line in text.splitlines()} == {"0"}
        assert "nc: 1" in (tmp_path / "y/data.yaml").read_text("utf-8")


def test_the_library_takes_the_options_of_the_command(tmp_path: Path) -> None:
    cases.make(tmp_path / "p", results(tmp_path)).close()
    report = api.export(
        tmp_path / "p", "coco", tmp_path / "c", split="train=0.5,val=0.5", min_score=0.1, seed=3
    )
    assert report.pictures == 30
    assert (tmp_path / "c/train/annotations.json").is_file()


@pytest.mark.parametrize(
    "text", ["train", "train=x", "train=0.5", "a=0.5,a=0.5", "train=1.5,val=-0.5", "../x=1"]
)
def test_a_split_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Splitter(parse_split(text))


def test_an_unknown_class_is_refused_with_a_near_one(tmp_path: Path) -> None:
    with cases.make(tmp_path / "p", results(tmp_path, 2)) as project:
        with pytest.raises(UsageError, match="did you mean 'zebra'"):
            export(project, "coco", tmp_path / "c", select=Selection(classes=("zebr",)))
        with pytest.raises(UsageError, match="expected 0 to 1"):
            Selection(min_score=2)
        with pytest.raises(UsageError, match="'mine'"):
            Selection(status="mine")
