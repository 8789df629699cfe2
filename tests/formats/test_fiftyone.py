"""FiftyOne's importers read the exports: objects, classes, boxes and masks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autolabel.formats import export
from autolabel.store import Project
from tests.formats import cases
from tests.formats.fiftyone_database import database, mongod, settings

ROOT = Path(__file__).parents[2]


def read(folder: Path, exports: dict[str, Path]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """What FiftyOne reads from each export, by picture."""
    with database(folder) as address:
        asked = [f"{name}={path}" for name, path in exports.items()]
        done = subprocess.run(
            [sys.executable, "-m", "tests.formats.fiftyone_reader", *asked],
            env=os.environ | settings(folder, address),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    told: dict[str, dict[str, list[dict[str, Any]]]] = json.loads(done.stdout.splitlines()[-1])
    return told


def close(box: list[float], other: tuple[float, ...], by: float) -> bool:
    return all(abs(a - b) <= by for a, b in zip(box, other, strict=True))


def test_fiftyone_reads_coco_yolo_voc_and_cvat(tmp_path: Path) -> None:
    try:
        mongod()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    formats: dict[str, dict[str, bool]]
    formats = {"coco": {}, "yolo": {}, "voc": {}, "cvat-images": {"boxes": True}}
    with cases.hard(tmp_path) as project:
        for name, options in formats.items():
            export(project, name, tmp_path / name, images="copy", **options)
        wanted = dict(labels(project))
    told = read(tmp_path, {name: tmp_path / name for name in formats})
    for name, found in told.items():
        assert sorted(found) == sorted(wanted), name
        for picture, given in wanted.items():
            assert [one["label"] for one in found[picture]] == [label for label, _, _ in given]
            for one, (_, box, counts) in zip(found[picture], given, strict=True):
                # FiftyOne counts VOC's corners from 0, both ends being pixels.
                assert close(one["box"], box, 1.01 if name == "voc" else 0.02), (name, picture)
                if name == "coco":
                    assert one["counts"] == counts, picture


def labels(project: Project) -> Iterator[tuple[str, list[tuple[str, tuple[float, ...], str]]]]:
    """Each picture's labels: class, box and run lengths."""
    for media, instances in project.iter_labelled():
        yield (
            media.name,
            [
                (cases.CLASSES[one.class_id][0], one.box, one.mask.counts)
                for one in instances
                if one.mask is not None
            ],
        )
