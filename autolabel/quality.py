"""How good labels and adapters are, and how to make labels better: part of ``autolabel.api``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from autolabel import registry
from autolabel.errors import SpecError
from autolabel.store import Project

if TYPE_CHECKING:
    from autolabel.calibrating import CalibrationReport
    from autolabel.conformance import Finding
    from autolabel.lab.negatives import NegativeReport

__all__ = ["calibrate", "check_plugin", "measure", "measure_negatives", "report", "suggest"]


def measure(project: str | Path, truth: str | Path) -> dict[str, Any]:
    """Return how well a project's labels agree with a truth, as plain JSON values.

    Args:
        project: The project folder.
        truth: A COCO file or another project.

    Raises:
        FormatError: If the truth is wrong, or has no picture or class in common.
        ProjectError: If there is no project in the folder.
    """
    from autolabel.evaluate.detection import evaluate_detection
    from autolabel.evaluate.truth_project import read_truth

    found = read_truth(truth)
    with Project.open(Path(project), readonly=True) as opened:
        return evaluate_detection(opened, found).as_dict()


def calibrate(
    project: str | Path,
    truth: str | Path | None = None,
    *,
    ontology: str | Path | None = None,
    dry_run: bool = False,
) -> CalibrationReport:
    """Fit thresholds, duplicate IoU and negative margins to a truth, without running a model.

    They are written into the ontology's file, and the labels are selected anew; scores are
    mapped to probabilities.

    Args:
        project: The project folder.
        truth: A COCO file or another project; None for the pictures gone through in review.
        ontology: The file to write; None for the one that the last run was given.
        dry_run: Say what would change, and change nothing.

    Raises:
        UsageError: If the ontology is not the project's, or there is no truth.
        FormatError: If the truth is wrong, doesn't fit, or is too little.
        ProjectError: If there is no project in the folder, or a run holds it.
    """
    from autolabel import calibrating

    return calibrating.calibrate(
        Path(project),
        None if truth is None else Path(truth),
        None if ontology is None else Path(ontology),
        dry_run,
    )


def suggest(
    project: str | Path, count: int = 20, *, truth: str | Path | None = None, save: bool = True
) -> list[dict[str, Any]]:
    """Return which pictures to correct next to learn most, best first, as plain JSON values.

    Args:
        project: The project folder.
        count: How many.
        truth: Pictures that are labelled already and not to be suggested.
        save: Keep the list in the project, for a view of the review.

    Raises:
        ProjectError: If there is no project in the folder, or ``save`` and a run holds it.
        UsageError: If nothing is left to suggest.
    """
    from autolabel.evaluate import suggest as suggesting
    from autolabel.evaluate.truth_project import read_truth

    known = list(read_truth(truth).pictures) if truth is not None else []
    with Project.open(Path(project), readonly=not save) as opened:
        found = suggesting.suggest(opened, count, known)
        if save:
            opened.set_meta({suggesting.META_KEY: suggesting.as_text(found)})
        return [one.as_dict() for one in found]


def report(
    project: str | Path, out: str | Path | None = None, *, truth: str | Path | None = None
) -> Path:
    """Write what is known of a project as one HTML file that needs no network; return its path.

    Args:
        project: The project folder.
        out: The file; "report.html" in the project folder by default.
        truth: A COCO file or another project; None for the pictures gone through in review.

    Raises:
        ProjectError: If there is no project in the folder.
        FormatError: If the truth is wrong or doesn't fit.
        StorageError: If the file can't be written.
    """
    from autolabel.report.make import report as make_report

    return make_report(
        Path(project), None if out is None else Path(out), None if truth is None else Path(truth)
    )


def measure_negatives(project: str | Path, truth: str | Path) -> NegativeReport:
    """Return what each negative prompt does for a project's labels, from stored candidates.

    Raises:
        FormatError: If the truth is wrong, or has no picture or class in common.
        ProjectError: If there is no project in the folder, or it holds no candidates.
    """
    from autolabel.evaluate.truth import load_truth
    from autolabel.lab import negatives

    found = load_truth(Path(truth))
    with Project.open(Path(project), readonly=True) as opened:
        return negatives.measure_negatives(opened, found)


def check_plugin(
    name: str, *, kind: str | None = None, prompts: Sequence[str] = (), device: str = "auto"
) -> tuple[str, Iterator[Finding]]:
    """Return what kind of adapter this is, and what each check of its promises finds.

    Args:
        name: ``NAME[:WEIGHTS]`` or ``package.module:Class[:TEXT]``.
        kind: "grounder", "segmenter", "tracker" or "format"; None to find out.
        prompts: What a grounder is asked; by default three everyday things.
        device: Where it runs.

    Raises:
        SpecError: If there is no such adapter, or its kind is not clear.
        WeightsError: If its weights can't be had.
    """
    from autolabel import conformance, formats

    kind = kind or registry.kind_of(name) or ("format" if formats.knows(name) else None)
    if kind is None:
        raise SpecError(f"{name}: no adapter has this name; --kind says what it is")
    if kind == "format":
        return kind, conformance.check(kind, formats.writer_class(name))
    of = cast("registry.Kind", kind)
    adapter = registry.load(name, of, device)
    known = registry.card_of(registry.parse_spec(name, of).name, of)
    scored = not known.supports or "scores" in known.supports
    asked = tuple(prompts) or conformance.PROMPTS
    return kind, conformance.check(kind, adapter, asked, scores=scored)
