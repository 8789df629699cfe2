"""Batches of objects on the cores of a CPU: a batch on each, at the same time.

torch shares every single operation out among the cores. What it does for a few objects at 256 px
takes a fraction of a millisecond, of which sharing it out is a good part.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Cores:
    """Threads that compute on one core each; they begin when needed and end with the process.

    Args:
        count: how many; 1 means that everything is done where it is asked for.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    def map(self, work: Callable[[_In], _Out], batches: Sequence[_In]) -> list[_Out]:
        """What ``work`` gives for each batch, in their order.

        Fewer batches than cores go one after another, unless the caller has one core anyway.
        """
        idle = len(batches) < self.count and torch.get_num_threads() > 1
        if len(batches) < 2 or self.count == 1 or idle:
            return [work(batch) for batch in batches]
        return list(self._begun().map(work, batches))

    def _begun(self) -> ThreadPoolExecutor:
        if self._pool is None:
            before = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(self.count, "tracker", initializer=_one_core)
            all_there = threading.Barrier(self.count)
            list(self._pool.map(lambda _: all_there.wait(), range(self.count)))
            # The number also holds for threads that begin later, whoever begins them.
            torch.set_num_threads(before)
        return self._pool


def _one_core() -> None:
    """From now on this thread computes on one core."""
    torch.set_num_threads(1)
    # A thread takes over the number of all threads when it first asks for its own: so now.
    torch.get_num_threads()
