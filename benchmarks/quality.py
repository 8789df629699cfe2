"""What tiles, mirrored views and negative prompts do for the labels: before and after.

    python -m benchmarks.quality tiling     [--pictures 12] [--tile 256:0.25]
    python -m benchmarks.quality flip       [--pictures 40]
    python -m benchmarks.quality negatives  [--pictures 150]

The bundled pair on generated scenes of seeds that nothing was trained on or tuned with; every
figure is of the labels as they are stored, at the ontology's thresholds. ``--seed`` takes others.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import autolabel
from autolabel.ontology import ClassSpec, Ontology, load_ontology
from autolabel.tiny.scenes import CLASSES
from autolabel.tiny.truth import write_dataset

SHAPES = Path(__file__).parents[1] / "ontologies" / "shapes.yaml"
SMALL = 16
"""Objects whose box is narrower and lower than so many pixels are small."""

Entry = dict[str, Any]


def main() -> None:
    """Run one comparison and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("tiling", "flip", "negatives"))
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--seed", type=int, default=710_000)
    parser.add_argument("--tile", default="256:0.25")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"tiling": tiling, "flip": flip, "negatives": negatives}[args.what](args, Path(folder))


# Tiles


def tiling(args: argparse.Namespace, folder: Path) -> None:
    """Objects of 8 to 200 px in pictures of 1024 px, with and without tiles."""
    truth = scenes(folder, args.pictures or 12, args.seed, 1024, True, (8.0, 200.0))
    small = sum(extent(one["bbox"]) < SMALL for one in truth["annotations"])
    print(f"{len(truth['images'])} pictures of 1024 x 1024, seeds {args.seed} up: ", end="")
    print(f"{len(truth['annotations'])} objects, {small} under {SMALL} px")
    print(f"{'':14}{'AP50 small':>12}{'AP50 others':>12}{'mask AP50 small':>17}", end="")
    print(f"{'labels':>8}{'precision':>10}{'recall':>8}{'duplicates':>12}")
    for name, options in (("whole", {}), (f"--tile {args.tile}", {"tile": args.tile})):
        labels = run(folder, name, load_ontology(SHAPES), truth, **options)
        right, twice = matched(truth, labels)
        cells = [
            f"{name:14}{ap50(truth, labels, 'bbox', (0, SMALL)):12.3f}",
            f"{ap50(truth, labels, 'bbox', (SMALL, 10_000)):12.3f}",
            f"{ap50(truth, labels, 'segm', (0, SMALL)):17.3f}{len(labels):8}",
            f"{right / max(1, len(labels)):10.3f}{right / len(truth['annotations']):8.3f}",
            f"{twice:5} {twice / max(1, len(labels)):6.2%}",
        ]
        print("".join(cells), flush=True)


# Mirrored views


def flip(args: argparse.Namespace, folder: Path) -> None:
    """Hard scenes of 256 px, with and without --tta flip."""
    truth = scenes(folder, args.pictures or 40, args.seed, 256, True, None)
    print(f"{len(truth['images'])} hard pictures, {len(truth['annotations'])} objects")
    print(f"{'':14}{'AP50':>8}{'labels':>8}{'precision':>10}{'recall':>8}")
    for name in ("none", "flip"):
        labels = run(folder, name, load_ontology(SHAPES), truth, tta=name)
        right, _ = matched(truth, labels)
        print(
            f"--tta {name:8}{ap50(truth, labels, 'bbox', (0, 10_000)):8.3f}{len(labels):8}"
            f"{right / max(1, len(labels)):10.3f}{right / len(truth['annotations']):8.3f}",
            flush=True,
        )


# Negative prompts


def negatives(args: argparse.Namespace, folder: Path) -> None:
    """Seven classes asked alone, without and with what they are confused with as `not`."""
    truth = scenes(folder, args.pictures or 150, args.seed, 256, True, None)
    print(f"{len(truth['images'])} hard pictures, seeds {args.seed} up; per class of {len(ASKED)}")
    print(f"{'':14}{'labels':>8}{'right':>8}{'wrong':>8}{'recall':>8}")
    bare = Ontology(tuple(ClassSpec(name, (name,)) for name in ASKED), 0.5, 0.6)
    armed = Ontology(
        tuple(replace(spec, negatives=confusable(spec.name)) for spec in bare.classes), 0.5, 0.6
    )
    figures = {}
    wanted = [one for one in truth["annotations"] if CLASSES[one["category_id"] - 1] in ASKED]
    for name, ontology in (("without", bare), ("with not:", armed)):
        labels = run(folder, name.split()[0], ontology, truth, segmenter="none")
        right, _ = matched(truth, labels)
        figures[name] = (len(labels) - right, right / len(wanted))
        print(
            f"{name:14}{len(labels):8}{right:8}{len(labels) - right:8}{right / len(wanted):8.3f}",
            flush=True,
        )
    (wrong, recall), (wrong_after, recall_after) = figures.values()
    print(
        f"wrong labels: {wrong_after / max(1, wrong):.2f} of what they were; recall "
        f"{100 * (recall_after - recall):+.1f} points"
    )


ASKED = ("red heart", "blue ring", "green star", "yellow cross", "cyan moon", "purple triangle",
         "pink heart")  # fmt: skip
COLOURS = ("red", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "white", "grey",
           "black")  # fmt: skip
FORMS = ("heart", "ring", "star", "cross", "triangle", "moon", "disc", "square", "hexagon", "bar")


def confusable(name: str) -> tuple[str, ...]:
    """Return what shares the colour or the shape of a class."""
    colour, form = name.split()
    others = [f"{other} {form}" for other in COLOURS if other != colour]
    return (*others, *(f"{colour} {other}" for other in FORMS if other != form))


# What all share


def scenes(
    folder: Path, count: int, seed: int, side: int, hard: bool, sizes: tuple[float, float] | None
) -> Entry:
    """Write scenes; return their truth."""
    write_dataset(
        folder / "scenes",
        count=count,
        clips=0,
        frames=1,
        seed=seed,
        height=side,
        width=side,
        hard=hard,
        sizes=sizes,
    )
    truth: Entry = json.loads((folder / "scenes" / "truth.json").read_text())
    return truth


def run(folder: Path, name: str, ontology: Ontology, truth: Entry, **options: Any) -> list[Entry]:
    """Label the scenes; return the labels as COCO results."""
    project = folder / name.strip("-").replace(" ", "-").replace(":", "-")
    settings = {"preset": "tiny", "device": "cpu", **options}
    autolabel.run([folder / "scenes" / "images"], ontology, out=project, **settings)
    ids = {Path(one["file_name"]).name: one["id"] for one in truth["images"]}
    return list(_results(project, ontology, ids))


def _results(project: Path, ontology: Ontology, ids: dict[str, int]) -> Iterator[Entry]:
    with autolabel.Project.open(project, readonly=True) as opened:
        for media, instances in opened.iter_labelled():
            for one in instances:
                x1, y1, x2, y2 = one.box
                result = {
                    "image_id": ids[media.name],
                    "category_id": CLASSES.index(ontology.class_names[one.class_id]) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": one.score,
                }
                if one.mask is not None:
                    size = [one.mask.height, one.mask.width]
                    result["segmentation"] = {"size": size, "counts": one.mask.counts}
                yield result


def extent(box: list[float]) -> float:
    """Return the longer side of x, y, w, h."""
    return max(box[2], box[3])


def ap50(truth: Entry, labels: list[Entry], kind: str, sides: tuple[int, int]) -> float:
    """Return AP50 over objects whose longer side is in [least, most), by pycocotools.

    pycocotools sorts by area; here the area of an object is its longer side, squared.
    """
    labels = [one for one in labels if kind == "bbox" or "segmentation" in one]
    if not labels:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        right = COCO()
        right.dataset = truth | {
            "annotations": [{**a, "area": extent(a["bbox"]) ** 2} for a in truth["annotations"]]
        }
        right.createIndex()
        found = right.loadRes([dict(one) for one in labels])
        for one in found.dataset["annotations"]:
            one["area"] = extent(one["bbox"]) ** 2
        measured = COCOeval(right, found, kind)
        measured.params.areaRng = [[sides[0] ** 2, sides[1] ** 2 - 1e-6]]
        measured.params.areaRngLbl = ["all"]
        measured.params.iouThrs = measured.params.iouThrs[:1]
        measured.evaluate()
        measured.accumulate()
    precision = measured.eval["precision"][0, :, :, 0, -1]
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def matched(truth: Entry, labels: list[Entry]) -> tuple[int, int]:
    """Return how many labels are right, and how many show an object that a better one shows.

    A label is right at an IoU of 0.5 with an object of its class that no better label has. It
    is a duplicate where all objects, of any class, that it overlaps so much have a better one.
    """
    right = twice = 0
    for image in truth["images"]:
        things = [one for one in truth["annotations"] if one["image_id"] == image["id"]]
        shown: set[int] = set()
        mine = [one for one in labels if one["image_id"] == image["id"]]
        for label in sorted(mine, key=lambda one: -float(one["score"])):
            over = [one for one in things if iou(one["bbox"], label["bbox"]) >= 0.5]
            free = [one for one in over if one["id"] not in shown]
            twice += bool(over) and not free
            same = [one for one in free if one["category_id"] == label["category_id"]]
            right += bool(same)
            for one in (same or free)[:1]:
                shown.add(one["id"])
    return right, twice


def iou(a: list[float], b: list[float]) -> float:
    """Return the IoU of two boxes x, y, w, h."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(0.0, wide) * max(0.0, high)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


if __name__ == "__main__":
    main()
