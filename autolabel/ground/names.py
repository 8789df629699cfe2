"""A detector's fixed class names: which output column a prompt means, and what is near it."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable, Sequence


def key_of(name: object) -> str:
    """Return what makes names equal: lower case, single spaces."""
    return " ".join(str(name).lower().split())


class Names:
    """Class names in the order of a model's output columns."""

    def __init__(self, names: Iterable[object]) -> None:
        """Keep the names; of two that differ in case only, the first is meant."""
        self._names = [str(name) for name in names]
        self._columns: dict[str, int] = {}
        for column, name in enumerate(self._names):
            self._columns.setdefault(key_of(name), column)

    def __contains__(self, prompt: str) -> bool:
        """Return whether the prompt is one of the names."""
        return key_of(prompt) in self._columns

    def __getitem__(self, prompt: str) -> int:
        """Return the prompt's column."""
        return self._columns[key_of(prompt)]

    def unknown(self, model: str, prompts: Sequence[str], why: str) -> str:
        """Return a message about prompts that are not names: near ones, and all there are.

        Args:
            model: What the names belong to.
            prompts: Those that are not among them.
            why: One sentence: why the model can't be given new names.
        """
        parts = []
        for prompt in prompts:
            near = difflib.get_close_matches(key_of(prompt), self._columns, n=3)
            parts.append(f"'{prompt}'" + (f" (near: {', '.join(near)})" if near else ""))
        # A name of two words stays on one line: its space doesn't count as one while wrapping.
        names = ", ".join(name.replace(" ", "\0") for name in self._names)
        wrapped = textwrap.fill(names, width=96, break_on_hyphens=False).replace("\0", " ")
        return f"{model} doesn't know {'; '.join(parts)}. {why} Its names are:\n{wrapped}"
