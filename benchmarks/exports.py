"""This project's exporters beside supervision's and FiftyOne's, on the same objects.

    python -m benchmarks.exports [PICTURES]              ours, and supervision's with the ratio
    python -m benchmarks.exports PICTURES --ours         ours alone: for sizes others can't hold
    python -m benchmarks.exports PICTURES --fiftyone     FiftyOne's too, where it is installed
                                                         (set FIFTYONE_DATABASE_URI)

10 objects a picture of 640 x 480 (with --hd: 1920 x 1080), masks with holes. Ours reads a
project on disk and writes the export; the others start from what they hold in memory. No
pictures are copied. Peak memory is that of this process after each export. Rates and ratios
are of CPU time (one thread), so that what else runs on the machine matters less; each ratio is
the median of three rounds, in which the two take turns. Reading the export back, which others
don't do, is not part of the rates and is measured once by itself ("with --verify on").
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from autolabel import masks
from autolabel.formats import FORMATS, export
from autolabel.store import Project, Result
from autolabel.types import Instance, MediaRecord

OBJECTS, VARIANTS, ROUNDS = 10, 20, 3
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


def compare(
    folder: Path, project: Project, pictures: int, peer: str, work: dict[str, Callable[[], Any]]
) -> None:
    for one, theirs in work.items():
        ratios = []
        for _ in range(ROUNDS):
            seconds = ours(folder, project, pictures, one)
            ratios.append(timed(f"{peer} {one}", pictures, theirs) / seconds)
        print(f"{one}: {median(ratios):.1f} times as fast as {peer}")


def main(pictures: int, flags: list[str]) -> None:
    names = ["coco", "yolo-seg", "yolo"] if "--ours" in flags else list(FORMATS)
    videos = ("ytvis", "cvat-video", "mots", "davis")
    with (
        tempfile.TemporaryDirectory() as place,
        Project.open(Path(place) / "project", create=True) as project,
    ):
        folder = Path(place)
        fill(project, pictures)
        for one in names:
            if one not in videos:
                ours(folder, project, pictures, one)
                ours(folder, project, pictures, one, verify=True)
        if "--ours" in flags:
            return
        compare(folder, project, pictures, "supervision", supervision_work(folder, pictures))
        if "--fiftyone" in flags:
            compare(folder, project, pictures, "FiftyOne", fiftyone_work(folder, pictures))


if __name__ == "__main__":
    given = [one for one in sys.argv[1:] if not one.startswith("--")]
    main(int(given[0]) if given else 200, [one for one in sys.argv[1:] if one.startswith("--")])
