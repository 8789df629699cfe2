"""The library's front door: run, export, render and evaluate, as the command line calls them.

Example::

    import autolabel

    report = autolabel.run(["images/"], "classes.yaml", out="my-project", models="small")
    autolabel.export("my-project", "coco", "coco/")
    for media, instances in autolabel.Project.open("my-project").iter_labelled():
        print(media.name, len(instances))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel import registry
from autolabel.config import DEFAULT_PRESET, RunConfig, VideoConfig
from autolabel.crew import load_stages
from autolabel.errors import UsageError
from autolabel.labeling import Labeling, RunReport, identity, stop_asked
from autolabel.media.inputs import spooled
from autolabel.ontology import Ontology, load_ontology
from autolabel.planning import Plan, planned
from autolabel.progress import Progress, Silent
from autolabel.quality import (
    calibrate,
    check_plugin,
    measure,
    measure_negatives,
    report,
    suggest,
)
from autolabel.store import Project

if TYPE_CHECKING:
    from autolabel.formats import ExportReport, VerifyReport
    from autolabel.lab.prompts import LabReport
    from autolabel.rendering import RenderReport

__all__ = [
    "RunPlan",
    "RunReport",
    "calibrate",
    "check_plugin",
    "export",
    "make_config",
    "measure",
    "measure_negatives",
    "plan",
    "render",
    "report",
    "run",
    "suggest",
    "try_prompts",
    "verify",
]

FIRST_NAMES = 10
"""How many inputs a plan names."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run would do.

    Attributes:
        new: Whether the project folder would be made.
        classes: Number of classes.
        prompts: Number of prompts, negative ones included.
        grounder: Model spec, or two with a plus between.
        segmenter: Model spec, or "none".
        tile: Tiles that would be looked at, "SIZE:OVERLAP", or "".
        tta: "flip" or "none".
        total: Number of inputs.
        done: How many of them the project has already.
        first: Names of the first that would be labelled.
        changes: What differs from what the project was made with.
    """

    new: bool
    classes: int
    prompts: int
    grounder: str
    segmenter: str
    tile: str
    tta: str
    total: int
    done: int
    first: tuple[str, ...]
    changes: tuple[str, ...]


def plan(inputs: Sequence[str | Path], ontology: Ontology | str | Path, **options: Any) -> RunPlan:
    """Return what ``run`` with the same arguments would do; loads no model, changes nothing."""
    out = Path(options.pop("out", "autolabel-out"))
    limit, redo = options.pop("limit", None), options.pop("redo", False)
    frame_folders = options.pop("frame_folders", False)
    chosen = _ontology(ontology)
    config, _ = make_config(**options)
    new = not (out / "labels.db").exists()
    with (
        spooled(inputs, frame_folders=frame_folders, exclude=[out]) as spool,
        nullcontext() if new else Project.open(out, readonly=True) as project,
        planned(spool, project, limit=limit, redo=redo) as todo,
    ):
        now = identity(_fitted(config, todo), chosen)
        return RunPlan(
            new=new,
            classes=len(chosen.classes),
            prompts=len(chosen.prompts),
            grounder=config.grounders,
            segmenter=config.segmenter,
            tile=config.tile,
            tta=config.tta,
            total=todo.total,
            done=todo.done,
            first=tuple(item.name for item in islice(todo.todo(), FIRST_NAMES)),
            changes=tuple(now.changes(project.meta()) if project else ()),
        )


def run(
    inputs: Sequence[str | Path],
    ontology: Ontology | str | Path,
    *,
    out: str | Path = "autolabel-out",
    limit: int | None = None,
    redo: bool = False,
    frame_folders: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> RunReport:
    """Label pictures and videos into a project folder, going on where an earlier run stopped.

    Args:
        inputs: Files, folders and globs.
        ontology: What to look for: an Ontology or the path of a YAML file.
        out: Project folder; made if it isn't there.
        limit: Label the first inputs only.
        redo: Drop what the models said before and start again; a human's labels stay.
        frame_folders: Take folders of numbered pictures as videos.
        progress: Is told what happens.
        **options: ``preset``, ``grounder``, ``segmenter``, ``device``, ``dtype``, ``floor``,
            ``batch_size``, ``readers``, ``tile``, ``tta``, ``prompt_type``; for videos
            ``keyframe_every``, ``stride``, ``start``, ``end``: see ``make_config``.

    Returns:
        What was done. SIGINT (Ctrl-C) ends a run in the main thread after the batch at hand.

    Raises:
        UsageError: If the ontology, an input, a spec or an option is wrong.
        ProjectChanged: If the project was made with other models or prompts.
        ProjectError: If the folder is in use, damaged or of a newer version.
        WeightsError: If weights can't be had or are not what they should be.
        StorageError: If the disk is full or read-only; what was committed stays.
    """
    began = time.perf_counter()
    chosen = _ontology(ontology)
    config, video = make_config(**options)
    with (
        spooled(inputs, frame_folders=frame_folders, exclude=[out]) as spool,
        Project.open(Path(out), create=True) as project,
        planned(spool, project, limit=limit, redo=redo) as todo,
        stop_asked() as stop,
    ):
        config = _fitted(config, todo)
        labeling = Labeling(project, chosen, config, video, progress or Silent(), stop)
        return replace(labeling.run(todo, redo), seconds=time.perf_counter() - began)


def make_config(
    *,
    preset: str | None = None,
    grounder: str | Sequence[str] | None = None,
    segmenter: str | None = None,
    **settings: Any,
) -> tuple[RunConfig, VideoConfig]:
    """Return how to run: the preset's models, where no others are named.

    Args:
        preset: "base" (default), "small" or "tiny".
        grounder: Model spec in place of the preset's; two of them for their consensus.
        segmenter: Model spec in place of the preset's; "none" for boxes only.
        **settings: Other fields of RunConfig and VideoConfig; None means their default. ``start``
            and ``end`` may be texts: "120" (a frame), "4.5s" or "1:05" (times).

    Raises:
        SpecError: If a preset or a model is unknown.
        UsageError: If a setting makes no sense.
    """
    models = registry.preset(preset or DEFAULT_PRESET)
    given = {name: value for name, value in settings.items() if value is not None}
    for_pictures, for_videos = (
        {field.name for field in fields(one)} for one in (RunConfig, VideoConfig)
    )
    video = {name: _position(name, given[name]) for name in for_videos & given.keys()}
    given = {name: given[name] for name in given.keys() - (for_videos - for_pictures)}
    grounders = [grounder] if isinstance(grounder, str) else list(grounder or [models.grounder])
    if len(grounders) > 2:
        raise UsageError(f"--grounder: expected one or two, found {len(grounders)}")
    given["second_grounder"] = "".join(grounders[1:])
    config = RunConfig(grounders[0], segmenter or models.segmenter, **given)
    return config, VideoConfig(**video)


def _fitted(config: RunConfig, plan: Plan) -> RunConfig:
    """Return the settings without those about pictures, where there are none."""
    return config if plan.has_pictures() else replace(config, prompt_type="")


def _position(name: str, value: Any) -> Any:
    """Return a frame or a time, if that is what the text of this setting means."""
    if name not in ("start", "end") or not isinstance(value, str):
        return value
    from autolabel.media.video import parse_position

    return parse_position(value)


def try_prompts(
    inputs: Sequence[str | Path],
    ontology: Ontology | str | Path,
    prompts: Sequence[str] = (),
    *,
    class_name: str | None = None,
    picture: str | Path | None = None,
    **options: Any,
) -> LabReport:
    """Return what each wording of a prompt finds in a few pictures.

    Args:
        inputs: Files, folders and globs of a few pictures.
        ontology: What the wordings are asked with.
        prompts: The wordings; none for the ontology's own prompts.
        class_name: The class that they mean.
        picture: Where to write the comparison as a PNG; None: nowhere.
        **options: See ``make_config``.

    Raises:
        UsageError: If an input, a prompt, the class or an option is wrong.
        WeightsError: If weights can't be had.
        StorageError: If the picture can't be written.
    """
    from autolabel.lab.picture import save_picture
    from autolabel.lab.prompts import try_wordings, wordings

    if picture is not None and Path(picture).suffix.lower() != ".png":
        raise UsageError(f"--out {picture}: expected the name of a PNG, such as try.png")
    config, _ = make_config(**options)
    asked = wordings(_ontology(ontology), prompts, class_name)
    found = try_wordings(inputs, asked, load_stages(config), config.floor)
    if picture is not None:
        models = " + ".join((config.grounders, config.segmenter))
        save_picture(found, f"autolabel try   {models}", Path(picture))
    return found


def export(
    project: str | Path,
    format_name: str,
    out: str | Path,
    *,
    split: str | dict[str, float] | None = None,
    seed: int = 0,
    stratify: bool = False,
    split_group: str = "none",
    min_score: float = 0.0,
    classes: Sequence[str] = (),
    status: str = "all",
    exclude_empty: bool = False,
    min_precision: float = 0.0,
    **options: Any,
) -> ExportReport:
    """Write a project's labels to a folder, which appears when it is complete.

    Args:
        project: The project folder.
        format_name: See ``autolabel.formats.FORMATS``.
        out: The folder to write.
        split: The parts and their shares, such as "train=0.8,val=0.2".
        seed: Another seed gives another split.
        stratify: Give every class the same shares.
        split_group: "folder" keeps the pictures of a folder in one part.
        min_score: Leave out a model's labels below this score.
        classes: Names of the classes to keep; none for all.
        status: "all"; "accepted" for what was accepted in review; "pending" for what was not
            decided on yet.
        exclude_empty: Leave out pictures without labels.
        min_precision: Leave out labels that are less likely than this to be right; the
            project must have been calibrated.
        **options: ``polygons``, ``boxes``, ``images``, ``overwrite``, ``verify``; ``frames``, a
            Path: the labelled frames of videos are written there, as pictures.

    Raises:
        UsageError: If the format or an option is unknown, or ``out`` is not empty.
        ProjectError: If there is no project in the folder.
    """
    from autolabel import formats

    select = formats.Selection(min_score, tuple(classes), status, exclude_empty, min_precision)
    parts = None if split is None else formats.SplitRequest(split, seed, stratify, split_group)
    with Project.open(Path(project), readonly=True) as opened:
        return formats.export(opened, format_name, Path(out), select=select, split=parts, **options)


def verify(
    folder: str | Path, project: str | Path | None = None, *, reader: str = "own"
) -> VerifyReport:
    """Read an export back, and compare it with its project where that is given.

    Args:
        folder: What ``export`` wrote.
        project: The project that it was exported from; None to see only that all of it reads.
        reader: "own", or "other": pycocotools for coco, Ultralytics for yolo-seg.

    Raises:
        UsageError: If the folder is no export, or the format has no such reader.
        FormatError: If it is damaged beyond reading.
        MissingExtra: If the other reader is not installed.
        ProjectError: If there is no project in the folder.
    """
    from autolabel import formats

    if project is None:
        return formats.verify(Path(folder), reader=reader)
    with Project.open(Path(project), readonly=True) as opened:
        return formats.verify(Path(folder), opened, reader)


def _ontology(given: Ontology | str | Path) -> Ontology:
    """Return the ontology, loaded if a path was given."""
    return given if isinstance(given, Ontology) else load_ontology(given)


def render(
    project: str | Path,
    out: str | Path,
    *,
    limit: int | None = None,
    overwrite: bool = False,
    drawn: Callable[[], None] = lambda: None,
) -> RenderReport:
    """Write a project's pictures and videos with their labels drawn on.

    Args:
        project: The project folder.
        out: The folder to write.
        limit: The first inputs only.
        overwrite: Replace what is there.
        drawn: Is called after every picture and frame.

    Raises:
        UsageError: If ``out`` is not empty and ``overwrite`` is False.
        ProjectError: If there is no project in the folder.
    """
    from autolabel import rendering

    with Project.open(Path(project), readonly=True) as opened:
        return rendering.render(opened, Path(out), limit, overwrite, drawn)
