"""All benchmarks, as one table: ratios of ways that took turns, with their spread.

    python -m benchmarks.run [--quick] [--full] [--only 1 5 7] [--write]

``--quick`` takes small sizes, to see that everything runs; ``--full`` adds full-size models
with random weights to rows 1 and 2 (20 minutes on 2 cores). ``--write`` keeps the table in
RESULTS.md, with the machine, the versions and the date, and draws the plots of rows 3 and 7;
parts that were not run keep their rows of before.
A part that can't run here is a line that says why. Each part runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PACKAGES = (
    "autolabel", "torch", "transformers", "sam2", "numpy", "ray", "supervision", "fiftyone",
    "datumaro",
)  # fmt: skip
HEAD = "| row | what | median | least to most | |\n|---|---|---|---|---|"


def part(*command: str) -> list[str]:
    """Return the table lines that a part prints, or one that says why there are none."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=HERE.parent, capture_output=True, text=True
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    if done.returncode == 0 and found:
        return found
    why = (done.stderr.strip().splitlines() or ["it printed no row"])[-1][:200]
    return [f"| | {' '.join(command)} | not measured | | {why} |"]


def labelling(quick: bool, full: bool) -> list[str]:
    """Rows 1 and 2."""
    sizes = ("--pictures", "6", "--rounds", "1") if quick else ("--pictures", "48")
    found = part("benchmarks.labelling", *sizes)
    if not quick:  # a run's beginning and end weigh less where it is long
        found[1:] = part("benchmarks.labelling", "--overhead", "--pictures", "300")
    if full:
        found += part("benchmarks.labelling", "--full", "--pictures", "4", "--rounds", "3")
    return found


def tracking(quick: bool, _full: bool) -> list[str]:
    """Row 3, from what ``benchmarks.tracking`` writes."""
    sizes = ["--quick", "--objects", "1", "4"] if quick else ["--objects", "1", "4", "16", "64"]
    lengths = [] if quick else ["--lengths", "100", "300", "1000"]
    command = [sys.executable, "-m", "benchmarks.tracking", *sizes, *lengths]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["?"])[-1][:200]
        return [f"| 3 | tracking | not measured | | {why} |"]
    found = json.loads((RESULTS / "tracking.json").read_text())
    lines = [
        f"| 3 | tracking / SAM2VideoPredictor, {one['objects']} objects, {one['memory']} memory | "
        f"{one['ratio']:.3g} x | "
        f"| {one['ours_fps']:.3g} frames/s, theirs {one['theirs_fps']:.3g} |"
        for one in found["speed"]
    ]
    peaks = {(one["tool"], one["frames"]): one["peak_mb"] for one in found["curves"]}
    for (tool, frames), peak in peaks.items():
        if tool == "ours" and ("theirs", frames) in peaks:
            theirs = peaks["theirs", frames]
            lines.append(
                f"| 3 | peak memory / SAM2VideoPredictor's, {frames} frames | "
                f"{peak / theirs:.3g} x | | {peak:.0f} MB, theirs {theirs:.0f} MB |"
            )
    return lines


def exporting(quick: bool, _full: bool) -> list[str]:
    """Row 4, from the ratios that ``benchmarks.exports`` returns."""
    from benchmarks import exports

    rows = getattr(exports, "rows", None)
    if rows is None:
        return ["| 4 | exports | not measured | | benchmarks.exports has no rows() |"]
    return [
        f"| 4 | export {one.name} | not measured | | {one.note} |"
        if one.ratio is None
        else f"| 4 | export {one.name} | {one.ratio:.3g} x | {one.lowest:.3g} to {one.highest:.3g} "
        f"| CPU time; {one.note} |"
        for one in rows(quick)
    ]


def resuming(quick: bool, _full: bool) -> list[str]:
    """Row 5."""
    return part("benchmarks.scale", "resume", "2000" if quick else "100000")


def starting(_quick: bool, _full: bool) -> list[str]:
    """Row 6."""
    return part("benchmarks.scale", "start")


def scaling(quick: bool, _full: bool) -> list[str]:
    """Row 7."""
    stored = part("benchmarks.scale", "store", "20000" if quick else "1000000")
    return stored + part("benchmarks.scale", "ray", *(["8", "1"] if quick else ["64"]))


PARTS: dict[str, Callable[[bool, bool], list[str]]] = {
    "1": labelling, "3": tracking, "4": exporting, "5": resuming, "6": starting, "7": scaling,
}  # fmt: skip
"""What is measured; row 2 comes with row 1."""


def machine() -> str:
    """Return what this was measured on, when, and with what."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores of {cpu}, "
        f"{memory:.0f} GiB, no GPU unless a row says so, Python {platform.python_version()}, "
        f"{', '.join(versions)}. Load before: {os.getloadavg()[0]:.1f}."
    )


def plot_scale() -> None:
    """Draw rate and memory of the store over the number of pictures, if they were measured."""
    path = RESULTS / "scale.json"
    if not path.exists():
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curve = json.loads(path.read_text())["curve"]
    counts = [count / 1000 for count, _, _ in curve]
    rates = [(after[0] - before[0]) / (after[1] - before[1]) for before, after in pairwise(curve)]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(counts[1:], rates, "o-")
    left.axhline(2000, color="gray", linestyle=":")
    left.set(xlabel="thousand pictures stored", ylabel="pictures/s", ylim=(0, None))
    right.plot(counts, [memory for _, _, memory in curve], "o-")
    right.set(xlabel="thousand pictures stored", ylabel="peak memory, MiB", ylim=(0, None))
    figure.suptitle("Store: 10 objects a picture (dotted: 2,000 pictures/s)")
    figure.savefig(RESULTS / "scale.png", dpi=120)


def kept() -> dict[str, Any]:
    """Return what was kept of each part: where and how it was measured, and its lines."""
    path = RESULTS / "table.json"
    found: dict[str, dict[str, list[str] | str]] = (
        json.loads(path.read_text()) if path.exists() else {}
    )
    return found


def keep(number: str, where: str, lines: list[str]) -> None:
    """Keep a part's lines in place of its older ones, and write RESULTS.md anew."""
    command = " ".join(["python -m benchmarks.run", *sys.argv[1:]])
    table = kept() | {number: {"where": where, "command": command, "lines": lines}}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "table.json").write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")
    text = "# Results\n\nWritten by `python -m benchmarks.run --write`; each part says when.\n"
    for _, part in sorted(table.items()):
        body = "\n".join(part["lines"])
        text += f"\n{part['where']} `{part['command']}`\n\n{HEAD}\n{body}\n"
    plot_scale()
    plots = [name for name in ("tracking.png", "scale.png") if (RESULTS / name).exists()]
    text += "".join(f"\n![{name}](results/{name})\n" for name in plots)
    (HERE / "RESULTS.md").write_text(text)


def main() -> None:
    """Print the table, and keep each part as soon as it is there, if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    print(f"{machine()}\n\n{HEAD}", flush=True)
    for number in given.only:
        where = machine()
        lines = PARTS[number](given.quick, given.full)
        print("\n".join(lines), flush=True)
        if given.write:
            keep(number, where, lines)


if __name__ == "__main__":
    main()
