"""``autolabel suggest``: which pictures to correct next."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(short_help="Say which pictures to correct next.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--count", default=20, show_default=True, help="How many.")
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="COCO JSON or a project: its pictures are labelled already.",
)
@click.option("--dry-run", is_flag=True, help="Don't keep the list in the project for the review.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def suggest(project: Path, count: int, truth: Path | None, dry_run: bool, as_json: bool) -> None:
    """Print the pictures of PROJECT to correct next: unsure ones, of all classes, best first.

    The list is kept in the project, where the review has it as a view.
    """
    from autolabel import api

    found = api.suggest(project, count, truth=truth, save=not dry_run)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    width = max(len(one["name"]) for one in found)
    click.echo(f"{'picture':{width}}  doubts  most in doubt (probability of being right)")
    for one in found:
        about = ", ".join(f"{it['class']} {it['probability']:.2f}" for it in one["about"])
        click.echo(f"{one['name']:{width}}  {one['doubts']:6.1f}  {about}".rstrip())
