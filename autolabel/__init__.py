"""Text in, labelled data set out.

The names below are the public API; each is loaded when it is first used, so that
``import autolabel`` is instant and brings no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autolabel.api import RunPlan, RunReport, export, measure, plan, render, run
    from autolabel.errors import AutolabelError
    from autolabel.ontology import ClassSpec, Ontology, load_ontology
    from autolabel.stages import Grounder, Segmenter
    from autolabel.store import Project
    from autolabel.types import RLE, Instance, MediaRecord, Proposals, Segments

try:
    __version__ = version("autolabel")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0"

_HOMES = {
    "api": ("RunPlan", "RunReport", "calibrate", "export", "measure", "plan", "render", "run"),
    "errors": ("AutolabelError",),
    "ontology": ("ClassSpec", "Ontology", "load_ontology"),
    "stages": ("Grounder", "Segmenter"),
    "store": ("Project",),
    "types": ("RLE", "Instance", "MediaRecord", "Proposals", "Segments"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "RLE",
    "AutolabelError",
    "ClassSpec",
    "Grounder",
    "Instance",
    "MediaRecord",
    "Ontology",
    "Project",
    "Proposals",
    "RunPlan",
    "RunReport",
    "Segmenter",
    "Segments",
    "calibrate",
    "export",
    "load_ontology",
    "measure",
    "plan",
    "render",
    "run",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'autolabel' has no attribute {name!r}")
    return getattr(import_module(f"autolabel.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
