"""Every error that autolabel raises on purpose.

    AutolabelError
     ├── UsageError             the command or the call asks for something impossible
     │    ├── OntologyError     the ontology file is wrong (file, line, found, allowed)
     │    ├── SpecError         a model spec or preset is unknown or malformed
     │    └── ProjectChanged    the project was made with other models or prompts
     ├── InputError             one picture or video can't be used; the run goes on
     ├── WeightsError           weights can't be had, or are not what they should be
     │    └── ServiceError      a model behind an API refuses, or can't be reached: the run stops
     ├── ProjectError           the project folder can't be used
     │    ├── ProjectBusy       another run holds it
     │    ├── ProjectDamaged    labels.db is not a readable database
     │    └── ProjectTooNew     labels.db was written by a newer autolabel
     ├── EngineError            the machines that should do the work can't be used
     ├── StorageError           the disk is full, read-only or failing
     ├── FormatError            a label file to import is wrong (file, place)
     └── MissingExtra           an optional part is not installed (says what to install)

The library raises these; only ``autolabel.cli`` turns them into a message and an exit code.
A message says what was wrong, where, what was expected and what to do.
"""

from __future__ import annotations


class AutolabelError(Exception):
    """The root of all errors that autolabel raises on purpose."""

    exit_code = 1


class UsageError(AutolabelError):
    """The command or the call asks for something impossible."""


class OntologyError(UsageError):
    """The ontology file is wrong.

    Args:
        message: What was found and what is allowed.
        path: The ontology file, or None when it came from memory.
        line: 1-based line in that file.
    """

    def __init__(self, message: str, path: str | None = None, line: int | None = None) -> None:
        where = f"{path or '<ontology>'}:{line}" if line else (path or "<ontology>")
        super().__init__(f"{where}: {message}")
        self.path = path
        self.line = line


class SpecError(UsageError):
    """A model spec or preset is unknown or malformed."""


class ProjectChanged(UsageError):
    """The project was made with other models, prompts or settings than this run asks for."""


class InputError(AutolabelError):
    """One picture or video can't be used; the run records it and goes on."""


class WeightsError(AutolabelError):
    """Weights can't be had, or are not what they should be."""


class ServiceError(WeightsError):
    """A model behind an API refuses its service, or can't be reached; a run stops there."""


class ProjectError(AutolabelError):
    """The project folder can't be used."""


class ProjectBusy(ProjectError):
    """Another run holds the project folder."""


class ProjectDamaged(ProjectError):
    """The project's labels.db is not a readable database."""


class ProjectTooNew(ProjectError):
    """The project's labels.db was written by a newer autolabel."""


class EngineError(AutolabelError):
    """The machines that should do the work can't be used, or don't fit each other."""


class StorageError(AutolabelError):
    """The disk is full, read-only or failing."""


class FormatError(AutolabelError):
    """A label file to import is wrong."""


class MissingExtra(AutolabelError):
    """An optional part is not installed.

    Args:
        what: The package that is missing.
        extra: The extra of autolabel that brings it.
        how: How to install it, where that takes more than the extra.
    """

    def __init__(self, what: str, extra: str, how: str = "") -> None:
        how = how or f"Install it with: pip install 'autolabel[{extra}]'"
        super().__init__(f"{what} is not installed. {how}")
