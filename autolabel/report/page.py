"""The report's page: one HTML text with its style inside, nothing fetched, all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6570; --paper: #fff; --card: #f5f7f9;
  --line: #d9dfe5; --accent: #2563a8; --good: #2f7d4f; --bad: #c2492f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebee; --soft: #a0abb6; --paper: #14181c;
  --card: #1d2329; --line: #343d46; --accent: #6ba8e8; --good: #58b07c; --bad: #e8775c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; line-height: 1.25; }
h2 { font-size: 19px; margin: 40px 0 10px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 6px 0; } .soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 10px;
  margin-top: 18px; }
.tile { background: var(--card); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 22px; line-height: 1.3; } .tile span { color: var(--soft); }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: middle; }
th { color: var(--soft); font-weight: 600; font-size: 13px; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 140px; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 8px; vertical-align: -1px; }
.meter { display: inline-block; width: 70px; height: 8px; background: var(--line);
  border-radius: 4px; margin-right: 8px; overflow: hidden; vertical-align: middle; }
.meter i { display: block; height: 100%; background: var(--accent); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 18px; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 8px; }
.curves figure { text-align: center; font-size: 13px; }
figure { margin: 0; break-inside: avoid; } figcaption { overflow-wrap: anywhere; font-size: 13px; }
.pictures { display: grid; gap: 18px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); }
.pictures.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr)); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; }
.pair div { font-size: 12px; color: var(--soft); }
img { width: 100%; height: auto; border-radius: 6px; display: block; background: var(--card); }
.gone { background: var(--card); border-radius: 6px; padding: 30px 10px; text-align: center;
  color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.chart { max-width: 100%; height: auto; } .chart.heat, .chart.spark { max-width: none; }
.chart text { fill: var(--soft); font-size: 11px; text-anchor: middle; }
.chart text.row { text-anchor: end; fill: var(--ink); }
.chart text.column { text-anchor: start; fill: var(--ink); } .chart text.on { fill: var(--ink); }
.bar { fill: var(--accent); } .axis { stroke: var(--soft); } .grid { stroke: var(--line); }
.frame { fill: none; stroke: var(--soft); } .curve { fill: none; stroke: var(--accent);
  stroke-width: 2; stroke-linejoin: round; } .dot { fill: var(--bad); }
.mark { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 3 2; }
.cell { fill: var(--card); } .good { fill: var(--good); } .bad { fill: var(--bad); }
pre { background: var(--card); border-radius: 8px; padding: 12px; overflow-x: auto; font-size: 13px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 560px) { main { padding: 16px 14px 40px; } h1 { font-size: 21px; }
  .tile b { font-size: 18px; } .meter { display: none; }
  th, td { padding-right: 9px; font-size: 13px; } td.text { min-width: 96px; } }
@media print { :root { --ink: #111; --soft: #555; --paper: #fff; --card: #f2f4f6; --line: #ccd3da;
  --accent: #2563a8; --good: #2f7d4f; --bad: #c2492f; color-scheme: light; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; } body { font-size: 11px; }
  h2 { break-after: avoid; } tr, .tile, .pair { break-inside: avoid; }
  .curves { grid-template-columns: repeat(6, 1fr); }
  .wide { overflow: visible; } .chart.heat { max-width: 100%; height: auto; }
  .pictures { grid-template-columns: repeat(3, 1fr); }
  .pictures.pairs { grid-template-columns: repeat(2, 1fr); } }
"""

NOTHING = "\N{EN DASH}"
"""What can't be measured."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, parts: Iterable[str]) -> str:
    """Return the whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        + "\n".join(parts)
        + "</main></body></html>\n"
    )


def text(value: object) -> str:
    """Return untrusted text for the page, kept apart from its surroundings' direction."""
    return f"<bdi>{escape(str(value))}</bdi>"


def tiles(values: Sequence[tuple[str, str]]) -> str:
    """Return the headline figures: (figure, what it is)."""
    cells = "".join(
        f'<div class="tile"><b>{escape(figure)}</b><span>{escape(what)}</span></div>'
        for figure, what in values
    )
    return f'<div class="tiles">{cells}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: Sequence[int] = (0,)) -> str:
    """Return a table; cells are HTML already, columns in ``texts`` are words."""
    kinds = ['class="text"' if index in texts else "" for index in range(len(heads))]
    head = "".join(f"<th {kind}>{escape(one)}</th>" for kind, one in zip(kinds, heads, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td {kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    inside = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table>{inside}</table></div>'


def meter(value: float | None) -> str:
    """Return a share as a bar and a number; a dash where there is nothing to measure."""
    if value is None:
        return NOTHING
    return f'<span class="meter"><i style="width:{100 * value:.1f}%"></i></span>{value:.3f}'


def swatch(color: str) -> str:
    """Return a class's colour."""
    return f'<span class="swatch" style="background:{escape(color)}"></span>'


def section(title: str, *parts: str) -> str:
    """Return a section."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def soft(words: str) -> str:
    """Return an explanation."""
    return f'<p class="soft">{escape(words)}</p>'


def picture(data: str | None, caption: str, alt: str) -> str:
    """Return a picture (a data URI; None: it can't be read) over its caption (HTML already)."""
    return f"<figure>{shown(data, alt)}<figcaption>{caption}</figcaption></figure>"


def shown(data: str | None, alt: str) -> str:
    """Return a picture alone."""
    if data is None:
        return f'<div class="gone">{escape(alt)}: the file is gone or has changed</div>'
    return f'<img src="{data}" alt="{escape(alt)}">'
