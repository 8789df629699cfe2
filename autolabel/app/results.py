"""One finished job: what was found, which of it a threshold shows, and what can be taken away."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from autolabel import api
from autolabel.config import DEFAULT_FLOOR
from autolabel.errors import StorageError
from autolabel.ontology import Ontology, parse_ontology, to_yaml
from autolabel.store import Project, Result
from autolabel.types import Instance

NEAR = 6
"""How many candidates below the threshold are offered where nothing was found."""


@dataclass(slots=True)
class Found:
    """A project that a job of the page made, as it is looked at.

    Attributes:
        kind: "image" or "video".
        project: The project folder.
        inputs: The files that were labelled.
        ontology: What was asked, with the thresholds of the run.
        options: Options of the run, as ``api.run`` takes them.
        scene: What ``scene.py`` wrote.
        view: The folder with the scene's pictures.
        drawn: The folder with the labelled pictures or the video.
        thresholds: By class name, as chosen now.
        drawn_with: The thresholds that ``drawn`` shows.
    """

    kind: str
    project: Path
    inputs: list[str]
    ontology: Ontology
    options: dict[str, Any]
    scene: dict[str, Any]
    view: Path
    drawn: Path
    thresholds: dict[str, float] = field(default_factory=dict)
    drawn_with: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        kind: str,
        project: Path,
        inputs: list[str],
        ontology: str,
        options: dict[str, Any],
        view: Path,
        drawn: Path,
    ) -> Found:
        """Return what a job left."""
        scene = json.loads((view / "scene.json").read_text("utf-8"))
        chosen = parse_ontology(ontology)
        limits = {spec.name: spec.threshold for spec in chosen.classes}
        return cls(
            kind, project, inputs, chosen, options, scene, view, drawn, dict(limits), dict(limits)
        )

    @property
    def floor(self) -> float:
        """The lowest threshold that can be asked for without a model."""
        if self.kind == "video":
            return min(spec.threshold for spec in self.ontology.classes)
        return float(self.options.get("floor") or DEFAULT_FLOOR)

    @property
    def stale(self) -> bool:
        """Whether ``drawn`` shows other thresholds than the ones chosen."""
        return self.thresholds != self.drawn_with

    def chosen(self) -> Ontology:
        """Return the ontology with the thresholds as they are chosen now."""
        classes = (
            replace(spec, threshold=self.thresholds[spec.name]) for spec in self.ontology.classes
        )
        return replace(self.ontology, classes=tuple(classes))

    def select(self, class_name: str | None, threshold: float) -> list[str]:
        """Choose a class's threshold (None: all classes'); return the keys of what is shown.

        Pictures are selected anew from their candidates by the very run that the command line
        would do. Of a video the tracks that the run made are shown or hidden as a whole.
        """
        limit = min(1.0, max(self.floor, threshold))
        for name in self.thresholds:
            if class_name in (None, name):
                self.thresholds[name] = limit
        if self.kind == "image":
            api.run(self.inputs, self.chosen(), out=self.project, **self.options)
        return self.visible()

    def visible(self) -> list[str]:
        """Return the keys of the objects that the present thresholds show."""
        if self.kind == "video":
            return [f"t{track['id']}" for track in self.scene["tracks"] if self._shows(track)]
        places = {
            (name, one["class"], *one["detector_box"]): key for name, key, one in self._candidates()
        }
        with Project.open(self.project, readonly=True) as project:
            return [
                places[media.name, one.class_id, *one.detector_box]
                for media, labels in project.labelled()
                for one in labels
                if one.detector_box is not None
            ]

    def below(self) -> list[dict[str, Any]]:
        """Return the best that was seen below the thresholds, best first."""
        if self.kind == "video":
            hidden = [track for track in self.scene["tracks"] if not self._shows(track)]
            return sorted([*hidden, *self.scene["near"]], key=lambda one: -float(one["score"]))
        found = [one for _, _, one in self._candidates() if not self._shows(one)]
        return sorted(found, key=lambda one: -float(one["score"]))

    def nearest(self) -> float | None:
        """Return the threshold that shows the best few below the present one; None: there are none.

        Of a video only tracks that the run made can be shown; to lower ones it must run again.
        """
        few = [one for one in self.below() if "frame" not in one][:NEAR]
        reach = [one for one in few if float(one["score"]) >= self.floor]
        return max(self.floor, int(float(reach[-1]["score"]) * 100) / 100) if reach else None

    def counts(self, keys: list[str]) -> Counter[int]:
        """Return how many of these there are of each class."""
        if self.kind == "video":
            classes = {f"t{track['id']}": track["class"] for track in self.scene["tracks"]}
        else:
            classes = {key: one["class"] for _, key, one in self._candidates()}
        return Counter(classes[key] for key in keys)

    def narrowed(self, folder: Path) -> Path:
        """Return a project that holds what is shown: this one, or for a video's sake a copy."""
        if self.kind == "image" or len(self.visible()) == len(self.scene["tracks"]):
            return self.project
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.project, folder)
        ids = {track["id"] for track in self.scene["tracks"] if self._shows(track)}
        with Project.open(folder) as project:
            for media, labels in list(project.iter_labelled()):
                kept: list[Instance] = [one for one in labels if one.track_id in ids]
                stored = project.stored(media.name)
                assert stored is not None
                project.clear(media.name)
                project.append(Result(media, stored.size_bytes, stored.mtime_ns, {}, kept))
        return folder

    def keep(self, parent: Path, scratch: Path) -> Path:
        """Copy the project and its inputs to a new folder under ``parent``; return it."""
        stem = re.sub(r"[^\w-]+", "-", Path(self.inputs[0]).stem).strip("-")[:40] or "project"
        base = parent / f"{datetime.now():%Y-%m-%d-%H%M%S}-{stem}"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = base
            for number in range(2, 1000):
                if not folder.exists():
                    break
                folder = base.with_name(f"{base.name}-{number}")
            shutil.copytree(self.narrowed(scratch), folder)
            media = folder / "media"
            media.mkdir()
            for path in self.inputs:
                shutil.copy2(path, media)
        except OSError as error:
            raise StorageError(f"{parent}: {error.strerror or error}") from error
        _move(folder, media)
        (folder / "ontology.yaml").write_text(to_yaml(self.chosen()), "utf-8")
        return folder

    def command(self) -> str:
        """Return the command line that does the same, its ontology included."""
        names = [Path(path).name for path in self.inputs]
        files = [f"./{name}" if name.startswith("-") else name for name in names]
        flags = {"preset": "--models", "keyframe_every": "--keyframe-every"}
        parts = ["autolabel", "run", "--ontology", "classes.yaml", "--out", "my-project"]
        for option, value in self.options.items():
            flag = flags.get(option, "--" + option.replace("_", "-"))
            parts += [flag, str(value)]
        line = shlex.join([*parts, *files])
        return f"cat > classes.yaml <<'END'\n{to_yaml(self.chosen())}END\n{line}\n"

    def _shows(self, one: Mapping[str, Any]) -> bool:
        """Return whether a score reaches its class's threshold; scores are float32."""
        name = self.ontology.classes[one["class"]].name
        return float(one["score"]) >= self.thresholds[name] - 1e-7

    def _candidates(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return every candidate of the pictures with its picture's name and its key."""
        return [
            (picture["name"], f"p{number}c{index}", one)
            for number, picture in enumerate(self.scene["pictures"])
            for index, one in enumerate(picture["objects"])
        ]


def _move(folder: Path, media: Path) -> None:
    """Tell a project where its inputs are now."""
    with Project.open(folder) as project:
        for record in list(project.media()):
            path = media / Path(record.path).name
            stat = os.stat(path)
            moved = replace(record, path=str(path.resolve()))
            project.append(Result(moved, stat.st_size, stat.st_mtime_ns))
