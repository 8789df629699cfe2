"""What the page shows of a project: pictures at screen size, and every object's outline as SVG.

Outlines are made once, by the worker, for every candidate that any threshold may ever select.
A threshold then only decides which of them are visible, which costs no drawing at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from autolabel import masks as rle
from autolabel.app.watching import colors
from autolabel.config import DEFAULT_FLOOR
from autolabel.draw import text_color
from autolabel.media.pictures import read_image
from autolabel.media.video import read_frames
from autolabel.ontology import Ontology
from autolabel.select import align, select, to_segment
from autolabel.store import Project
from autolabel.types import RLE, Candidates, Image, Instance, MediaRecord, Proposals

SIDE = 1280
"""Longest side of a picture on the page."""
FRAMES = 12
"""How many frames of a video are shown beside it."""
NEAR = 6
"""How many candidates below the threshold are offered where nothing was found."""

Objects = list[dict[str, Any]]


def write_scene(folder: Path, ontology: Ontology, floor: float | None, out: Path) -> dict[str, Any]:
    """Write ``scene.json`` and its pictures to ``out``; return counts and failures."""
    with Project.open(folder, readonly=True) as project:
        pictures: list[dict[str, Any]] = []
        tracks: list[dict[str, Any]] = []
        near: list[dict[str, Any]] = []
        for media in project.media("done"):
            if media.kind == "image":
                pictures.append(_picture(project, media, ontology, floor or DEFAULT_FLOOR, out))
            else:
                labels = project.instances(media.name)
                tracks = _tracks(labels)
                pictures += _frames(media, labels, tracks, out)
                near = _near(project, media, ontology)
        scene = {
            "classes": [
                {"name": name, "color": color, "ink": _hex(text_color(rgb))}
                for (name, color), rgb in zip(project.classes(), colors(project), strict=True)
            ],
            "pictures": pictures,
            "tracks": tracks,
            "near": near,
        }
        failures = [[media.name, media.reason] for media in project.failures()]
    (out / "scene.json").write_text(json.dumps(scene), "utf-8")
    return {"pictures": len(pictures), "failures": failures}


def _picture(
    project: Project, media: MediaRecord, ontology: Ontology, floor: float, out: Path
) -> dict[str, Any]:
    """Return one picture with every candidate that may become a label."""
    image = read_image(media.path)[0].image
    found = project.candidates(media.name).get(0)
    objects = _candidates(found, project.prompts(), ontology, floor) if found else []
    return _shown(image, media.name, 0, objects, out)


def _candidates(
    found: Candidates, asked: Sequence[str], ontology: Ontology, floor: float
) -> Objects:
    """Return what may become a label, each with the class and score that it would have."""
    aligned = align(found.proposals, asked, ontology)
    open_to_all = replace(
        ontology,
        classes=tuple(
            replace(spec, threshold=0.0, negatives=(), min_area=None, max_area=None)
            for spec in ontology.classes
        ),
    )
    own = sum(len(spec.prompts) for spec in ontology.classes)  # negative prompts come last
    objects = []
    for row in to_segment(aligned, ontology, found.height, found.width, floor):
        alone = Proposals(aligned.boxes[[row]], np.ascontiguousarray(aligned.scores[[row], :own]))
        for chosen in select(alone, open_to_all, found.height, found.width):
            mask = found.masks[row]
            tight = rle.tight_box(mask) if mask is not None else None
            box = [float(value) for value in aligned.boxes[row]]
            objects.append(
                {
                    "class": chosen.class_id,
                    "score": chosen.score,
                    "detector_box": box,
                    "box": list(tight) if tight is not None else box,
                    "mask": mask if tight is not None else None,
                }
            )
    return objects


def _tracks(labels: Iterable[Instance]) -> list[dict[str, Any]]:
    """Return a video's objects: class, mean score, and the frames that they are in."""
    found: dict[int, list[Instance]] = {}
    for one in labels:
        found.setdefault(one.track_id or 0, []).append(one)
    return [
        {
            "id": track,
            "class": group[-1].class_id,
            "score": float(np.mean([one.score for one in group if one.score is not None])),
            "frames": len(group),
            "first": group[0].frame_index,
            "last": group[-1].frame_index,
        }
        for track, group in sorted(found.items())
    ]


def _frames(
    media: MediaRecord, labels: list[Instance], tracks: list[dict[str, Any]], out: Path
) -> list[dict[str, Any]]:
    """Return some frames of a video, evenly spaced, with their labels."""
    chosen = {int(index) for index in np.linspace(0, media.frames - 1, FRAMES)}
    scores = {track["id"]: track["score"] for track in tracks}
    by_frame: dict[int, list[Instance]] = {}
    for one in labels:
        if one.frame_index in chosen:
            by_frame.setdefault(one.frame_index, []).append(one)
    shown = []
    for frame in read_frames(media.path, end=max(chosen) + 1):
        if frame.index in chosen:
            objects: Objects = [
                {
                    "class": one.class_id,
                    "score": scores[one.track_id or 0],
                    "track": one.track_id,
                    "box": list(one.box),
                    "mask": one.mask,
                }
                for one in by_frame.get(frame.index, [])
            ]
            name = f"frame {frame.index}"
            shown.append(_shown(frame.image, name, frame.index, objects, out))
    return shown


def _near(project: Project, media: MediaRecord, ontology: Ontology) -> list[dict[str, Any]]:
    """Return the best candidates of a video's key frames below the thresholds."""
    best: list[dict[str, Any]] = []
    for index, found in project.candidates(media.name).items():
        for one in _candidates(found, project.prompts(), ontology, 0.0):
            if one["score"] < ontology.classes[one["class"]].threshold:
                best.append({"class": one["class"], "score": one["score"], "frame": index})
    return sorted(best, key=lambda one: -float(one["score"]))[:NEAR]


def _shown(image: Image, name: str, frame: int, objects: Objects, out: Path) -> dict[str, Any]:
    """Write a picture at screen size; return it with its objects' outlines at that size."""
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Pillow.fromarray(image)
    small = small.resize(size, Pillow.Resampling.LANCZOS) if scale < 1 else small
    file = f"picture{len(list(out.glob('picture*.jpg')))}.jpg"
    small.save(out / file, quality=90)
    for one in objects:
        one["path"] = _path(one.pop("mask"), size)
        one["box"] = [round(float(value) * scale, 2) for value in one["box"]]
    return {
        "name": name,
        "frame": frame,
        "file": file,
        "width": size[0],
        "height": size[1],
        "objects": objects,
    }


def _path(mask: RLE | None, size: tuple[int, int]) -> str:
    """Return a mask's outlines, holes included, as an SVG path at the size shown."""
    if mask is None:
        return ""
    if (mask.height, mask.width) != (size[1], size[0]):
        small = Pillow.fromarray(rle.decode(mask)).resize(size, Pillow.Resampling.NEAREST)
        mask = rle.encode(np.asarray(small, bool))
    rings = [ring for part in rle.to_rings(mask) for ring in (part.outer, *part.holes)]
    return "".join(_ring(np.asarray(ring).reshape(-1, 2)) for ring in rings)


def _ring(points: np.ndarray) -> str:
    """Return a ring along pixel edges as relative steps: they are the shortest to send."""
    steps = np.diff(points, axis=0)
    moves = "".join(f"h{dx}" if dx else f"v{dy}" for dx, dy in steps.tolist())
    return f"M{points[0][0]} {points[0][1]}{moves}z"


def _hex(color: tuple[int, int, int]) -> str:
    """Return a colour as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*color)
