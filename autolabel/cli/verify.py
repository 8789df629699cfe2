"""``autolabel verify``: read an export back, and compare it with its project."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Read an export back and compare it.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    help="Compare with the project that it was exported from.",
)
@click.option(
    "--reader",
    default="own",
    show_default=True,
    type=click.Choice(["own", "other"]),
    help="Read with this program, or with pycocotools (coco) and Ultralytics (yolo-seg).",
)
def verify(folder: Path, project: Path | None, reader: str) -> int:
    """Read the export in DIR back: is it complete, and does it fit its project?"""
    from autolabel import api

    report = api.verify(folder, project, reader=reader)
    if report.fidelity is not None:
        click.echo(f"{report.format}, {report.fidelity}")
    else:
        wanted = "" if report.expected is None else f" of {report.expected}"
        click.echo(f"{report.format}, read back: {report.objects}{wanted} objects")
    for line in report.notes:
        click.echo(f"note: {line}", err=True)
    return 3 if report.notes else 0
