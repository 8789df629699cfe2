"""``autolabel calibrate``: fit thresholds to a truth, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command(short_help="Fit thresholds to some labelled pictures.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="COCO JSON or another project; else the pictures gone through in review.",
)
@click.option(
    "--ontology",
    "-o",
    type=click.Path(path_type=Path),
    help="The YAML to write; the last run's by default.",
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def calibrate(
    project: Path, truth: Path | None, ontology: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Choose PROJECT's thresholds, weights, duplicate IoU and margins from stored candidates.

    Writes them into the ontology, selects the labels anew and maps scores to probabilities.
    What they gain is measured on pictures that they were not chosen by.
    """
    from autolabel import api

    found = api.calibrate(project, truth, ontology=ontology, dry_run=dry_run).as_dict()
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for line in table(found, dry_run):
        click.echo(line)


def table(found: dict[str, Any], dry_run: bool) -> list[str]:
    """Return a calibration as lines of text."""
    width = max([5, *(len(name) for name in found["classes"])])
    lines = [
        f"{found['pictures']} labelled pictures, {found['seconds']:.1f} s",
        "",
        f"{'class':{width}}  truths   threshold        F1, held out",
    ]
    for name, one in found["classes"].items():
        was, now = one["threshold"]["before"], one["threshold"]["after"]
        said = one["note"] or _others(one)
        lines.append(
            f"{name:{width}}  {one['truths']:6}  {was:5.2f} -> {now:.2f}  "
            f"{_f1(one['f1']['before'])} -> {_f1(one['f1']['after'])}  {said}".rstrip()
        )
    iou = found["duplicate_iou"]
    if iou["before"] != iou["after"]:
        lines += ["", f"duplicate_iou  {iou['before']:g} -> {iou['after']:g}"]
    macro = found["macro_f1"]
    lines += ["", "macro F1 on pictures that the settings were not chosen by (95 % interval)"]
    lines += [f"{key:7} {_interval(macro[key])}" for key in ("before", "after", "gain")]
    about = found["probabilities"]
    lines += [
        "",
        f"scores mapped to probabilities ({about['method']}); expected calibration error "
        f"{_f1(about['ece']).strip()}",
    ]
    lines += [f"note: {note}" for note in found["notes"]]
    return [*lines, "", _closing(found, dry_run)]


def _others(one: dict[str, Any]) -> str:
    """Return a class's other settings that are new."""
    found = ((key, one[key]) for key in ("weight", "not_margin"))
    return ", ".join(f"{key} {value:g}" for key, value in found if value is not None)


def _closing(found: dict[str, Any], dry_run: bool) -> str:
    """Return what was done."""
    if not found["better"]:
        return "No better settings were found: the ontology stays as it is."
    if dry_run:
        return f"Nothing was changed; without --dry-run this is written into {found['ontology']}."
    if not found["written"]:
        return f"{found['ontology']} has these settings already."
    return f"Written into {found['ontology']}; {found['reselected']} labels selected anew."


def _f1(value: float | None) -> str:
    """Return a share, or a dash where there is nothing to measure."""
    return "    -" if value is None else f"{value:5.3f}"


def _interval(one: dict[str, float]) -> str:
    """Return a value with its interval."""
    return f"{one['value']:6.3f}  ({one['low']:.3f} to {one['high']:.3f})"
