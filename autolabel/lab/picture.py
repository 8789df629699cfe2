"""The prompt lab's picture: a column a wording, a row a picture, everything to the same scale."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from autolabel import masks
from autolabel.draw import draw, font_for
from autolabel.errors import StorageError
from autolabel.lab.prompts import Found, LabReport, Trial
from autolabel.ontology.model import Color, distinct_colors
from autolabel.types import RLE, Image, Instance

COLUMNS = 4
"""Wordings side by side; more go into further bands below."""
WIDEST, NARROWEST, WHOLE = 460, 260, 1720
GAP, EDGE = 14, 28
TITLE, HEADER, CAPTION = 54, 74, 22
PAPER, CARD, INK, QUIET, LINE = (
    (247, 247, 245),
    (255, 255, 255),
    (28, 30, 34),
    (112, 117, 125),
    (224, 225, 228),
)


def save_picture(report: LabReport, title: str, out: Path) -> None:
    """Write the comparison as a PNG; an older one is replaced when this one is complete.

    Raises:
        StorageError: If it can't be written.
    """
    picture = compose(report, title)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        number, partial = tempfile.mkstemp(prefix=f".{out.name}-", dir=out.parent)
        with os.fdopen(number, "wb") as file:
            picture.save(file, "PNG", optimize=True)
        os.chmod(partial, 0o644)
        os.replace(partial, out)
    except OSError as error:
        raise StorageError(f"{out}: {error.strerror or error}") from error


def compose(report: LabReport, title: str) -> Pillow.Image:
    """Return the comparison: bands of wordings, each over its pictures."""
    columns = min(COLUMNS, len(report.trials))
    cell = max(NARROWEST, min(WIDEST, (WHOLE - 2 * EDGE) // columns - GAP))
    heights = [max(1, round(cell * one.shape[0] / one.shape[1])) for one in report.images]
    heights = [min(height, 2 * cell) for height in heights]
    bands = -(-len(report.trials) // columns)
    body = sum(height + CAPTION + GAP for height in heights)
    width = 2 * EDGE + columns * cell + (columns - 1) * GAP
    band = HEADER + body + GAP
    sheet = Pillow.new("RGB", (width, TITLE + EDGE + bands * band), PAPER)
    ink = ImageDraw.Draw(sheet)
    _text(ink, (EDGE, 20), title, 16, QUIET, width - 2 * EDGE)
    colors = distinct_colors([one.wording.text for one in report.trials], set())
    for place, trial in enumerate(report.trials):
        left = EDGE + place % columns * (cell + GAP)
        top = TITLE + place // columns * band
        color = colors[trial.wording.text]
        _header(ink, trial, report.objects, (left, top, cell), color)
        top += HEADER
        for name, image, found, height in zip(
            report.names, report.images, trial.found, heights, strict=True
        ):
            drawn = _drawn(image, found, cell, height, color)
            sheet.paste(drawn, (left + (cell - drawn.width) // 2, top))
            count = f"{len(found.labels)} label{'' if len(found.labels) == 1 else 's'}"
            near = f", {len(found.below)} below the threshold" if len(found.below) else ""
            _text(ink, (left, top + height + 4), f"{name}   {count}{near}", 12, QUIET, cell)
            top += height + CAPTION + GAP
    return sheet


def _header(
    ink: ImageDraw.ImageDraw,
    trial: Trial,
    objects: int,
    place: tuple[int, int, int],
    color: Color,
) -> None:
    """Draw a wording, its figures, and a bar: how much of all that was found it found."""
    left, top, width = place
    ink.rounded_rectangle((left, top, left + width - 1, top + HEADER - 12), 8, CARD, LINE)
    ink.rounded_rectangle((left, top, left + 7, top + HEADER - 12), 4, color)
    _text(ink, (left + 20, top + 8), trial.wording.text, 18, INK, width - 32)
    scores = trial.scores
    middle = f"median {median(scores):.2f}" if scores else "nothing found"
    labels = f"{len(scores)} label{'' if len(scores) == 1 else 's'}"
    said = f"{labels}   {middle}   {trial.shared} of {objects} objects"
    _text(ink, (left + 20, top + 33), said, 12, QUIET, width - 32)
    bar = (left + 20, top + 52, left + width - 14, top + 56)
    ink.rounded_rectangle(bar, 2, LINE)
    if trial.shared and objects:
        share = max(4, round((bar[2] - bar[0]) * trial.shared / objects))
        ink.rounded_rectangle((bar[0], bar[1], bar[0] + share, bar[3]), 2, color)


def _drawn(image: Image, found: Found, width: int, height: int, color: Color) -> Pillow.Image:
    """Return a picture scaled to its cell with the labels on it, and thin boxes for the rest."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = np.array(Pillow.fromarray(image).resize(size, Pillow.Resampling.LANCZOS))
    labels = [_scaled(one, size, scale) for one in found.labels]
    drawn = Pillow.fromarray(draw(small, labels, ("",), (color,)))
    ink = ImageDraw.Draw(drawn)
    for box in found.below * scale:
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        ink.rectangle((x1, y1, max(x1 + 1, x2 - 1), max(y1 + 1, y2 - 1)), outline=QUIET)
    return drawn


def _scaled(one: Instance, size: tuple[int, int], scale: float) -> Instance:
    """Return a label at the size of the cell, as the only class there is."""
    x1, y1, x2, y2 = (value * scale for value in one.box)
    mask: RLE | None = None
    if one.mask is not None:
        solid = Pillow.fromarray(masks.decode(one.mask).astype(np.uint8) * 255)
        mask = masks.encode(np.array(solid.resize(size, Pillow.Resampling.BILINEAR)) > 127)
    return replace(one, box=(x1, y1, x2, y2), mask=mask, class_id=0)


def _text(
    ink: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, fill: Color, room: int
) -> None:
    """Write a text, shortened to the room there is."""
    font = font_for(text, size)
    shown = text
    while shown and font.getlength(shown) > room:
        shown = shown[:-2].rstrip() + "…" if len(shown) > 2 else ""
    ink.text(at, shown, font=font, fill=fill)
