"""``autolabel render``: the pictures with their labels drawn on."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Draw the labels on pictures and videos.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--limit", type=click.IntRange(min=1), help="The first N inputs only.")
@click.option("--overwrite", is_flag=True, help="Replace what is in --out.")
def render(project: Path, out: Path, limit: int | None, overwrite: bool) -> int:
    """Write the pictures and videos of PROJECT with masks, boxes, names and ids drawn on them."""
    from autolabel import api

    report = api.render(project, out, limit=limit, overwrite=overwrite)
    plural = "" if report.videos == 1 else "s"
    videos = f" and {report.videos} video{plural}" if report.videos else ""
    click.echo(f"{report.pictures} pictures{videos} -> {click.format_filename(out)}")
    for line in report.missing:
        click.echo(f"not drawn: {line}", err=True)
    return 3 if report.missing else 0
