"""What a grounder promises: see ``autolabel.stages.Grounder``."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from autolabel.conformance.cases import HUGE, TINY, Case, expect, picture, same
from autolabel.media.pictures import read_image
from autolabel.types import Image, Proposals

FLOOR = 0.05
PIXELS, SCORE = 0.05, 2e-3
"""How much results may differ that should be the same: pixels, and shares of a score."""


def offers_every_method(case: Case) -> None:
    """fingerprint, check_prompts and ground are there; the fingerprint is text and stays."""
    for name in ("fingerprint", "check_prompts", "ground"):
        expect(callable(getattr(case.adapter, name, None)), f"it has no method {name}")
    print_ = case.adapter.fingerprint()
    expect(isinstance(print_, str) and bool(print_), f"fingerprint() returned {print_!r}")
    expect(case.adapter.fingerprint() == print_, "fingerprint() changes from call to call")
    warned = case.adapter.check_prompts(case.prompts)
    right = isinstance(warned, list) and all(isinstance(line, str) for line in warned)
    expect(right, f"check_prompts() returned {warned!r}, expected a list of texts")


def answers_nothing_with_nothing(case: Case) -> None:
    """No pictures give no results, no prompts give no columns, no score reaches a floor of 2."""
    found = case.adapter.ground([], case.prompts, FLOOR)
    expect(found == [], f"ground([], ...) returned {found!r}, expected []")
    image = picture(96, 128)
    (found,) = ask(case, [image], prompts=())
    expect(len(found) == 0, f"without prompts it found {len(found)} boxes")
    if case.scores:
        (found,) = ask(case, [image], floor=2.0)
        expect(len(found) == 0, f"with a floor of 2 it found {len(found)} boxes, expected none")


def gives_boxes_and_scores_in_range(case: Case) -> None:
    """Boxes lie in the picture and have an area; scores are 0 to 1, best first, from the floor."""
    sizes = ((240, 320), (333, 111), (64, 500))
    for found, (height, width) in zip(ask(case, [picture(*s) for s in sizes]), sizes, strict=True):
        check_ranges(found, height, width, case)


def tells_pixels_from_shares(case: Case) -> None:
    """Boxes are pixels, not shares of the picture, and follow its size."""
    (found,) = ask(case, [picture(480, 640)])
    if len(found):
        expect(
            float(found.boxes.max()) > 1.5,
            "all coordinates are 1 or less: expected pixels, found shares of the picture?",
        )


def keeps_columns_with_their_prompts(case: Case) -> None:
    """Prompts in another order give the same boxes, and the columns in that order."""
    image = picture(240, 320, 1)
    (there,) = ask(case, [image])
    (back,) = ask(case, [image], prompts=case.prompts[::-1])
    same("boxes", back.boxes, there.boxes, PIXELS)
    same("scores with prompts reversed", back.scores[:, ::-1], there.scores, SCORE)


def gives_batches_what_it_gives_singles(case: Case) -> None:
    """A picture's result doesn't depend on the pictures beside it."""
    images = [picture(200, 300, 2), picture(90, 260, 3), picture(300, 200, 4)]
    together = ask(case, images)
    for image, found in zip(images, together, strict=True):
        (alone,) = ask(case, [image])
        same("boxes", found.boxes, alone.boxes, PIXELS)
        same("scores", found.scores, alone.scores, SCORE)


def repeats_itself(case: Case) -> None:
    """The same call gives the same bits, and nothing is kept from calls between."""
    image = picture(180, 240, 5)
    (first,) = ask(case, [image])
    ask(case, [picture(100, 100, 6)], prompts=case.prompts[:1])
    (again,) = ask(case, [image])
    same("boxes", again.boxes, first.boxes, 0.0)
    same("scores", again.scores, first.scores, 0.0)


def leaves_pictures_as_they_are(case: Case) -> None:
    """Pictures that can't be written to are fine, and none is changed."""
    image = picture(120, 160, 7)
    before = image.copy()
    (plain,) = ask(case, [image])
    expect(bool((image == before).all()), "it changed the picture that it was given")
    image.setflags(write=False)
    (locked,) = ask(case, [image])
    wide = np.zeros((120, 320, 3), np.uint8)
    wide[:, ::2] = image
    (strided,) = ask(case, [wide[:, ::2]])
    for found in (locked, strided):
        same("boxes", found.boxes, plain.boxes, PIXELS)


def sees_what_a_person_sees(case: Case) -> None:
    """A picture with an EXIF orientation gives the boxes of the picture as displayed."""
    image = picture(120, 260, 8)
    exif = Pillow.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn it clockwise to display
    stored = io.BytesIO()
    Pillow.fromarray(np.rot90(image).copy()).save(stored, "PNG", exif=exif)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "turned.png"
        path.write_bytes(stored.getvalue())
        shown = read_image(path)[0].image
    expect(bool((shown == image).all()), "the picture was not read as displayed")
    (turned,), (plain,) = ask(case, [shown]), ask(case, [image])
    same("boxes", turned.boxes, plain.boxes, PIXELS)
    check_ranges(turned, 120, 260, case)


def takes_tiny_pictures(case: Case) -> None:
    """Pictures of 1 x 1, 1 x 40, 40 x 1 and 3 x 3 pixels give results or none, not errors."""
    for height, width in TINY:
        (found,) = ask(case, [picture(height, width)])
        check_ranges(found, height, width, case)


def takes_huge_pictures(case: Case) -> None:
    """A panorama of 5000 x 30 and a picture of 12 megapixels give results in their range."""
    for height, width in HUGE:
        (found,) = ask(case, [picture(height, width)])
        check_ranges(found, height, width, case)


GROUNDER_CHECKS = (
    offers_every_method,
    answers_nothing_with_nothing,
    gives_boxes_and_scores_in_range,
    tells_pixels_from_shares,
    keeps_columns_with_their_prompts,
    gives_batches_what_it_gives_singles,
    repeats_itself,
    leaves_pictures_as_they_are,
    sees_what_a_person_sees,
    takes_tiny_pictures,
    takes_huge_pictures,
)


def ask(
    case: Case,
    images: Sequence[Image],
    prompts: Sequence[str] | None = None,
    floor: float = FLOOR,
) -> list[Proposals]:
    """Return what the adapter finds, its shapes and types checked."""
    asked = case.prompts if prompts is None else prompts
    found: list[Proposals] = case.adapter.ground(images, asked, floor)
    expect(
        isinstance(found, list) and len(found) == len(images),
        f"ground() of {len(images)} pictures returned {type(found).__name__}"
        f"{f' of {len(found)}' if isinstance(found, list) else ''}, expected a list of as many",
    )
    for one in found:
        expect(isinstance(one, Proposals), f"found {type(one).__name__}, expected Proposals")
        columns = one.scores.shape[1]
        expect(columns == len(asked), f"found {columns} columns for {len(asked)} prompts")
    return found


def check_ranges(found: Proposals, height: int, width: int, case: Case) -> None:
    """Raise Broken unless boxes lie in the picture and scores between the floor and 1."""
    place = f"in a picture of {width} x {height}"
    boxes, scores = found.boxes, found.scores
    expect(bool(np.isfinite(boxes).all()), f"{place}: boxes are not all finite numbers")
    if not len(found):
        return
    low, high = boxes.min(), (boxes / [width, height, width, height]).max()
    expect(low >= 0 and high <= 1, f"{place}: found boxes that leave it, {boxes.max(0).tolist()}")
    sides = boxes[:, 2:] - boxes[:, :2]
    expect(bool((sides > 0).all()), f"{place}: found boxes with x2 <= x1 or y2 <= y1")
    if case.scores:
        expect(not np.isnan(scores).any(), f"{place}: scores are NaN; a card says so by 'scores'")
    known = np.nan_to_num(scores, nan=1.0)
    right = bool((known >= 0).all() and (known <= 1).all())
    expect(right, f"{place}: found scores from {known.min():g} to {known.max():g}, expected 0 to 1")
    best = known.max(axis=1)
    expect(
        float(best.min()) >= FLOOR - 1e-6,
        f"{place}: found a best score of {best.min():g} under {FLOOR}",
    )
    expect(bool((np.diff(best) <= 1e-6).all()), f"{place}: boxes are not in order, best first")
