"""Pictures a second from files to committed labels, with the bundled pair.

    python -m benchmarks.speed [--pictures 60]

Generates scenes of 256 px, labels them with `--models tiny` in a process of its own, and
prints the rate of the labelling (models loaded before) and of the whole command.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autolabel.tiny.truth import write_dataset

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=60)
    count = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as folder:
        scenes, project = Path(folder) / "scenes", Path(folder) / "project"
        write_dataset(
            scenes, count=count, clips=0, frames=1, seed=90_000, height=256, width=256, hard=False
        )
        command = [sys.executable, "-m", "autolabel", "run", "--models", "tiny", "--device", "cpu"]
        command += ["-o", ROOT / "ontologies" / "shapes.yaml", "--out", project, scenes / "images"]
        began = time.perf_counter()
        child = subprocess.Popen(
            list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert child.stderr is not None
        child.stderr.readline()  # "labelling N of N": the models are loaded
        loaded = time.perf_counter()
        child.communicate()
        ended = time.perf_counter()
    figures = {
        "pictures": count,
        "labelling_pictures_per_s": round(count / (ended - loaded), 2),
        "command_pictures_per_s": round(count / (ended - began), 2),
        "load_s": round(loaded - began, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
