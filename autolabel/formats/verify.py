"""Reads an export back: at the end of the export itself, or later by what its marker says."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autolabel.errors import FormatError, UsageError
from autolabel.formats.back import Back
from autolabel.formats.base import LabelSource, Splits, Tally
from autolabel.formats.fidelity import Fidelity, Labelled, compare
from autolabel.formats.folder import MARKER
from autolabel.formats.media_files import NAME_MAP, Names, Picture
from autolabel.formats.reading import Problems, ReadObject, load_json
from autolabel.formats.selection import Selected, Selection
from autolabel.formats.split import SplitRequest
from autolabel.formats.voc import label_names
from autolabel.types import MediaRecord

READERS = ("own", "other")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found in an export.

    Attributes:
        format: The format's name.
        objects: Objects that were read.
        expected: Objects that the export wrote, by its marker; None where it doesn't say.
        fidelity: How they fit the project's labels; None without a project.
        notes: What is wrong, one line each.
    """

    format: str
    objects: int
    expected: int | None
    fidelity: Fidelity | None
    notes: tuple[str, ...]


class Reading:
    """An export that is read back: one reader, or one for each part that is a folder.

    Args:
        folder: The export.
        target: The reader, "module:Class".
        classes: Names of the project's classes.
        splitter: Says each input's part; None for one part.
        folders: Each part is a folder with an export of its own.
    """

    def __init__(
        self,
        folder: Path,
        target: str,
        classes: Sequence[str],
        splitter: Splits | None,
        folders: bool,
    ) -> None:
        self.problems = Problems(skip=True)
        module, _, name = target.partition(":")
        make = getattr(importlib.import_module(module), name)
        self._splitter = splitter
        self._folders = folders
        self._backs: dict[str, tuple[Back, Names]] = {}
        for part in splitter.names if splitter and folders else ("",):
            back = _Translated(make(folder / part, self.problems), classes)
            self._backs[part] = back, _Given(folder / part)

    def back_of(self, media: MediaRecord) -> tuple[Back, Names, str]:
        """Return what reads an input's labels, its names, and its part there."""
        part = self._splitter.part(media) if self._splitter else ""
        if not self._folders:
            return *self._backs[""], part
        return *self._backs[part], ""

    def count(self) -> int:
        """Read all, and return the number of objects."""
        return sum(back.rest() for back, _ in self._backs.values())

    def compare(
        self, labelled: Labelled, written: int | None, affected: Iterable[str]
    ) -> tuple[Fidelity, list[str]]:
        """Return how well the labels are kept, and what is to be said about it.

        Args:
            labelled: The project's labels.
            written: How many the writer says it wrote.
            affected: What the writer says is not as it was.
        """
        found = compare(labelled, self.back_of, written)
        explained = any(what.startswith("masks") for what in affected)
        return found, [*found.notes(explained), *self.notes()]

    def notes(self) -> list[str]:
        """Return what could not be read."""
        told = self.problems
        return [f"{n} {what} (first: {told.first[what]})" for what, n in told.skipped.items()]


class _Given(Names):
    """The names that an export gave its inputs, as its ``name_map.json`` says."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        for path in (folder / NAME_MAP, folder / "renamed" / NAME_MAP):
            if path.is_file():
                self.changed = load_json(path)

    def claim(self, name: str) -> str:
        """Return an input's name in the export."""
        return self.changed.get(name, name)


class _Translated:
    """A reader whose objects have the project's class ids."""

    def __init__(self, back: Back, classes: Sequence[str]) -> None:
        self._back = back
        self.classes = list(classes)
        clean = label_names(classes)  # as VOC's label map has them
        self._table = [
            next((names.index(one) for names in (classes, clean) if one in names), -1)
            for one in back.classes
        ]
        self._as_is = self._table == list(range(len(self._table)))

    def objects(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a picture's labels."""
        found = self._back.objects(picture, part)
        if self._as_is:
            return found
        return [replace(one, class_id=self._table[one.class_id]) for one in found]

    def rest(self) -> int:
        """Return how many objects there are."""
        return self._back.rest()


def marker(
    format_name: str, options: dict[str, Any], select: Selection, split: SplitRequest | None
) -> dict[str, object]:
    """Return what an export says about itself, so that it can be verified later."""
    told: dict[str, object] = {"format": format_name, "options": options}
    if select != Selection():
        told["select"] = asdict(select)
    if split is not None:
        told["split"] = asdict(split)
    return told


def verify_folder(
    folder: Path, targets: dict[str, tuple[str, bool]], project: LabelSource | None = None
) -> VerifyReport:
    """Read an export back, and compare it with its project where that is given.

    Args:
        folder: The export.
        targets: For each format what reads it, "module:Class" or "" for nothing, and whether
            its parts are folders with an export of their own.
        project: The project that it was exported from.

    Raises:
        UsageError: If the folder is no export, or nothing reads its format.
        FormatError: If it is damaged beyond reading.
    """
    told = _told(folder)
    name = told["format"]
    target, folders = targets.get(name, ("", False))
    if not target:
        raise UsageError(f"{folder}: a {name} export is not read by this reader")
    tally = Tally()
    split = SplitRequest(**told["split"]) if "split" in told else None
    if project is None:
        parts = _Parts(folder) if split and folders else None
        reading = Reading(folder, target, (), parts, folders and split is not None)
        objects, fidelity, notes = reading.count(), None, reading.notes()
    else:
        selection = told.get("select", {})
        select = Selection(**{**selection, "classes": tuple(selection.get("classes", ()))})
        source = Selected(project, select, tally)
        splitter = split.splitter(source) if split else None
        names = [one for one, _ in source.classes()]
        reading = Reading(folder, target, names, splitter, folders and split is not None)
        fidelity, notes = reading.compare(
            source.labelled(), told.get("instances"), told.get("affected", ())
        )
        objects = fidelity.objects - fidelity.lost + fidelity.extra
    expected = told.get("instances")
    if expected is not None and objects != expected:
        notes.append(f"{expected} objects were written, {objects} were read")
    return VerifyReport(name, objects, expected, fidelity, tuple(notes))


class _Parts:
    """The parts of an export, by its folders."""

    def __init__(self, folder: Path) -> None:
        self.names = tuple(sorted(one.name for one in folder.iterdir() if one.is_dir()))

    def part(self, media: MediaRecord) -> str:
        """Return nothing: without the project no input is asked for."""
        return ""


def _told(folder: Path) -> dict[str, Any]:
    """Return what an export's marker says."""
    try:
        told = json.loads((folder / MARKER).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{folder} is no export of autolabel: it has no {MARKER}") from error
    except ValueError as error:
        raise FormatError(f"{folder / MARKER}: expected JSON: {error}") from error
    if not isinstance(told, dict) or "format" not in told:
        raise FormatError(f"{folder / MARKER}: says no format")
    return told
