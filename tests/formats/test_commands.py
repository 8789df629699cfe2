"""``autolabel import`` and ``autolabel export`` as a person types them."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from autolabel.cli import cli
from autolabel.formats import FORMATS
from tests.formats import cases


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_labels_go_from_one_format_to_another(tmp_path: Path) -> None:
    cases.hard(tmp_path).close()
    images, coco, second = tmp_path / "images", tmp_path / "coco", tmp_path / "second"
    told = invoke("export", tmp_path / "project", "--format", "coco", "--out", coco)
    assert "12 pictures, 11 objects" in told
    told = invoke("import", "coco", coco, "--images", images, "--out", second)
    assert "12 pictures or videos, 11 labels, 2 classes" in told
    options = ["--split", "train=0.5,val=0.5", "--stratify", "--images", "link", "--min-score=0.1"]
    invoke("export", second, "--format", "yolo-seg", "--out", tmp_path / "yolo", *options)
    assert len(list((tmp_path / "yolo/labels").rglob("*.txt"))) == 12
    chosen = ["--classes", "zebra", "--exclude-empty", "--status", "all", "--seed", "4"]
    invoke("export", second, "--format", "voc", "--out", tmp_path / "voc", *chosen)
    assert len(list((tmp_path / "voc/Annotations").rglob("*.xml"))) == 6


def test_every_format_says_what_it_keeps() -> None:
    assert all(one.fidelity and "\n" not in one.fidelity for one in FORMATS.values())
