"""Trackers that know the truth of a generated clip: one that tells it, one that errs on purpose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from autolabel.tiny.scenes import Scene
from autolabel.track.values import Prepared, Prompt, Tracked
from autolabel.types import Image, Mask


def picture_key(image: Image) -> str:
    return hashlib.blake2b(image.tobytes(), digest_size=12).hexdigest()


class TrueTracker:
    """Stands in for the tracker: says where the prompted object really is."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = {picture_key(scene.image): scene for scene in scenes}

    def prepare(self, image: Image) -> Prepared:
        """The frame as it is."""
        return Prepared(image, *image.shape[:2])

    def session(self) -> TrueSession:
        """A new clip, no objects in it yet."""
        return TrueSession(self._scenes)

    def restore(self, state: bytes) -> TrueSession:
        """The session whose ``state()`` this is."""
        session = self.session()
        session.objects = {int(key): value for key, value in json.loads(state).items()}
        return session


class TrueSession:
    """One clip on its way; every object that was prompted is found again."""

    def __init__(self, scenes: dict[str, Scene]) -> None:
        self._scenes = scenes
        self._now: Scene | None = None
        self.objects: dict[int, int] = {}

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects followed."""
        return tuple(self.objects)

    def step(self, frame: Image | Prepared) -> Tracked:
        """Where every object is in the next frame, or what is said of it."""
        assert isinstance(frame, Prepared)
        self._now = self._scenes[picture_key(frame.pixels)]
        return self._seen(self.ids)

    def add(self, ids: Sequence[int], prompts: Sequence[Prompt]) -> Tracked:
        """Where the prompted objects are in the current frame."""
        assert self._now is not None
        for one, prompt in zip(ids, prompts, strict=True):
            assert prompt.mask is not None
            shares = {o.track_id: (o.mask & prompt.mask).sum() for o in self._now.objects}
            self.objects[one] = max(shares, key=lambda track: shares[track], default=-1)
        return self._seen(ids)

    def remove(self, ids: Sequence[int]) -> None:
        """Stop following these objects."""
        for one in ids:
            self.objects.pop(one, None)

    def forget(self, ids: Sequence[int]) -> None:
        """Nothing is remembered."""

    def state(self) -> bytes:
        """The objects followed, as JSON."""
        return json.dumps(self.objects).encode()

    def _seen(self, ids: Sequence[int]) -> Tracked:
        assert self._now is not None
        there = {o.track_id: o.mask for o in self._now.objects}
        nothing = np.zeros(self._now.image.shape[:2], np.bool_)
        masks = [there.get(self.objects[one], nothing) for one in ids]
        scores = np.array([0.95 if mask.any() else 0.05 for mask in masks], np.float32)
        return Tracked(tuple(ids), np.stack(masks) if masks else nothing[None][:0], scores)


class SloppyTracker(TrueTracker):
    """Errs more the longer ago the prompt was: masks wander off, and jump to other objects."""

    def session(self) -> SloppySession:
        """A new clip, no objects in it yet."""
        return SloppySession(self._scenes)


class SloppySession(TrueSession):
    """What goes wrong follows from the frame and the object: the same again in another run."""

    wander = 1.5
    """Pixels a mask moves off a frame, in a direction of its own."""
    jump = 0.04
    """Chance a frame to jump to the object nearest by."""
    ghost = 0.6
    """Chance that an object that is gone is still seen where it was last."""

    def __init__(self, scenes: dict[str, Scene]) -> None:
        super().__init__(scenes)
        self._since: dict[int, int] = {}
        self._last: dict[int, Mask] = {}

    def step(self, frame: Image | Prepared) -> Tracked:
        """Where every object is in the next frame, or what is said of it."""
        assert isinstance(frame, Prepared)
        self._now = self._scenes[picture_key(frame.pixels)]
        key = int(picture_key(frame.pixels)[:8], 16)
        seen = {one: self._wrong(one, np.random.default_rng((key, one))) for one in self.ids}
        nothing = np.zeros(self._now.image.shape[:2], np.bool_)
        masks = np.stack(list(seen.values())) if seen else nothing[None][:0]
        scores = np.array([0.9 if mask.any() else 0.1 for mask in masks], np.float32)
        return Tracked(tuple(seen), masks, scores)

    def add(self, ids: Sequence[int], prompts: Sequence[Prompt]) -> Tracked:
        """Where the prompted objects are in the current frame."""
        told = super().add(ids, prompts)
        for one, mask in zip(told.ids, told.masks, strict=True):
            self._since[one], self._last[one] = 0, mask
        return told

    def state(self) -> bytes:
        """The objects followed, as JSON."""
        return json.dumps([self.objects, self._since]).encode()

    def _wrong(self, one: int, rng: np.random.Generator) -> Mask:
        assert self._now is not None
        self._since[one] = self._since.get(one, 0) + 1
        there = {o.track_id: o.mask for o in self._now.objects}
        others = [track for track in there if track != self.objects[one]]
        if others and rng.random() < self.jump and self._last[one].any():
            middle = np.argwhere(self._last[one]).mean(0)
            far = [np.hypot(*(np.argwhere(there[track]).mean(0) - middle)) for track in others]
            self.objects[one] = others[int(np.argmin(far))]
        mask = there.get(self.objects[one])
        if mask is None:
            return self._last[one] if rng.random() < self.ghost else np.zeros_like(self._last[one])
        angle = one * 2.4
        off = self.wander * self._since[one] * np.array([np.sin(angle), np.cos(angle)])
        self._last[one] = np.roll(mask, off.astype(int), (0, 1))
        return self._last[one]
