"""``autolabel models``: what there is, its licence and whether it is here."""

from __future__ import annotations

import json
import sys

import click


@click.command(short_help="List the models: licence, size, whether they are here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def models(as_json: bool) -> None:
    """List presets, grounders and segmenters: licence, size, needs, and whether they are here."""
    from autolabel import registry

    rows = registry.list_models()
    if as_json:
        click.echo(json.dumps([row.as_dict() for row in rows], indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("name", "kind", "weights", "licence", "size", "here", "needs"):
        table.add_column(title, overflow="fold")
    for row in rows:
        here = "yes" if row.here else "no"
        cells = (row.name, row.kind, row.weights, row.licence, row.size, here, row.needs)
        table.add_row(*(Text(cell) for cell in cells))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
