"""What the store costs a picture: 10 candidates with masks, 10 labels, real SQLite on disk.

    python -m benchmarks.store [PICTURES]

Prints the cost of each operation a picture, and the peak memory after a tenth of the
pictures and after all of them (which should be about the same).
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from autolabel import masks
from autolabel.formats import export
from autolabel.store import Project, Result
from autolabel.types import RLE, Candidates, Instance, MediaRecord, Proposals

OBJECTS, PROMPTS, BATCH = 10, 12, 16
HEIGHT, WIDTH = 1080, 1920


def blob(size: int) -> RLE:
    """Return a wavy disc of about 300 characters, as SAM 2 draws an object on a photo."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    angle = np.arctan2(y - 500, x - 900)
    return masks.encode(np.hypot(y - 500, x - 900) < size + size / 9 * np.sin(9 * angle))


MASKS = tuple(blob(60 + 4 * i) for i in range(OBJECTS))


def picture(number: int) -> Result:
    rng = np.random.default_rng(number)
    corner = rng.uniform(0, 1000, (OBJECTS, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + 50], axis=1)
    scores = rng.uniform(0.01, 1, (OBJECTS, PROMPTS)).astype(np.float32)
    scores[scores < 0.5] = 0
    found = Candidates(HEIGHT, WIDTH, Proposals(boxes, scores), MASKS, (0.875,) * OBJECTS)
    name = f"folder_{number % 100:03d}/picture_{number:07d}.jpg"
    media = MediaRecord(name, f"/data/{name}", "image", f"{number:064x}", HEIGHT, WIDTH)
    return Result(
        media, 250_000, number, {0: found}, labels(found), {"ground": 0.1, "segment": 0.1}
    )


def labels(found: Candidates) -> list[Instance]:
    return [
        Instance(
            class_id=i % 5,
            box=tuple(box),
            detector_box=tuple(box),
            mask=found.masks[i],
            score=float(score),
            mask_score=0.875,
            prompt="a prompt",
            runner_up_class=1,
        )
        for i, (box, score) in enumerate(
            zip(found.proposals.boxes.tolist(), found.proposals.scores.max(axis=1), strict=True)
        )
    ]


@contextmanager
def timed(what: str, pictures: int) -> Iterator[None]:
    start, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(
        f"{what:34} {1e6 * wall / pictures:8.1f} us a picture (CPU {1e6 * cpu / pictures:8.1f}), "
        f"{pictures / wall:9,.0f} pictures/s"
    )


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(pictures: int) -> None:
    sample = [picture(number) for number in range(1000)]
    with tempfile.TemporaryDirectory() as folder, Project.open(folder, create=True) as project:
        project.set_run({}, [(f"class {i}", "#ff0000") for i in range(5)], ["p"] * PROMPTS)

        def fill(first: int, last: int) -> None:
            for start in range(first, last, BATCH):
                project.commit(
                    [renamed(sample[n % 1000], n) for n in range(start, min(start + BATCH, last))]
                )

        fill(0, pictures // 10)
        early = peak()
        with timed(f"commit, batches of {BATCH}", pictures - pictures // 10):
            fill(pictures // 10, pictures)
        after_commit = peak()
        with timed("labelled (all, in name order)", pictures):
            assert sum(len(list(found)) for _, found in project.labelled()) == OBJECTS * pictures
        with timed("export coco", pictures):
            export(project, "coco", Path(folder) / "coco")
        with timed("stats", pictures):
            project.stats()
        with timed("reselect (a trivial selection)", pictures):
            project.reselect(lambda media, found: labels(found), {"ontology": "new"})
        print(
            f"peak memory: {early:.0f} MiB after {pictures // 10:,} pictures, {after_commit:.0f} "
            f"after {pictures:,} were committed, {peak():.0f} after all of the above"
        )
        size = sum(file.stat().st_size for file in Path(folder).glob("labels.db*"))
        print(f"disk: {size / pictures / 1024:.1f} KiB a picture")


def renamed(result: Result, number: int) -> Result:
    name = f"folder_{number % 100:03d}/picture_{number:07d}.jpg"
    media = replace(result.media, name=name, path=f"/data/{name}", key=f"{number:064x}")
    return replace(result, media=media, mtime_ns=number)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
