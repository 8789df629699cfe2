"""``autolabel app``: a page to try it in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(short_help="Open a page to upload, describe and watch it labelled.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(0, 65535),
              help="Port; 0 for any that is free.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on; others than this machine's need --auth.")  # fmt: skip
@click.option("--auth", envvar="AUTOLABEL_AUTH", show_envvar=True, metavar="USER:PASSWORD",
              help="Ask for a name and a password.")  # fmt: skip
@click.option("--models", "preset", default="base", show_default=True,
              help="Preset chosen at first: base, small or tiny.")  # fmt: skip
@click.option("--grounder", help="NAME[:HUB-ID-OR-PATH], in place of every preset's.")
@click.option("--segmenter", help="NAME[:HUB-ID-OR-PATH], in place of every preset's.")
@click.option("--device", help="auto (default), cpu, cuda or cuda:N.")
@click.option("--keep", default="autolabel-projects", show_default=True,
              type=click.Path(path_type=Path), help="Folder of kept projects.")  # fmt: skip
@click.option("--max-mb", default=200, show_default=True, type=click.IntRange(min=1),
              help="Largest file that may be uploaded.")  # fmt: skip
@click.option("--max-pictures", default=20, show_default=True, type=click.IntRange(min=1),
              help="Most pictures at a time.")  # fmt: skip
@click.option("--max-seconds", default=60.0, show_default=True,
              type=click.FloatRange(min=0, min_open=True), help="Longest video.")  # fmt: skip
@click.option("--max-frames", default=3600, show_default=True, type=click.IntRange(min=1),
              help="Most frames of a video.")  # fmt: skip
def app(
    max_mb: int,
    max_pictures: int,
    max_seconds: float,
    max_frames: int,
    grounder: str | None,
    segmenter: str | None,
    device: str | None,
    **options: Any,
) -> None:
    """Serve a page on this machine: upload pictures or a video, type what to find, watch.

    Ctrl-C ends it; uploads and results that were not kept are removed then.
    """
    from autolabel.app.limits import Limits
    from autolabel.app.server import serve

    given = {"grounder": grounder, "segmenter": segmenter, "device": device}
    serve(
        **options,
        limits=Limits(max_mb, max_pictures, max_seconds, max_frames),
        fixed={name: value for name, value in given.items() if value is not None},
        ready=lambda address: click.echo(f"autolabel app: {address}   (Ctrl-C ends it)"),
    )
