"""Charts of the report as SVG texts that follow the page's colours; no scripts, no fonts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def bars(counts: Sequence[int], labels: Sequence[str], what: str) -> str:
    """Return a histogram with its axis.

    Args:
        counts: One a bar.
        labels: What is written under each bar; may be "".
        what: The name of the axis.
    """
    width, height, foot, left = 560, 190, 34, 8
    most = max([1, *counts])
    step = (width - 2 * left) / max(1, len(counts))
    parts = []
    for index, count in enumerate(counts):
        tall = (height - 20) * count / most
        x, y = left + index * step, height - tall
        parts.append(
            f'<rect class="bar" x="{x + 1:.1f}" y="{y:.1f}" width="{max(1.0, step - 2):.1f}" '
            f'height="{tall:.1f}"><title>{escape(labels[index])}: {count}</title></rect>'
        )
        if count and step > 24:
            parts.append(
                f'<text class="n" x="{x + step / 2:.1f}" y="{y - 4:.1f}">{_short(count)}</text>'
            )
        parts.append(
            f'<text class="n" x="{x + step / 2:.1f}" y="{height + 14}">{escape(labels[index])}'
            "</text>"
        )
    line = f'x1="{left}" y1="{height}" x2="{width - left}" y2="{height}"'
    parts.append(f'<line class="axis" {line}/>')
    parts.append(f'<text class="n" x="{width / 2}" y="{height + 31}">{escape(what)}</text>')
    return _svg(width, height + foot, parts, f"histogram: {what}")


def spark(counts: Sequence[int], mark: float | None, color: str) -> str:
    """Return a small histogram for a table's cell, with a line at ``mark`` (0 to 1)."""
    width, height = 120, 26
    most = max([1, *counts])
    step = width / max(1, len(counts))
    parts = [
        f'<rect fill="{color}" x="{index * step + 0.5:.1f}" y="{height - height * n / most:.1f}" '
        f'width="{step - 1:.1f}" height="{height * n / most:.1f}"/>'
        for index, n in enumerate(counts)
        if n
    ]
    parts.append(f'<line class="axis" x1="0" y1="{height}" x2="{width}" y2="{height}"/>')
    if mark is not None:
        x = width * mark
        parts.append(f'<line class="mark" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height}"/>')
    return _svg(width, height, parts, "scores", "spark")


def curve(recall: Floats, precision: Floats, at: tuple[float, float] | None, name: str) -> str:
    """Return a precision-recall curve, with a dot at the threshold in use (recall, precision)."""
    side, left, top = 150, 24, 6
    parts = [f'<rect class="frame" x="{left}" y="{top}" width="{side}" height="{side}"/>']
    parts += [
        f'<line class="grid" x1="{left}" x2="{left + side}" y1="{top + side * part}" '
        f'y2="{top + side * part}"/><line class="grid" y1="{top}" y2="{top + side}" '
        f'x1="{left + side * part}" x2="{left + side * part}"/>'
        for part in (0.25, 0.5, 0.75)
    ]
    points = " ".join(
        f"{left + side * r:.1f},{top + side * (1 - p):.1f}"
        for r, p in zip(recall, precision, strict=True)
    )
    parts.append(f'<polyline class="curve" points="{points}"/>')
    if at is not None:
        x, y = left + side * at[0], top + side * (1 - at[1])
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    below = top + side + 14
    for value in (0, 1):
        right, down = left + side * value, top + side * (1 - value) + 4
        parts.append(f'<text class="n" x="{left - 10}" y="{down}">{value}</text>')
        parts.append(f'<text class="n" x="{right}" y="{below}">{value}</text>')
    parts.append(f'<text class="n" x="{left + side / 2}" y="{below}">recall</text>')
    return _svg(left + side + 12, top + side + 20, parts, f"precision and recall of {name}", "pr")


def heat(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Return a confusion matrix: rows truths, columns labels, the last of each for nothing."""
    rows = [*names, "nothing there"]
    columns = [*names, "missed"]
    cell = 26 if len(names) <= 14 else 15
    left = min(260, 12 + 7 * max(len(name) for name in rows))
    top = min(220, 12 + 6 * max(len(name) for name in columns))
    most = max([1, *(n for row in matrix for n in row)])
    parts = []
    for r, row in enumerate(matrix):
        y = top + r * cell
        name = escape(_cut(rows[r]))
        parts.append(f'<text class="row" x="{left - 6}" y="{y + cell * 0.7:.1f}">{name}</text>')
        for c, count in enumerate(row):
            if r == c == len(names):
                continue
            x = left + c * cell
            kind = "good" if r == c else "bad"
            share = 0.0 if not count else 0.15 + 0.85 * count / most
            parts.append(
                f'<rect class="cell" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}"/>'
            )
            if not count:
                continue
            parts.append(
                f'<rect class="{kind}" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
                f'opacity="{share:.2f}"><title>truth {escape(rows[r])}, label '
                f"{escape(columns[c])}: {count}</title></rect>"
            )
            if cell > 20:
                parts.append(
                    f'<text class="n on" x="{x + cell / 2 - 0.5}" y="{y + cell * 0.66:.1f}">'
                    f"{_short(count)}</text>"
                )
    for c, name in enumerate(columns):
        across = left + c * cell + cell * 0.7
        parts.append(
            f'<text class="column" transform="translate({across:.1f},{top - 6}) rotate(-90)">'
            f"{escape(_cut(name))}</text>"
        )
    size = (left + len(columns) * cell + 4, top + len(rows) * cell + 4)
    return _svg(*size, parts, "confusion matrix: rows are truths, columns labels", "heat")


def _svg(width: float, height: float, parts: Sequence[str], title: str, kind: str = "") -> str:
    """Return the drawing with its title."""
    return (
        f'<svg class="chart {kind}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _short(count: int) -> str:
    """Return a count in few letters."""
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def _cut(name: str) -> str:
    """Return a name that fits."""
    return name if len(name) <= 34 else name[:33] + "…"
