"""How a run tells what it is doing; the command line draws it, a library call may ignore it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Advance:
    """What one batch (or one window of a video) added.

    Attributes:
        items: Inputs finished, failed ones included.
        pictures: Pictures or frames labelled.
        objects: Labels made.
        failures: Inputs that failed.
        seconds: Where the time went, by stage (``autolabel.clock``), added up over threads.
    """

    items: int = 0
    pictures: int = 0
    objects: int = 0
    failures: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


class Progress(Protocol):
    """Receives what a run does, in order, from one thread."""

    def start(self, total: int, done: int) -> None:
        """``total`` inputs will be worked through, of which ``done`` were done before."""
        ...

    def advance(self, step: Advance) -> None:
        """One more batch or window is committed."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know, in one line."""
        ...

    def finish(self) -> None:
        """The run is over."""
        ...


class Silent:
    """A Progress that says nothing."""

    def start(self, total: int, done: int) -> None:
        """Ignore it."""

    def advance(self, step: Advance) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def finish(self) -> None:
        """Ignore it."""
