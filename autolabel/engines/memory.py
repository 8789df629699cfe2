"""Batches that are too large for the device's memory: halved, and none as large again."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

T = TypeVar("T")


class Limit:
    """How many pictures fit through the models together, as far as is known; for all lanes.

    Attributes:
        pictures: The most that a call gets.
    """

    def __init__(self) -> None:
        self.pictures = sys.maxsize
        self._lock = threading.Lock()

    def turn(self) -> AbstractContextManager[object]:
        """Return a context for a call of the models: once memory ran out, one call at a time."""
        return nullcontext() if self.pictures == sys.maxsize else self._lock

    def halve(self, tried: int) -> None:
        """Remember that so many pictures were too many."""
        self.pictures = min(self.pictures, max(1, tried // 2))

    def pieces(self, batch: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield a batch in pieces that fit."""
        size = max(1, min(self.pictures, len(batch)))
        return (batch[start : start + size] for start in range(0, len(batch), size))


def in_pieces(
    batch: Sequence[T],
    limit: Limit,
    call: Callable[[Sequence[T]], None],
    failed: Callable[[T, Exception], None],
) -> None:
    """Give a batch to ``call``, in smaller pieces where it fails; a single one to ``failed``.

    Out of memory, the piece is halved, and so are all that follow; at any other error its
    members are tried one by one, so that the one that does it fails alone.
    """
    waiting = deque(limit.pieces(batch))
    crowded = False
    while waiting:
        piece = waiting.popleft()
        if len(piece) > limit.pictures:
            waiting.extendleft(reversed(list(limit.pieces(piece))))
            continue
        try:
            with limit.turn():
                call(piece)
        except Exception as error:
            lacking = is_out_of_memory(error)
            if lacking:
                limit.halve(len(piece))
                free()
            if len(piece) > 1:
                parts = limit.pieces(piece) if lacking else ([one] for one in piece)
                waiting.extendleft(reversed(list(parts)))
            elif lacking and not crowded:  # another lane may have had the memory
                crowded = True
                waiting.appendleft(piece)
            else:
                failed(piece[0], error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device's memory, or this machine's, is used up."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
        or "CUDA out of memory" in str(error)
    )


def free() -> None:
    """Give back the device memory that PyTorch keeps for later, where it is in use."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
