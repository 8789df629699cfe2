"""One run on one project: is it the same as before, what changed, what is left to do."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from autolabel import registry
from autolabel.config import RunConfig, RunIdentity, VideoConfig
from autolabel.engines.local import Work, run_images
from autolabel.errors import ProjectChanged, UsageError
from autolabel.ontology import Ontology, to_yaml
from autolabel.pipeline import Question, Stages, instances_of
from autolabel.planning import Plan
from autolabel.progress import Progress
from autolabel.stages import Grounder, Paid, Segmenter, TakesExamples
from autolabel.store import Project
from autolabel.widening import widened_grounder, widened_segmenter

if TYPE_CHECKING:
    from autolabel.track.values import Tracker


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
    """

    total: int
    done: int
    failed: int
    objects: int
    reselected: int = 0
    interrupted: bool = False
    seconds: float = 0.0


def identity(config: RunConfig, ontology: Ontology, stages: Stages | None) -> RunIdentity:
    """Return what the candidates of a run depend on; without ``stages``, as far as is known."""
    grounder = segmenter = ""
    if stages is not None:
        grounder = stages.grounder.fingerprint()
        segmenter = stages.segmenter.fingerprint() if stages.segmenter else "none"
    return RunIdentity(
        config.grounders,
        grounder,
        config.segmenter,
        segmenter,
        tuple(sorted(ontology.prompts)),
        config.floor,
        ontology.segment_fingerprint(),
        groups=ontology.groups_fingerprint(),
        duplicate_iou=ontology.duplicate_iou,
        tile=config.tile,
        tta=config.tta,
    )


def load_stages(config: RunConfig, ontology: Ontology | None = None) -> Stages:
    """Return the models of a run, loaded, and shown the examples of the ontology.

    A model that is both grounder and segmenter, named as both, is loaded once.

    Raises:
        UsageError: If the ontology has examples and the grounder doesn't take any.
        SpecError: If a model is unknown.
        UsageError: If two grounders are one and the same.
        WeightsError: If weights can't be had or are not what they should be.
    """
    specs = filter(None, (config.grounder, config.second_grounder))
    loaded = [registry.load_grounder(spec, config.device, config.dtype) for spec in specs]
    for spec, grounder in zip((config.grounder, config.second_grounder), loaded, strict=False):
        _prepare(grounder, spec, config, ontology)
    widened = config.second_grounder or config.tile or config.tta != "none"
    if config.segmenter == config.grounder and isinstance(loaded[0], Segmenter) and not widened:
        return Stages(loaded[0], loaded[0])
    segmenter = registry.load_segmenter(config.segmenter, config.device, config.dtype)
    return Stages(widened_grounder(loaded, config), widened_segmenter(segmenter, config))


def _prepare(grounder: Grounder, spec: str, config: RunConfig, ontology: Ontology | None) -> None:
    """Tell a grounder how much it may spend, and show it the ontology's examples."""
    if config.max_requests is not None:
        if not isinstance(grounder, Paid):
            raise UsageError(f"--max-requests: --grounder {spec} sends none")
        grounder.allow(config.max_requests)
    if ontology is not None and ontology.examples:
        if not isinstance(grounder, TakesExamples):
            raise UsageError(
                f"the ontology has examples, and --grounder {spec} takes texts only. "
                "Use one that takes examples (autolabel models tells), or remove `examples:`"
            )
        grounder.learn({name: one.pixels() for name, one in ontology.examples.items()})


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
        self._tracker: Tracker | None = None
        self._progress = progress
        self._stop = stop

    def run(self, plan: Plan, redo: bool) -> RunReport:
        """Label what is left to do of the plan; return what the project holds then."""
        self._project.overlaps = (self._ontology.duplicate_iou, self._ontology.cross_class_iou)
        stages = self._check(plan, redo)
        reselected = self._select_anew()
        self._progress.start(plan.total, plan.done)
        finished = stages is None or self._label(plan, stages)
        if stages is not None and isinstance(stages.grounder, Paid):
            self._progress.note(f"{stages.grounder.requests} requests were sent to the API")
        self._progress.finish()
        return self._report(plan, reselected, not finished)

    def _label(self, plan: Plan, stages: Stages) -> bool:
        """Send pictures and videos through their engines; return False if stopped."""
        work = Work(
            self._project, self._question(), stages, self._config, self._progress, self._stop
        )
        # A paid answer is committed before the next picture is sent.
        size = 1 if isinstance(stages.grounder, Paid) else self._config.batch_size
        if not run_images(work, plan.pictures(size)):
            return False
        if self._tracker is None:
            return True
        from autolabel.engines.video import VideoWork, run_videos  # brings PyAV, 30 MB

        return run_videos(VideoWork(work, self._tracker, self._video), plan.videos())

    def _load_tracker(self, plan: Plan, meta: Mapping[str, str]) -> None:
        """Load the tracker if there are videos to label; refuse other settings than before.

        Raises:
            ProjectChanged: If videos of this project were labelled with other settings.
            UsageError: If the segmenter can't follow objects.
            WeightsError: If its weights are for pictures only.
        """
        if next(plan.videos(), None) is None:
            return
        config, was = self._config, meta.get("video")
        if was is not None and was != self._video.text():
            raise ProjectChanged(
                _refusal(self._project, [f"videos: were {was}, are now {self._video.text()}"])
            )
        self._tracker = registry.load_tracker(
            self._video.tracker or config.segmenter, config.device, config.dtype
        )

    def _check(self, plan: Plan, redo: bool) -> Stages | None:
        """Return the models if they are needed; refuse what doesn't fit the project.

        Nothing is written before all of it has been found fit.

        Raises:
            ProjectChanged: If the project was made with other models or prompts.
        """
        meta = {} if redo else self._project.meta()
        changes = identity(self._config, self._ontology, None).changes(meta)
        if plan.done == plan.total and not changes:
            return None
        stages = load_stages(self._config, self._ontology)
        changes = identity(self._config, self._ontology, stages).changes(meta)
        if changes:
            raise ProjectChanged(_refusal(self._project, changes))
        for warning in stages.grounder.check_prompts(self._ontology.prompts):
            self._progress.note(f"warning: {warning}")
        self._load_tracker(plan, meta)
        self._begin(stages, redo)
        return stages

    def _begin(self, stages: Stages, redo: bool) -> None:
        """Record what the project is made with."""
        now = identity(self._config, self._ontology, stages)
        meta = now.as_meta() | selection_meta(self._ontology)
        if redo:
            self._project.restart(meta, class_rows(self._ontology), self._ontology.prompts)
        elif not self._project.meta():
            self._project.set_run(meta, class_rows(self._ontology), self._ontology.prompts)
        elif self._project.meta().get("masked") != now.masked:
            self._project.set_meta(now.masks_meta())
        if self._tracker is not None:
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
        question = self._question()
        return self._project.reselect(
            lambda _media, found: instances_of(found, question),
            wanted,
            class_rows(self._ontology),
        )

    def _question(self) -> Question:
        """Return what every picture is asked, prompts in the project's own order."""
        asked = tuple(self._project.prompts())
        return Question(self._ontology, asked, self._config.floor)

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
