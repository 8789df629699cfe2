"""``autolabel run``: label pictures and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autolabel.api import RunPlan, RunReport

DEFAULT_OUT = "autolabel-out"


@click.command(short_help="Label pictures and videos from an ontology.")
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "--ontology", "-o", required=True, type=click.Path(), help="YAML of prompts and classes."
)
@click.option(
    "--out", default=DEFAULT_OUT, show_default=True, type=click.Path(), help="Project folder."
)
@click.option("--models", "preset", help="Preset: base (default), small or tiny.")
@click.option(
    "--grounder",
    multiple=True,
    help="NAME[:HUB-ID-OR-PATH], in place of the preset's; twice: the consensus of two.",
)
@click.option("--segmenter", help="NAME[:HUB-ID-OR-PATH], or none for boxes only.")
@click.option("--tracker", help="Videos: NAME[:HUB-ID-OR-PATH], in place of the segmenter's own.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--dtype",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    help="Number format of the models.",
)
@click.option("--floor", type=float, help="Lowest score a candidate is kept with.  [default: 0.1]")
@click.option("--tile", help="Look at tiles too, for small objects: SIZE[:OVERLAP] (640:0.25).")
@click.option("--tta", type=click.Choice(["none", "flip"]), help="flip: mirrored pictures too.")
@click.option(
    "--batch-size", type=int, help="Pictures through the models together.  [default: auto]"
)
@click.option("--threads", type=int, help="CPU threads of a model's call.  [default: all cores]")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the work runs.",
)
@click.option("--ray-address", help="A Ray cluster: HOST:PORT or auto; none: this machine alone.")
@click.option("--workers", type=int, help="Ray: copies of the models.  [default: one a GPU]")
@click.option("--gpus-per-worker", type=float, help="Ray: GPUs, or share of one, for each worker.")
@click.option(
    "--keyframe-every", type=int, help="Videos: frames between detections.  [default: 10]"
)
@click.option(
    "--prompt-type",
    help="Show objects to SAM 2 as box, point or mask.  [default: pictures box, videos mask]",
)
@click.option("--stride", type=int, help="Videos: label every Nth frame.  [default: 1]")
@click.option("--start", help="Videos: first frame (120) or time (4.5s, 1:05).")
@click.option("--end", help="Videos: where to stop, exclusive: frame or time.")
@click.option("--frame-folders", is_flag=True, help="Folders of numbered pictures are videos.")
@click.option("--limit", type=click.IntRange(min=1), help="Label the first N inputs only.")
@click.option("--compile", is_flag=True, default=None, help="Compile models first: for long runs.")
@click.option("--max-requests", type=int, help="APIs: send so many pictures at most.")
@click.option("--redo", is_flag=True, help="Drop the project's model labels and start again.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, only the closing lines.")
def run(inputs: tuple[str, ...], dry_run: bool, quiet: bool, **options: Any) -> int:
    """Label INPUTS (files, folders, globs) with the classes of an ontology.

    Results are committed to the project folder batch by batch. Run the same command again
    to go on after a stop of any kind; changed thresholds are applied without a model.
    """
    from autolabel import api
    from autolabel.cli.progress import make_progress

    progress = make_progress(quiet)
    if dry_run:
        _show_plan(api.plan(inputs, **_given(options)), options["out"])
        return 0
    report = api.run(inputs, progress=progress, **_given(options))
    return _show_report(report, Path(options["out"]))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, so that the library's own defaults hold."""
    return {name: value for name, value in options.items() if value not in (None, ())}


def _show_plan(plan: RunPlan, out: str) -> None:
    """Print what a run would do."""
    click.echo(f"project    {out} ({'new' if plan.new else 'exists'})")
    click.echo(f"ontology   {plan.classes} classes, {plan.prompts} prompts")
    click.echo(f"grounder   {plan.grounder}")
    click.echo(f"segmenter  {plan.segmenter}")
    if plan.tile:
        click.echo(f"tiles      {plan.tile}, beside the whole picture")
    if plan.tta != "none":
        click.echo(f"views      {plan.tta}")
    click.echo(f"inputs     {plan.total}: {plan.done} done before, {plan.total - plan.done} to do")
    for line in plan.changes:
        click.echo(f"changed    {line}")
    for name in plan.first:
        click.echo(f"           {name}")
    if plan.total - plan.done > len(plan.first):
        click.echo(f"           ... and {plan.total - plan.done - len(plan.first)} more")


def _show_report(report: RunReport, out: Path) -> int:
    """Print what a run did; return its exit code."""
    where = click.format_filename(str(out))
    if report.interrupted:
        click.echo(
            f"Stopped after {report.done} of {report.total} inputs. Everything finished is in "
            f"{where}; run the same command again to go on.",
            err=True,
        )
        return 130
    click.echo(
        f"{report.done} of {report.total} inputs labelled, {report.objects} objects "
        f"in {report.seconds:.1f} s -> {where}"
    )
    if report.reselected:
        click.echo(f"{report.reselected} labels selected anew: limits or classes changed.")
    _show_times(report)
    if report.failed:
        count = f"{report.failed} input{'' if report.failed == 1 else 's'}"
        click.echo(f"{count} failed: autolabel info {where} lists them", err=True)
    return 3 if report.failed else 0


def _show_times(report: RunReport) -> None:
    """Print where the time went, if something was labelled."""
    from autolabel.clock import STAGES

    spent = {name: report.stages.get(stage, 0.0) for stage, name in STAGES.items()}
    total = sum(spent.values())
    if not total:
        return
    start = report.stages.get("start", 0.0)
    at_once = total / max(1e-9, report.seconds - start)
    click.echo(f"Where the time went ({start:.1f} s to load models; then {at_once:.1f} at once):")
    for name, seconds in spent.items():
        if seconds:
            click.echo(f"  {name:18} {seconds:9.1f} s {100 * seconds / total:5.1f} %")
