"""``autolabel export``: write a project's labels in a format."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a project's labels as a data set.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--format", "format_name", default="coco", show_default=True, help="Format to write.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--polygons", is_flag=True, help="Masks as polygons (one bridged ring each).")
@click.option(
    "--images",
    default="none",
    show_default=True,
    type=click.Choice(["none", "link", "copy"]),
    help="Put the pictures beside the labels.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is in --out.")
def export(
    project: Path, format_name: str, out: Path, polygons: bool, images: str, overwrite: bool
) -> None:
    """Write the labels of PROJECT to a folder, which appears when it is complete."""
    from autolabel import api

    report = api.export(
        project, format_name, out, polygons=polygons, images=images, overwrite=overwrite
    )
    click.echo(
        f"{report.pictures} pictures, {report.instances} objects -> {click.format_filename(out)}"
    )
    for line in report.notes:
        click.echo(f"note: {line}", err=True)
