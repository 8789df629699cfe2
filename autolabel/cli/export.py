"""``autolabel export``: write a project's labels in a format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(short_help="Write a project's labels as a data set.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--format", "format_name", default="coco", show_default=True, help="Format to write.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--polygons", is_flag=True, help="Masks as polygons (one bridged ring each).")
@click.option("--boxes", is_flag=True, help="Boxes in place of masks.")
@click.option(
    "--images",
    default="none",
    show_default=True,
    type=click.Choice(["none", "link", "copy"]),
    help="Put the pictures beside the labels.",
)
@click.option(
    "--frames",
    type=click.Path(path_type=Path),
    help="Write the labelled frames of videos to this folder, as pictures.",
)
@click.option("--split", metavar="SHARES", help="Divide, such as train=0.8,val=0.1,test=0.1.")
@click.option("--seed", default=0, show_default=True, help="Another seed gives another split.")
@click.option("--stratify", is_flag=True, help="Give every class the same shares.")
@click.option(
    "--split-group",
    default="none",
    show_default=True,
    type=click.Choice(["none", "folder"]),
    help="Keep the pictures of a folder in one part.",
)
@click.option("--min-score", default=0.0, help="Leave out labels below this score.")
@click.option(
    "--min-precision",
    default=0.0,
    help="Leave out labels less likely than this to be right (after calibrate).",
)
@click.option("--classes", default="", help="Only these classes: names with commas.")
@click.option(
    "--status",
    default="all",
    show_default=True,
    type=click.Choice(["all", "accepted", "pending"]),
    help="Only labels that were accepted in review, or not decided on yet.",
)
@click.option("--exclude-empty", is_flag=True, help="Leave out pictures without labels.")
@click.option(
    "--verify",
    default="on",
    show_default=True,
    type=click.Choice(["on", "off"]),
    help="Read the export back and say how well it fits.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is in --out.")
def export(project: Path, format_name: str, out: Path, **options: Any) -> None:
    """Write the labels of PROJECT to a folder, which appears when it is complete."""
    from autolabel import api

    options["classes"] = [name.strip() for name in options["classes"].split(",") if name.strip()]
    options["verify"] = options["verify"] == "on"
    report = api.export(project, format_name, out, **options)
    click.echo(
        f"{report.pictures} pictures, {report.instances} objects -> {click.format_filename(out)}"
    )
    if report.frames is not None:
        folder = click.format_filename(options["frames"])
        click.echo(f"{report.frames} labelled frames of videos -> {folder}")
    if report.fidelity is not None:
        click.echo(str(report.fidelity))
    for line in report.notes:
        click.echo(f"note: {line}", err=True)
