"""``autolabel report``: what is known of a project, as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a report as one HTML file.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The file to write; report.html in the project by default.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="COCO JSON or another project; else the pictures gone through in review.",
)
def report(project: Path, out: Path | None, truth: Path | None) -> None:
    """Write one self-contained HTML file about PROJECT: classes, scores, doubts, failures.

    With a truth also precision and recall, confusion and the worst pictures.
    """
    from autolabel import api

    click.echo(click.format_filename(api.report(project, out, truth=truth)))
