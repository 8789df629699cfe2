"""Pictures with their labels drawn on, written beside each other in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from PIL import Image as Pillow

from autolabel.draw import draw
from autolabel.errors import InputError, StorageError, UsageError
from autolabel.media import read_image
from autolabel.store import Project
from autolabel.types import Instance, MediaRecord

QUALITY = 90


@dataclass(frozen=True, slots=True)
class RenderReport:
    """How many pictures were written, and which could not be drawn and why."""

    written: int
    missing: tuple[str, ...]


def render(project: Project, out: Path, limit: int | None, overwrite: bool) -> RenderReport:
    """Draw a project's labels on its pictures and write them as JPEG under ``out``.

    A picture keeps its name with ".jpg" added ("street/1.png.jpg"), so that none overwrites
    another.

    Raises:
        UsageError: If ``out`` is not empty and ``overwrite`` is False.
        StorageError: If the disk is full or read-only.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, not a folder")
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty: choose another folder, or --overwrite")
    names = tuple(name for name, _ in project.classes())
    colors = tuple(_rgb(color) for _, color in project.classes())
    written, missing = 0, []
    for media, instances in islice(project.iter_labelled(), limit):
        try:
            _picture(media, instances, names, colors, out)
            written += 1
        except InputError as error:
            missing.append(f"{media.name}: {error}")
    return RenderReport(written, tuple(missing))


def _picture(
    media: MediaRecord,
    instances: list[Instance],
    names: tuple[str, ...],
    colors: tuple[tuple[int, int, int], ...],
    out: Path,
) -> None:
    """Draw one picture."""
    frame, key = read_image(media.path)
    if key != media.key:
        raise InputError("the file has changed since it was labelled: run again")
    target = out / PurePosixPath(f"{media.name}.jpg")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        drawn = draw(frame.image, instances, names, colors)
        Pillow.fromarray(drawn).save(target, quality=QUALITY)
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror or error}") from error


def _rgb(color: str) -> tuple[int, int, int]:
    """Return "#rrggbb" as three numbers."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
