"""``autolabel history``: what humans changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command(short_help="Show what humans changed in a project.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), help="The last N changes only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def history(project: Path, limit: int | None, as_json: bool) -> None:
    """Show what humans changed in PROJECT, the last first, with the old and the new value."""
    from autolabel.store import Project

    with Project.open(project, readonly=True) as opened:
        rows = opened.history(limit)
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=1, ensure_ascii=False))
        return
    for row in rows:
        frame = f" frame {row.frame_index}" if row.frame_index else ""
        label = f" label {row.label}" if row.label else ""
        click.echo(
            f"{row.at}  {row.source}  {row.media}{frame}{label}: {row.action} "
            f"{_text(row.old)} -> {_text(row.new)}"
        )
    if not rows:
        click.echo("No human has changed anything yet.")


def _text(value: Any) -> str:
    """Return a value in few words: of a mask that there is one, of a label its class and box."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return f"{value['class']} {_text(value['box'])}"
    if isinstance(value, list):
        shown = (f"{one:g}" if isinstance(one, float) else str(one) for one in value)
        return f"[{', '.join(shown)}]"
    text = str(value)
    return text if len(text) < 40 else f"{text[:30]}..."
