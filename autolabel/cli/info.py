"""``autolabel info``: what is in a project."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autolabel.store import Project

FAILURES_SHOWN = 20
BAR = 40


@click.command(short_help="Show what is in a project.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs (all failures).")
def info(project: Path, as_json: bool) -> None:
    """Show counts per class, scores, failures and times of PROJECT."""
    from autolabel.store import Project

    with Project.open(project, readonly=True) as opened:
        if as_json:
            click.echo(json.dumps(_as_json(opened), indent=2, ensure_ascii=False))
            return
        for line in _lines(opened):
            click.echo(line)


def _as_json(project: Project) -> dict[str, Any]:
    """Return all there is to say, as plain JSON values."""
    found = asdict(project.stats())
    meta = project.meta()
    return {
        "project": str(project.folder),
        "grounder": meta.get("grounder"),
        "segmenter": meta.get("segmenter"),
        "tile": meta.get("tile", ""),
        "tta": meta.get("tta", "none"),
        "prompt_type": meta.get("prompt_type", "box"),
        "floor": float(meta["floor"]) if "floor" in meta else None,
        **found,
        "failures": [{"name": one.name, "reason": one.reason} for one in project.failures()],
    }


def _lines(project: Project) -> list[str]:
    """Return the same as lines of text."""
    stats, meta = project.stats(), project.meta()
    inputs = ", ".join(f"{count} {status}" for status, count in stats.media.items()) or "none"
    lines = [
        f"project    {project.folder}",
        f"models     {meta.get('grounder', '-')} + {meta.get('segmenter', '-')}",
        f"inputs     {inputs}; {stats.empty} without a label",
        f"labels     {stats.labels} ({stats.masks} with a mask), {stats.candidates} candidates",
    ]
    views = [f"tiles {meta['tile']}"] if meta.get("tile") else []
    views += [meta["tta"]] if meta.get("tta", "none") != "none" else []
    views += [f"shown as {meta['prompt_type']}"] if _shown_again(meta) else []
    if views:
        lines.insert(2, f"views      {', '.join(views)}")
    if stats.doubts:
        lines.append(f"doubt      {stats.doubts} labels that the two grounders disagree on")
    if stats.tracks:
        lines.append(f"tracks     {stats.tracks}")
    width = max([5, *(len(one.name) for one in stats.classes)])
    lines += ["", f"{'class':{width}}  labels  inputs"]
    lines += [f"{one.name:{width}}  {one.labels:6}  {one.media:6}" for one in stats.classes]
    return lines + _histogram(stats.histogram) + _seconds(stats.seconds) + _failures(project)


def _shown_again(meta: Mapping[str, str]) -> bool:
    """Return whether objects of pictures were shown to the segmenter by more than their box."""
    return meta.get("prompt_type", "") not in ("", "box")


def _histogram(bins: tuple[int, ...]) -> list[str]:
    """Return the scores as bars, from the lowest bin that has labels."""
    most = max(bins, default=0)
    if not most:
        return []
    rows = [
        f"{index / 10:.1f}  {count:6}  {'#' * round(BAR * count / most)}"
        for index, count in enumerate(bins)
    ]
    first = next(index for index, count in enumerate(bins) if count)
    return ["", "score  labels", *rows[first:]]


def _seconds(seconds: dict[str, float]) -> list[str]:
    """Return where the time went."""
    if not seconds:
        return []
    return ["", "seconds", *(f"{stage:9}{value:9.1f}" for stage, value in seconds.items())]


def _failures(project: Project) -> list[str]:
    """Return the first inputs that failed and why."""
    failed = list(islice(project.failures(), FAILURES_SHOWN + 1))
    lines = [f"{one.name}: {one.reason}" for one in failed[:FAILURES_SHOWN]]
    if len(failed) > FAILURES_SHOWN:
        lines.append(f"... more: autolabel info {project.folder} --json")
    return ["", "failed", *lines] if lines else []
