"""What a tracker promises: see ``autolabel.track.values``."""

from __future__ import annotations

import numpy as np

from autolabel.conformance.cases import Case, expect, picture
from autolabel.track.values import Prompt, Tracked
from autolabel.types import Image

FRAMES = 5


def follows_what_it_is_shown(case: Case) -> None:
    """Objects prompted by mask, box and points get a mask in every frame from then on."""
    session = case.adapter.session()
    clip = frames()
    nothing = session.step(case.adapter.prepare(clip[0]))
    check_tracked(nothing, (), clip[0])
    told = session.add([7, 3, 5], prompts_in(clip[0]))
    check_tracked(told, (7, 3, 5), clip[0])
    for frame in clip[1:]:
        check_tracked(session.step(case.adapter.prepare(frame)), (7, 3, 5), frame)


def lets_go_when_told(case: Case) -> None:
    """A removed object is gone; unknown ones are ignored; new ones may join later."""
    session = case.adapter.session()
    clip = frames()
    session.step(case.adapter.prepare(clip[0]))
    session.add([1, 2], prompts_in(clip[0])[:2])
    session.remove([1, 99])
    expect(tuple(session.ids) == (2,), f"ids are {session.ids} after remove([1]), expected (2,)")
    check_tracked(session.step(case.adapter.prepare(clip[1])), (2,), clip[1])
    session.forget([2, 99])
    session.add([4], prompts_in(clip[1])[1:2])
    check_tracked(session.step(case.adapter.prepare(clip[2])), (2, 4), clip[2])


def goes_on_from_its_state(case: Case) -> None:
    """A session restored from its state gives the very masks that the first one would."""
    session = case.adapter.session()
    clip = frames()
    session.step(case.adapter.prepare(clip[0]))
    session.add([1, 2], prompts_in(clip[0])[:2])
    session.step(case.adapter.prepare(clip[1]))
    state = session.state()
    expect(isinstance(state, bytes), f"state() returned {type(state).__name__}, expected bytes")
    other = case.adapter.restore(state)
    for frame in clip[2:]:
        prepared = case.adapter.prepare(frame)
        first, second = session.step(prepared), other.step(prepared)
        expect(first.ids == second.ids, f"ids {second.ids} after restore, expected {first.ids}")
        expect(bool((first.masks == second.masks).all()), "masks differ after restore")


def repeats_itself(case: Case) -> None:
    """Two sessions with the same frames and prompts give the same masks."""
    first, second = run(case), run(case)
    expect(bool((first == second).all()), "the same clip gave other masks")


TRACKER_CHECKS = (
    follows_what_it_is_shown,
    lets_go_when_told,
    goes_on_from_its_state,
    repeats_itself,
)


def frames() -> list[Image]:
    """Return a short clip: a picture that moves to the right."""
    wide = picture(96, 160)
    return [np.ascontiguousarray(wide[:, 4 * i : 4 * i + 128]) for i in range(FRAMES)]


def prompts_in(frame: Image) -> list[Prompt]:
    """Return a mask, a box, and points."""
    height, width = frame.shape[:2]
    mask = np.zeros((height, width), np.bool_)
    mask[height // 5 : height // 2, width // 6 : width // 3] = True
    box = (width * 0.6, height * 0.5, width * 0.9, height * 0.8)
    return [
        Prompt(mask=mask),
        Prompt(box=box),
        Prompt(points=((width * 0.3, height * 0.4), (5.0, 5.0)), labels=(1, 0)),
    ]


def run(case: Case) -> np.ndarray:
    """Return the masks of a clip, all frames."""
    session = case.adapter.session()
    clip = frames()
    session.step(case.adapter.prepare(clip[0]))
    session.add([1, 2], prompts_in(clip[0])[:2])
    return np.stack([session.step(case.adapter.prepare(frame)).masks for frame in clip[1:]])


def check_tracked(found: Tracked, ids: tuple[int, ...], frame: Image) -> None:
    """Raise Broken unless there is one mask and one score an object, of the frame's size."""
    expect(isinstance(found, Tracked), f"found {type(found).__name__}, expected Tracked")
    expect(tuple(found.ids) == ids, f"found objects {found.ids}, expected {ids}")
    shape = (len(ids), *frame.shape[:2])
    expect(found.masks.shape == shape, f"found masks of {found.masks.shape}, expected {shape}")
    expect(found.masks.dtype == np.bool_, f"found masks of {found.masks.dtype}, expected bool")
    scores = np.asarray(found.scores)
    right = scores.shape == (len(ids),) and bool(((scores >= 0) & (scores <= 1)).all())
    expect(right, f"found scores {scores}, expected one of 0 to 1 an object")
