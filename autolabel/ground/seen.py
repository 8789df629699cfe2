"""A model's picture backbone, run once for however many prompts follow."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class SeenOnce(torch.nn.Module):
    """A picture backbone that can keep what it returned, for each thread by itself."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.position_embedding = backbone.position_embedding
        self.backbone = backbone
        self._kept = threading.local()

    @contextmanager
    def seen(self, pixels: torch.Tensor, mask: torch.Tensor) -> Iterator[None]:
        """Run the backbone once, however many chunks of prompts follow inside."""
        self._kept.found = self.backbone(pixels, mask)
        try:
            yield
        finally:
            del self._kept.found

    def forward(self, pixels: torch.Tensor, mask: torch.Tensor) -> tuple[list[Any], list[Any]]:
        """Return fresh lists of what was seen (the model appends to them), else look."""
        found = getattr(self._kept, "found", None)
        features, positions = self.backbone(pixels, mask) if found is None else found
        return list(features), list(positions)


class _First(torch.nn.Module):
    """Stands in for a module and returns its first answer for good."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self._module = module
        self._answer: Any = None

    def forward(self, *args: Any, **options: Any) -> Any:
        """Return a shallow copy, for the model sets fields of it."""
        if self._answer is None:
            self._answer = self._module(*args, **options)
        return copy.copy(self._answer)


@contextmanager
def first_answer(core: Any, name: str) -> Iterator[None]:
    """Run a model's module of this name once, however often it is asked for one picture."""
    module = getattr(core, name)
    setattr(core, name, _First(module))
    try:
        yield
    finally:
        setattr(core, name, module)
