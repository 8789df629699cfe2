"""``autolabel try``: compare wordings of a prompt on a few pictures."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autolabel.lab.prompts import LabReport, Trial


@click.command("try", short_help="Compare wordings of a prompt on a few pictures.")
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "--ontology", "-o", required=True, type=click.Path(), help="YAML of prompts and classes."
)
@click.option("--prompt", "prompts", multiple=True, help="A wording to try; give it repeatedly.")
@click.option("--class", "class_name", help="The class that the wordings mean.")
@click.option(
    "--out",
    default="autolabel-try.png",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The picture to write (PNG).",
)
@click.option("--models", "preset", help="Preset: base (default), small or tiny.")
@click.option("--grounder", help="NAME[:HUB-ID-OR-PATH], in place of the preset's.")
@click.option("--segmenter", help="NAME[:HUB-ID-OR-PATH], or none for boxes only.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--tile", help="Look at tiles too: SIZE[:OVERLAP].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def try_(
    inputs: tuple[str, ...],
    ontology: str,
    prompts: tuple[str, ...],
    class_name: str | None,
    out: Path,
    as_json: bool,
    **options: Any,
) -> int:
    """Try wordings on INPUTS (a few pictures): one table, and one picture to look at.

    Each wording is asked beside the ontology's other classes, as a run would ask it. Without
    --prompt, the ontology's own prompts are compared.
    """
    from autolabel import api

    given = {name: value for name, value in options.items() if value is not None}
    found = api.try_prompts(inputs, ontology, prompts, class_name=class_name, picture=out, **given)
    for text in found.warnings:
        click.echo(f"warning: {text}", err=True)
    for text in found.failed:
        click.echo(f"failed: {text}", err=True)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        for line in _lines(found):
            click.echo(line)
        click.echo(f"\n-> {click.format_filename(str(out))}")
    return 3 if found.failed else 0


def _lines(found: LabReport) -> list[str]:
    """Return the comparison as lines of text."""
    width = max(6, *(len(one.wording.text) for one in found.trials))
    plural = "" if len(found.names) == 1 else "s"
    return [
        f"{len(found.names)} picture{plural}, {found.objects} objects that any prompt found",
        "",
        f"{'prompt':{width}}  labels  pictures  found    best  median  below  threshold",
        *(_row(one, found.objects, width) for one in found.trials),
    ]


def _row(one: Trial, objects: int, width: int) -> str:
    """Return one wording's figures."""
    scores = one.scores
    best, middle = (f"{scores[0]:6.2f}", f"{median(scores):6.2f}") if scores else ("     -",) * 2
    share = f"{one.shared / objects:5.0%}" if objects else "    -"
    pictures = sum(bool(found.labels) for found in one.found)
    below = sum(len(found.below) for found in one.found)
    return (
        f"{one.wording.text:{width}}  {len(scores):6}  {pictures:8}  {share}  {best}  {middle}"
        f"  {below:5}  {one.wording.threshold:9.2f}"
    )
