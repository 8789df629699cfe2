"""``autolabel negatives``: measure which `not:` prompts help and what they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from autolabel.lab.negatives import Count, NegativeReport

MEANING = {
    "helps": "removes more wrong labels than right ones that no other prompt removes",
    "harms": "removes more right labels than wrong ones",
    "even": "removes as many right labels as wrong ones",
    "spare": "others remove the same",
    "idle": "removes nothing",
}


@click.command(short_help="Measure which `not:` prompts help.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--truth", required=True, type=click.Path(path_type=Path), help="COCO JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def negatives(project: Path, truth: Path, as_json: bool) -> None:
    """Print what each negative prompt of PROJECT's ontology does, from the stored candidates.

    Each is measured alone, and as the last one: what comes back when it is left out.
    """
    from autolabel import api

    found = api.measure_negatives(project, truth)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: NegativeReport) -> list[str]:
    """Return a report as lines of text."""
    plural = "" if found.pictures == 1 else "s"
    lines = [f"{found.pictures} picture{plural}", "", "negatives  labels   right   wrong  recall"]
    lines += [_row("none", found.without), _row("all", found.with_all)]
    if found.worths:
        width = max(6, *(len(one.prompt) for one in found.worths))
        lines += [
            "",
            f"{'':{width}}      alone removes  only it removes",
            f"{'not':{width}}      wrong   right    wrong   right  verdict  against",
        ]
        lines += [
            f"{one.prompt:{width}}  {one.alone[0]:9}{one.alone[1]:8}{one.last[0]:9}{one.last[1]:8}"
            f"  {one.verdict:7}  {', '.join(one.against)}"
            for one in found.worths
        ]
        used = {one.verdict for one in found.worths}
        lines += ["", *(f"{word}: {text}" for word, text in MEANING.items() if word in used)]
    else:
        lines += ["", "The ontology has no negative prompts (`not:`)."]
    if found.suggestions:
        lines += ["", "wrong labels lie on things that no negative prompt names; try:"]
        lines += [
            f"  {name}: not: {thing}    ({count} wrong labels)"
            for name, thing, count in found.suggestions
        ]
    return lines


def _row(name: str, count: Count) -> str:
    """Return one selection's counts."""
    recall = "     -" if count.recall is None else f"{count.recall:6.3f}"
    return f"{name:9}  {count.labels:6}  {count.right:6}  {count.wrong:6}  {recall}"
