"""``autolabel scenes``: generated pictures and clips with their exact truth."""

from __future__ import annotations

import re
from pathlib import Path

import click


def _size(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, int]:
    """Return (width, height) of "WxH"."""
    match = re.fullmatch(r"(\d+)[xX](\d+)", value)
    if not match or not all(16 <= int(side) <= 8192 for side in match.groups()):
        raise click.BadParameter(
            f"expected WIDTHxHEIGHT such as 256x256 (16 to 8192), found {value!r}"
        )
    return int(match[1]), int(match[2])


def _extents(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    """Return (least, greatest) of "MIN-MAX"."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+)-(\d+)", value)
    if not match or not 6 <= int(match[1]) <= int(match[2]) <= 4096:
        raise click.BadParameter(f"expected MIN-MAX such as 8-24 (6 to 4096), found {value!r}")
    return float(match[1]), float(match[2])


@click.command(short_help="Generate pictures and clips with exact truth.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--count", default=24, show_default=True, type=click.IntRange(min=0), help="Pictures."
)
@click.option(
    "--clips", default=0, show_default=True, type=click.IntRange(min=0), help="Video clips."
)
@click.option(
    "--frames", default=48, show_default=True, type=click.IntRange(min=1), help="Frames a clip."
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="First seed."
)
@click.option("--size", default="256x256", show_default=True, callback=_size, help="WIDTHxHEIGHT.")
@click.option("--hard", is_flag=True, help="Smaller objects, more of them, more trouble.")
@click.option("--object-size", callback=_extents, help="Pixels of a picture's objects, MIN-MAX.")
def scenes(
    out: Path,
    count: int,
    clips: int,
    frames: int,
    seed: int,
    size: tuple[int, int],
    hard: bool,
    object_size: tuple[float, float] | None,
) -> None:
    """Write generated pictures, clips and OUT/truth.json (COCO) for ontologies/shapes.yaml."""
    from autolabel.tiny.truth import write_dataset

    width, height = size
    write_dataset(
        out,
        count=count,
        clips=clips,
        frames=frames,
        seed=seed,
        height=height,
        width=width,
        hard=hard,
        sizes=object_size,
    )
    click.echo(
        f"{count} pictures and {clips} clips with truth.json -> {click.format_filename(out)}"
    )
