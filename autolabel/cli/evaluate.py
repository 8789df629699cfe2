"""``autolabel eval``: measure a project's labels against a truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

MIXED_SHOWN = 10
"""Pairs of classes that the table shows."""
CLIP_COLUMNS = ("j", "f", "jf", "idf1", "hota")


@click.command("eval", short_help="Measure the labels against a truth.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option(
    "--truth", required=True, type=click.Path(path_type=Path), help="COCO JSON or a project."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def evaluate(project: Path, truth: Path, as_json: bool) -> None:
    """Print how well PROJECT's labels agree with a truth.

    Of pictures: box and mask AP; precision, recall and F1 of each class; mask IoU of what is
    right, duplicates, and which classes are confused. Of videos: J&F, IDF1, HOTA and id
    switches. A dash is what can't be measured.
    """
    from autolabel import api

    found = api.measure(project, truth)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for line in table(found):
        click.echo(line)


def table(found: dict[str, Any]) -> list[str]:
    """Return an evaluation as lines of text."""
    parts = [_pictures(found)] if found["pictures"] else []
    parts += [_clips(found["video"])] if found.get("video") else []
    parts += [[f"note: {note}" for note in found["notes"]]] if found["notes"] else []
    return [line for part in parts for line in ("", *part)][1:]


def _pictures(found: dict[str, Any]) -> list[str]:
    """Return the lines about pictures."""
    lines = [_count(found["pictures"], "picture"), "", "          AP    AP50"]
    for kind in ("box", "mask"):
        if found.get(kind):
            lines.append(f"{kind:5} {_share(found[kind]['ap'])}  {_share(found[kind]['ap50'])}")
    width = max([5, *(len(name) for name in found["classes"])])
    lines += ["", f"{'class':{width}}  truths  labels  precision  recall      F1"]
    for name, one in found["classes"].items():
        if one["truths"] or one["labels"]:
            lines.append(
                f"{name:{width}}  {one['truths']:6}  {one['labels']:6}     "
                f"{_share(one['precision'])}  {_share(one['recall'])}  {_share(one['f1'])}"
            )
    return [*lines, "", *_matches(found)]


def _matches(found: dict[str, Any]) -> list[str]:
    """Return the lines about what is right and wrong in pictures beyond the counts."""
    lines = []
    if found["macro_f1"] is not None:
        lines.append(f"macro F1 {_share(found['macro_f1'])}")
    if found["mask_iou"]["mean"] is not None:
        lines.append(f"mask IoU {_share(found['mask_iou']['mean'])}  of what is right")
    lines.append(f"{_count(found['duplicates']['count'], 'duplicate')}")
    names, matrix = found["confusion"]["classes"], found["confusion"]["matrix"]
    mixed = [
        (count, names[row], names[column])
        for row, counts in enumerate(matrix[:-1])
        for column, count in enumerate(counts[:-1])
        if count and row != column
    ]
    mixed.sort(key=lambda one: (-one[0], *one[1:]))
    if mixed:
        width = max(len(truth) for _, truth, _ in mixed[:MIXED_SHOWN])
        lines += ["", "confused: truth, label"]
        lines += [f"{n:6}  {truth:{width}}  {label}" for n, truth, label in mixed[:MIXED_SHOWN]]
    if len(mixed) > MIXED_SHOWN:
        lines.append(f"{len(mixed) - MIXED_SHOWN:6}  other pairs: --json")
    return lines


def _clips(video: dict[str, Any]) -> list[str]:
    """Return the lines about videos."""
    rows = [*video["clips"], {"name": "all", **video}]
    width = max(len(row["name"]) for row in rows)
    lines = [
        _count(len(video["clips"]), "clip"),
        "",
        f"{'clip':{width}}  frames  objects  tracks"
        "       J       F     J&F    IDF1    HOTA  switches",
    ]
    for row in rows:
        shares = "  ".join(_share(row[key]) for key in CLIP_COLUMNS)
        switches = "-" if row["id_switches"] is None else row["id_switches"]
        lines.append(
            f"{row['name']:{width}}  {row['frames']:6}  {row['truth_tracks']:7}  "
            f"{row['tracks']:6}  {shares}  {switches:>8}"
        )
    return lines


def _count(number: int, what: str) -> str:
    """Return a number of things."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _share(value: float | None) -> str:
    """Return a share with three digits, or a dash where there is nothing to measure."""
    return "     -" if value is None else f"{value:6.3f}"
