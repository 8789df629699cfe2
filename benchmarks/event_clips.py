"""Clips in which one kind of thing happens to who is who, with the exact truth of every frame.

    enter    two objects are there, two come in from the sides at moments of their own
    leave    four are there, two go
    cross    two of different classes pass over each other, two more look on
    twins    two of the same class pass over each other
    hide     one goes behind a larger one, stays there for one to two seconds, comes out
    return   one leaves and is back three seconds later
    long     34 seconds of all of it, twice out and back, under a moving camera

Twelve frames a second. The same event and seed give the same clip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from autolabel.tiny.paint import Pose
from autolabel.tiny.scenes import COLOURS, SHAPES, Scene, direct_clip, make_clip

SIDE = 256
OUTSIDE = 48
"""Pixels from the edge at which nothing of an object can be seen."""
Place = tuple[float, float]


@dataclass(frozen=True)
class Walk:
    """One object that is at given places in given frames, and moves evenly between them."""

    look: Pose
    times: tuple[float, ...]
    places: tuple[Place, ...]
    turn: float = 0.0
    swell: float = 0.0

    def at(self, time: float) -> Pose:
        """Where it is in a frame, and how it looks."""
        x, y = (np.interp(time, self.times, [place[k] for place in self.places]) for k in (0, 1))
        radius = self.look.radius * (1 + self.swell * math.sin(time / 12))
        angle = self.look.angle + self.turn * time
        return replace(self.look, x=float(x), y=float(y), radius=radius, angle=angle)


class Cast:
    """Draws objects of classes that differ, and where they stand, from one seed."""

    def __init__(self, seed: int, event: int) -> None:
        self.rng = np.random.default_rng((seed, event, 77))
        names = [(shape, colour) for shape in SHAPES for colour in COLOURS]
        self._looks = [names[i] for i in self.rng.permutation(len(names))]
        corners = [(x * SIDE, y * SIDE) for x in (0.25, 0.75) for y in (0.25, 0.75)]
        self._corners = [corners[i] for i in self.rng.permutation(4)]

    def look(self, low: float = 19, high: float = 30) -> Pose:
        """One more look, its radius between two lengths."""
        shape, colour = self._looks.pop()
        angle = float(self.rng.uniform(0, 2 * math.pi))
        return Pose(shape, colour, 0, 0, float(self.rng.uniform(low, high)), angle)

    def walk(self, times: tuple[float, ...], places: tuple[Place, ...], **look: float) -> Walk:
        """One more object that walks there."""
        turn, swell = float(self.rng.uniform(-0.04, 0.04)), float(self.rng.uniform(0, 0.12))
        return Walk(self.look(**look), times, places, turn, swell)

    def bystander(self, frames: int) -> Walk:
        """One more object that strolls about in a corner nobody else was given."""
        (x, y), (dx, dy) = self._corners.pop(), self.rng.uniform(-14, 14, 2)
        return self.walk((0, frames / 2, frames), ((x, y), (x + dx, y + dy), (x, y)))

    def side(self) -> tuple[Place, Place]:
        """A place outside of the picture, and one inside that is straight ahead of it."""
        across = float(self.rng.uniform(0.35, 0.65)) * SIDE
        deep = float(self.rng.uniform(0.4, 0.6)) * SIDE
        out, inside = ((-OUTSIDE, across), (deep, across))
        if self.rng.random() < 0.5:
            out, inside = (SIDE + OUTSIDE, across), (SIDE - deep, across)
        if self.rng.random() < 0.5:
            out, inside = (out[1], out[0]), (inside[1], inside[0])
        return out, inside


def enter(seed: int, frames: int = 96) -> Iterator[Scene]:
    """Two are there, two come in."""
    cast = Cast(seed, 1)
    actors = [cast.bystander(frames) for _ in range(2)]
    for _ in range(2):
        out, inside = cast.side()
        start = int(cast.rng.integers(8, frames - 45))
        actors.append(cast.walk((start, start + 30), (out, inside)))
    return direct_clip(seed, actors, frames=frames)


def leave(seed: int, frames: int = 96) -> Iterator[Scene]:
    """Four are there, two go."""
    cast = Cast(seed, 2)
    actors = [cast.bystander(frames) for _ in range(2)]
    for _ in range(2):
        out, inside = cast.side()
        start = int(cast.rng.integers(15, frames - 40))
        actors.append(cast.walk((start, start + 25), (inside, out)))
    return direct_clip(seed, actors, frames=frames)


def cross(seed: int, frames: int = 96, *, twins: bool = False) -> Iterator[Scene]:
    """Two pass over each other; ``twins`` are of the same class."""
    cast = Cast(seed, 4 if twins else 3)
    actors = [cast.bystander(frames) for _ in range(2)]
    left, right = 0.15 * SIDE, 0.85 * SIDE
    y = float(cast.rng.uniform(0.4, 0.6)) * SIDE
    drop = float(cast.rng.uniform(10, 22))  # they don't cover each other wholly
    one = cast.walk((10, frames - 15), ((left, y), (right, y + drop)))
    other = cast.walk((10, frames - 15), ((right, y), (left, y - drop)))
    if twins:
        other = replace(other, look=replace(one.look, radius=other.look.radius))
    return direct_clip(seed, [*actors, one, other], frames=frames)


def twins(seed: int, frames: int = 96) -> Iterator[Scene]:
    """Two of the same class pass over each other."""
    return cross(seed, frames, twins=True)


def hide(seed: int, frames: int = 96) -> Iterator[Scene]:
    """One goes behind a larger one, stays there and comes out on the other side."""
    cast = Cast(seed, 5)
    x, y = (float(v) for v in cast.rng.uniform(0.45, 0.55, 2) * SIDE)
    stay, start = int(cast.rng.integers(12, 25)), int(cast.rng.integers(8, 16))
    wall = cast.walk((0, frames), ((x, y), (x, y)), low=41, high=43)
    wall = replace(wall, look=replace(wall.look, shape="heart", angle=0), turn=0, swell=0)
    path = ((25, y), (x, y), (x, y), (SIDE - 25, y))
    walker = cast.walk(
        (start, start + 25, start + 25 + stay, start + 50 + stay), path, low=15, high=17
    )
    return direct_clip(seed, [walker, cast.bystander(frames), wall], frames=frames)


def back(seed: int, frames: int = 132) -> Iterator[Scene]:
    """One leaves and is back three seconds later, on the same side."""
    cast = Cast(seed, 6)
    actors = [cast.bystander(frames) for _ in range(2)]
    out, inside = cast.side()
    start = int(cast.rng.integers(10, 20))
    times = (start, start + 22, start + 58, start + 80)
    actors.append(cast.walk(times, (inside, out, out, inside)))
    return direct_clip(seed, actors, frames=frames)


def long(seed: int, frames: int = 408) -> Iterator[Scene]:
    """What ``autolabel scenes`` makes, 34 seconds of it."""
    return make_clip(seed, frames=frames)


EVENTS: dict[str, Callable[[int], Iterator[Scene]]] = {
    "enter": enter,
    "leave": leave,
    "cross": cross,
    "twins": twins,
    "hide": hide,
    "return": back,
    "long": long,
}
