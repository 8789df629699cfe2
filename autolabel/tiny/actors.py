"""Who moves in a generated clip, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from autolabel.tiny.paint import Pose


class Actor(Protocol):
    """One moving object."""

    def at(self, time: float) -> Pose:
        """Gives where it is and how it looks in a frame."""
        ...


@dataclass(frozen=True)
class Swing:
    """A smooth value over time: middle + reach * sin(2 pi t / period + phase)."""

    middle: float
    reach: float
    period: float
    phase: float

    def at(self, time: float) -> float:
        """Gives the value in a frame."""
        return self.middle + self.reach * math.sin(2 * math.pi * time / self.period + self.phase)


@dataclass(frozen=True)
class Wanderer:
    """One moving object: a look and the swings of its place, size and angle."""

    look: Pose
    x: Swing
    y: Swing
    log_radius: Swing
    angle: Swing

    def at(self, time: float) -> Pose:
        """Gives its pose in a frame."""
        return Pose(
            self.look.shape,
            self.look.colour,
            self.x.at(time),
            self.y.at(time),
            math.exp(self.log_radius.at(time)),
            self.angle.at(time),
            self.look.tint,
        )
