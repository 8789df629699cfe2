"""What calibration gains on pictures unlike the training's, and how long it takes.

    python -m benchmarks.calibration [--seeds 730000 732000 734000] [--held-out 1000]

For each seed: makes scenes that training never had, shifts them (darker, noisier, blurred), labels
them with the bundled pair, calibrates on the first 50, and measures the others before and after
with what ``autolabel eval`` says, intervals from resampled pictures, and the expected calibration
error of the probabilities. Of 250 pictures' labels that error is 0.025 even where the
probabilities are right, of 1,000 half of that. Then the first project's rows are copied until it
has 2,000 pictures, and `autolabel calibrate` is timed on it from the call to the labels selected
anew. Prints JSON: each seed, mean and worst, the time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from autolabel import api
from autolabel.evaluate.fitting import expected_error
from autolabel.evaluate.intervals import f1_intervals
from autolabel.evaluate.samples import Rows, lowered, read_samples
from autolabel.evaluate.truth import Truth, load_truth, match_classes
from autolabel.ontology import Ontology, load_ontology
from autolabel.probability import Probabilities
from autolabel.store import Project
from autolabel.store.rows import CANDIDATE, LABEL
from autolabel.tiny.truth import write_dataset

ROOT = Path(__file__).parents[1]
LABELLED = 50
TIMED = 2000
DARKER, NOISE, BLUR = 0.45, 14.0, 1.6


def shift(path: Path, seed: int) -> None:
    """Make a picture darker, noisier and blurred."""
    picture = Image.open(path).filter(ImageFilter.GaussianBlur(BLUR))
    pixels = np.asarray(picture).astype(np.float32) * DARKER
    pixels += np.random.default_rng(seed).normal(0, NOISE, pixels.shape)
    Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8)).save(path, compress_level=1)


def make(folder: Path, count: int, seed: int) -> None:
    """Make the shifted scenes and label them."""
    scenes = folder / "scenes"
    if not scenes.exists():
        write_dataset(
            scenes, count=count, clips=0, frames=1, seed=seed, height=256, width=256, hard=False
        )
        for index, path in enumerate(sorted((scenes / "images").glob("*.png"))):
            shift(path, seed + index)
    shutil.copy(ROOT / "ontologies" / "shapes.yaml", folder / "shapes.yaml")
    command = [sys.executable, "-m", "autolabel", "run", "--models", "tiny", "--device", "cpu"]
    command += ["-q", "-o", folder / "shapes.yaml", "--out", folder / "project"]
    command.append(scenes / "images")
    subprocess.run([*map(str, command)], check=True, cwd=ROOT, stdout=sys.stderr)


def part(truth: Truth, path: Path, start: int, stop: int | None) -> Path:
    """Write some pictures of a truth as a truth of their own."""
    images = truth.data["images"][start:stop]
    kept = {one["id"] for one in images}
    some = [one for one in truth.data["annotations"] if one["image_id"] in kept]
    path.write_text(json.dumps({**truth.data, "images": images, "annotations": some}))
    return path


def rows_of(folder: Path, truth: Path, ontology: Ontology) -> tuple[Any, Rows, Rows]:
    """Return the held-out samples with labels and all candidates, judged."""
    known = load_truth(truth)
    with Project.open(folder, readonly=True) as project:
        classes = match_classes(known, ontology.class_names)
        samples = read_samples(project, known, ontology, classes)
    every = range(len(samples.names))
    return samples, samples.rows(ontology, every), samples.rows(lowered(ontology, 0.1), every)


def error(rows: Rows, sure: Probabilities, names: tuple[str, ...]) -> float | None:
    """Return the expected calibration error of these labels' probabilities."""
    said = np.array([sure.of(names[k], s) for k, s in zip(rows.classes, rows.scores, strict=True)])
    return expected_error(said, rows.right)


def grown(folder: Path, out: Path, count: int) -> None:
    """Copy a project with its rows repeated under other names until it has so many pictures."""
    shutil.copytree(folder, out)
    with Project.open(out) as project:
        db = project._db
        media = [row for (row,) in db.execute("SELECT id FROM media ORDER BY id")]
        columns = [row[1] for row in db.execute("PRAGMA table_info(media)") if row[1] != "id"]
        listed = ", ".join(columns)
        picked = ", ".join("?2 || name" if one == "name" else one for one in columns)
        db.execute("BEGIN")
        for number in range(count - len(media)):
            source, mark = media[number % len(media)], f"copy{number:05d}_"
            new = db.execute(
                f"INSERT INTO media ({listed}) SELECT {picked} FROM media WHERE id = ?1 "
                "RETURNING id",
                (source, mark),
            ).fetchone()[0]
            for table, values in (("candidates", CANDIDATE), ("labels", LABEL)):
                db.execute(
                    f"INSERT INTO {table} (media_id, {values}) SELECT ?, {values} FROM {table} "
                    "WHERE media_id = ?",
                    (new, source),
                )
        db.execute("COMMIT")


def timed(folder: Path, truth: Path) -> dict[str, Any]:
    """Return how long `autolabel calibrate` takes on a large project."""
    out = folder / "large"
    shutil.rmtree(out, ignore_errors=True)
    grown(folder / "fresh", out, TIMED)
    shutil.copy(ROOT / "ontologies" / "shapes.yaml", folder / "large.yaml")
    began, worked = time.perf_counter(), time.process_time()
    report = api.calibrate(out, truth, ontology=folder / "large.yaml")
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    return {
        "pictures": TIMED,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "of_which_fitting": round(report.found.seconds, 2),
        "labels": report.reselected,
        "load_average": round(os.getloadavg()[0], 1),
    }


def measure(folder: Path) -> dict[str, Any]:
    """Return the figures before and after."""
    truth = load_truth(folder / "scenes" / "truth.json")
    few = part(truth, folder / "labelled.json", 0, LABELLED)
    rest = part(truth, folder / "held_out.json", LABELLED, None)
    shutil.rmtree(folder / "fresh", ignore_errors=True)
    shutil.copytree(folder / "project", folder / "fresh")
    ontology = folder / "shapes.yaml"
    project = folder / "project"
    was, before = load_ontology(ontology), api.measure(project, rest)
    report = api.calibrate(project, few, ontology=ontology).as_dict()
    now, after = load_ontology(ontology), api.measure(project, rest)
    samples, labels, _ = rows_of(project, rest, was)
    _, new, candidates = rows_of(project, rest, now)
    scored = f1_intervals(samples.truths, range(len(samples.names)), labels, new, 1)
    with Project.open(project, readonly=True) as opened:
        sure = Probabilities.needed(opened.meta(), project)
    return {
        "labelled": LABELLED,
        "held_out": before["pictures"],
        "macro_f1_before": before["macro_f1"],
        "macro_f1_after": after["macro_f1"],
        "gain": scored.gain.as_dict(),
        "said_by_cross_validation": report["macro_f1"],
        "ece_of_candidates": error(candidates, sure, now.class_names),
        "ece_of_labels": error(new, sure, now.class_names),
        "map_box": [before["box"]["ap"], after["box"]["ap"]],
        "classes_left_alone": sum(1 for one in report["classes"].values() if one["note"]),
    }


def of_seed(folder: Path, seed: int, held_out: int) -> dict[str, Any]:
    """Return a seed's figures; its pictures and labels stay in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "fresh").exists():  # an earlier run's project, before it was calibrated
        shutil.rmtree(folder / "project", ignore_errors=True)
        shutil.move(folder / "fresh", folder / "project")
    make(folder, LABELLED + held_out, seed)
    return measure(folder)


def summary(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and worst over the seeds."""
    gains = [one["gain"]["value"] for one in figures]
    found: dict[str, Any] = {"gain": {"mean": float(np.mean(gains)), "worst": min(gains)}}
    for key in ("ece_of_candidates", "ece_of_labels"):
        errors = [one[key] for one in figures]
        found[key] = {"mean": float(np.mean(errors)), "worst": max(errors)}
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[730_000, 732_000, 734_000])
    parser.add_argument("--folder", type=Path, help="keep everything here, and use what is there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        seeds = {seed: of_seed(folder / str(seed), seed, given.held_out) for seed in given.seeds}
        first = folder / str(given.seeds[0])
        timing = timed(first, first / "labelled.json")
        found = {"seeds": seeds, **summary([*seeds.values()]), "timing": timing}
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
