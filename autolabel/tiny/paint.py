"""Backgrounds, shaded objects and the camera: how a generated picture gets its look."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from autolabel.tiny.shapes import DISTANCES, PAINTS

Plane: TypeAlias = npt.NDArray[np.float32]  # (h, w)
Canvas: TypeAlias = npt.NDArray[np.float32]  # (H, W, 3) in [0, 1]
Picture: TypeAlias = npt.NDArray[np.uint8]  # (H, W, 3)
Mask: TypeAlias = npt.NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True)
class Pose:
    """Where one object is and how it looks; lengths in pixels, angle in radians."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    angle: float
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Light:
    """One picture's light: where it comes from, and what the camera makes of it."""

    angle: float = 0.8
    shadow: float = 0.35
    gain: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    slope: float = 0.0
    blur: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class Sprite:
    """One object ready to be painted: coverage, shade and shadow inside its own window."""

    top: int
    left: int
    alpha: Plane
    shade: Plane
    shadow: Plane
    paint: tuple[float, float, float]
    whole_area: float


@functools.lru_cache(maxsize=16)
def _unit_area(shape: str) -> float:
    axis = np.linspace(-1.2, 1.2, 240, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return float((DISTANCES[shape](x, y) < 0).mean() * 2.4**2)


def light_of(rng: np.random.Generator, hard: bool) -> Light:
    """Draws a light; `hard` allows dimmer, more tinted, blurrier and noisier pictures."""
    spread = 1.6 if hard else 1.0
    warm, green = rng.normal(0, 0.025 * spread, 2)
    return Light(
        angle=float(rng.uniform(0, 2 * math.pi)),
        shadow=float(rng.uniform(0.15, 0.45)),
        gain=float(np.clip(rng.normal(0.98, 0.07 * spread), 0.7, 1.12)),
        balance=(float(1 + warm), float(1 + green), float(1 - warm)),
        slope=float(rng.uniform(0, 0.16 * spread)),
        blur=float(rng.uniform(0.4, 0.7 * spread)) if rng.random() < 0.3 else 0.0,
        noise=float(rng.uniform(0.002, 0.016 * spread)),
    )


def sprite_of(pose: Pose, light: Light, height: int, width: int) -> Sprite | None:
    """Gives the object's sprite cut to the picture, or None where it lies wholly outside."""
    reach = pose.radius * 1.25 + 2
    left, right = max(0, math.floor(pose.x - reach)), min(width, math.ceil(pose.x + reach))
    top, bottom = max(0, math.floor(pose.y - reach)), min(height, math.ceil(pose.y + reach))
    if left >= right or top >= bottom:
        return None
    x = (np.arange(left, right, dtype=np.float32) + np.float32(0.5 - pose.x))[None, :]
    y = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - pose.y))[:, None]
    distance = _turned(pose, x, y)
    alpha = np.clip(0.5 - distance * pose.radius, 0, 1)
    drop = pose.radius * 0.1 + 1
    shadow = _shadow(distance, pose.radius, light.angle, drop) * np.float32(light.shadow)
    cos, sin = math.cos(light.angle) / pose.radius, math.sin(light.angle) / pose.radius
    slope = np.float32(cos) * x + np.float32(sin) * y
    edge = np.clip(1 + distance * np.float32(5), 0, 1)
    shade = 1 - (np.float32(0.07) + np.float32(0.13) * edge * edge) * slope
    paint = PAINTS[pose.colour]
    tinted = (paint[0] + pose.tint[0], paint[1] + pose.tint[1], paint[2] + pose.tint[2])
    area = _unit_area(pose.shape) * pose.radius**2
    return Sprite(top, left, alpha, shade, shadow, tinted, area)


def _turned(pose: Pose, x: Plane, y: Plane) -> Plane:
    """Gives the distance at window coordinates, in units of the radius."""
    cos = np.float32(math.cos(pose.angle) / pose.radius)
    sin = np.float32(math.sin(pose.angle) / pose.radius)
    return np.asarray(DISTANCES[pose.shape](cos * x + sin * y, cos * y - sin * x), np.float32)


def _shadow(distance: Plane, radius: float, angle: float, drop: float) -> Plane:
    """Gives the soft shadow's strength: the shape's own distance, moved away from the light."""
    soft = np.clip(0.5 - distance * np.float32(radius / (2 * drop)), 0, 1)
    soft = soft * soft * (3 - 2 * soft)
    dy, dx = round(drop * math.sin(angle)), round(drop * math.cos(angle))
    h, w = soft.shape
    moved = np.zeros((h, w), np.float32)
    if abs(dy) < h and abs(dx) < w:
        moved[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = soft[
            max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
        ]
    return moved


def paint_sprite(canvas: Canvas, sprite: Sprite) -> None:
    """Paints the shadow, then the object, onto the canvas in place."""
    h, w = sprite.alpha.shape
    window = canvas[sprite.top : sprite.top + h, sprite.left : sprite.left + w]
    alpha = sprite.alpha
    under = (1 - sprite.shadow) * (1 - alpha)
    over = sprite.shade * alpha
    for channel in range(3):
        window[..., channel] *= under
        window[..., channel] += over * np.float32(sprite.paint[channel])


def background(rng: np.random.Generator, height: int, width: int) -> Canvas:
    """Paints one quiet background: a gradient, clouds, tiles, stripes, cloth or speckle."""
    first, second = _quiet_colour(rng), _quiet_colour(rng)
    second = first + (second - first) * np.float32(rng.uniform(0.25, 0.8))
    kind = rng.integers(6)
    if kind == 0:
        mix = _gradient(rng, height, width)
    elif kind == 1:
        mix = clouds(rng, height, width, cells=int(rng.integers(2, 5)))
    elif kind == 2:
        mix = _tiles(rng, height, width)
    elif kind == 3:
        mix = _stripes(rng, height, width)
    elif kind == 4:
        mix = _cloth(rng, height, width)
    else:
        fine = clouds(rng, height, width, cells=int(rng.integers(24, 48)))
        mix = 0.6 * clouds(rng, height, width, cells=3) + 0.4 * fine
    return np.asarray(first + mix[..., None] * (second - first), np.float32)


def _quiet_colour(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draws a colour pale or dark enough not to be taken for an object's."""
    level = rng.uniform(0.62, 0.93) if rng.random() < 0.7 else rng.uniform(0.14, 0.34)
    chroma = rng.uniform(0.0, 0.09) * (1 if level > 0.5 else 0.6)
    hue = rng.uniform(0, 2 * math.pi)
    turns = np.array([0, 2 * math.pi / 3, 4 * math.pi / 3])
    return np.asarray(np.clip(level + chroma * np.cos(hue - turns), 0, 1), np.float32)


def _enlarged(grid: Plane, height: int, width: int) -> Plane:
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image, np.float32), 0, 1)


def clouds(rng: np.random.Generator, height: int, width: int, cells: int) -> Plane:
    """Gives smooth noise in [0, 1] with about `cells` bumps a side."""
    return _enlarged(rng.random((cells + 2, cells + 2), np.float32), height, width)


def _axes(height: int, width: int, angle: float) -> tuple[Plane, Plane]:
    """Gives turned coordinates in units of the longer side, centred."""
    side = max(height, width)
    x = (np.arange(width, dtype=np.float32) - np.float32(width / 2))[None, :] / np.float32(side)
    y = (np.arange(height, dtype=np.float32) - np.float32(height / 2))[:, None] / np.float32(side)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def _gradient(rng: np.random.Generator, height: int, width: int) -> Plane:
    along, _ = _axes(height, width, float(rng.uniform(0, 2 * math.pi)))
    return np.asarray(np.clip(along + 0.5, 0, 1), np.float32)


def _tiles(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Gives square tiles of slightly different shades with darker joints."""
    count = float(rng.uniform(4, 9))
    u, v = _axes(height, width, float(rng.uniform(-0.4, 0.4)))
    u, v = (u + 1) * np.float32(count), (v + 1) * np.float32(count)
    iu, iv = u.astype(np.int32), v.astype(np.int32)
    shades = rng.random(64, np.float32)
    shade = shades[(iu * 7 + iv * 13) % 64]
    joint = np.minimum(np.minimum(u - iu, iu + 1 - u), np.minimum(v - iv, iv + 1 - v))
    return np.asarray(0.55 * shade + 0.45 * np.clip(joint * 24 - 0.4, 0, 1), np.float32)


def _stripes(rng: np.random.Generator, height: int, width: int) -> Plane:
    along, _ = _axes(height, width, float(rng.uniform(0, math.pi)))
    wave = np.sin(along * np.float32(2 * math.pi * rng.uniform(3, 11)))
    return np.asarray(np.clip(0.5 + wave * np.float32(rng.uniform(0.5, 2.5)), 0, 1), np.float32)


def _cloth(rng: np.random.Generator, height: int, width: int) -> Plane:
    u, v = _axes(height, width, float(rng.uniform(0, math.pi)))
    pitch = np.float32(2 * math.pi * rng.uniform(20, 45))
    weave = 0.5 + 0.2 * np.sin(u * pitch) + 0.2 * np.sin(v * pitch)
    return np.asarray(0.6 * weave + 0.4 * clouds(rng, height, width, cells=3), np.float32)


def develop(canvas: Canvas, light: Light, rng: np.random.Generator) -> Picture:
    """Gives the picture the camera takes: light falling off, white balance, blur and noise."""
    height, width, _ = canvas.shape
    along, _ = _axes(height, width, light.angle)
    fall = np.float32(light.gain) * (1 - np.float32(2 * light.slope) * along)
    grain = noise_plane(rng, height, width) * np.float32(light.noise * 255)
    image = np.empty(canvas.shape, np.uint8)
    for channel in range(3):
        plane = canvas[..., channel] * fall
        plane *= np.float32(light.balance[channel] * 255)
        if not light.blur:
            plane += grain
        image[..., channel] = np.clip(plane, 0, 255)
    if light.blur:
        soft = Image.fromarray(image).filter(ImageFilter.GaussianBlur(light.blur))
        blurred = np.asarray(soft, np.float32) + grain[..., None]
        image = np.clip(blurred, 0, 255).astype(np.uint8)
    return image


@functools.lru_cache(maxsize=1)
def _noise_bank() -> Plane:
    return np.random.default_rng(20).standard_normal(1 << 20, np.float32)


def noise_plane(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Gives unit noise cut from one bank: drawing it afresh would cost as much as the scene."""
    bank = _noise_bank()
    start = int(rng.integers(1 << 18))
    plane = np.take(bank, np.arange(start, start + height * width), mode="wrap")
    return plane.reshape(height, width)


def darker(light: Light, gain: float) -> Light:
    """Gives the same light at another strength."""
    return replace(light, gain=light.gain * gain)
