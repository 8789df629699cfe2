"""Labels as data sets: which formats there are, and the export that is the same for all.

A format is one file with a ``Writer`` (see ``autolabel.formats.base``) and one line here.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from autolabel.errors import UsageError
from autolabel.formats.base import ExportOptions, LabelSource, Tally, Writer
from autolabel.formats.folder import complete_folder

__all__ = ["FORMATS", "ExportReport", "Format", "export"]


@dataclass(frozen=True, slots=True)
class Format:
    """One format that can be written.

    Attributes:
        target: Where its writer is, "module:Class"; loaded when asked for.
        fidelity: What it keeps and what it can't, in one line.
        options: The names of the options that it heeds.
    """

    target: str
    fidelity: str
    options: frozenset[str] = frozenset()


FORMATS: dict[str, Format] = {
    "coco": Format(
        "autolabel.formats.coco:CocoWriter",
        "keeps every pixel of every mask, holes and separate parts included, scores and track ids",
        frozenset({"polygons", "images"}),
    ),
}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        format: The format's name.
        out: The folder.
        pictures: Pictures, and frames of videos.
        instances: Labels.
        notes: What was left out and why, one line each.
    """

    format: str
    out: Path
    pictures: int
    instances: int
    notes: tuple[str, ...]


def export(
    project: LabelSource, format_name: str, out: Path, *, overwrite: bool = False, **options: Any
) -> ExportReport:
    """Write a project's labels to the folder ``out``, which appears when it is complete.

    Labels that a human rejected are left out, as are inputs that failed or aren't finished.

    Args:
        project: The labels.
        format_name: A key of ``FORMATS``.
        out: The folder to make.
        overwrite: Replace an earlier export in ``out``.
        **options: Fields of ``ExportOptions``.

    Raises:
        UsageError: If the format or an option is unknown, or ``out`` can't be replaced.
        StorageError: If the disk is full, read-only or failing.
    """
    known = _find(format_name)
    chosen = _options(format_name, known, options)
    writer = _load(known)
    tally = Tally()
    with complete_folder(out, {"format": format_name}, overwrite) as folder:
        writer.open(folder, project.classes(), chosen, tally)
        for media, instances in project.labelled():
            writer.add(media, instances)
        writer.close()
    return ExportReport(format_name, out, tally.pictures, tally.instances, _notes(project, tally))


def _find(name: str) -> Format:
    """Return the format of this name."""
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name, FORMATS, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UsageError(f"format: expected one of {', '.join(FORMATS)}, found {name!r}{hint}")


def _options(name: str, known: Format, given: dict[str, Any]) -> ExportOptions:
    """Return the options; refuse those that the format would ignore."""
    defaults = {field.name: field.default for field in fields(ExportOptions)}
    for option, value in given.items():
        if option not in defaults:
            raise UsageError(f"export has no option {option!r}")
        if value != defaults[option] and option not in known.options:
            raise UsageError(f"format {name!r} has no option {option!r}")
    return ExportOptions(**given)


def _load(known: Format) -> Writer:
    """Return a new writer of the format."""
    module, _, name = known.target.partition(":")
    writer: Writer = getattr(importlib.import_module(module), name)()
    return writer


def _notes(project: LabelSource, tally: Tally) -> tuple[str, ...]:
    """Return what is not in the export and why."""
    lines = [f"{count} left out: {reason}" for reason, count in sorted(tally.skipped.items())]
    for status, why in (("failed", "could not be labelled"), ("partial", "are not finished")):
        count = sum(1 for _ in project.media(status))
        if count:
            lines.append(f"{count} left out: inputs that {why} (see autolabel info)")
    return tuple(lines)
