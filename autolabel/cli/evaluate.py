"""``autolabel eval``: measure a project's labels against a truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("eval", short_help="Measure the labels against a truth.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--truth", required=True, type=click.Path(path_type=Path), help="COCO JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def evaluate(project: Path, truth: Path, as_json: bool) -> None:
    """Print box and mask AP of PROJECT's labels, and precision, recall and F1 of each class."""
    from autolabel import api

    found = api.measure(project, truth)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for line in table(found):
        click.echo(line)


def table(found: dict[str, Any]) -> list[str]:
    """Return an evaluation as lines of text."""
    lines = [f"{found['pictures']} pictures", "", "        AP     AP50"]
    for kind in ("box", "mask"):
        if found.get(kind):
            lines.append(f"{kind:5} {_share(found[kind]['ap'])}  {_share(found[kind]['ap50'])}")
    width = max([5, *(len(name) for name in found["classes"])])
    lines += ["", f"{'class':{width}}  truths  labels  precision  recall     F1"]
    for name, one in found["classes"].items():
        if one["truths"] or one["labels"]:
            lines.append(
                f"{name:{width}}  {one['truths']:6}  {one['labels']:6}     "
                f"{_share(one['precision'])}  {_share(one['recall'])}  {_share(one['f1'])}"
            )
    return lines + [f"note: {note}" for note in found["notes"]]


def _share(value: float | None) -> str:
    """Return a share with three digits, or a dash where there is nothing to measure."""
    return "     -" if value is None or value < 0 else f"{value:6.3f}"
