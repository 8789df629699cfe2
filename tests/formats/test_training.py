"""One epoch of Ultralytics' training on an export: the program that yolo-seg is for."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autolabel.formats import SplitRequest, export
from tests.formats import cases

TRAIN = """
import json, sys
from ultralytics import YOLO
from ultralytics.models.yolo.segment import SegmentationTrainer

seen = {}

class Trainer(SegmentationTrainer):
    def build_dataset(self, img_path, mode="train", batch=None):
        dataset = super().build_dataset(img_path, mode, batch)
        labels = dataset.labels
        seen[mode] = [len(labels), sum(len(one["cls"]) for one in labels),
                      sum(len(one["segments"]) for one in labels)]
        return dataset

trainer = Trainer(overrides=dict(
    model="yolo11n-seg.yaml", data=sys.argv[1], epochs=1, imgsz=64, batch=4, workers=0,
    device="cpu", pretrained=False, amp=False, plots=False, val=False, save=False,
    project=sys.argv[2], exist_ok=True, verbose=False,
))
trainer.train()
loss = [float(one) for one in getattr(trainer.tloss, "values", lambda: trainer.tloss)()]
print("RESULT " + json.dumps({"seen": seen, "loss": loss, "epoch": trainer.epoch}))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="ultralytics is not installed"
)
def test_one_epoch_of_training_sees_every_instance(tmp_path: Path) -> None:
    with cases.hard(tmp_path) as project:
        report = export(
            project, "yolo-seg", tmp_path / "y", images="link",
            split=SplitRequest("train=0.7,val=0.3", seed=1),
        )  # fmt: skip
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "YOLO_CONFIG_DIR": str(home),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
    }
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(tmp_path / "y/data.yaml"), str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("RESULT ")]
    told = json.loads(line.removeprefix("RESULT "))
    counts = list(told["seen"].values())
    assert told["epoch"] == 0
    assert all(value == value for value in told["loss"])  # no NaN
    assert [sum(column) for column in zip(*counts, strict=True)] == [
        report.pictures, report.instances, report.instances,
    ]  # fmt: skip
