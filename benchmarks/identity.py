"""Who is who in generated clips with exact truth, kind of event by kind of event.

    python -m benchmarks.identity                                # the bundled pair
    python -m benchmarks.identity --segmenter sam2:runs/more/out # other weights
    python -m benchmarks.identity --detections true              # true masks at key frames
    python -m benchmarks.identity --detections true --tracker true   # the identity logic alone
    python -m benchmarks.identity --detections true --tracker sloppy # ... with a poor tracker

Clips come from ``benchmarks.event_clips`` and go through detector, tracker and identity as in a
run, without H.264 in between. ``shared`` counts ids that lie on two different objects (mask IoU
from 0.5, in any frame); ``--save FILE`` keeps the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from autolabel import masks as rle
from autolabel.evaluate.video import Clip, ClipScore, Thing, VideoEvaluation, measure
from autolabel.ontology import load_ontology
from autolabel.pipeline import Question, Stages, label_images
from autolabel.registry import load_grounder, load_segmenter, load_tracker, preset
from autolabel.tiny.scenes import CLASSES, Scene
from autolabel.track.regions import Region, iou
from autolabel.track.settings import TrackSettings
from autolabel.track.values import Tracker
from autolabel.track.video import Detect, label_video
from autolabel.types import Frame, Image, Instance
from benchmarks.event_clips import EVENTS
from benchmarks.stand_ins import SloppyTracker, TrueTracker, picture_key

SHAPES = Path(__file__).parents[1] / "ontologies" / "shapes.yaml"
Clips = dict[int, Sequence[Instance]]


def true_labels(scene: Scene) -> list[Instance]:
    """The objects of a frame as a perfect detector and segmenter would give them."""
    found = []
    for thing in scene.objects:
        mask = rle.encode(thing.mask)
        box = rle.tight_box(mask)
        assert box is not None
        found.append(Instance(CLASSES.index(thing.name), box, box, mask, 0.9, 0.95))
    return found


@dataclass(frozen=True)
class Models:
    """What labels the clips; where ``detect`` is None the truth stands in."""

    detect: Detect | None
    tracker: Tracker | Callable[[Sequence[Scene]], Tracker]

    def label(self, scenes: Sequence[Scene], settings: TrackSettings) -> Clips:
        """The labels of each frame."""
        truths = {picture_key(scene.image): scene for scene in scenes}

        def truth(image: Image) -> list[Instance]:
            return true_labels(truths[picture_key(image)])

        frames = (Frame(scene.image, i, i / 12) for i, scene in enumerate(scenes))
        tracker = self.tracker(scenes) if callable(self.tracker) else self.tracker
        windows = label_video(frames, self.detect or truth, tracker, settings)
        return {index: labels for window in windows for index, labels in window.frames}


def compared(name: str, scenes: Sequence[Scene], labels: Clips) -> tuple[ClipScore, int]:
    """The clip's scores, and how many ids lie on two objects."""
    numbers: dict[int, int] = {}
    truths = {i: true_things(scene) for i, scene in enumerate(scenes)}
    found: dict[int, list[Thing]] = {}
    for index, some in labels.items():
        found[index] = [
            Thing(
                numbers.setdefault(one.track_id or 0, len(numbers)), one.class_id, one.mask, one.box
            )
            for one in some
        ]
    tracks = 1 + max((t.track for things in truths.values() for t in things), default=-1)
    clip = Clip(name, tuple(truths), truths, found, tracks, len(numbers))
    return measure(clip), shared_ids(scenes, labels)


def true_things(scene: Scene) -> list[Thing]:
    return [
        Thing(thing.track_id, label.class_id, label.mask, label.box)
        for thing, label in zip(scene.objects, true_labels(scene), strict=True)
    ]


def shared_ids(scenes: Sequence[Scene], labels: Clips) -> int:
    """How many ids lie on two different objects at some time, whatever the class."""
    on: dict[int | None, set[int]] = defaultdict(set)
    for index, some in labels.items():
        objects = scenes[index].objects
        regions = [Region.of(rle.decode(one.mask)) for one in some if one.mask is not None]
        truths = [Region.of(thing.mask) for thing in objects]
        overlap = np.array(
            [[iou(a, b) if a and b else 0.0 for b in regions] for a in truths]
        ).reshape(len(truths), len(regions))
        for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            if overlap[row, column] >= 0.5:
                on[some[column].track_id].add(objects[row].track_id)
    return sum(len(things) > 1 for things in on.values())


def by_distance(scenes: Sequence[Scene], labels: Clips, every: int) -> dict[int, list[float]]:
    """Best IoU of every object in every frame, by the frames since the last regular key frame."""
    found: dict[int, list[float]] = defaultdict(list)
    for index, scene in enumerate(scenes):
        some = labels.get(index, ())
        truth = [label.mask for label in true_labels(scene) if label.mask]
        ious = rle.iou(truth, [one.mask for one in some if one.mask])
        found[index % every] += [float(row.max()) if row.size else 0.0 for row in ious]
    return found


def run_event(
    name: str,
    models: Models,
    settings: TrackSettings,
    seeds: Sequence[int],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Label the clips of one event; gives the row of the table."""
    scores, shared, seconds, frames = [], 0, 0.0, 0
    reach: dict[int, list[float]] = defaultdict(list)
    for seed in seeds:
        scenes = list(EVENTS[name](seed))
        start = time.perf_counter()
        labels = models.label(scenes, settings)
        seconds += time.perf_counter() - start
        frames += len(scenes)
        score, twice = compared(f"{name} {seed}", scenes, labels)
        scores.append(score)
        shared += twice
        for step, ious in by_distance(scenes, labels, settings.keyframe_every).items():
            reach[step] += ious
    total = VideoEvaluation(tuple(scores)).as_dict()
    row = {key: total[key] for key in ("truth_tracks", "tracks", "jf", "j", "idf1", "hota")}
    row |= {"id_switches": total["id_switches"], "shared": shared, "clips": len(seeds)}
    row |= {"frames_per_second": frames / seconds}
    row["iou_after_key_frame"] = [float(np.mean(reach[step])) for step in sorted(reach)]
    row["clip_rows"] = total["clips"]
    say(line(name, row))
    return {"event": name, **row}


HEAD = (
    f"{'event':>8} {'clips':>5} {'objects':>7} {'tracks':>6} {'J&F':>6} {'J':>6} {'IDF1':>6} "
    f"{'HOTA':>6} {'switches':>8} {'shared':>6} {'f/s':>5}"
)


def line(name: str, row: dict[str, Any]) -> str:
    figures = " ".join(f"{row[key]:>6.3f}" for key in ("jf", "j", "idf1", "hota"))
    counts = f"{row['clips']:>5} {row['truth_tracks']:>7} {row['tracks']:>6}"
    last = f"{row['id_switches']:>8} {row['shared']:>6} {row['frames_per_second']:>5.1f}"
    return f"{name:>8} {counts} {figures} {last}"


def mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All events as one row: rates are means over the events, counts are sums."""
    sums: Counter[str] = Counter()
    for row in rows:
        for key in ("clips", "truth_tracks", "tracks", "id_switches", "shared"):
            sums[key] += row[key]
    rates = ("jf", "j", "idf1", "hota", "frames_per_second")
    return {**sums, **{key: float(np.mean([row[key] for row in rows])) for key in rates}}


def load_models(options: argparse.Namespace) -> Models:
    chosen = preset(options.models)
    detect: Detect | None = None
    tracker: Tracker | Callable[[Sequence[Scene]], Tracker]
    tracker = SloppyTracker if options.tracker == "sloppy" else TrueTracker
    if options.detections == "model":
        ontology = load_ontology(SHAPES)
        stages = Stages(
            load_grounder(options.grounder or chosen.grounder, options.device),
            load_segmenter(options.segmenter or chosen.segmenter, options.device),
        )
        question = Question(ontology, tuple(ontology.prompts), 0.1)
        detect = lambda image: label_images([image], question, stages)[0].instances  # noqa: E731
    if options.tracker == "model":
        tracker = load_tracker(options.segmenter or chosen.segmenter, options.device)
    return Models(detect, tracker)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="tiny", help="preset")
    parser.add_argument("--grounder", help="in place of the preset's")
    parser.add_argument("--segmenter", help="the same; it is the tracker, too")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--detections", choices=["model", "true"], default="model")
    parser.add_argument("--tracker", choices=["model", "true", "sloppy"], default="model")
    parser.add_argument("--events", nargs="*", default=list(EVENTS), choices=list(EVENTS))
    parser.add_argument("--count", type=int, default=3, help="clips an event")
    parser.add_argument("--seed", type=int, default=700_000)
    parser.add_argument("--keyframe-every", type=int, default=TrackSettings().keyframe_every)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path, help="write the figures there, as JSON")
    return parser.parse_args()


def main() -> None:
    import torch

    options = arguments()
    torch.set_num_threads(options.threads)
    settings = TrackSettings(keyframe_every=options.keyframe_every)
    seeds = range(options.seed, options.seed + options.count)
    models = load_models(options)
    print(HEAD)
    rows = [run_event(name, models, settings, seeds, print) for name in options.events]
    print(line("all", mean_row(rows)))
    steps = [row["iou_after_key_frame"] for row in rows]
    print("IoU by frames since the key frame:", *(f"{v:.2f}" for v in np.mean(steps, axis=0)))
    if options.save:
        said = {key: str(value) for key, value in vars(options).items()}
        options.save.write_text(json.dumps({"options": said, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
