"""The streaming tracker beside Meta's SAM2VideoPredictor: same weights, same prompts.

    python -m benchmarks.tracking            # everything: about an hour on two cores
    python -m benchmarks.tracking --quick    # speed alone, and short curves

Speed: both in one process, frame by frame in turn, so that what else the machine does weighs
on both. Curves: each tool and length in a process of its own, peak memory from the kernel.
The models are small, of random weights: one of the bundled model's sizes, one with SAM 2.1's own
memory (``--stock``: that one alone), which is measured at 1 and 16 objects. Results: a table
here, ``benchmarks/results/tracking.json`` and ``tracking.png``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sam2.sam2_video_predictor import SAM2VideoPredictor

from autolabel.track.sam2_video import Sam2Tracker
from autolabel.track.values import Prompt
from benchmarks.small_sam2 import AS_BUNDLED, small_predictor

RESULTS = Path(__file__).parent / "results"
SIZE = 256
WARM = 20
"""Frames until every memory is full."""


def frame(index: int) -> np.ndarray:
    """A texture that moves; every frame can be made again from its number."""
    rng = np.random.default_rng(0)
    world = rng.integers(0, 256, (SIZE // 8, SIZE // 4, 3), dtype=np.uint8)
    shifted = np.roll(world, index % (SIZE // 4), axis=1)
    return np.ascontiguousarray(np.kron(shifted, np.ones((8, 8, 1), np.uint8))[:, :SIZE])


def blocks(objects: int) -> list[np.ndarray]:
    """Masks of squares in a grid."""
    masks = []
    for i in range(objects):
        mask = np.zeros((SIZE, SIZE), np.bool_)
        row, column = divmod(i, 4)
        mask[row * 60 + 5 : row * 60 + 50, column * 60 + 5 : column * 60 + 50] = True
        masks.append(mask)
    return masks


@contextlib.contextmanager
def jpeg_folder(frames: int) -> Iterator[Path]:
    """A folder of JPEGs, which is what the predictor reads."""
    with tempfile.TemporaryDirectory() as name:
        for i in range(frames):
            Image.fromarray(frame(i)).save(f"{name}/{i}.jpg", quality=90)
        yield Path(name)


def ours(model: SAM2VideoPredictor, objects: int, frames: int) -> Iterator[None]:
    """Track frame by frame; yields after each."""
    session = Sam2Tracker(model).session()
    for i in range(frames):
        session.step(frame(i))
        if i == 0:
            session.add(range(objects), [Prompt(mask=mask) for mask in blocks(objects)])
        yield


def theirs(model: SAM2VideoPredictor, objects: int, folder: Path) -> Iterator[None]:
    """Track frame by frame with the predictor; yields after each."""
    with contextlib.redirect_stderr(open(os.devnull, "w")):
        state = model.init_state(str(folder))
        for i, mask in enumerate(blocks(objects)):
            model.add_new_mask(state, 0, i, mask)
        for _, _, logits in model.propagate_in_video(state):
            np.asarray((logits > 0).cpu())
            yield


def speed(model: SAM2VideoPredictor, objects: int, frames: int) -> dict[str, Any]:
    """Median seconds a frame of both, in turn, once memories are full."""
    took: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    with jpeg_folder(frames) as folder:
        runs = {"ours": ours(model, objects, frames), "theirs": theirs(model, objects, folder)}
        for _ in range(frames):
            for name, run in runs.items():
                wall, cpu = time.perf_counter(), time.process_time()
                next(run)
                took[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (
        {name: float(np.median([t[k] for t in times[WARM:]])) for name, times in took.items()}
        for k in (0, 1)
    )
    return {
        "objects": objects,
        "ours_fps": 1 / wall["ours"],
        "theirs_fps": 1 / wall["theirs"],
        "ratio": wall["theirs"] / wall["ours"],
        "cpu_ratio": cpu["theirs"] / cpu["ours"],
    }


def curve(tool: str, model: SAM2VideoPredictor, frames: int, objects: int) -> dict[str, Any]:
    """Peak memory and seconds a frame over a clip; run in a process of its own."""
    seconds = []
    clip = jpeg_folder(frames) if tool == "theirs" else contextlib.nullcontext(Path())
    with clip as folder:
        run = ours(model, objects, frames) if tool == "ours" else theirs(model, objects, folder)
        start = time.perf_counter()
        for _ in run:
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
    # Not ru_maxrss: a process begins with that of the one which started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    return {
        "tool": tool,
        "frames": frames,
        "peak_mb": peak,
        "early": float(np.median(seconds[100:200])) if frames >= 200 else None,
        "late": float(np.median(seconds[-100:])),
        "seconds": seconds,
    }


def in_own_process(tool: str, frames: int, stock: bool, threads: int) -> dict[str, Any]:
    """What ``curve`` measures, by a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.tracking", "--child", tool]
    command += ["--frames", str(frames), "--threads", str(threads), *(["--stock"] * stock)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def plot(curves: list[dict[str, Any]], path: Path) -> None:
    """Seconds a frame along the clip, and peak memory by length, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for tool, colour in (("ours", "C0"), ("theirs", "C3")):
        mine = [c for c in curves if c["tool"] == tool]
        name = "autolabel" if tool == "ours" else "SAM2VideoPredictor"
        if mine:
            longest = max(mine, key=lambda c: c["frames"])["seconds"]
            width = max(1, len(longest) // 100)
            smooth = [np.median(longest[i : i + width]) for i in range(0, len(longest), width)]
            left.plot(np.arange(len(smooth)) * width, smooth, colour, label=name)
            lengths = [c["frames"] for c in mine]
            right.plot(lengths, [c["peak_mb"] for c in mine], colour + "o-", label=name)
    left.set(xlabel="frame", ylabel="seconds a frame", ylim=(0, None))
    right.set(xlabel="frames in the clip", ylabel="peak memory, MB", ylim=(0, None))
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def report(say: Callable[[str], None], speeds: list[Any], curves: list[Any]) -> None:
    say(f"{'memory':>8} {'objects':>8} {'ours':>12} {'theirs':>12} {'ratio':>7} {'CPU ratio':>10}")
    for row in speeds:
        fps = f"{row['ours_fps']:>8.2f} f/s {row['theirs_fps']:>8.2f} f/s"
        ratios = f"{row['ratio']:>7.2f} {row['cpu_ratio']:>10.2f}"
        say(f"{row['memory']:>8} {row['objects']:>8} {fps} {ratios}")
    for row in curves:
        early = "" if row["early"] is None else f", {row['early'] * 1e3:.1f} ms early"
        name = f"{row['tool']:>7} {row['frames']:>5} frames"
        say(f"{name}: peak {row['peak_mb']:.0f} MB{early}, {row['late'] * 1e3:.1f} ms late")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--stock", action="store_true", help="SAM 2.1's own memory sizes")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--objects", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--lengths", type=int, nargs="*")
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        model = small_predictor(overrides=() if options.stock else AS_BUNDLED)
        print(json.dumps(curve(options.child, model, options.frames, 1)))
        return
    measured = WARM + (10 if options.quick else 40)
    sizes = [("SAM 2.1", (), options.objects)]
    if not options.stock:
        few = [objects for objects in options.objects if objects in (1, 16)]
        sizes = [("bundled", AS_BUNDLED, options.objects), ("SAM 2.1", (), few)]
    speeds = []
    for memory, overrides, some in sizes:
        model = small_predictor(overrides=overrides)
        speeds += [{"memory": memory, **speed(model, objects, measured)} for objects in some]
    lengths = options.lengths
    if lengths is None:
        lengths = [200, 400] if options.quick else [300, 3000]
    curves = [
        in_own_process(tool, length, options.stock, options.threads)
        for length in lengths
        for tool in ("ours", "theirs")
    ]
    report(print, speeds, curves)
    RESULTS.mkdir(exist_ok=True)
    result = {
        "threads": options.threads,
        "curves_of": "SAM 2.1" if options.stock else "bundled",
        "speed": speeds,
        "curves": curves,
    }
    if curves:
        plot(curves, RESULTS / "tracking.png")
    for measured_curve in curves:  # the plot has every frame; the file keeps the figures
        measured_curve.pop("seconds", None)
    (RESULTS / "tracking.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
