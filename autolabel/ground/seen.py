"""A model's picture backbone, run once for however many prompts follow."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class _Seen(torch.nn.Module):
    """Stands in for the backbone and returns what it returned before."""

    def __init__(self, backbone: Any, pixels: torch.Tensor, mask: torch.Tensor) -> None:
        super().__init__()
        self.position_embedding = backbone.position_embedding
        self._features, self._positions = backbone(pixels, mask)

    def forward(self, pixels: torch.Tensor, mask: torch.Tensor) -> tuple[list[Any], list[Any]]:
        """Return fresh lists, for the model appends to them."""
        return list(self._features), list(self._positions)


@contextmanager
def seen_once(core: Any, pixels: torch.Tensor, mask: torch.Tensor) -> Iterator[None]:
    """Run the picture backbone once, however many chunks of prompts follow."""
    backbone = core.backbone
    core.backbone = _Seen(backbone, pixels, mask)
    try:
        yield
    finally:
        core.backbone = backbone


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
