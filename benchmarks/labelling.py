"""Labelling pictures: this program beside the tutorial way, and its overhead over bare models.

    python -m benchmarks.labelling [--pictures 24] [--rounds 3]        the bundled pair
    python -m benchmarks.labelling --full --pictures 4                 full-size, random weights
    python -m benchmarks.labelling --overhead --pictures 300           row 2 alone
    python -m benchmarks.labelling --compile            this program with compiled models

The tutorial way: one picture at a time through the processor, the grounding model,
``post_process_grounded_object_detection``, ``SAM2ImagePredictor.set_image`` and ``predict`` box
by box, results kept in a list, PyTorch's own number of threads. This program: the whole run,
from files to committed labels, without loading the models. Bare models: the same model calls
on tensors made before, as many at once as a run makes. All use the same weights and pictures,
and take turns.

The full-size pair is Grounding DINO tiny (172 M parameters, 800 x 1333) and SAM 2.1 Hiera-tiny
with random weights; as random scores mean nothing, both ways then take the same 5 boxes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sam2.sam2_image_predictor import SAM2ImagePredictor

import autolabel
from autolabel import registry
from autolabel.config import RunConfig
from autolabel.crew import load_stages, share_cores
from autolabel.media.pictures import read_image
from autolabel.models.device import cpu_cores, resolve_device
from autolabel.ontology import Ontology, load_ontology
from autolabel.pipeline import Question, Stages, label_images
from autolabel.segment.sam2_pixels import square
from autolabel.tiny.truth import write_dataset
from benchmarks.full_size import BOXES, full_size_pair
from benchmarks.table import Row, ratios

ROOT = Path(__file__).parents[1]


class Bench:
    """The models, the pictures, and the three ways to send one through the other."""

    def __init__(self, config: RunConfig, ontology: Ontology, files: list[Path]) -> None:
        self.config, self.ontology, self.files = config, ontology, files
        self.stages: Stages = load_stages(config)
        self.question = Question(ontology, tuple(ontology.prompts), config.floor)
        self.device = resolve_device(config.device)
        self.lanes, self.threads = share_cores(self.stages, config, cpu_cores())
        self.predictor = SAM2ImagePredictor(self.stages.segmenter._model)
        side = self.stages.segmenter._model.image_size  # the predictor takes it to be 1024
        self.predictor._bb_feat_sizes = [(side // part, side // part) for part in (4, 8, 16)]
        self.calls = self._prepare()

    def run(self, out: Path) -> float:
        """Return the seconds of a run, from files to committed labels."""
        report = autolabel.run(
            self.files,
            self.ontology,
            out=out,
            grounder=self.config.grounder,
            segmenter=self.config.segmenter,
            device=self.config.device,
            compile=self.config.compile,
        )
        assert report.done == len(self.files), report
        return report.seconds - report.stages["start"]

    def tutorial(self) -> float:
        """Return the seconds of the tutorial way."""
        with own_threads():
            began = time.perf_counter()
            kept = [self._tutorial(Image.open(path).convert("RGB")) for path in self.files]
            seconds = time.perf_counter() - began
        assert len(kept) == len(self.files)
        return seconds

    @torch.no_grad()
    def _tutorial(self, picture: Image.Image) -> list[Any]:
        """Return one picture's boxes, scores and masks as the models' own examples make them."""
        grounder = self.stages.grounder
        text = " . ".join(self.ontology.prompts) + " ."
        inputs = grounder._processor(images=picture, text=text, return_tensors="pt")
        inputs = inputs.to(self.device)
        outputs = grounder._model(**inputs)
        (found,) = grounder._processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], threshold=0.5, text_threshold=0.3,
            target_sizes=[picture.size[::-1]],
        )  # fmt: skip
        boxes = found["boxes"].cpu().numpy() if self.config.grounder.endswith("tiny") else BOXES
        self.predictor.set_image(np.asarray(picture))
        return [self.predictor.predict(box=box, multimask_output=False) for box in boxes]

    def bare(self) -> float:
        """Return the seconds of the model calls alone."""
        began = time.perf_counter()
        with ThreadPoolExecutor(
            self.lanes, initializer=torch.set_num_threads, initargs=(self.threads,)
        ) as pool:
            list(pool.map(lambda call: call(), self.calls))
        return time.perf_counter() - began

    def _prepare(self) -> list[Callable[[], None]]:
        """Return each picture's model calls, with their tensors ready."""
        grounder, segmenter = self.stages.grounder, self.stages.segmenter
        chunks = grounder._reader.chunks(sorted(set(self.question.asked)))
        side = int(segmenter._model.image_size)
        calls = []
        for path in self.files:
            image = read_image(path)[0].image
            ((_, pixels, mask, _),) = grounder._batches([image])
            (found,) = label_images([image], self.question, self.stages)
            rows = [i for i, one in enumerate(found.candidates.masks) if one is not None]
            boxes = torch.tensor(found.candidates.proposals.boxes[rows]).reshape(-1, 2, 2)
            scale = torch.tensor([side / image.shape[1], side / image.shape[0]])
            small = square(image, side, torch.device(self.device))[None]
            corners = (boxes * scale).to(self.device)
            calls.append(self._call(pixels, mask, chunks, small, corners))
        return calls

    def _call(self, pixels: Any, mask: Any, chunks: Any, square: Any, corners: Any) -> Any:
        """Return a function that makes one picture's model calls."""
        grounder, segmenter = self.stages.grounder, self.stages.segmenter

        @torch.no_grad()
        def call() -> None:
            grounder._forward(pixels, mask, chunks)
            if len(corners):
                (features,) = segmenter._encode_squares(square)
                segmenter._shown(features, corners)

        return call


@contextmanager
def own_threads() -> Iterator[None]:
    """Let PyTorch use all cores for one call, as it does by itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(cpu_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rows(
    pictures: int, rounds: int, full: bool, compiled: bool, overhead: bool = False
) -> list[Row]:
    """Return rows 1 and 2 of the table, for one pair of models; row 2 alone if asked."""
    name = "full size, random weights" if full else "bundled pair"
    name += ", compiled" if compiled else ""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        side = (768, 1024) if full else (256, 256)
        write_dataset(
            folder / "scenes", count=pictures, clips=0, frames=1, seed=90_000,
            height=side[0], width=side[1], hard=False,
        )  # fmt: skip
        models = full_size_pair(folder) if full else ("grounding-dino:tiny", "sam2:tiny")
        config = RunConfig(*models, device="auto", compile=compiled)
        ontology = load_ontology(ROOT / "ontologies" / "shapes.yaml")
        bench = Bench(config, ontology, sorted((folder / "scenes" / "images").iterdir()))
        if not overhead:
            bench.tutorial()
        bench.bare()
        ours, theirs, bare = [], [], []
        for turn in range(rounds):
            ours.append(bench.run(folder / f"project-{turn}"))
            bare.append(bench.bare())
            if not overhead:
                theirs.append(bench.tutorial())
    what = f"{pictures} pictures, {bench.lanes} calls at once"
    found = [Row("2", f"run / bare models, {name}", "x", *ratios(ours, bare), what)]
    if not overhead:
        rate = f"{pictures / min(ours):.2f} pictures/s, tutorial {pictures / min(theirs):.2f}"
        faster = ratios(theirs, ours)
        found.insert(0, Row("1", f"labelling / tutorial way, {name}", "x", *faster, rate))
    return found


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--overhead", action="store_true", help="without the tutorial way")
    given = parser.parse_args()
    some = given.pictures, given.rounds, given.full, given.compile, given.overhead
    for row in rows(*some):
        print(row.line(), f"load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    registry.bundled("detector")
    main()
