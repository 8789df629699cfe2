"""What a human did in the app: each label as it is there against how it was loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from bson import ObjectId

from autolabel import masks
from autolabel.review import pixels
from autolabel.review.documents import FIELD, LABEL_ID, row_id
from autolabel.review.snapshot import Loaded, State
from autolabel.store import Edit, ReviewLabel, ReviewMedia
from autolabel.types import RLE, Instance

STATUSES = ("pending", "accepted", "rejected")
SAME_PIXELS = 0.05
"""The app may write a box anew without moving it: less than this is no move."""

Box = tuple[float, float, float, float]
DOUBLE = "#"
AppLabels = dict[str, tuple[int, dict[str, Any]]]


class Refused(Exception):
    """An edit that can't be taken home; says why."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An edit that was not taken: where, and why."""

    media: str
    frame_index: int
    what: str
    conflict: bool = False


def app_labels(sample: Mapping[str, Any], frames: Any | None) -> AppLabels:
    """Return frame index and document of each label of an input in the app, by its id.

    A second label of the same id, or one without an id, gets a key with DOUBLE in it.
    """
    found: AppLabels = {}
    if frames is None:
        _collect(sample, 0, found)
        return found
    for frame in frames.find({"_sample_id": sample["_id"]}).sort("frame_number"):
        _collect(frame, int(frame.get("frame_number") or 0) - 1, found)
    return found


def _collect(document: Mapping[str, Any], frame: int, found: AppLabels) -> None:
    """Add the labels of a sample or frame; a field that was emptied in the app is no error."""
    for one in (document.get(FIELD) or {}).get("detections") or []:
        oid = str(one.get("_id") or "")
        key = oid if oid and oid not in found else f"{oid}{DOUBLE}{len(found)}"
        found[key] = (frame, one)


class Taken:
    """What was taken home since each input was loaded: there, app and project agree again.

    Args:
        reviewed: ``Project.reviewed()``.
    """

    def __init__(self, reviewed: Mapping[str, tuple[int, str]]) -> None:
        self._by_load: dict[tuple[int, int], dict[str, State]] = {}
        for oid, (_, text) in reviewed.items():
            state = json.loads(text)
            place = (state["media"], state["generation"])
            self._by_load.setdefault(place, {})[oid] = state

    def agreed(self, media_id: int, base: Loaded) -> tuple[dict[str, tuple[int, State]], list[str]]:
        """Return each label's agreed state by its id in the app, and the input's agreed tags."""
        states, tags = dict(base.labels), list(base.tags)
        for oid, state in self._by_load.get((media_id, base.generation), {}).items():
            if state.get("sample"):
                tags = state["tags"]
            elif state.get("gone"):
                states.pop(oid, None)
            else:
                states[oid] = (state["frame"], state)
        return states, tags


def edited(
    media: ReviewMedia, labels: AppLabels, sample: Mapping[str, Any], base: Loaded, taken: Taken
) -> bool:
    """Return whether an input has edits in the app that were not taken home."""
    states, tags = taken.agreed(media.id, base)
    return (
        labels.keys() != states.keys()
        or sorted(_tags(sample)) != sorted(tags)
        or any(_actions(one, states[oid][1], media) for oid, (_, one) in labels.items())
    )


class Comparison:
    """Finds one input's edits.

    Args:
        media: The input as the project has it now.
        names: The classes' names.
        base: The input as it was loaded.
        taken: What was taken home since.
    """

    def __init__(
        self, media: ReviewMedia, names: tuple[str, ...], base: Loaded, taken: Taken
    ) -> None:
        self._media, self._names, self._generation = media, names, base.generation
        self._states, self._tags = taken.agreed(media.id, base)
        self._now = {found.instance.uid: found for found in media.labels}
        self.problems: list[Problem] = []

    def edits(self, labels: AppLabels, sample: Mapping[str, Any]) -> Iterator[Edit]:
        """Yield what a human did; what can't be taken goes to ``problems``."""
        for oid, (frame, document) in labels.items():
            try:
                edit = self._label(oid, frame, document)
            except Refused as error:
                self._problem(frame, f"{_name(document)}: {error}")
                continue
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                # Anything may be in that database: one odd label doesn't stop the others.
                self._problem(frame, f"{_name(document)}: it can't be read: {error!r}"[:300])
                continue
            if edit is not None:
                yield edit
        for oid, (frame, state) in self._states.items():
            deleted = self._deleted(oid, frame, state) if oid not in labels else None
            if deleted is not None:
                yield deleted
        tags = _tags(sample)
        if sorted(tags) != sorted(self._tags):
            state_text = self._state(0, {"sample": True, "tags": tags})
            name, oid = self._media.media.name, str(sample["_id"])
            yield Edit(name, 0, None, oid, ("tags",), None, tuple(tags), state_text)

    def _label(self, oid: str, frame: int, document: dict[str, Any]) -> Edit | None:
        """Return what a human did to one label that is in the app."""
        if DOUBLE in oid:
            why = "another label has the same id" if oid[0] != DOUBLE else "it has no id"
            raise Refused(f"{why}: delete it in the app, and draw it again if it is needed")
        if oid not in self._states:
            return self._added(oid, frame, document)
        return self._changed(oid, frame, document, self._states[oid][1])

    def _state(self, frame: int, state: State) -> str:
        """Return how the app has something as the store remembers it."""
        place = {"media": self._media.id, "generation": self._generation, "frame": frame}
        return json.dumps(place | state)

    def _problem(self, frame: int, what: str, conflict: bool = False) -> None:
        self.problems.append(Problem(self._media.media.name, frame, what, conflict))

    def _added(self, oid: str, frame: int, document: dict[str, Any]) -> Edit:
        """Return a label that a human made."""
        if row_id(LABEL_ID, ObjectId(oid)) is not None:
            raise Refused("it was loaded from the project once, and is gone there")
        frames = self._media.media.frames if self._media.media.kind != "image" else 1
        if frame < 0 or (frames and frame >= frames):
            raise Refused(f"its frame {frame} is not in the input, which has {frames}: delete it")
        box, mask = self._geometry(document)
        index = document.get("index")
        index = int(index) if isinstance(index, int | float) and index > 0 else None
        one = Instance(
            class_id=self._class(document),
            box=box,
            mask=mask,
            frame_index=frame,
            track_id=index if self._media.media.kind != "image" else None,
            source="human",
            status="rejected" if document.get("review") == "rejected" else "accepted",
        )
        return self._edit(oid, frame, None, ("added",), one, document)

    def _changed(self, oid: str, frame: int, document: dict[str, Any], state: State) -> Edit | None:
        """Return what changed of a label, or None."""
        actions = _actions(document, state, self._media)
        if not actions:
            return None
        now = self._current(frame, _name(document), state, actions)
        if now is None:
            return None
        one = replace(now.instance, class_id=self._class(document), status=_status(document))
        if "box" in actions or "mask" in actions:
            box, mask = self._geometry(document)
            one = replace(one, box=box, mask=mask)
        if {"class", "box", "mask"} & set(actions):
            # Who corrects a label has looked at it.
            status = "accepted" if one.status == "pending" else one.status
            one = replace(one, status=status, source="human", score=None)
            if status != now.instance.status and "status" not in actions:
                actions = (*actions, "status")
        return self._edit(oid, frame, now.instance.uid, actions, one, document)

    def _deleted(self, oid: str, frame: int, state: State) -> Edit | None:
        """Return a label that a human removed."""
        now = self._current(frame, str(state["label"]), state, ("deleted",))
        if now is None:
            return None
        name, gone = self._media.media.name, self._state(frame, {"gone": True})
        return Edit(name, frame, now.instance.uid, oid, ("deleted",), None, now.tags, gone)

    def _current(
        self, frame: int, name: str, state: State, actions: tuple[str, ...]
    ) -> ReviewLabel | None:
        """Return the label as the project has it; None, and a conflict, if it changed there."""
        now = self._now.get(state["uid"])
        did = ", ".join(actions)
        if now is None:
            text = f"{name}: a later run or another pull replaced this label in the project"
        elif now.version != state["version"]:
            text = f"{name}: this label changed in the project since it was loaded"
        else:
            return now
        self._problem(frame, f"{text} (in the app: {did})", conflict=True)
        return None

    def _edit(
        self,
        oid: str,
        frame: int,
        uid: int | None,
        actions: tuple[str, ...],
        one: Instance,
        document: dict[str, Any],
    ) -> Edit:
        tags = tuple(_tags(document))
        state = self._state(frame, app_state(document, self._media))
        return Edit(self._media.media.name, frame, uid, oid, actions, one, tags, state)

    def _class(self, document: dict[str, Any]) -> int:
        """Return the class's id.

        Raises:
            Refused: If the ontology lacks it.
        """
        name = document.get("label")
        if name in self._names:
            return self._names.index(name)
        allowed = ", ".join(self._names)
        if not name:
            raise Refused(f"it has no class; the project has {allowed}")
        raise Refused(
            f"the project has no class {name!r}, it has {allowed}: choose one of them in the app, "
            "or add the class to the ontology and give `autolabel run` again"
        )

    def _geometry(self, document: dict[str, Any]) -> tuple[Box, RLE | None]:
        """Return a label's box inside the picture, and its mask in pixels.

        Raises:
            Refused: If nothing of it is in the picture, or its mask is empty.
        """
        media = self._media.media
        box = _pixel_box(document, self._media)
        x1, y1, x2, y2 = box
        inside = (
            max(0.0, x1),
            max(0.0, y1),
            min(float(media.width), x2),
            min(float(media.height), y2),
        )
        if not (inside[0] < inside[2] and inside[1] < inside[3]):
            raise Refused(
                f"its box ({x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f}) is empty or outside of the "
                f"picture ({media.width} x {media.height}): move it back, or delete it"
            )
        data = _mask(document)
        if data is None:
            return inside, None
        try:
            crop = pixels.unpack(data)
        except ValueError as error:
            raise Refused(f"{error}: draw the mask again") from None
        if not crop.any():
            raise Refused("its mask is empty: delete the label, or draw the mask again")
        mask = masks.encode(pixels.paste(crop, box, media.height, media.width))
        tight = masks.tight_box(mask)
        if tight is None:
            raise Refused("nothing of its mask is in the picture: move it back, or delete it")
        left, top, right, bottom = tight
        return (float(left), float(top), float(right), float(bottom)), mask


def app_state(document: dict[str, Any], media: ReviewMedia) -> State:
    """Return a label of the app as the state to compare with later."""
    state: State = {
        "label": document.get("label"),
        "box": list(_pixel_box(document, media)),
        "review": _status(document),
        "tags": _tags(document),
    }
    data = _mask(document)
    if data is not None:
        state["raw"] = pixels.digest(data)
        try:
            state["mask"] = pixels.content(pixels.unpack(data))
        except ValueError:
            state["mask"] = state["raw"]
    return state


def _actions(document: dict[str, Any], state: State, media: ReviewMedia) -> tuple[str, ...]:
    """Return what of a label differs from a state."""
    found = []
    if document.get("label") != state["label"]:
        found.append("class")
    now = np.array(_pixel_box(document, media))
    if np.abs(np.array(state["box"]) - now).max() > SAME_PIXELS:
        found.append("box")
    if _mask_changed(document, state):
        found.append("mask")
    if _status(document) != state["review"]:
        found.append("status")
    if sorted(_tags(document)) != sorted(state["tags"]):
        found.append("tags")
    return tuple(found)


def _mask_changed(document: dict[str, Any], state: State) -> bool:
    """Return whether a mask differs; one that was only compressed anew doesn't."""
    data = _mask(document)
    if data is None or "raw" not in state:
        return (data is None) != ("raw" not in state)
    if pixels.digest(data) == state["raw"]:
        return False
    try:
        return bool(pixels.content(pixels.unpack(data)) != state["mask"])
    except ValueError:
        return True


def _pixel_box(document: dict[str, Any], media: ReviewMedia) -> Box:
    """Return a label's box in pixels, wherever it lies; an invalid one is empty."""
    try:
        x, y, w, h = (float(value) for value in document.get("bounding_box") or ())
    except (TypeError, ValueError):
        return (0.0, 0.0, 0.0, 0.0)
    width, height = media.media.width, media.media.height
    box = (x * width, y * height, (x + w) * width, (y + h) * height)
    return box if np.isfinite(box).all() else (0.0, 0.0, 0.0, 0.0)


def _status(document: dict[str, Any]) -> str:
    """Return accepted, rejected or pending: the review field, or a tag of that name."""
    tagged = [tag for tag in _tags(document) if tag in STATUSES[1:]]
    said = document.get("review")
    if said in STATUSES[1:]:
        return str(said)
    return str(tagged[-1]) if tagged else "pending"


def _tags(document: Mapping[str, Any]) -> list[str]:
    """Return the tags of a label or an input as text."""
    tags = document.get("tags") or []
    return [str(tag) for tag in (tags if isinstance(tags, list) else [tags])]


def _mask(document: Mapping[str, Any]) -> bytes | None:
    """Return a label's mask as it is kept; what is no mask at all as bytes that can't be read."""
    data = document.get("mask")
    return data if data is None or isinstance(data, bytes) else str(data).encode()


def _name(document: dict[str, Any]) -> str:
    return str(document.get("label") or "a label without a class")
