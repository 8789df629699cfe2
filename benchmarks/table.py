"""Rows of the benchmarks' table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """One line: what was measured, the median of the rounds, the least and the greatest."""

    number: str
    what: str
    unit: str
    middle: float
    least: float
    most: float
    note: str = ""

    def line(self) -> str:
        """Return the row as Markdown."""
        spread = f"{self.least:.4g} to {self.most:.4g}" if self.least != self.most else ""
        return (
            f"| {self.number} | {self.what} | {self.middle:.4g} {self.unit} | {spread} | "
            f"{self.note} |"
        )


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, least and greatest ratio of two that took turns."""
    found = [one / other for one, other in zip(above, below, strict=True)]
    return median(found), min(found), max(found)


def one(value: float) -> tuple[float, float, float]:
    """Return a figure that was measured once."""
    return value, value, value
