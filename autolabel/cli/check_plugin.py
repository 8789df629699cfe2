"""``autolabel check-plugin``: does an adapter keep the promises of its kind?"""

from __future__ import annotations

import json

import click

KINDS = ["grounder", "segmenter", "tracker", "format"]


@click.command("check-plugin", short_help="Check an adapter that you wrote, or any other.")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="What it is, where that isn't clear.")
@click.option("--prompts", default="", help="What to ask a grounder: texts with commas.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def check_plugin(name: str, kind: str | None, prompts: str, device: str, as_json: bool) -> int:
    """Load NAME[:WEIGHTS] or package.module:Class[:TEXT] and try what its kind promises.

    Exit code 3 if a promise is broken.
    """
    from autolabel import api

    asked = [text.strip() for text in prompts.split(",") if text.strip()]
    kind, findings = api.check_plugin(name, kind=kind, prompts=asked, device=device)
    broken, rows = 0, []
    for one in findings:
        broken += not one.passed
        rows.append(one.as_dict())
        if not as_json:
            click.echo(f"{'ok    ' if one.passed else 'BROKEN'} {one.name}: {one.detail}")
    if as_json:
        click.echo(json.dumps({"name": name, "kind": kind, "checks": rows}, indent=2))
    else:
        kept = len(rows) - broken
        click.echo(f"{name}, a {kind}: {kept} of {len(rows)} promises kept")
    return 3 if broken else 0
