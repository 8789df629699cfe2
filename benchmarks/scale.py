"""A million pictures through the store and a COCO export, resuming, starting, and Ray workers.

    python -m benchmarks.scale store 1000000     stand-in results, 10 objects a picture
    python -m benchmarks.scale resume 100000     time to find that all pictures are done
    python -m benchmarks.scale start             `autolabel --help`, and the first label
    python -m benchmarks.scale ray 40            1 and 2 Ray workers with the bundled pair

Each prints rows of the table. ``store`` also writes results/scale.json, from which
``benchmarks.run`` draws its plot.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autolabel.formats import export
from autolabel.store import Project, Result
from autolabel.tiny.truth import write_dataset
from autolabel.types import MediaRecord
from benchmarks.store import OBJECTS, PROMPTS, picture, renamed
from benchmarks.table import Row, one, ratios

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
BATCH, POINTS = 16, 20
FAKES = ["--grounder", "tests.fakes:Blobs", "--segmenter", "tests.fakes:Ellipses"]
SHAPES = ROOT / "ontologies" / "shapes.yaml"


def peak() -> float:
    """Return this process's peak memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def store(pictures: int) -> list[Row]:
    """Return how fast results are stored and exported, and what memory that takes."""
    sample = [picture(number) for number in range(1000)]
    curve = []
    with tempfile.TemporaryDirectory() as folder, Project.open(folder, create=True) as project:
        project.set_run({}, [(f"class {i}", "#ff0000") for i in range(5)], ["p"] * PROMPTS)
        began = time.perf_counter()
        for start in range(0, pictures, BATCH):
            if start % max(BATCH, pictures // POINTS // BATCH * BATCH) == 0:
                curve.append((start, time.perf_counter() - began, peak()))
            project.commit(
                [renamed(sample[n % 1000], n) for n in range(start, min(start + BATCH, pictures))]
            )
        stored = time.perf_counter() - began
        curve.append((pictures, stored, peak()))
        began = time.perf_counter()
        export(project, "coco", Path(folder) / "coco", verify=False)
        exported = time.perf_counter() - began
        whole = peak()
        size = sum(path.stat().st_size for path in Path(folder).glob("labels.db*"))
        coco = (Path(folder) / "coco" / "annotations.json").stat().st_size
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scale.json").write_text(json.dumps({"pictures": pictures, "curve": curve}) + "\n")
    early = curve[max(1, len(curve) // 10)][2]
    named = f"{pictures:,} pictures of {OBJECTS} objects"
    return [
        Row("7", f"store, {named}", "pictures/s", *one(pictures / stored)),
        Row("7", f"COCO export, {named}", "pictures/s", *one(pictures / exported)),
        Row("7", "peak memory, all / a tenth of them", "x", *one(whole / early),
            f"{whole:.0f} MiB, export included"),
        Row("7", "labels.db", "GB", *one(size / 1e9), f"COCO file {coco / 1e9:.3g} GB"),
    ]  # fmt: skip


def resume(pictures: int) -> list[Row]:
    """Return how long a run takes to find that all its pictures are done."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_dataset(
            folder / "scenes", count=1, clips=0, frames=1, seed=1, height=64, width=64, hard=False
        )
        (first,) = (folder / "scenes" / "images").iterdir()
        paths = [folder / "in" / f"{n // 1000:04d}" / f"{n:07d}.png" for n in range(pictures)]
        for number, path in enumerate(paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = number // 10_000 * 10_000  # a file has 65,000 names at most
            if number in (whole, len(paths) - 1):
                path.write_bytes(first.read_bytes())
            else:
                os.link(paths[whole], path)
        command = [sys.executable, "-m", "autolabel", "run", "-q", "-o", str(SHAPES), *FAKES]
        command += ["--device", "cpu", "--out", str(folder / "p"), str(folder / "in")]
        subprocess.run([*command, "--limit", "1"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        _mark_done(folder, paths)
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            seconds.append(time.perf_counter() - began)
            assert f"{pictures} of {pictures} inputs labelled" in done.stdout, done.stdout
    middle = sorted(seconds)[1]
    return [Row("5", f"resume over {pictures:,} pictures", "s", middle, min(seconds), max(seconds))]


def _mark_done(folder: Path, paths: list[Path]) -> None:
    """Store every picture as done, without labelling it."""
    with Project.open(folder / "p") as project:
        for start in range(0, len(paths), 1000):
            results = []
            for path in paths[start : start + 1000]:
                status = path.stat()
                name = str(path.relative_to(folder / "in"))
                media = MediaRecord(name, str(path), "image", "0" * 64, 64, 64)
                results.append(Result(media, status.st_size, status.st_mtime_ns))
            project.commit(results)


def start() -> list[Row]:
    """Return how long ``--help`` takes, and how long it is until the first label is stored."""
    asked = [_seconds(["--help"]) for _ in range(5)]
    first = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_dataset(
            folder / "s", count=1, clips=0, frames=1, seed=1, height=256, width=256, hard=False
        )
        for turn in range(3):
            args = ["run", "-q", "--models", "tiny", "--device", "cpu", "-o", str(SHAPES)]
            out = ["--out", str(folder / f"p{turn}"), str(folder / "s" / "images")]
            first.append(_seconds([*args, *out]))
    middle = sorted(asked)[2], min(asked), max(asked)
    label = sorted(first)[1], min(first), max(first)
    return [
        Row("6", "autolabel --help", "s", *middle),
        Row("6", "first label, bundled pair, models loaded", "s", *label, "the whole command"),
    ]


def _seconds(args: list[str]) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "autolabel", *args], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def ray_workers(pictures: int, rounds: int = 3) -> list[Row]:
    """Return how much faster two Ray workers are than one, one core each, models loaded."""
    import ray

    import autolabel

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_dataset(
            folder / "s", count=pictures, clips=0, frames=1, seed=90_000, height=256, width=256,
            hard=False,
        )  # fmt: skip
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            object_store_memory=2**27, _node_ip_address="127.0.0.1",
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
        )  # fmt: skip
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(rounds):
            for workers, kept in seconds.items():
                report = autolabel.run(
                    [folder / "s" / "images"], SHAPES, out=folder / f"p{turn}-{workers}",
                    preset="tiny", device="cpu", engine="ray", workers=workers,
                )  # fmt: skip
                assert report.done == pictures
                kept.append(report.seconds - report.stages["start"])
        ray.shutdown()
    both = ratios(seconds[1], seconds[2])
    rate = pictures / min(seconds[1])
    return [
        Row("7", "2 Ray workers / 1, bundled pair", "x", *both, f"1 worker {rate:.2f} pictures/s"),
        Row("7", "64 Ray workers, on paper", "pictures/s", *one(64 * rate * both[0] / 2),
            "64 x one worker x what two keep; the writer takes the rate of `store`"),
    ]  # fmt: skip


def main() -> None:
    """Print the rows of one part."""
    part, *numbers = sys.argv[1:]
    parts = {"store": store, "resume": resume, "start": start, "ray": ray_workers}
    for row in parts[part](*map(int, numbers)):  # type: ignore[operator]
        print(row.line(), flush=True)


if __name__ == "__main__":
    main()
