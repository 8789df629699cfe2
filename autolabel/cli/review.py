"""``autolabel review``: correct labels in the FiftyOne app, and take the corrections home."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autolabel.reviewing import Review

SHOWN = 40
"""Lines of a kind that are printed; the rest is counted."""


@click.command(short_help="Review labels in the FiftyOne app; --pull takes corrections home.")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--pull", is_flag=True, help="Bring the corrections back into the project.")
@click.option("--dry-run", is_flag=True, help="With --pull: say what would change.")
@click.option(
    "--reload",
    "anew",
    is_flag=True,
    help="With --pull: give up edits in conflict; the app shows the project's labels there.",
)
@click.option("--stop", is_flag=True, help="End the running review of this project.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the app.  [default: 5151]")
@click.option("--no-browser", is_flag=True, help="Don't open a browser.")
def review(
    project: Path,
    pull: bool,
    dry_run: bool,
    anew: bool,
    stop: bool,
    port: int | None,
    no_browser: bool,
) -> int:
    """Open the labels of PROJECT in the FiftyOne app, or take a human's corrections home.

    The app serves one reviewer at a time. Ctrl-C, or --stop elsewhere, ends it; what was edited
    stays until it is pulled.
    """
    from autolabel import reviewing
    from autolabel.errors import UsageError
    from autolabel.store import Project

    if pull + stop > 1 or (dry_run + anew and not pull) or dry_run + anew > 1:
        raise UsageError(
            "--pull and --stop exclude each other; --dry-run or --reload goes with --pull"
        )
    if pull:
        return _pull(project, dry_run, anew)
    if stop:
        Project.open(project, readonly=True).close()
        ran = reviewing.stop(project)
        click.echo("The review has ended." if ran else "No review is running.")
        return 0
    return _open(reviewing.Review(project, port), no_browser)


def _open(review: Review, no_browser: bool) -> int:
    """Open the app, load, and stay until it ends."""
    import signal

    def end(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        report = review.open(_progress(), lambda url: _ready(url, no_browser))
        _show_load(report)
        if not review.ours:
            click.echo("It was running already; the command that started it ends it.")
            return 0
        click.echo("Ctrl-C ends the review; --pull takes corrections home.")
        while (problem := review.lost()) is None:
            if review.stopped():
                click.echo("The review has ended.")
                return 0
            time.sleep(0.5)
        click.echo(f"error: {problem}", err=True)
        return 1
    except KeyboardInterrupt:
        click.echo("The review has ended. What was edited is kept: --pull takes it home.")
        return 0
    finally:
        if review.ours:
            review.close()


def _progress() -> Any:
    """Return what tells how far the load is."""
    last = 0.0

    def tell(report: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if report.loaded and (now - last > 2 or report.seen == report.total):
            last = now
            text = f"loading {report.seen} of {report.total}, {report.labels} labels"
            if sys.stderr.isatty():
                click.echo(f"\r{text} ", nl=report.seen == report.total, err=True)
            else:
                click.echo(text, err=True)

    return tell


def _ready(url: str, no_browser: bool) -> None:
    """Say where the app is, and open it."""
    from urllib.parse import quote

    address = quote(url, safe=":/")
    click.echo(f"The app is at {address}")
    if not no_browser:
        import webbrowser

        webbrowser.open(address)


def _show_load(report: Any) -> None:
    """Say what was loaded and what was not."""
    click.echo(f"{report.loaded} of {report.total} inputs loaded, {report.labels} labels.")
    for name in report.kept[:SHOWN]:
        click.echo(
            f"note: {name} changed in the project, but has edits in the app that were not pulled: "
            "it stays as it is there",
            err=True,
        )
    for line in report.missing[:SHOWN]:
        click.echo(f"note: not shown: {line}", err=True)
    more = max(0, len(report.kept) - SHOWN) + max(0, len(report.missing) - SHOWN)
    if more:
        click.echo(f"note: and {more} more", err=True)


def _pull(project: Path, dry_run: bool, anew: bool) -> int:
    """Take corrections home, or say what they are."""
    from autolabel import reviewing

    found = reviewing.pull(project, dry_run=dry_run, reload=anew)
    for edit in found.edits[:SHOWN]:
        frame = f" frame {edit.frame_index}" if edit.frame_index else ""
        label = f" label {edit.label}" if edit.label else ""
        click.echo(f"{edit.media}{frame}{label}: {', '.join(edit.actions)}")
    if len(found.edits) > SHOWN:
        click.echo(f"... and {len(found.edits) - SHOWN} more")
    given_up = set(found.conflicts() if anew else ())
    for problem in found.problems:
        frame = f" frame {problem.frame_index}" if problem.frame_index else ""
        kind = "conflict" if problem.conflict else "not taken"
        kind = f"{kind}, given up" if problem.media in given_up else kind
        click.echo(f"{kind}: {problem.media}{frame}: {problem.what}", err=True)
    _notes(project, found, given_up)
    counts = ", ".join(f"{count} {action}" for action, count in sorted(found.counts().items()))
    verb = "would change" if dry_run else "changed"
    click.echo(f"{len(found.edits)} labels {verb}{f': {counts}' if counts else ''}.")
    return 3 if any(one.media not in given_up for one in found.problems) else 0


def _notes(project: Path, found: Any, given_up: set[str]) -> None:
    """Say what comes next after a pull."""
    if given_up:
        click.echo(f"{len(given_up)} inputs loaded anew: the app shows the project's labels there.")
    elif found.conflicts():
        click.echo(
            f"note: nothing in conflict was overwritten; `autolabel review {project} --pull "
            f"--reload` gives up these edits and shows the project's labels of the "
            f"{len(found.conflicts())} inputs in the app (reload the page)",
            err=True,
        )
    if found.unknown:
        click.echo(
            f"note: {len(found.unknown)} inputs are not in the app as they were loaded "
            f"({found.unknown[0]}, ...): the next review loads them again",
            err=True,
        )
