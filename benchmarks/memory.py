"""Peak memory of a run over many pictures: python -m benchmarks.memory [--counts 500 10000].

Generates pictures, labels them with the instant models of ``tests.fakes`` in a process of
its own, and prints each run's peak resident memory, pictures/s and bytes in the store.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
ONTOLOGY = "cat: cat\ndog: dog\nbird: bird\n"


def make_pictures(folder: Path, count: int) -> None:
    """Write small pictures of noise in folders of a thousand."""
    for index in range(count):
        path = folder / f"{index // 1000:03d}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((128, 96)).save(path)


def label(folder: Path, count: int) -> dict[str, float]:
    """Label the pictures in a child process; return what it took."""
    ontology, project = folder / "classes.yaml", folder / f"project-{count}"
    ontology.write_text(ONTOLOGY)
    command = [sys.executable, "-m", "autolabel", "run", "-q", "-o", ontology, "--out", project]
    command += ["--grounder", "tests.fakes:Blobs", "--segmenter", "tests.fakes:Ellipses"]
    command += ["--device", "cpu", folder / f"in-{count}"]
    start = time.perf_counter()
    child = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"the run over {count} pictures failed")
    size = (project / "labels.db").stat().st_size
    return {
        "pictures": count,
        "peak_mb": usage.ru_maxrss / 1024,
        "pictures_per_s": count / seconds,
        "store_bytes_per_picture": size / count,
    }


def main() -> None:
    """Print one line a count, and the ratio of the last peak to the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 10_000])
    counts = parser.parse_args().counts
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for count in counts:
            make_pictures(Path(folder) / f"in-{count}", count)
            rows.append(label(Path(folder), count))
            print(json.dumps({key: round(value, 1) for key, value in rows[-1].items()}))
    ratio = rows[-1]["peak_mb"] / rows[0]["peak_mb"]
    print(f"peak at {counts[-1]} / peak at {counts[0]}: {ratio:.3f}")


if __name__ == "__main__":
    main()
