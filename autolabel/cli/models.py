"""``autolabel models``: what there is, its licence and whether it is here."""

from __future__ import annotations

import json
import sys

import click

FLAGS = ("text", "examples", "video", "scores", "masks")


@click.command(short_help="List the models: licence, size, whether they are here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def models(as_json: bool) -> None:
    """List presets, grounders and segmenters: what they can do, need, and when to take which."""
    from autolabel import registry

    rows = registry.list_models()
    if as_json:
        click.echo(json.dumps([row.as_dict() for row in rows], indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("name", "kind", "weights", "licence", "size", "here", "can", "needs", "take it"):
        table.add_column(title, overflow="fold", no_wrap=title in ("name", "kind"))
    for row in rows:
        here = "yes" if row.here else "no"
        licence = row.licence
        if row.weights_licence not in ("", row.licence):
            licence += f"; weights: {row.weights_licence}"
        can = " ".join(name for name in FLAGS if getattr(row, name))
        cells = (row.name, row.kind, row.weights, licence, row.size, here, can, row.needs)
        table.add_row(*(Text(cell) for cell in cells), Text(row.advice))
    Console(width=None if sys.stdout.isatty() else 240).print(table)
