"""A world of flat blocks: clips with exact truth, a detector that reads it, and a tracker that
follows a colour from where it was last. Simple, but the real thing: nothing here is scripted."""

import json
import math
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label

from autolabel import masks as rle
from autolabel.track.values import Prepared, Prompt, Tracked
from autolabel.types import Frame, Instance

H, W = 60, 100
COLOURS = {0: (250, 10, 10), 1: (10, 250, 10), 2: (10, 10, 250), 3: (250, 250, 10)}
"""Class -> colour."""


def draw(blocks, background=90) -> np.ndarray:
    """A frame; blocks: (class, x, y[, side]), the later in front."""
    image = np.full((H, W, 3), background, np.uint8)
    image[::7] = background // 2  # some structure, for the scene cues
    for class_id, x, y, *side in blocks:
        edge = side[0] if side else 12
        image[max(0, y) : max(0, y + edge), max(0, x) : max(0, x + edge)] = COLOURS[class_id]
    return image


def frames_of(pictures) -> list[Frame]:
    return [Frame(picture, i, i / 10) for i, picture in enumerate(pictures)]


def parts(image, colour) -> list[np.ndarray]:
    labelled, count = label((image == np.array(colour, np.uint8)).all(axis=2))
    return [labelled == i + 1 for i in range(count)]


class Detector:
    """Finds every block; says what it is asked to about some of them.

    Args:
        score: of what it finds.
        blind: frames (by number of the call, or all: None) at which it misses a class.
    """

    def __init__(self, score=0.9, blind: Sequence[tuple[int | None, int]] = ()):
        self.score, self.blind, self.calls = score, set(blind), 0

    def __call__(self, image) -> list[Instance]:
        call, self.calls = self.calls, self.calls + 1
        found = []
        for class_id, colour in COLOURS.items():
            if (call, class_id) in self.blind or (None, class_id) in self.blind:
                continue
            for mask in parts(image, colour):
                box = rle.tight_box(rle.encode(mask))
                found.append(
                    Instance(
                        class_id=class_id,
                        box=tuple(float(v) for v in box),
                        mask=rle.encode(mask),
                        score=self.score,
                    )
                )
        return found


class ColourTracker:
    """Follows each object's colour, within reach of where it was last."""

    reach = 25.0

    def prepare(self, image) -> Prepared:
        return Prepared(image, *image.shape[:2])

    def session(self) -> "ColourSession":
        return ColourSession(self.reach)

    def restore(self, state: bytes) -> "ColourSession":
        session = ColourSession(self.reach)
        session.objects = {int(i): tuple(o) for i, o in json.loads(state).items()}
        return session


class ColourSession:
    def __init__(self, reach: float):
        self.reach, self.objects, self.image = reach, {}, None

    @property
    def ids(self):
        return tuple(self.objects)

    def step(self, frame: Prepared) -> Tracked:
        self.image = frame.pixels
        found = {i: self._find(i) for i in self.objects}
        return self._tracked(found)

    def add(self, ids, prompts: Sequence[Prompt]) -> Tracked:
        found = {}
        for i, prompt in zip(ids, prompts, strict=True):
            if prompt.mask is not None:
                rows, columns = np.nonzero(prompt.mask)
                y, x = int(rows[len(rows) // 2]), int(columns[len(columns) // 2])
            elif prompt.box is not None:
                x, y = (
                    int(prompt.box[0] + prompt.box[2]) // 2,
                    int(prompt.box[1] + prompt.box[3]) // 2,
                )
            else:
                x, y = (int(v) for v in prompt.points[0])
            self.objects[i] = (x, y, [int(v) for v in self.image[y, x]])
            found[i] = self._find(i)
        return self._tracked(found)

    def remove(self, ids) -> None:
        for i in ids:
            self.objects.pop(i, None)

    def forget(self, ids) -> None:
        """Where an object is now is all that this tracker remembers."""

    def state(self) -> bytes:
        return json.dumps(self.objects).encode()

    def _find(self, i):
        x, y, colour = self.objects[i]
        near = []
        for mask in parts(self.image, colour):
            rows, columns = np.nonzero(mask)
            cx, cy = float(columns.mean()), float(rows.mean())
            near.append((math.hypot(cx - x, cy - y), cx, cy, mask))
        near = [n for n in near if n[0] <= self.reach]
        if not near:
            return np.zeros(self.image.shape[:2], bool)
        _, cx, cy, mask = min(near, key=lambda n: n[0])
        self.objects[i] = (cx, cy, colour)
        return mask

    def _tracked(self, found) -> Tracked:
        masks = np.stack(list(found.values())) if found else np.zeros((0, H, W), bool)
        scores = np.array([0.95 if m.any() else 0.05 for m in found.values()], np.float32)
        return Tracked(tuple(found), masks, scores)
