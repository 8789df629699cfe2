"""Progress on a terminal (a live bar) and elsewhere (a line now and then)."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from autolabel.progress import Advance, Silent
from autolabel.progress import Progress as ProgressProtocol

LINE_EVERY = 10.0
"""Seconds between lines where the output is not a terminal."""


def make_progress(quiet: bool) -> ProgressProtocol:
    """Return what suits where standard error goes."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()


class _Counts:
    """What has been done in this run so far."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.items = self.pictures = self.objects = self.failures = 0

    def add(self, step: Advance) -> None:
        """Add one step."""
        self.items += step.items
        self.pictures += step.pictures
        self.objects += step.objects
        self.failures += step.failures

    def text(self) -> str:
        """Return rate, objects and failures in words."""
        rate = self.pictures / max(1e-6, time.monotonic() - self.began)
        failures = f", {self.failures} failed" if self.failures else ""
        return f"{rate:.1f} pictures/s, {self.objects} objects{failures}"


class Bar:
    """A live bar with pictures/s, objects, failures and time left."""

    def __init__(self) -> None:
        self._counts = _Counts()
        self._bar = Progress(
            TextColumn("labelling"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", total=None, text="")

    def start(self, total: int, done: int) -> None:
        """Show the bar."""
        self._counts = _Counts()
        self._bar.start()
        self._bar.update(self._task, total=total, completed=done)

    def advance(self, step: Advance) -> None:
        """Move the bar."""
        self._counts.add(step)
        self._bar.update(self._task, advance=step.items, text=self._counts.text())

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)

    def finish(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


class Lines:
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._counts = _Counts()
        self._total = self._before = 0
        self._last = time.monotonic()

    def start(self, total: int, done: int) -> None:
        """Say how much there is to do."""
        self._counts = _Counts()
        self._total, self._before = total, done
        self.note(f"labelling {total - done} of {total} inputs ({done} done before)")

    def advance(self, step: Advance) -> None:
        """Print where the run is, if the last line is old enough."""
        self._counts.add(step)
        if time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            self.note(f"{self._before + self._counts.items}/{self._total}  {self._counts.text()}")

    def note(self, text: str) -> None:
        """Print a line to standard error."""
        print(text, file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Say nothing: the closing lines follow."""
