"""What a segmenter promises: see ``autolabel.stages.Segmenter``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autolabel import masks
from autolabel.conformance.cases import HUGE, TINY, Case, expect, picture, same
from autolabel.types import Boxes, Image, Segments

SAME_IOU = 0.99
"""IoU of masks that should be the same; one pixel of an edge may round differently on a GPU."""


def offers_every_method(case: Case) -> None:
    """Fingerprint and segment are there; the fingerprint is text and stays."""
    for name in ("fingerprint", "segment"):
        expect(callable(getattr(case.adapter, name, None)), f"it has no method {name}")
    print_ = case.adapter.fingerprint()
    expect(isinstance(print_, str) and bool(print_), f"fingerprint() returned {print_!r}")
    expect(case.adapter.fingerprint() == print_, "fingerprint() changes from call to call")


def answers_nothing_with_nothing(case: Case) -> None:
    """No pictures give no results, no boxes no masks."""
    expect(case.adapter.segment([], []) == [], "segment([], []) is not []")
    (found,) = cut(case, [picture(60, 80)], [np.zeros((0, 4), np.float32)])
    expect(len(found) == 0, f"without boxes it made {len(found)} masks")


def makes_a_mask_a_box_at_full_size(case: Case) -> None:
    """One mask a box, in their order, of the picture's size, with a score of 0 to 1."""
    images = [picture(150, 220), picture(260, 90, 1)]
    cut(case, images, [boxes_in(image) for image in images])


def gives_batches_what_it_gives_singles(case: Case) -> None:
    """A picture's masks don't depend on the pictures beside it."""
    images = [picture(120, 200, 2), picture(80, 90, 3), picture(200, 120, 4)]
    boxes = [boxes_in(image) for image in images]
    boxes[1] = boxes[1][:0]
    for image, own, found in zip(images, boxes, cut(case, images, boxes), strict=True):
        (alone,) = cut(case, [image], [own])
        alike(found, alone, SAME_IOU)


def repeats_itself(case: Case) -> None:
    """The same call gives the same bits, and nothing is kept from calls between."""
    image = picture(140, 180, 5)
    boxes = boxes_in(image)
    (first,) = cut(case, [image], [boxes])
    cut(case, [picture(60, 60, 6)], [(boxes[:1] / 4).astype(np.float32)])
    (again,) = cut(case, [image], [boxes])
    expect(again.masks == first.masks, "the same call gave other masks")
    same("scores", again.scores, first.scores, 0.0)


def keeps_masks_with_their_boxes(case: Case) -> None:
    """Boxes in another order give the masks in that order."""
    image = picture(160, 200, 7)
    boxes = boxes_in(image)
    (there,) = cut(case, [image], [boxes])
    (back,) = cut(case, [image], [np.ascontiguousarray(boxes[::-1])])
    turned = Segments(back.masks[::-1], np.ascontiguousarray(back.scores[::-1]))
    alike(turned, there, SAME_IOU)


def takes_tiny_pictures(case: Case) -> None:
    """Pictures of 1 x 1, 1 x 40, 40 x 1 and 3 x 3 pixels give masks, not errors."""
    for height, width in TINY:
        cut(case, [picture(height, width)], [np.array([[0, 0, width, height]], np.float32)])


def takes_huge_pictures(case: Case) -> None:
    """A panorama of 5000 x 30 and a picture of 12 megapixels give masks of their size."""
    for height, width in HUGE:
        image = picture(height, width)
        cut(case, [image], [boxes_in(image)[:1]])


SEGMENTER_CHECKS = (
    offers_every_method,
    answers_nothing_with_nothing,
    makes_a_mask_a_box_at_full_size,
    gives_batches_what_it_gives_singles,
    repeats_itself,
    keeps_masks_with_their_boxes,
    takes_tiny_pictures,
    takes_huge_pictures,
)


def boxes_in(image: Image) -> Boxes:
    """Return three boxes in a picture, one of them up to its edges."""
    height, width = image.shape[:2]
    shares = [[0.15, 0.18, 0.35, 0.52], [0.58, 0.48, 0.92, 0.82], [0.0, 0.0, 1.0, 1.0]]
    return np.array(shares, np.float32) * np.array([width, height] * 2, np.float32)


def cut(case: Case, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Segments]:
    """Return what the adapter makes, its shapes, types and ranges checked."""
    found: list[Segments] = case.adapter.segment(images, boxes)
    expect(
        isinstance(found, list) and len(found) == len(images),
        f"segment() of {len(images)} pictures returned {type(found).__name__}, expected a list "
        "of as many Segments",
    )
    for one, image, own in zip(found, images, boxes, strict=True):
        expect(isinstance(one, Segments), f"found {type(one).__name__}, expected Segments")
        expect(len(one) == len(own), f"found {len(one)} masks for {len(own)} boxes")
        height, width = image.shape[:2]
        for mask in one.masks:
            expect(
                (mask.height, mask.width) == (height, width),
                f"found a mask of {mask.height} x {mask.width}, expected {height} x {width}",
            )
            expect(masks.decode(mask).shape == (height, width), "a mask's run lengths don't add up")
        right = bool(((one.scores >= 0) & (one.scores <= 1)).all())
        expect(right, f"found scores {one.scores.tolist()}, expected 0 to 1")
    return found


def alike(found: Segments, expected: Segments, least: float) -> None:
    """Raise Broken unless masks overlap as well as ``least``; empty ones must both be empty."""
    for one, other in zip(found.masks, expected.masks, strict=True):
        a, b = masks.decode(one), masks.decode(other)
        union = int((a | b).sum())
        overlap = 1.0 if not union else int((a & b).sum()) / union
        expect(overlap >= least, f"masks overlap by {overlap:.3f}, expected {least:g} or more")
    same("scores", found.scores, expected.scores, 5e-3)
