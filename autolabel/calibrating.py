"""Settings fitted to a truth, put to use: written into the ontology, labels selected anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel.errors import OntologyError, UsageError
from autolabel.evaluate.truth_project import read_truth, reviewed_truth
from autolabel.labeling import select_anew
from autolabel.ontology import Ontology, load_ontology
from autolabel.ontology.edit import set_values
from autolabel.probability import META_KEY
from autolabel.store import Project

if TYPE_CHECKING:
    from autolabel.evaluate.calibration import Calibration


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What ``calibrate`` found and did.

    Attributes:
        found: The settings and what they gain.
        ontology: The file they are for.
        written: Whether they were written into it.
        reselected: Labels in pictures now, selected anew; None where that was not done.
    """

    found: Calibration
    ontology: str
    written: bool
    reselected: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "ontology": self.ontology,
            "written": self.written,
            "reselected": self.reselected,
            **self.found.as_dict(),
        }


def calibrate(
    folder: Path, truth: Path | None, ontology: Path | None, dry_run: bool
) -> CalibrationReport:
    """Fit a project's settings to a truth, write them and select its labels anew.

    Where the settings do no better on pictures they were not fitted to, the ontology and the
    labels stay as they are; scores are mapped to probabilities in any case.

    Raises:
        UsageError: If the ontology is not the project's, or there is no truth.
        FormatError: If the truth is wrong, doesn't fit, or is too little.
        ProjectError: If there is no project in the folder, or a run holds it.
        StorageError: If the ontology can't be written.
    """
    from autolabel.evaluate.calibration import calibrate as fit

    known = read_truth(truth) if truth is not None else None  # before the project is locked
    with Project.open(folder, readonly=dry_run) as project:
        path = _ontology_path(project, ontology)
        before = load_ontology(path)
        _check_prompts(project, before)
        found = fit(project, known or reviewed_truth(project), before)
        change = found.better and found.changes
        if dry_run:
            return CalibrationReport(found, str(path), False, None)
        selected = None
        if change:
            settings = found.chosen.settings()
            iou = found.chosen.duplicate_iou
            defaults = {} if iou == before.duplicate_iou else {"duplicate_iou": iou}
            selected = select_anew(project, set_values(path, settings, defaults))
        project.set_meta({META_KEY: found.probabilities.as_text()})
        return CalibrationReport(found, str(path), change, selected)


def _ontology_path(project: Project, given: Path | None) -> Path:
    """Return the ontology's file: the one given, or the one that the last run was given.

    Raises:
        UsageError: If none is known, or it is gone.
    """
    if given is not None:
        return given
    known = project.meta().get("ontology_path")
    if known is None or not Path(known).is_file():
        where = f": {known} is gone" if known else ""
        raise UsageError(
            f"{project.folder}: which ontology are the settings for{where}? Give --ontology FILE, "
            "the one of the run"
        )
    return Path(known)


def _check_prompts(project: Project, ontology: Ontology) -> None:
    """Raise if the ontology asks for something else than the project was asked."""
    asked, wanted = set(project.prompts()), set(ontology.prompts)
    if not asked:
        raise UsageError(
            f"{project.folder}: keeps no candidates, as with imported labels: run a model on its "
            "pictures first (autolabel run)"
        )
    if differ := sorted(wanted - asked) + sorted(asked - wanted):
        raise OntologyError(
            f"its prompts are not those of {project.folder}: {', '.join(map(repr, differ[:8]))} "
            "differ; give the ontology of the run",
            ontology.path,
        )
