"""Where the time goes: seconds by stage, each thread with a watch of its own.

What is measured inside something else counts for itself alone, so that stages add up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

STAGES = {
    "wait": "waiting for input",
    "ground": "grounding",
    "segment": "segmenting",
    "encode": "encoding masks",
    "track": "tracking",
    "select": "selecting labels",
    "write": "writing",
}
"""What is measured, in the order of the table, and in words."""


class _Watch(threading.local):
    """A thread's seconds by stage, and what was measured inside of what is going on."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.inside = 0.0


_watch = _Watch()


@contextmanager
def measured(stage: str) -> Iterator[None]:
    """Count the time inside for a stage, without what is measured in there for another."""
    outer, _watch.inside = _watch.inside, 0.0
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - began
        own = seconds - _watch.inside
        _watch.spent[stage] = _watch.spent.get(stage, 0.0) + own
        _watch.inside = outer + seconds


def taken() -> Mapping[str, float]:
    """Return this thread's seconds by stage since the last call, and begin anew."""
    spent, _watch.spent = _watch.spent, {}
    return spent


def summed(*spent: Mapping[str, float]) -> dict[str, float]:
    """Return seconds by stage, added up."""
    stages = {stage for one in spent for stage in one}
    return {stage: sum(one.get(stage, 0.0) for one in spent) for stage in stages}
