"""A training loop that is given minutes, not steps: annealed by the clock, and resumable."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WARM_UP_STEPS = 20
SAVE_EVERY_S = 120.0


class Loop:
    """Steps an optimiser until its minutes are used up, writing a curve and checkpoints.

    The learning rate warms up, then falls along a cosine over the given minutes. Run again with
    the same folder and name, it goes on from the last checkpoint; a finished stage ends at once.

    Args:
        folder: where ``NAME.pt`` (checkpoint) and ``NAME.jsonl`` (curve) are kept.
        name: the stage's name.
        model: what is trained and saved.
        groups: the optimiser's parameter groups, each with its peak ``lr``.
        minutes: wall-clock budget, all runs together.
        seed: seeds numpy's generator, handed to every step, and torch.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        model: nn.Module,
        groups: list[dict[str, object]],
        minutes: float,
        seed: int,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._curve = folder / f"{name}.pt", folder / f"{name}.jsonl"
        self._name, self._model, self._budget = name, model, minutes * 60.0
        self._optimiser = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
        self._peaks = [float(g["lr"]) for g in self._optimiser.param_groups]
        self.step, self.elapsed = 0, 0.0
        if self._path.exists():
            self._resume()
        self._rng = np.random.default_rng((seed, self.step))
        torch.manual_seed(seed + self.step)

    @property
    def progress(self) -> float:
        """The share of the budget that is used, 0 to 1."""
        return min(1.0, self.elapsed / self._budget)

    def run(
        self,
        one_step: Callable[[np.random.Generator], tuple[Tensor, dict[str, float]]],
        say: Callable[[str], None] = print,
        every: int = 10,
    ) -> None:
        """Trains until the time is up.

        Args:
            one_step: gives the loss and figures to write into the curve.
            say: told a line every few steps.
            every: how many steps a line covers.
        """
        saved = time.monotonic()
        kept: list[dict[str, float]] = []
        while self.elapsed < self._budget:
            begun = time.monotonic()
            loss, figures = one_step(self._rng)
            self._update(loss)
            self.step += 1
            self.elapsed += time.monotonic() - begun
            kept.append({"loss": float(loss.detach()), **figures})
            if self.step % every == 0:
                say(self._line(kept))
                kept = []
            if time.monotonic() - saved > SAVE_EVERY_S:
                self.save()
                saved = time.monotonic()
        self.save()

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        state = {
            "model": self._model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
        }
        partial = self._path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self._path)

    def _resume(self) -> None:
        state = torch.load(self._path, map_location="cpu", weights_only=True)
        self._model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed = int(state["step"]), float(state["elapsed"])

    def _update(self, loss: Tensor) -> None:
        warmth = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        fall = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * self.progress))
        for group, peak in zip(self._optimiser.param_groups, self._peaks, strict=True):
            group["lr"] = peak * warmth * fall
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        trained = (p for g in self._optimiser.param_groups for p in g["params"])
        nn.utils.clip_grad_norm_(trained, 1.0)
        self._optimiser.step()

    def _line(self, kept: Iterable[dict[str, float]]) -> str:
        rows = list(kept)
        names = sorted({name for row in rows for name in row})
        figures = {
            name: float(np.mean([row[name] for row in rows if name in row])) for name in names
        }
        record = {"step": self.step, "minutes": round(self.elapsed / 60.0, 2)}
        record |= {name: round(value, 4) for name, value in figures.items()}
        with self._curve.open("a") as out:
            out.write(json.dumps(record) + "\n")
        return f"{self._name} {json.dumps(record)}"


def load_weights(model: nn.Module, path: Path, without: tuple[str, ...] = ()) -> None:
    """Loads into ``model`` a checkpoint that a ``Loop`` wrote, or shipped ``.safetensors``.

    Args:
        model: takes every tensor.
        path: the checkpoint.
        without: beginnings of the names of tensors that ``model`` keeps as they are.
    """
    if path.suffix == ".safetensors":
        found = {name: value.float() for name, value in load_file(path).items()}
    else:
        found = torch.load(path, map_location="cpu", weights_only=True)["model"]
    kept = {name: own for name, own in model.state_dict().items() if name.startswith(without)}
    model.load_state_dict(found | kept)
