"""``autolabel import``: make a project of labels that exist already."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import", short_help="Make a project of existing labels.")
@click.argument("format_name", metavar="FORMAT")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--images",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the pictures and videos.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Project to make.")
@click.option("--skip-bad", is_flag=True, help="Leave out what is wrong and count it.")
def import_(format_name: str, path: Path, images: Path, out: Path, skip_bad: bool) -> None:
    """Make a project of the labels in PATH (a file, folder or zip) in FORMAT."""
    from autolabel import importing

    report = importing.import_labels(format_name, path, images, out, skip_bad=skip_bad)
    click.echo(
        f"{report.media} pictures or videos, {report.instances} labels, "
        f"{len(report.classes)} classes -> {click.format_filename(out)}"
    )
    for line in (*report.skipped, *report.notes):
        click.echo(f"note: {line}", err=True)
