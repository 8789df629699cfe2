"""Generated pictures and clips of coloured shapes, with their exact truth.

A scene is made from its seed alone: the same seed gives the same pixels. Objects of the ontology
are listed with the mask of their visible pixels; distractors, nearly right in shape or colour,
are painted and not listed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autolabel.tiny.actors import Actor, Swing, Wanderer
from autolabel.tiny.paint import (
    Canvas,
    Light,
    Mask,
    Picture,
    Pose,
    Sprite,
    background,
    develop,
    light_of,
    paint_sprite,
    sprite_of,
)
from autolabel.tiny.shapes import COLOURS, OTHER_COLOURS, OTHER_SHAPES, SHAPES

__all__ = [
    "CLASSES",
    "COLOURS",
    "SHAPES",
    "Scene",
    "SceneObject",
    "direct_clip",
    "make_clip",
    "make_scene",
    "make_training_clip",
]

# The classes of ontologies/shapes.yaml in its order.
CLASSES: tuple[str, ...] = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)

_LEAST_PIXELS = 12
_LEAST_SHARE_PICTURE = 0.35  # less of it visible in a still: the object is left out
_LEAST_SHARE_CLIP = 0.15  # less of it visible in a clip: painted, not in the truth


@dataclass(frozen=True)
class SceneObject:
    """One object of the truth: what it is, its visible pixels (H, W), and which one it is."""

    shape: str
    colour: str
    mask: Mask
    track_id: int

    @property
    def name(self) -> str:
        """The object's class, such as "red heart"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """One picture, uint8 (H, W, 3) RGB, the objects of the ontology visible in it, and the rest.

    `distractors` are no part of the truth: training tells them apart from the objects.
    """

    image: Picture
    objects: tuple[SceneObject, ...]
    distractors: tuple[SceneObject, ...] = ()


def make_scene(
    seed: int,
    *,
    height: int = 256,
    width: int = 256,
    hard: bool = False,
    sizes: tuple[float, float] | None = None,
) -> Scene:
    """Makes one picture with its truth.

    Args:
        seed: decides everything; the same seed and size give the same scene.
        height: in pixels.
        width: in pixels.
        hard: objects from 6 % of the side instead of 12 %, more of them, closer together, more
            distractors, and rougher light.
        sizes: least and greatest extent of an object in pixels, in place of a share of the side.
    """
    rng = np.random.default_rng((seed, 1 if hard else 0))
    light = light_of(rng, hard)
    canvas = background(rng, height, width)
    poses, genuine = _composition(rng, height, width, hard, sizes)
    sprites = [sprite_of(pose, light, height, width) for pose in poses]
    masks, kept = _visible(sprites, height, width, _LEAST_SHARE_PICTURE)
    objects: list[SceneObject] = []
    distractors: list[SceneObject] = []
    for index, (pose, sprite) in enumerate(zip(poses, sprites, strict=True)):
        if sprite is None or not kept[index]:
            continue
        paint_sprite(canvas, sprite)
        found = SceneObject(pose.shape, pose.colour, masks[index], index)
        (objects if index < genuine else distractors).append(found)
    return Scene(develop(canvas, light, rng), tuple(objects), tuple(distractors))


def _visible(
    sprites: Sequence[Sprite | None], height: int, width: int, share: float, drop: bool = True
) -> tuple[list[Mask], list[bool]]:
    """Gives each sprite's visible pixels and whether enough of it shows; the last is on top.

    With `drop`, what shows too little is taken away and hides nothing.
    """
    covered = np.zeros((height, width), np.bool_)
    masks: list[Mask] = []
    kept: list[bool] = []
    for sprite in reversed(sprites):
        mask = np.zeros((height, width), np.bool_)
        enough = False
        if sprite is not None:
            h, w = sprite.alpha.shape
            window = np.s_[sprite.top : sprite.top + h, sprite.left : sprite.left + w]
            solid = sprite.alpha > 0.5
            mask[window] = solid & ~covered[window]
            seen = int(mask[window].sum())
            enough = seen >= max(_LEAST_PIXELS, share * sprite.whole_area)
            if enough or not drop:
                covered[window] |= solid
        masks.append(mask)
        kept.append(enough)
    return masks[::-1], kept[::-1]


def _composition(
    rng: np.random.Generator,
    height: int,
    width: int,
    hard: bool,
    sizes: tuple[float, float] | None,
) -> tuple[list[Pose], int]:
    """Draws where things are; gives the poses, those of the ontology first, and how many."""
    side = min(height, width)
    low, high = (0.06, 0.2) if hard else (0.12, 0.34)
    if sizes is not None:
        low, high = sizes[0] / side, sizes[1] / side
    genuine = int(rng.integers(5, 13)) if hard else int(rng.integers(2, 8))
    others = int(rng.integers(1, 5)) if hard else int(rng.integers(0, 3))
    looks = _looks(rng, genuine) + [_near_miss(rng) for _ in range(others)]
    apart = 0.6 if hard else 0.72
    poses: list[Pose] = []
    for shape, colour in looks:
        radius = 0.5 * side * low * (high / low) ** float(rng.random())
        x, y = _free_place(rng, poses, radius, height, width, apart)
        poses.append(_pose(rng, shape, colour, x, y, radius))
    return poses, genuine


def _pose(
    rng: np.random.Generator, shape: str, colour: str, x: float, y: float, radius: float
) -> Pose:
    red, green, blue = (float(value) for value in rng.normal(0, 0.018, 3))
    angle = float(rng.uniform(0, 2 * math.pi))
    return Pose(shape, colour, x, y, radius, angle, (red, green, blue))


def _looks(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Draws shapes and colours; half of them share one of the two with an earlier object."""
    looks: list[tuple[str, str]] = []
    for _ in range(count):
        shape = SHAPES[rng.integers(len(SHAPES))]
        colour = COLOURS[rng.integers(len(COLOURS))]
        if looks and rng.random() < 0.4:
            other = looks[rng.integers(len(looks))]
            shape, colour = (shape, other[1]) if rng.random() < 0.6 else (other[0], colour)
        looks.append((shape, colour))
    return looks


def _near_miss(rng: np.random.Generator) -> tuple[str, str]:
    """Draws a look outside the ontology: a brown heart, or a red hexagon."""
    if rng.random() < 0.5:
        return SHAPES[rng.integers(len(SHAPES))], OTHER_COLOURS[rng.integers(len(OTHER_COLOURS))]
    return OTHER_SHAPES[rng.integers(len(OTHER_SHAPES))], COLOURS[rng.integers(len(COLOURS))]


def _free_place(
    rng: np.random.Generator,
    poses: Sequence[Pose],
    radius: float,
    height: int,
    width: int,
    apart: float,
) -> tuple[float, float]:
    """Draws a place that overlaps little with the others, partly outside at times."""
    margin = radius * (0.35 if rng.random() < 0.15 else 1.0)
    best, place = -1.0, (width / 2, height / 2)
    for _ in range(12):
        x = float(rng.uniform(margin, max(width - margin, margin + 1)))
        y = float(rng.uniform(margin, max(height - margin, margin + 1)))
        gap = min(
            (math.hypot(x - p.x, y - p.y) / (radius + p.radius) for p in poses), default=math.inf
        )
        if gap > best:
            best, place = gap, (x, y)
        if gap >= apart:
            break
    return place


# --- clips -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shot:
    """One uncut piece of a clip: actors (those of the ontology first), stage and camera."""

    actors: tuple[Actor, ...]
    genuine: int
    stage: Canvas
    camera_x: Swing
    camera_y: Swing
    gain: Swing
    light: Light
    first_track: int


def make_clip(
    seed: int,
    *,
    frames: int = 16,
    height: int = 256,
    width: int = 256,
    hard: bool = False,
    cuts: int = 0,
) -> Iterator[Scene]:
    """Yields a clip's frames one by one.

    Objects move smoothly, turn, come nearer, cross, hide one another, leave and come back; the
    camera drifts. `track_id` stays with an object; one that is not visible is missing from that
    frame. Each of `cuts` changes the whole scene, and the track ids with it.
    """
    rng = np.random.default_rng((seed, 3 if hard else 2))
    yield from _play(rng, frames, height, width, hard, twins=False, cuts=cuts)


def direct_clip(
    seed: int, actors: Sequence[Actor], *, frames: int, height: int = 256, width: int = 256
) -> Iterator[Scene]:
    """Yields a clip that `actors` play as they are told, the last in front, on a drawn stage.

    An actor's place in the list is its `track_id`; all are of the ontology.
    """
    rng = np.random.default_rng((seed, 5))
    still = Swing(0, 0, 1, 0)
    gain, light = Swing(1, 0.03, 80, 0), light_of(rng, hard=False)
    stage = background(rng, height + 2, width + 2)
    shot = _Shot(tuple(actors), len(actors), stage, still, still, gain, light, 0)
    for time in range(frames):
        yield _frame(shot, time, rng, height, width)


def make_training_clip(seed: int, *, frames: int, size: int) -> Iterator[Scene]:
    """Yields a clip in which at least two objects share their shape or their colour."""
    rng = np.random.default_rng((seed, 4))
    yield from _play(rng, frames, size, size, hard=False, twins=True, cuts=0)


def _play(
    rng: np.random.Generator,
    frames: int,
    height: int,
    width: int,
    hard: bool,
    twins: bool,
    cuts: int,
) -> Iterator[Scene]:
    bounds = [round(frames * k / (cuts + 1)) for k in range(cuts + 2)]
    first_track = 0
    for start, stop in itertools.pairwise(bounds):
        shot = _shot(rng, stop - start, height, width, hard, twins, first_track)
        first_track += shot.genuine
        for time in range(stop - start):
            yield _frame(shot, time, rng, height, width)


def _frame(shot: _Shot, time: int, rng: np.random.Generator, height: int, width: int) -> Scene:
    """Paints one frame of a shot."""
    dx, dy = shot.camera_x.at(time), shot.camera_y.at(time)
    canvas = _stage_window(shot.stage, dx, dy, height, width)
    moved = (actor.at(time) for actor in shot.actors)
    poses = [Pose(p.shape, p.colour, p.x - dx, p.y - dy, p.radius, p.angle, p.tint) for p in moved]
    sprites = [sprite_of(pose, shot.light, height, width) for pose in poses]
    masks, seen = _visible(sprites, height, width, _LEAST_SHARE_CLIP, drop=False)
    objects = []
    for index, (pose, sprite) in enumerate(zip(poses, sprites, strict=True)):
        if sprite is None:
            continue
        paint_sprite(canvas, sprite)
        if index < shot.genuine and seen[index]:
            track = shot.first_track + index
            objects.append(SceneObject(pose.shape, pose.colour, masks[index], track))
    canvas *= np.float32(shot.gain.at(time))
    return Scene(develop(canvas, shot.light, rng), tuple(objects))


def _stage_window(stage: Canvas, dx: float, dy: float, height: int, width: int) -> Canvas:
    """Cuts the camera's view out of the larger stage, between pixels by linear mixing."""
    top, left = (stage.shape[0] - height) / 2 + dy, (stage.shape[1] - width) / 2 + dx
    y, x = math.floor(top), math.floor(left)
    fy, fx = np.float32(top - y), np.float32(left - x)
    rows = stage[y : y + height, x : x + width + 1] * (1 - fy)
    rows += stage[y + 1 : y + height + 1, x : x + width + 1] * fy
    return np.asarray(rows[:, :-1] * (1 - fx) + rows[:, 1:] * fx, np.float32)


def _shot(
    rng: np.random.Generator,
    frames: int,
    height: int,
    width: int,
    hard: bool,
    twins: bool,
    first_track: int,
) -> _Shot:
    """Draws a shot: actors, two of which meet, a stage larger than the picture, a camera."""
    genuine = int(rng.integers(4, 8)) if hard else int(rng.integers(2, 6))
    looks = _looks(rng, genuine)
    if twins:
        shape, colour = looks[0]
        other = SHAPES[rng.integers(len(SHAPES))], COLOURS[rng.integers(len(COLOURS))]
        looks[1] = (shape, other[1]) if rng.random() < 0.5 else (other[0], colour)
    looks += [_near_miss(rng) for _ in range(int(rng.integers(0, 3)))]
    actors = [_actor(rng, shape, colour, height, width, hard) for shape, colour in looks]
    actors[1] = _meeting(actors[0], actors[1], time=frames * float(rng.uniform(0.3, 0.7)))
    side = min(height, width)
    sway = 0.08 * side
    camera_x, camera_y = (_swing(rng, 0, sway * float(rng.random()), 60, 160) for _ in range(2))
    pad = 2 * (math.ceil(sway) + 2)
    light = light_of(rng, hard)
    return _Shot(
        tuple(actors),
        genuine,
        background(rng, height + pad, width + pad),
        camera_x,
        camera_y,
        _swing(rng, 1, float(rng.uniform(0, 0.06)), 40, 120),
        light,
        first_track,
    )


def _swing(
    rng: np.random.Generator, middle: float, reach: float, shortest: float, longest: float
) -> Swing:
    phase = float(rng.uniform(0, 2 * math.pi))
    return Swing(middle, reach, float(rng.uniform(shortest, longest)), phase)


def _actor(
    rng: np.random.Generator, shape: str, colour: str, height: int, width: int, hard: bool
) -> Wanderer:
    """Draws one moving object; a third of them swing out of the picture and come back."""
    side = min(height, width)
    low, high = (0.07, 0.2) if hard else (0.14, 0.3)
    radius = 0.5 * side * low * (high / low) ** float(rng.random())
    look = _pose(rng, shape, colour, 0, 0, radius)
    wide = 0.75 if rng.random() < 0.33 else 0.3
    return Wanderer(
        look,
        _swing(rng, width * float(rng.uniform(0.3, 0.7)), width * wide * _most(rng), 50, 130),
        _swing(rng, height * float(rng.uniform(0.3, 0.7)), height * 0.3 * _most(rng), 50, 130),
        _swing(rng, math.log(radius), float(rng.uniform(0, 0.25)), 40, 120),
        _swing(rng, look.angle, float(rng.uniform(0, 2.5)), 50, 140),
    )


def _most(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.4, 1.0))


def _meeting(first: Wanderer, second: Wanderer, time: float) -> Wanderer:
    """Moves the second actor's path so that it passes over the first one at that time."""
    dx, dy = first.x.at(time) - second.x.at(time), first.y.at(time) - second.y.at(time)
    x = Swing(second.x.middle + dx, second.x.reach, second.x.period, second.x.phase)
    y = Swing(second.y.middle + dy, second.y.reach, second.y.period, second.y.phase)
    return Wanderer(second.look, x, y, second.log_radius, second.angle)
