"""What a detector found in a key frame: for who is who, and to show the tracker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from autolabel import masks as rle
from autolabel.points import points_in
from autolabel.track.regions import Region, look
from autolabel.track.tracks import Found
from autolabel.track.values import Prompt
from autolabel.types import Image, Instance, Mask


@dataclass(frozen=True, slots=True)
class Detections:
    """The detections of a key frame that have any pixels.

    Attributes:
        instances: As the detector gave them.
        boxes: Where they are, (x1, y1, x2, y2) in pixels.
        masks: Their pixels, those of the box where there is no mask.
        found: What identity sees of them.
    """

    instances: list[Instance]
    boxes: list[tuple[float, float, float, float]]
    masks: list[Mask]
    found: list[Found]

    @classmethod
    def of(cls, image: Image, instances: Iterable[Instance]) -> Detections:
        """The detections of a picture."""
        those = cls([], [], [], [])
        regions = []
        for one in instances:
            mask = _box_mask(one, image) if one.mask is None else rle.decode(one.mask)
            region = Region.of(mask)
            if region is not None:
                those.instances.append(one)
                those.boxes.append(one.box)
                those.masks.append(mask)
                regions.append(region)
        for d, (one, region) in enumerate(zip(those.instances, regions, strict=True)):
            own = region.without(regions[:d] + regions[d + 1 :])
            # Colours of pixels that others claim, too, may be theirs.
            mostly = region if own is None or 2 * own.area < region.area else own
            score = 1.0 if one.score is None else float(one.score)
            cut = region.reaches_edge(*image.shape[:2])
            those.found.append(Found(one.class_id, score, region, look(image, mostly), cut))
        return those

    def cut(self, own: Mapping[int, Region]) -> None:
        """Leave some of them, by number, only their own part."""
        for d, region in own.items():
            x1, y1, x2, y2 = map(float, region.box)
            self.boxes[d] = x1, y1, x2, y2
            self.masks[d] = region.mask(*self.masks[d].shape)
            self.found[d] = replace(self.found[d], region=region)

    def prompt(self, d: int, prompt_type: str, points: int) -> Prompt:
        """One of them as the tracker is shown it.

        Args:
            d: Its number.
            prompt_type: "box", "mask" or "point".
            points: How many points in the mask.
        """
        mask = self.masks[d]
        if prompt_type == "box" or self.instances[d].mask is None:
            return Prompt(box=self.boxes[d])
        if prompt_type == "mask":
            return Prompt(mask=mask)
        within = points_in(mask, points)
        return Prompt(points=within, labels=(1,) * len(within))


def _box_mask(one: Instance, image: Image) -> Mask:
    """The pixels of a detection's box."""
    mask = np.zeros(image.shape[:2], np.bool_)
    x1, y1, x2, y2 = one.box
    mask[max(0, math.floor(y1)) : math.ceil(y2), max(0, math.floor(x1)) : math.ceil(x2)] = True
    return mask
