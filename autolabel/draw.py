"""Pictures with their labels drawn on: masks, outlines and boxes by supervision, names by Pillow.

Lines and text grow with the picture. supervision's own label annotators are not used: their
chips differ in height from word to word and may leave the picture.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from autolabel import masks
from autolabel.types import Image, Instance

with warnings.catch_warnings():
    # It works without OpenCV, and says on import that it could be faster with it.
    warnings.filterwarnings("ignore", message="OpenCV", category=UserWarning)
    import supervision as sv

MASK_OPACITY = 0.35
SMALLEST_TEXT = 7
"""Pixels; pictures too small for it get no names."""
BOLD_CONTRAST = 3.0
DARK, LIGHT = (20, 20, 20), (255, 255, 255)

_FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts",
                 "/System/Library/Fonts", "/Library/Fonts")  # fmt: skip

Color = tuple[int, int, int]
Area = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large things are drawn, in pixels: the line of a box, the letters, their surround."""

    line: int
    text: int
    padding: int

    @classmethod
    def of(cls, height: int, width: int) -> Sizes:
        """Return the sizes that suit a picture."""
        side = (height * width) ** 0.5
        text = min(max(11, round(side * 0.018)), height // 4)
        return cls(max(1, round(side / 500)), text, max(2, round(text * 0.3)))


def draw(
    image: Image,
    instances: Sequence[Instance],
    class_names: Sequence[str],
    colors: Sequence[Color],
) -> Image:
    """Return a copy of the picture with masks, outlines, boxes and names drawn on.

    Args:
        image: uint8 (H, W, 3) RGB.
        instances: Labels of this picture (or this frame); may be empty.
        class_names: By class id; any script that an installed font has.
        colors: (red, green, blue) by class id.

    Raises:
        ValueError: If a mask isn't of the picture's size.
    """
    height, width = image.shape[:2]
    if not instances:
        return image.copy()
    sizes = Sizes.of(height, width)
    # supervision takes pictures as blue, green, red, as OpenCV has them.
    scene = np.ascontiguousarray(image[:, :, ::-1])
    palette = sv.ColorPalette([sv.Color(*color) for color in colors])
    scene = _draw_masks(scene, instances, palette, sizes)
    scene = _draw_boxes(scene, instances, palette, sizes)
    drawn = Pillow.fromarray(np.ascontiguousarray(scene[:, :, ::-1]))
    if sizes.text >= SMALLEST_TEXT:
        _draw_chips(drawn, instances, class_names, colors, sizes)
    return np.array(drawn)


def _draw_masks(
    scene: Image, instances: Sequence[Instance], palette: sv.ColorPalette, sizes: Sizes
) -> Image:
    """Return the scene with each mask as a tint and an outline."""
    height, width = scene.shape[:2]
    rles, boxes, classes = [], [], []
    for one in instances:
        box = masks.tight_box(one.mask) if one.mask is not None else None
        if one.mask is None or box is None:
            continue
        if (one.mask.height, one.mask.width) != (height, width):
            raise ValueError(
                f"draw: expected masks of {height} x {width}, "
                f"found {one.mask.height} x {one.mask.width}"
            )
        rles.append({"size": [height, width], "counts": one.mask.counts})
        boxes.append(box)
        classes.append(one.class_id)
    if not rles:
        return scene
    detections = sv.Detections(xyxy=np.array(boxes, np.float32), class_id=np.array(classes))
    # Only the crops of the boxes are held: 400 masks of a large photo would be gigabytes.
    detections.mask = sv.CompactMask.from_coco_rle(rles, detections.xyxy, (height, width))
    scene = sv.MaskAnnotator(color=palette, opacity=MASK_OPACITY).annotate(scene, detections)
    outline = sv.PolygonAnnotator(color=palette, thickness=sizes.line)
    drawn: Image = outline.annotate(scene, detections)
    return drawn


def _draw_boxes(
    scene: Image, instances: Sequence[Instance], palette: sv.ColorPalette, sizes: Sizes
) -> Image:
    """Return the scene with each box, thinner where an outline says more."""
    for masked, line in ((True, max(1, sizes.line // 2)), (False, sizes.line)):
        some = [one for one in instances if (one.mask is not None) is masked]
        if some:
            detections = sv.Detections(
                xyxy=np.array([one.box for one in some], np.float32),
                class_id=np.array([one.class_id for one in some]),
            )
            scene = sv.BoxAnnotator(color=palette, thickness=line).annotate(scene, detections)
    return scene


# Names


def label_text(one: Instance, class_names: Sequence[str]) -> str:
    """Return what is written at a label: name, score and track."""
    parts = [class_names[one.class_id]]
    if one.score is not None:
        parts.append(f"{one.score:.2f}")
    if one.track_id is not None:
        parts.append(f"#{one.track_id}")
    return " ".join(filter(None, parts))


def _draw_chips(
    picture: Pillow.Image,
    instances: Sequence[Instance],
    class_names: Sequence[str],
    colors: Sequence[Color],
    sizes: Sizes,
) -> None:
    """Draw each label's name on a chip in its colour, the best scores placed first."""
    canvas = ImageDraw.Draw(picture)
    taken: list[Area] = []
    for one in sorted(instances, key=lambda one: -(one.score if one.score is not None else 2.0)):
        text = label_text(one, class_names)
        font = font_for(text, sizes.text)
        ascent, descent = font.getmetrics()
        width = round(font.getlength(text)) + 2 * sizes.padding
        height = ascent + descent + sizes.padding
        area = _place(one, width, height, picture.size, sizes.line, taken)
        taken.append(area)
        color = colors[one.class_id]
        canvas.rounded_rectangle(area, radius=max(1, sizes.padding // 2), fill=color)
        at = (area[0] + sizes.padding, area[1] + sizes.padding // 2)
        canvas.text(at, text, font=font, fill=text_color(color))


def _place(
    one: Instance, width: int, height: int, size: tuple[int, int], line: int, taken: Sequence[Area]
) -> Area:
    """Return where a chip goes: at the box, in the picture, clear of others if that can be."""
    first: Area | None = None
    for x, y in _corners(one, width, height, line):
        left = max(0, min(x, size[0] - width))
        top = max(0, min(y, size[1] - height))
        area = (left, top, left + width - 1, top + height - 1)
        first = first or area
        if top == y and not any(_overlap(area, other) for other in taken):
            return area
    assert first is not None
    return first


def _corners(one: Instance, width: int, height: int, line: int) -> Iterator[tuple[int, int]]:
    """Yield the places for a chip from the best on: above the box, in it, below, further in."""
    x1, y1, x2, y2 = (round(value) for value in one.box)
    edge = line // 2
    left, right = x1 - edge, x2 + edge - width + 1
    inside = max(0, y1 - edge)
    for y in (y1 - edge - height + 1, inside, y2 + edge, y2 + edge - height + 1):
        yield left, y
        yield right, y
    for step in range(1, 6):
        yield left, inside + step * height


def _overlap(a: Area, b: Area) -> bool:
    """Return whether two areas share a pixel."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def text_color(background: Color) -> Color:
    """Return light where it can be read (contrast 3, WCAG 2.1's for bold text), else dark."""
    contrast = (1.0 + 0.05) / (_luminance(background) + 0.05)
    return LIGHT if contrast >= BOLD_CONTRAST else DARK


def _luminance(color: Color) -> float:
    """Return a colour's relative luminance in [0, 1]."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@lru_cache(maxsize=4096)
def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font that has the text's letters, DejaVu if it does or if none has."""
    default = _load(_default_font(), size)
    if _has_letters(default, text):
        return default
    for path in _installed_fonts():
        font = _load(path, size)
        if _has_letters(font, text):
            return font
    return default


@lru_cache(maxsize=64)
def _load(path: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font from its file."""
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=1)
def _default_font() -> str:
    """Return the file of DejaVu Sans, which comes with matplotlib, which supervision needs."""
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans-Bold.ttf")


@lru_cache(maxsize=1)
def _installed_fonts() -> tuple[str, ...]:
    """Return the fonts of this machine that Pillow can read, bold ones of a family first."""
    found = []
    for folder in _FONT_FOLDERS:
        root = os.path.expanduser(folder)
        for extension in ("ttf", "otf", "ttc"):
            found += glob.glob(f"{root}/**/*.{extension}", recursive=True)
    readable = []
    for path in sorted(found, key=lambda path: ("Bold" not in path, path)):
        try:
            _load(path, 12)
        except OSError:
            continue
        readable.append(path)
    return tuple(readable)


def _has_letters(font: ImageFont.FreeTypeFont, text: str) -> bool:
    """Return whether the font draws every letter as something else than its missing sign."""
    missing = bytes(font.getmask("\U0010ffff"))
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in set(text))
