"""Time and memory to bring labels into the FiftyOne app: this program beside ``add_samples``.

    python -m benchmarks.review --pictures 1000
    python -m benchmarks.review --pictures 10000

Both load the same project (10 masks a picture) into the same kind of data set of one mongod, in
processes of their own, in turn; the ratio is of the medians of the rounds. Both decode the same
run lengths to crops; "plain" makes a ``fo.Detection`` of each and calls ``Dataset.add_samples``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from autolabel import masks
from autolabel.store import Project, Result
from autolabel.types import RLE, Instance, MediaRecord

HEIGHT, WIDTH, OBJECTS = 480, 640, 10


def ellipses() -> list[RLE]:
    """Return masks of 40 to 200 pixels across, each used many times."""
    draw, found = np.random.default_rng(0), []
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(100):
        x, y = draw.uniform(100, WIDTH - 100), draw.uniform(100, HEIGHT - 100)
        across, down = draw.uniform(20, 100, 2)
        found.append(masks.encode(((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1))
    return found


def make_project(folder: Path, pictures: int) -> None:
    """Write a project of pictures that exist by name only: neither side opens them."""
    shapes = ellipses()
    with Project.open(folder, create=True) as project:
        project.set_run({}, [("car", "#ff0000"), ("truck", "#0000ff")], ["car", "truck"])
        for start in range(0, pictures, 500):
            batch = []
            for number in range(start, min(start + 500, pictures)):
                name = f"{number:06d}.jpg"
                media = MediaRecord(name, f"/none/{name}", "image", f"{number:x}", HEIGHT, WIDTH)
                batch.append(Result(media, instances=labels(shapes, number)))
            project.commit(batch)


def labels(shapes: list[RLE], number: int) -> list[Instance]:
    """Return a picture's labels."""
    found = []
    for place in range(OBJECTS):
        mask = shapes[(number * 7 + place * 13) % len(shapes)]
        box = tuple(float(v) for v in masks.tight_box(mask) or ())
        found.append(Instance(place % 2, box, mask=mask, score=0.5, mask_score=0.9, prompt="car"))
    return found


def ours(folder: Path, port: int) -> None:
    """Load with this program."""
    from autolabel import reviewing
    from autolabel.review import session
    from autolabel.review.flags import find_flags
    from autolabel.review.load import Loader
    from autolabel.review.snapshot import Snapshot

    places = reviewing.places_of(folder)
    with Project.open(folder, readonly=True) as project, session.mongo(port) as db:
        flags = find_flags(project)
        made = reviewing.make_datasets(places, project, flags, port)
        snapshot = Snapshot(places)
        began, first = time.perf_counter(), None
        loader = Loader(project, db, made, snapshot, places)
        for _ in loader.run(flags):
            first = first or time.perf_counter() - began
        report(time.perf_counter() - began, first)


def again(folder: Path, port: int) -> None:
    """Load with this program what is there already."""
    ours(folder, port)


def plain(folder: Path, port: int) -> None:
    """Load as FiftyOne's documentation does."""
    import fiftyone as fo

    from autolabel.review import pixels

    if fo.dataset_exists("plain"):
        fo.delete_dataset("plain")
    dataset = fo.Dataset("plain", persistent=True)

    def samples():
        with Project.open(folder, readonly=True) as project:
            names = project.class_names()
            for media, instances in project.iter_labelled():
                sample = fo.Sample(filepath=media.path)
                sample.metadata = fo.ImageMetadata(width=media.width, height=media.height)
                sample["labels"] = fo.Detections(
                    detections=[detection(one, names[one.class_id]) for one in instances]
                )
                yield sample

    def detection(one: Instance, name: str) -> object:
        x1, y1, x2, y2 = (int(v) for v in one.box)
        return fo.Detection(
            label=name,
            bounding_box=[x1 / WIDTH, y1 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT],
            mask=pixels.crop(one.mask, (x1, y1, x2, y2)),
            confidence=one.score,
            review=one.status,
            prompt=one.prompt,
            mask_score=one.mask_score,
        )

    began = time.perf_counter()
    dataset.add_samples(samples(), dynamic=True)
    report(time.perf_counter() - began, None)


def report(seconds: float, first: float | None) -> None:
    """Say what this process took."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time()
    print(json.dumps({"seconds": seconds, "first": first, "cpu": cpu, "mb": peak}))


def child(what: str, folder: Path, port: int) -> dict[str, float]:
    """Return what a process of its own took."""
    from autolabel import reviewing

    environ = {**reviewing.places_of(folder).environ(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.review", "--child", what]
    ran = subprocess.run(
        [*command, "--project", str(folder), "--port", str(port)],
        env=environ,
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        sys.exit(ran.stderr)
    return json.loads(ran.stdout.strip().splitlines()[-1])


def main() -> None:
    """Run both in turn and print the medians and the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=["ours", "plain", "again"])
    parser.add_argument("--project", type=Path)
    parser.add_argument("--port", type=int)
    asked = parser.parse_args()
    if asked.child:
        globals()[asked.child](asked.project, asked.port)
        return
    from autolabel import reviewing
    from autolabel.review import processes

    taken: dict[str, list[dict[str, float]]] = {"ours": [], "plain": [], "again": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        make_project(folder, asked.pictures)
        places = reviewing.places_of(folder)
        for _ in range(asked.rounds):
            for what in taken:
                if what == "ours" and places.root.exists():
                    subprocess.run(["rm", "-rf", str(places.root)], check=True)
                places.make()
                mongod = processes.start_mongod(places)
                taken[what].append(child(what, folder, mongod[1]))
                processes.end(mongod[0], str(places.database))
    print(f"{asked.pictures} pictures, {OBJECTS} masks each, load {os.getloadavg()[0]:.1f}")
    for what, rounds in taken.items():
        middle = {k: statistics.median(r[k] or 0 for r in rounds) for k in rounds[0]}
        first = f", first pictures after {middle['first']:.2f} s" if middle["first"] else ""
        print(
            f"{what:6} {middle['seconds']:8.2f} s wall, {middle['cpu']:7.2f} s CPU in all, "
            f"{middle['mb']:6.0f} MB{first}"
        )
    ratios = [
        a["seconds"] / b["seconds"] for a, b in zip(taken["plain"], taken["ours"], strict=True)
    ]
    print(f"plain / ours: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
