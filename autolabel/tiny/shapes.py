"""Flat shapes as signed distances, and the colours they are painted in.

A signed distance function takes coordinates in units of the shape's radius (x right, y down) and
gives the distance to the outline, negative inside. Formulas after Inigo Quilez, "2D distance
functions" (https://iquilezles.org/articles/distfunctions2d/), kept to what anti-aliasing, a bevel
and a soft shadow need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Plane: TypeAlias = npt.NDArray[np.float32]  # (h, w)
Distance: TypeAlias = Callable[[Plane, Plane], Plane]


def _polygon(sides: int, roundness: float) -> Distance:
    """Gives the distance function of a regular polygon with rounded corners."""
    angles = [2 * math.pi * k / sides - math.pi / 2 for k in range(sides)]
    inner = math.cos(math.pi / sides) * (1 - roundness)

    def distance(x: Plane, y: Plane) -> Plane:
        deepest = math.cos(angles[0]) * x - math.sin(angles[0]) * y
        for angle in angles[1:]:
            deepest = np.maximum(deepest, math.cos(angle) * x - math.sin(angle) * y)
        return np.asarray(deepest - inner, np.float32)

    return distance


def _ring(x: Plane, y: Plane) -> Plane:
    return np.asarray(np.abs(np.sqrt(x * x + y * y) - 0.72) - 0.23, np.float32)


def _disc(x: Plane, y: Plane) -> Plane:
    return np.asarray(np.sqrt(x * x + y * y) - 0.85, np.float32)


def _moon(x: Plane, y: Plane) -> Plane:
    outer = np.sqrt(x * x + y * y) - 0.95
    bite = 0.76 - np.sqrt((x - 0.44) ** 2 + y * y)
    return np.asarray(np.maximum(outer, bite), np.float32)


def _cross(x: Plane, y: Plane) -> Plane:
    far, near = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    return np.asarray(np.maximum(far - 0.92, near - 0.27), np.float32)


def _bar(x: Plane, y: Plane) -> Plane:
    return np.asarray(np.maximum(np.abs(x) - 0.95, np.abs(y) - 0.3), np.float32)


def _star(x: Plane, y: Plane) -> Plane:
    """Gives the distance to a five-pointed star (Quilez, sdStar5), slightly fat."""
    k1x, k1y = 0.809016994375, -0.587785252292
    px, py = np.abs(x), -y
    over = 2 * np.maximum(k1x * px + k1y * py, 0)
    qx, qy = px - over * k1x, py - over * k1y
    over = 2 * np.maximum(-k1x * qx + k1y * qy, 0)
    ux, uy = np.abs(qx + over * k1x), qy - over * k1y - 0.98
    bx, by = 0.46 * -k1y, 0.46 * k1x - 1
    along = np.clip((ux * bx + uy * by) / (bx * bx + by * by), 0, 0.98)
    side = np.sign(uy * bx - ux * by)
    return np.asarray(np.hypot(ux - bx * along, uy - by * along) * side, np.float32)


def _heart(x: Plane, y: Plane) -> Plane:
    """Gives the distance to a heart (Quilez, sdHeart), centred and with a radius near one."""
    scale = 1.62
    px, py = np.abs(x) / scale, 0.56 - y / scale
    lobe = np.sqrt((px - 0.25) ** 2 + (py - 0.75) ** 2) - math.sqrt(2) / 4
    half = 0.5 * np.maximum(px + py, 0)
    tip = np.minimum(px * px + (py - 1) ** 2, (px - half) ** 2 + (py - half) ** 2)
    lower = np.sqrt(tip) * np.sign(px - py)
    return np.asarray(np.where(px + py > 1, lobe, lower) * scale, np.float32)


# What the ontology names; each stays itself under any rotation.
SHAPES: tuple[str, ...] = ("heart", "ring", "star", "cross", "triangle", "moon")
# Shapes that are painted as distractors only.
OTHER_SHAPES: tuple[str, ...] = ("disc", "square", "hexagon", "bar")

DISTANCES: Mapping[str, Distance] = MappingProxyType(
    {
        "heart": _heart,
        "ring": _ring,
        "star": _star,
        "cross": _cross,
        "triangle": _polygon(3, 0.06),
        "moon": _moon,
        "disc": _disc,
        "square": _polygon(4, 0.05),
        "hexagon": _polygon(6, 0.05),
        "bar": _bar,
    }
)

# Hues at least 30 degrees apart, so that no lighting turns one into another.
COLOURS: tuple[str, ...] = ("red", "yellow", "green", "cyan", "blue", "purple", "pink")
OTHER_COLOURS: tuple[str, ...] = ("brown", "white", "grey", "black")

PAINTS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "red": (0.86, 0.15, 0.16),
        "yellow": (0.97, 0.80, 0.16),
        "green": (0.20, 0.65, 0.29),
        "cyan": (0.27, 0.82, 0.87),
        "blue": (0.15, 0.35, 0.84),
        "purple": (0.48, 0.22, 0.68),
        "pink": (0.97, 0.52, 0.74),
        "brown": (0.45, 0.29, 0.18),
        "white": (0.95, 0.95, 0.93),
        "grey": (0.52, 0.53, 0.55),
        "black": (0.11, 0.11, 0.13),
    }
)
