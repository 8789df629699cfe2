"""How fast the page's threshold slider answers: ``python -m benchmarks.page``.

500 objects in one picture of 1280 x 960; what is timed is everything the server does from the
slider's value to what it sends, the run on the project included. Bar: 0.3 s.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from autolabel import api
from autolabel.app import handlers, html
from autolabel.app.results import Found
from autolabel.app.scene import write_scene
from autolabel.ontology import parse_ontology
from autolabel.types import Image as Pixels
from autolabel.types import Proposals

OBJECTS = 500
ONTOLOGY = "car: car\nperson: person\ndog: dog\n"


class Many:
    """A grounder that finds 500 objects, each of a score of its own."""

    def __init__(self, weights: str | None, *, device: str, dtype: str) -> None:
        self.weights = weights

    def fingerprint(self) -> str:
        """Return what it is."""
        return "many"

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Take any."""
        return []

    def ground(
        self, images: Sequence[Pixels], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return a grid of boxes."""
        at = np.arange(OBJECTS)
        left, top = 5 + (at % 25) * 50, 5 + (at // 25) * 47
        boxes = np.stack([left, top, left + 40, top + 40], 1).astype(np.float32)
        scores = np.full((OBJECTS, len(prompts)), 0.05, np.float32)
        scores[at, at % len(prompts)] = 0.1 + 0.89 * at / OBJECTS
        return [Proposals(boxes, scores) for _ in images]


def main() -> None:
    """Print the median and the slowest of 30 answers."""
    with tempfile.TemporaryDirectory() as folder:
        found = crowded(Path(folder))
        seconds, counts = [], []
        for step in range(30):
            began = time.perf_counter()
            keys = found.select(None, 0.1 + 0.03 * (step * 7 % 30))
            sent = handlers.summary(found, keys) + html.shown(keys, "image") + found.command()
            seconds.append(time.perf_counter() - began)
            counts.append(len(keys))
    print(f"{OBJECTS} objects, {min(counts)} to {max(counts)} shown, {len(sent)} characters sent")
    print(f"median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s (bar 0.3 s)")


def crowded(folder: Path) -> Found:
    """Return the page's result for a picture of 500 objects."""
    picture, project, view = folder / "crowd.png", folder / "project", folder / "view"
    view.mkdir()
    Image.fromarray(np.full((960, 1280, 3), 90, np.uint8)).save(picture)
    options = {
        "grounder": "benchmarks.page:Many",
        "segmenter": "tests.fakes:Ellipses",
        "device": "cpu",
    }
    api.run([picture], parse_ontology(ONTOLOGY), out=project, **options)
    write_scene(project, parse_ontology(ONTOLOGY), None, view)
    return Found.load("image", project, [str(picture)], ONTOLOGY, options, view, view / "drawn")


if __name__ == "__main__":
    main()
