"""Who does the work of a run: the models on this machine, or workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from autolabel import registry
from autolabel.config import PICTURE_PROMPT, RunConfig, VideoConfig
from autolabel.engines.local import Share, Work, run_images
from autolabel.errors import MissingExtra, UsageError
from autolabel.models.device import cpu_cores, resolve_device, use_threads
from autolabel.ontology import Ontology
from autolabel.pipeline import Question, Stages
from autolabel.planning import Plan
from autolabel.progress import Progress
from autolabel.stages import (
    Compilable,
    Grounder,
    Paid,
    Segmenter,
    TakesExamples,
    TakesPrompts,
)
from autolabel.store import Project
from autolabel.views.widening import widened_grounder, widened_segmenter

if TYPE_CHECKING:
    from autolabel.engines.parcels import Answer
    from autolabel.track.values import Tracker

SMALL = 30_000_000
"""Parameters of a model below which several threads for one call gain next to nothing."""
GPU_LANES = 2
"""Batches under way on a GPU: one in the models, while masks of the other are encoded."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a crew is to do.

    Attributes:
        plan: The inputs and what is left to do of them.
        config: Models and settings.
        video: How videos are labelled.
        follows: Whether there are videos to label.
        redo: Whether what the project has counts for nothing.
    """

    plan: Plan
    config: RunConfig
    video: VideoConfig
    follows: bool
    redo: bool


class Crew(Protocol):
    """Models that are ready to work.

    Attributes:
        fingerprints: Of the grounder and the segmenter.
        warnings: What the grounder has to say about the prompts.
    """

    fingerprints: tuple[str, str]
    warnings: tuple[str, ...]

    def get_ready(self) -> None:
        """Load what is needed beside the models for pictures."""
        ...

    def label(
        self, project: Project, question: Question, progress: Progress, stop: Callable[[], bool]
    ) -> bool:
        """Label what is left to do; return False if stopped before the end."""
        ...


@contextmanager
def crew(job: Job, project: Project, question: Question) -> Iterator[Crew]:
    """Give the models of a run, loaded.

    Args:
        job: What is to be done.
        project: Only read here.
        question: What will be asked.

    Raises:
        SpecError: If a model is unknown.
        WeightsError: If weights can't be had or are not what they should be.
        EngineError: If the machines that should do the work can't be used.
        MissingExtra: If Ray is asked for and not installed.
    """
    if job.config.engine == "local":
        yield LocalCrew(job, question)
        return
    with _ray_crew(job, project, question) as found:
        yield found


def load_stages(config: RunConfig, ontology: Ontology | None = None) -> Stages:
    """Return the models of a run, loaded, and shown the examples of the ontology.

    A model that is both grounder and segmenter, named as both, is loaded once.

    Raises:
        UsageError: If the ontology has examples and the grounder doesn't take any, or two
            grounders are one and the same.
        SpecError: If a model is unknown.
        WeightsError: If weights can't be had or are not what they should be.
    """
    specs = [one for one in (config.grounder, config.second_grounder) if one]
    loaded = [registry.load_grounder(spec, config.device, config.dtype) for spec in specs]
    for spec, grounder in zip(specs, loaded, strict=True):
        _teach(grounder, spec, ontology)
    paid = _limited(loaded, config)
    widened = len(loaded) > 1 or config.tile or config.tta != "none"
    if config.segmenter == config.grounder and isinstance(loaded[0], Segmenter) and not widened:
        return Stages(loaded[0], loaded[0], paid, _prompted(loaded[0], config), tuple(loaded))
    segmenter = registry.load_segmenter(config.segmenter, config.device, config.dtype)
    again = _prompted(segmenter, config)
    return Stages(
        widened_grounder(loaded, config),
        widened_segmenter(segmenter, config),
        paid,
        widened_segmenter(again, config),
        (*loaded, segmenter),
    )


def _prompted(segmenter: Segmenter | None, config: RunConfig) -> Segmenter | None:
    """Return what makes the masks of pictures, if it isn't shown their boxes alone."""
    if config.prompt_type in ("", PICTURE_PROMPT):
        return None
    if not isinstance(segmenter, TakesPrompts):
        what = "makes no masks" if segmenter is None else "takes boxes only"
        raise UsageError(
            f"--prompt-type {config.prompt_type}: --segmenter {config.segmenter} {what}. For "
            "pictures leave --prompt-type out, or use sam2, sam3 or edgetam"
        )
    return segmenter.prompted(config.prompt_type)


def _limited(grounders: Sequence[Grounder], config: RunConfig) -> tuple[Paid, ...]:
    """Return the grounders that cost money, each told how much it may spend."""
    paid = tuple(one for one in grounders if isinstance(one, Paid))
    if config.max_requests is not None:
        if not paid:
            raise UsageError(f"--max-requests: --grounder {config.grounders} sends none")
        for one in paid:
            one.allow(config.max_requests)
    return paid


def _teach(grounder: Grounder, spec: str, ontology: Ontology | None) -> None:
    """Show a grounder the ontology's examples."""
    if ontology is not None and ontology.examples:
        if not isinstance(grounder, TakesExamples):
            raise UsageError(
                f"the ontology has examples, and --grounder {spec} takes texts only. "
                "Use one that takes examples (autolabel models tells), or remove `examples:`"
            )
        grounder.learn({name: one.pixels() for name, one in ontology.examples.items()})


def settle(stages: Stages, config: RunConfig, cores: int) -> Share:
    """Return how the models share this machine, compiled if that is asked for.

    Raises:
        UsageError: If nothing can be compiled.
    """
    share = share_cores(stages, config, cores)
    if config.compile:  # now: PyTorch compiles for the number of threads there is
        able = [one for one in stages.models if isinstance(one, Compilable)]
        if not able:
            raise UsageError(
                f"--compile: neither {config.grounders} nor {config.segmenter} can be compiled"
            )
        for one in able:
            one.compile()
    return share


def share_cores(stages: Stages, config: RunConfig, cores: int) -> Share:
    """Return how many batches to label at once, with how many CPU threads a call of a model.

    Small models gain nothing from several threads a call, but from several calls at once. So
    on a CPU each call has one thread where models are small, all cores where they are not
    (their memory is needed once a call), or as many as ``--threads`` says. The number shows in
    the last bits of results: it depends on the models and the machine alone.
    """
    at_once = all(_said(stages, "concurrent"))
    if resolve_device(config.device) != "cpu":
        return Share(GPU_LANES if at_once else 1, 0)
    small = all(0 < count < SMALL for count in _said(stages, "parameters"))
    threads = config.threads or (1 if small else cores)
    use_threads(threads)
    return Share(max(1, cores // threads) if at_once else 1, threads)


def _said(stages: Stages, what: str) -> list[Any]:
    """Return what each model says of itself, 0 where it says nothing."""
    models = (stages.grounder, stages.segmenter)
    return [getattr(model, what, 0) for model in models if model is not None]


class LocalCrew:
    """The models in this process."""

    def __init__(self, job: Job, question: Question) -> None:
        self._job = job
        self._tracker: Tracker | None = None
        self._stages = load_stages(job.config, question.ontology)
        self._share = settle(self._stages, job.config, cpu_cores())
        segmenter = self._stages.segmenter
        self.fingerprints = (
            self._stages.grounder.fingerprint(),
            segmenter.fingerprint() if segmenter else "none",
        )
        self.warnings = tuple(self._stages.grounder.check_prompts(question.asked))

    def get_ready(self) -> None:
        """Load the tracker if there are videos.

        Raises:
            UsageError: If the segmenter can't follow objects.
            WeightsError: If its weights are for pictures only.
        """
        if self._job.follows:
            config = self._job.config
            spec = self._job.video.tracker or config.segmenter
            self._tracker = registry.load_tracker(spec, config.device, config.dtype)

    def label(
        self, project: Project, question: Question, progress: Progress, stop: Callable[[], bool]
    ) -> bool:
        """Send pictures and then videos through the models; return False if stopped."""
        job = self._job
        work = Work(project, question, self._stages, job.config, progress, stop, self._share)
        on_gpu = resolve_device(job.config.device) != "cpu"
        paid = self._stages.paid
        # A paid answer is committed before the next picture is sent.
        size = 1 if paid else job.config.batch(on_gpu)
        finished = run_images(work, job.plan.pictures(size)) and self._follow(work)
        if paid:
            progress.note(f"{sum(one.requests for one in paid)} requests were sent to the API")
        return finished

    def _follow(self, work: Work) -> bool:
        """Send the videos through the models; return False if stopped."""
        if self._tracker is None:
            return True
        from autolabel.engines.video import VideoWork, run_videos  # brings PyAV, 30 MB

        job = self._job
        return run_videos(VideoWork(work, self._tracker, job.video), job.plan.videos())


@contextmanager
def _ray_crew(job: Job, project: Project, question: Question) -> Iterator[Crew]:
    """Give workers of a Ray cluster, the first of which has said hello."""
    try:
        from autolabel.engines import ray
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("ray", "pyarrow"):
            raise MissingExtra(missing, "ray") from error
        raise
    from autolabel.engines.parcels import parcels

    config = job.config
    orders = ray.Orders(
        config,
        job.video,
        question,
        job.follows,
        cpu_cores(),
        ray.package_versions(),
        load_stages,
        settle,
        registry.load_tracker,
    )
    with ray.connected(config) as workers:
        size = config.batch(ray.gpu_share(config) > 0)
        work = parcels(job.plan, None if job.redo else project, size, workers)
        with closing(ray.answers(orders, work, workers)) as answers:
            yield RayCrew(answers)


class RayCrew:
    """Workers elsewhere, whose answers are stored here."""

    def __init__(self, answers: Iterator[Answer]) -> None:
        self._answers = answers
        hello = next(answers)  # the first parcel is a greeting; any answer says who we work with
        self._first = hello
        self.fingerprints = hello.hello.fingerprints
        self.warnings = hello.hello.warnings

    def get_ready(self) -> None:
        """Do nothing: workers load what they need before they say hello."""

    def label(
        self, project: Project, _question: Question, progress: Progress, stop: Callable[[], bool]
    ) -> bool:
        """Store the answers as they arrive; return False if stopped."""
        from autolabel.engines.parcels import play, same_weights

        tell: dict[str, Callable[..., None]] = {"advance": progress.advance, "note": progress.note}
        answer: Answer | None = self._first
        while answer is not None:
            same_weights(self._first, answer)
            play(answer, project, tell)
            if stop():
                return False
            answer = next(self._answers, None)
        return True
