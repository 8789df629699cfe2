"""Exports of 1,000,000 objects: time and peak memory, each in a process of its own.

    python -m benchmarks.exports_scale [PICTURES ...]    10,000 and 100,000 unless given

Each project has 10 stand-in labels a picture (``benchmarks.exports``: masks with holes, 640 x
480). COCO, YOLO polygons and YOLO boxes are exported without reading back; memory is flat if
the peak of the largest project is that of the smallest. The load is that of the machine when
an export begins: compare CPU time where other work runs beside it.
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
from pathlib import Path
from typing import Any

FORMATS = ("coco", "yolo-seg", "yolo")
SIZES = (10_000, 100_000)


def child(what: str, folder: Path, pictures: int) -> dict[str, Any]:
    """Make the project or export it, and return what it took."""
    from autolabel.formats import export
    from autolabel.store import Project
    from benchmarks.exports import fill

    start, load = time.perf_counter(), os.getloadavg()[0]
    instances = 0
    with Project.open(folder / "project", create=what == "fill") as project:
        if what == "fill":
            fill(project, pictures)
        else:
            instances = export(project, what, folder / what, verify=False).instances
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "what": what,
        "pictures": pictures,
        "instances": instances,
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 1024, 1),
        "load": round(load, 1),
    }


def measure(what: str, folder: Path, pictures: int) -> dict[str, Any]:
    """Return what ``child`` returns in a new process."""
    command = [sys.executable, "-m", "benchmarks.exports_scale", "--child", what]
    found = subprocess.run(
        [*command, str(folder), str(pictures)], check=True, stdout=subprocess.PIPE, text=True
    )
    told: dict[str, Any] = json.loads(found.stdout)
    return told


def scale(sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    """Return what filling and each export took, for each size."""
    found = []
    for pictures in sizes:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for what in ("fill", *FORMATS):
                found.append(measure(what, folder, pictures))
                print(json.dumps(found[-1]), flush=True)
                shutil.rmtree(folder / what, ignore_errors=True)
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        scale(tuple(map(int, sys.argv[1:])) or SIZES)
