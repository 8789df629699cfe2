"""One run on one project: is it the same as before, what changed, what is left to do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from autolabel.clock import summed
from autolabel.config import RunConfig, RunIdentity, VideoConfig
from autolabel.crew import Crew, Job, crew
from autolabel.errors import ProjectChanged
from autolabel.ontology import Ontology, to_yaml
from autolabel.pipeline import Question, instances_of
from autolabel.planning import Plan
from autolabel.progress import Advance, Progress
from autolabel.store import Project


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did.

    Attributes:
        total: Number of inputs.
        done: How many of them are labelled in the project now.
        failed: How many of them failed.
        objects: Labels in the project.
        reselected: Labels that were selected anew because thresholds changed.
        interrupted: Whether the run was asked to stop before its end.
        seconds: Wall time.
        stages: Where the time went: seconds by stage (``autolabel.clock``), added up over all
            threads and workers; "start" is the time until the models were loaded.
    """

    total: int
    done: int
    failed: int
    objects: int
    reselected: int = 0
    interrupted: bool = False
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)


def identity(
    config: RunConfig, ontology: Ontology, fingerprints: tuple[str, str] = ("", "")
) -> RunIdentity:
    """Return what the candidates of a run depend on; without fingerprints, as far as is known."""
    return RunIdentity(
        config.grounders,
        fingerprints[0],
        config.segmenter,
        fingerprints[1],
        tuple(sorted(ontology.prompts)),
        config.floor,
        ontology.segment_fingerprint(),
        groups=ontology.groups_fingerprint(),
        duplicate_iou=ontology.duplicate_iou,
        tile=config.tile,
        tta=config.tta,
        prompt_type=config.prompt_type,
    )


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C was pressed; a second one interrupts at once."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


class _Tally:
    """A Progress that adds up where the time went and tells another everything."""

    def __init__(self, other: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self.start, self.note, self.finish = other.start, other.note, other.finish
        self._other = other

    def advance(self, step: Advance) -> None:
        """Add up, and tell."""
        self.seconds = summed(self.seconds, step.seconds)
        self._other.advance(step)


class Labeling:
    """A run on an open project."""

    def __init__(
        self,
        project: Project,
        ontology: Ontology,
        config: RunConfig,
        video: VideoConfig,
        progress: Progress,
        stop: Callable[[], bool],
    ) -> None:
        self._project = project
        self._ontology = ontology
        self._config = config
        self._video = video
        self._progress = _Tally(progress)
        self._stop = stop

    def run(self, plan: Plan, redo: bool) -> RunReport:
        """Label what is left to do of the plan; return what the project holds then."""
        self._project.overlaps = (self._ontology.duplicate_iou, self._ontology.cross_class_iou)
        began = time.perf_counter()
        if not self._is_needed(plan, redo):
            return self._label(plan, None)
        follows = next(plan.videos(), None) is not None
        job = Job(plan, self._config, self._video, follows, redo)
        with crew(job, self._project, self._question(redo)) as workers:
            self._check(workers, follows, redo)
            workers.get_ready()
            self._begin(workers, follows, redo)
            self._progress.seconds["start"] = time.perf_counter() - began
            return self._label(plan, workers)

    def _label(self, plan: Plan, workers: Crew | None) -> RunReport:
        """Select anew where limits changed, then let the crew do what is left to do."""
        reselected = self._select_anew()
        self._progress.start(plan.total, plan.done)
        finished = workers is None or workers.label(
            self._project, self._question(), self._progress, self._stop
        )
        self._progress.finish()
        return self._report(plan, reselected, not finished)

    def _is_needed(self, plan: Plan, redo: bool) -> bool:
        """Return whether models are needed: there is work, or something to be refused."""
        meta = {} if redo else self._project.meta()
        return plan.done < plan.total or bool(identity(self._config, self._ontology).changes(meta))

    def _check(self, workers: Crew, follows: bool, redo: bool) -> None:
        """Refuse what doesn't fit the project; nothing is written before.

        Raises:
            ProjectChanged: If the project was made with other models, prompts or settings.
        """
        meta = {} if redo else self._project.meta()
        changes = identity(self._config, self._ontology, workers.fingerprints).changes(meta)
        was = meta.get("video")
        if follows and was is not None and was != self._video.text():
            changes.append(f"videos: were {was}, are now {self._video.text()}")
        if changes:
            raise ProjectChanged(_refusal(self._project, changes))
        for warning in workers.warnings:
            self._progress.note(f"warning: {warning}")

    def _begin(self, workers: Crew, follows: bool, redo: bool) -> None:
        """Record what the project is made with."""
        now = identity(self._config, self._ontology, workers.fingerprints)
        meta = now.as_meta() | selection_meta(self._ontology)
        if redo:
            self._project.restart(meta, class_rows(self._ontology), self._ontology.prompts)
        elif not self._project.meta():
            self._project.set_run(meta, class_rows(self._ontology), self._ontology.prompts)
        elif self._project.meta().get("masked") != now.masked:
            self._project.set_meta(now.masks_meta())
        if now.prompt_type and not self._project.meta().get("prompt_type"):
            self._project.set_meta({"prompt_type": now.prompt_type})  # its first pictures
        if follows:
            self._project.set_meta({"video": self._video.text()})

    def _select_anew(self) -> int:
        """Apply changed thresholds, limits and class names to what is stored, without a model."""
        wanted = selection_meta(self._ontology)
        meta = self._project.meta()
        self._warn_below_floor()
        if not meta or meta.get("selection") == wanted["selection"]:
            return 0
        if "video" in meta:
            self._progress.note(
                "warning: videos keep the labels they have: there, changed thresholds need --redo"
            )
        return select_anew(self._project, self._ontology)

    def _question(self, redo: bool = False) -> Question:
        """Return what every picture is asked, prompts in the project's own order if it has one."""
        known = [] if redo else self._project.prompts()
        return Question(self._ontology, tuple(known or self._ontology.prompts), self._config.floor)

    def _warn_below_floor(self) -> None:
        """Say where a threshold asks for candidates that are not kept."""
        for spec in self._ontology.classes:
            if spec.threshold < self._config.floor:
                self._progress.note(
                    f"warning: class {spec.name!r} has threshold {spec.threshold:g}, but "
                    f"candidates below {self._config.floor:g} are not kept (see --floor)"
                )

    def _report(self, plan: Plan, reselected: int, stopped: bool) -> RunReport:
        """Return what the project holds of these inputs."""
        known = (self._project.find(item.name) for item in plan.todo())
        statuses = Counter(one.status for one in known if one is not None)
        return RunReport(
            total=plan.total,
            done=plan.done + statuses["done"],
            failed=statuses["failed"],
            objects=self._project.count_labels(),
            reselected=reselected,
            interrupted=stopped,
            stages=dict(self._progress.seconds),
        )


def select_anew(project: Project, ontology: Ontology) -> int:
    """Return how many labels an ontology with other limits selects from what is stored.

    No model is asked. What humans changed, accepted or rejected stays.
    """
    project.overlaps = (ontology.duplicate_iou, ontology.cross_class_iou)
    floor = float(project.meta().get("floor", "0"))
    question = Question(ontology, tuple(project.prompts()), floor)
    return project.reselect(
        lambda _media, found: instances_of(found, question),
        selection_meta(ontology),
        class_rows(ontology),
    )


def class_rows(ontology: Ontology) -> list[tuple[str, str]]:
    """Return each class's name and colour as the store keeps them."""
    return [(spec.name, "#{:02x}{:02x}{:02x}".format(*spec.color)) for spec in ontology.classes]


def selection_meta(ontology: Ontology) -> dict[str, str]:
    """Return what the store keeps about how labels were selected."""
    colors = "".join(color for _, color in class_rows(ontology))
    meta = {"selection": ontology.selection_fingerprint() + colors, "ontology": to_yaml(ontology)}
    # Where `autolabel calibrate` writes, if nobody says otherwise.
    return meta | ({"ontology_path": os.path.abspath(ontology.path)} if ontology.path else {})


def _refusal(project: Project, changes: Sequence[str]) -> str:
    """Return why a run is refused and the ways out."""
    listed = "".join(f"\n  {line}" for line in changes)
    return (
        f"{project.folder} was made with something else:{listed}\n"
        "Its labels can't be mixed with new ones. Use another --out for these settings, or "
        "--redo to drop what the models said and label everything again."
    )
