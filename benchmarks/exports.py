"""This project's exporters beside supervision's, FiftyOne's and Datumaro's, on the same objects.

    python -m benchmarks.exports [PICTURES]              the table of ratios, as ``rows`` gives it
    python -m benchmarks.exports PICTURES --ours         ours alone, all formats of pictures

10 objects a picture of 640 x 480 (with --hd: 1920 x 1080), masks with holes. Ours reads a
project on disk and writes the export; the others start from what they hold in memory (FiftyOne:
in its database). No pictures are copied. A ratio is of CPU time of one process, so that what
else runs on the machine matters less; the two take turns, and the table has the median and the
lowest and highest of the rounds. Each peer has a process of its own; one that isn't installed is
told. Reading the export back, which others don't do, is measured by itself (--ours).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from autolabel import masks
from autolabel.formats import FORMATS, export
from autolabel.store import Project, Result
from autolabel.types import Instance, MediaRecord

OBJECTS, VARIANTS, ROUNDS = 10, 20, 5
WIDTH, HEIGHT = (1920, 1080) if "--hd" in sys.argv else (640, 480)
CLASSES = [(f"class {i}", "#ff0000") for i in range(5)]


def blobs(seed: int) -> np.ndarray:
    """Return bool (OBJECTS, H, W): ellipses with a wavy rim, every third with a hole."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    found = np.zeros((OBJECTS, HEIGHT, WIDTH), bool)
    for index in range(OBJECTS):
        across, down = draw.uniform(0.02, 0.19, 2) * HEIGHT
        dx, dy = x - draw.uniform(0.2, 0.8) * WIDTH, y - draw.uniform(0.2, 0.8) * HEIGHT
        rim = 1 + 0.15 * np.sin(draw.integers(3, 9) * np.arctan2(dy, dx))
        far = np.hypot(dx / across, dy / down) / rim
        found[index] = (far <= 1) & ((far > 0.3) | (index % 3 > 0))
    return found


def instances(found: np.ndarray) -> list[Instance]:
    labels = []
    for index, mask in enumerate(found):
        rle = masks.encode(mask)
        box = masks.tight_box(rle)
        assert box is not None
        x1, y1, x2, y2 = map(float, box)
        labels.append(Instance(index % 5, (x1, y1, x2, y2), mask=rle, score=0.9))
    return labels


def fill(project: Project, pictures: int) -> None:
    project.set_run({}, CLASSES, ["p"])
    variants = [instances(blobs(seed)) for seed in range(min(VARIANTS, pictures))]
    for start in range(0, pictures, 500):
        project.commit(
            [
                Result(
                    MediaRecord(name(i), f"/data/{name(i)}", "image", f"{i}", HEIGHT, WIDTH),
                    1, 2, {}, variants[i % len(variants)],
                )
                for i in range(start, min(start + 500, pictures))
            ]
        )  # fmt: skip


def name(index: int) -> str:
    return f"{index % 100:03d}/{index:07d}.jpg"


def timed(what: str, pictures: int, work: Callable[[], Any]) -> float:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    wall, seconds = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what:32} {wall:8.2f} s, CPU {seconds:8.2f} s "
        f"{1e6 * seconds / pictures / OBJECTS:9.1f} us an object "
        f"{pictures / seconds:9,.0f} pictures/s   peak {peak:6.0f} MiB",
        flush=True,
    )
    return seconds


def ours(folder: Path, project: Project, pictures: int, one: str, verify: bool = False) -> float:
    def work() -> None:
        export(project, one, folder / one, verify=verify)

    shutil.rmtree(folder / one, ignore_errors=True)
    return timed(f"autolabel {one}{', --verify on' * verify}", pictures, work)


def supervision_work(folder: Path, pictures: int) -> dict[str, Callable[[], Any]]:
    import supervision as sv

    paths = []
    for index in range(pictures):
        path = folder / "pictures" / f"{index:07d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
        paths.append(str(path))
    variants = [blobs(seed) for seed in range(min(VARIANTS, pictures))]
    boxes = [np.array([one.box for one in instances(found)], np.float32) for found in variants]
    held = {
        path: sv.Detections(
            xyxy=boxes[i % len(variants)],
            mask=variants[i % len(variants)],
            class_id=np.arange(OBJECTS) % 5,
        )
        for i, path in enumerate(paths)
    }
    dataset = sv.DetectionDataset([one for one, _ in CLASSES], paths, held)
    coco, yolo = str(folder / "sv.json"), str(folder / "sv-labels")
    return {
        "coco": lambda: dataset.as_coco(annotations_path=coco),
        "yolo-seg": lambda: dataset.as_yolo(annotations_directory_path=yolo),
    }


def fiftyone_work(folder: Path, pictures: int) -> dict[str, Callable[[], Any]]:
    import fiftyone as fo

    dataset = fo.Dataset()
    variants = [blobs(seed) for seed in range(min(VARIANTS, pictures))]
    samples = []
    for index in range(pictures):
        path = folder / "pictures" / f"{index:07d}.png"
        detections = []
        for i, mask in enumerate(variants[index % len(variants)]):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            y1, y2, x1, x2 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            box = [x1 / WIDTH, y1 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT]
            detections.append(
                fo.Detection(label=f"class {i % 5}", bounding_box=box, mask=mask[y1:y2, x1:x2])
            )
        metadata = fo.ImageMetadata(width=WIDTH, height=HEIGHT)
        labels = fo.Detections(detections=detections)
        samples.append(fo.Sample(str(path), metadata=metadata, ground_truth=labels))
    dataset.add_samples(samples, progress=False)

    def write(kind: Any, out: str) -> None:
        dataset.export(
            export_dir=str(folder / out),
            dataset_type=kind,
            label_field="ground_truth",
            export_media=False,
            classes=[one for one, _ in CLASSES],
            progress=False,
        )

    coco, yolo = fo.types.COCODetectionDataset, fo.types.YOLOv5Dataset
    return {  # coco: polygons; yolo: boxes only
        "coco": lambda: write(coco, "fo-coco"),
        "yolo": lambda: write(yolo, "fo-yolo"),
    }


def datumaro_work(folder: Path, pictures: int) -> dict[str, Callable[[], Any]]:
    import datumaro as dm

    variants = [blobs(seed) for seed in range(min(VARIANTS, pictures))]
    boxes = [[one.box for one in instances(found)] for found in variants]

    def dataset(masked: bool) -> Any:
        items = []
        for index in range(pictures):
            which = index % len(variants)
            labels = [
                dm.Mask(variants[which][i], id=i + 1, group=i + 1, label=i % 5)
                if masked
                else dm.Bbox(x1, y1, x2 - x1, y2 - y1, id=i + 1, label=i % 5)
                for i, (x1, y1, x2, y2) in enumerate(boxes[which])
            ]
            media = dm.Image.from_file(f"{index:07d}.jpg", size=(HEIGHT, WIDTH))
            part = "train" if index % 5 else "val"  # its YOLO wants both
            items.append(
                dm.DatasetItem(id=f"{index:07d}", subset=part, media=media, annotations=labels)
            )
        return dm.Dataset.from_iterable(items, categories=[one for one, _ in CLASSES])

    masked, boxed = dataset(True), dataset(False)

    def write(what: Any, kind: str) -> None:
        shutil.rmtree(folder / kind, ignore_errors=True)
        what.export(str(folder / kind), kind, save_media=False)

    return {
        "coco": lambda: write(masked, "coco_instances"),
        "yolo": lambda: write(boxed, "yolo_ultralytics"),
    }


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast this project's exporter is as another one, by CPU time.

    Attributes:
        name: The format and the other program.
        ratio: The median of the rounds; None where it could not be measured.
        lowest: The lowest of the rounds.
        highest: The highest of the rounds.
        note: The times, or why there is no ratio.
    """

    name: str
    ratio: float | None
    lowest: float | None
    highest: float | None
    note: str


PEERS = {
    "supervision": supervision_work,
    "fiftyone": fiftyone_work,
    "datumaro": datumaro_work,
}


def rows(quick: bool = False) -> list[Ratio]:
    """Return the ratios against every peer, each measured in a process of its own."""
    pictures, rounds = (40, 3) if quick else (200, 5)
    return [one for peer in PEERS for one in rows_of(peer, pictures, rounds)]


def rows_of(peer: str, pictures: int, rounds: int) -> list[Ratio]:
    """Return the ratios against one peer."""
    from tests.formats.fiftyone_database import database, settings

    command = [sys.executable, "-m", "benchmarks.exports", str(pictures), "--peer", peer]
    command += [str(rounds), *(["--hd"] if HEIGHT == 1080 else [])]
    with tempfile.TemporaryDirectory() as place:
        try:
            if peer == "fiftyone":
                with database(Path(place)) as address:
                    done = _run(command, os.environ | settings(Path(place), address))
            else:
                done = _run(command, dict(os.environ))
        except FileNotFoundError as error:
            return [Ratio(f"export, against {peer}", None, None, None, str(error))]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["failed"])[-1]
        return [Ratio(f"export, against {peer}", None, None, None, last)]
    return [Ratio(**one) for one in json.loads(done.stdout.splitlines()[-1])]


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def compare(folder: Path, project: Project, pictures: int, peer: str, rounds: int) -> list[Ratio]:
    """Return the ratios for every format that a peer writes, and print each time."""
    found = []
    for one, theirs in PEERS[peer](folder, pictures).items():
        pairs = []
        for _ in range(rounds):
            seconds = ours(folder, project, pictures, one)
            pairs.append((seconds, timed(f"{peer} {one}", pictures, theirs)))
        ratios = [other / seconds for seconds, other in pairs]
        each = [median(values) / pictures / OBJECTS * 1e6 for values in zip(*pairs, strict=True)]
        note = f"{each[0]:.0f} and {each[1]:.0f} us of CPU an object; {rounds} rounds of {pictures}"
        found.append(
            Ratio(f"{one}, against {peer}", median(ratios), min(ratios), max(ratios), note)
        )
    return found


def peer_alone(pictures: int, peer: str, rounds: int) -> None:
    """Print the ratios against one peer as JSON, in the last line."""
    with (
        tempfile.TemporaryDirectory() as place,
        Project.open(Path(place) / "project", create=True) as project,
    ):
        fill(project, pictures)
        found = compare(Path(place), project, pictures, peer, rounds)
    print(json.dumps([asdict(one) for one in found]))


def ours_alone(pictures: int) -> None:
    """Print what each of our exporters of pictures takes, with and without reading back."""
    videos = ("ytvis", "cvat-video", "mots", "davis")
    with (
        tempfile.TemporaryDirectory() as place,
        Project.open(Path(place) / "project", create=True) as project,
    ):
        fill(project, pictures)
        for one in FORMATS:
            if one not in videos:
                ours(Path(place), project, pictures, one)
                ours(Path(place), project, pictures, one, verify=True)


def main(arguments: list[str]) -> None:
    given = [one for one in arguments if not one.startswith("--")]
    pictures = int(given[0]) if given else 200
    if "--peer" in arguments:
        peer_alone(pictures, given[1], int(given[2]))
    elif "--ours" in arguments:
        ours_alone(pictures)
    else:
        for peer in PEERS:
            for row in rows_of(peer, pictures, ROUNDS):
                spread = (
                    ""
                    if row.ratio is None
                    else (f"{row.ratio:5.1f} ({row.lowest:.1f} to {row.highest:.1f}) ")
                )
                print(f"{row.name:28} {spread}{row.note}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
