"""What is told of an adapter before it is loaded: its card, read from its source.

A card is a literal named ``CARD`` in the body of the adapter's class::

    class Owlv2:
        CARD = {
            "licence": "Apache-2.0",
            "advice": "many rare classes; examples of things that words can't name",
            "supports": ["text", "examples", "scores"],
            "checkpoints": [["google/owlv2-base-patch16-ensemble", "Apache-2.0", "0.6 GB"]],
        }

It is read without importing the module, so that ``autolabel models`` lists everything at once
and loads no model library. Every key has a default; a plug-in's class may have one, too.
"""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from autolabel.errors import SpecError
from autolabel.models import weights

SUPPORTS = ("text", "names", "examples", "video", "scores", "masks")
"""Free text, fixed names only, examples as prompts, videos, scores, masks."""
FILES = {
    "transformers": weights.TRANSFORMERS,
    "vision": weights.VISION,
    "checkpoint": weights.CHECKPOINT,
    "text": None,
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that are known to work: where they are, whose licence, about how large."""

    ref: str
    licence: str
    size: str


@dataclass(frozen=True, slots=True)
class Card:
    """One adapter.

    Attributes:
        licence: Of the code that it runs.
        advice: When to take it, in one line.
        supports: Which of ``SUPPORTS``.
        files: What its weights are on the hub: a key of ``FILES``; "text" takes what follows
            the name as it is.
        checkpoints: Known weights; the first is the default.
        bundled: Folder of its weights among the tiny pair's, asked for as ``NAME:tiny``.
        package: A package that it needs beside autolabel's own.
        extra: The extra of autolabel that brings it.
        needs: What else it takes to run it.
        env: An environment variable that must be set.
        notice: Logged when it is chosen.
    """

    licence: str = "its own"
    advice: str = ""
    supports: tuple[str, ...] = ()
    files: str = "text"
    checkpoints: tuple[Checkpoint, ...] = ()
    bundled: str = ""
    package: str = ""
    extra: str = ""
    needs: str = ""
    env: str = ""
    notice: str = ""

    @property
    def hub_files(self) -> weights.Files | None:
        """Which files of a hub repository it needs; None where its weights are no files."""
        return FILES[self.files]

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is there."""
        return not self.package or importlib.util.find_spec(self.package) is not None


def read_card(target: str) -> Card:
    """Return the card of "module:Class"; an empty one where its class states none.

    Raises:
        SpecError: If the card is not a literal, or says something that cards don't know.
    """
    module, _, name = target.partition(":")
    source = _source(module)
    found = _literal(source, name) if source else None
    if found is None:
        return Card()
    try:
        return _card(ast.literal_eval(found))
    except (ValueError, TypeError) as error:
        raise SpecError(f"{source}: CARD of {name}: {error}") from error


def _source(module: str) -> Path | None:
    """Return the file of a module, which is not imported itself (its packages are)."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    path = Path(spec.origin) if spec is not None and spec.origin else None
    return path if path is not None and path.suffix == ".py" else None


def _literal(source: Path, name: str) -> ast.expr | None:
    """Return what is assigned to CARD in the body of a class."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for line in node.body:
                names = line.targets if isinstance(line, ast.Assign) else []
                names = [line.target] if isinstance(line, ast.AnnAssign) else names
                if any(isinstance(one, ast.Name) and one.id == "CARD" for one in names):
                    return getattr(line, "value", None)
    return None


def _card(stated: Any) -> Card:
    """Return the card that a literal states."""
    if not isinstance(stated, dict):
        raise ValueError(f"expected a dictionary, found {type(stated).__name__}")
    known = {one.name for one in fields(Card)}
    if strange := sorted(str(key) for key in stated if key not in known):
        raise ValueError(f"unknown {', '.join(strange)}; allowed: {', '.join(sorted(known))}")
    supports = tuple(stated.get("supports", ()))
    if strange := [str(one) for one in supports if one not in SUPPORTS]:
        raise ValueError(f"supports: unknown {', '.join(strange)}; allowed: {', '.join(SUPPORTS)}")
    if stated.get("files", "text") not in FILES:
        raise ValueError(f"files: found {stated['files']!r}, allowed: {', '.join(FILES)}")
    checkpoints = tuple(Checkpoint(*one) for one in stated.get("checkpoints", ()))
    return Card(**{**stated, "supports": supports, "checkpoints": checkpoints})
