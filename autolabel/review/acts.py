"""What the buttons and keys of the app do: to labels in its database, remembered for undo."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

from bson import ObjectId

from autolabel.errors import UsageError
from autolabel.store import Project

EVERY = "(every class)"
UNDO = "autolabel.undo"
"""The collection of what was done, for undo."""
UNDO_KEPT = 100

Change = tuple[ObjectId, dict[str, Any]]


class _Labels:
    """The labels of the data set that an operator works on, straight in its database."""

    def __init__(self, ctx: Any) -> None:
        dataset = ctx.dataset
        if dataset is None or not dataset.has_field("loaded"):
            raise UsageError("this data set was not loaded by autolabel")
        self.dataset = getattr(dataset, "_dataset", dataset)
        self.name = self.dataset.name
        self.video = self.dataset.media_type == "video"
        self.samples = self.dataset._sample_collection
        self.labels = self.dataset._frame_collection if self.video else self.samples
        self.sample_key = "_sample_id" if self.video else "_id"
        self.undo = self.samples.database[UNDO]

    def find(self, where: dict[str, Any]) -> list[tuple[ObjectId, dict[str, Any]]]:
        """Return document id and label of all labels in the documents that match."""
        found = self.labels.find(where, {"labels.detections.mask": 0})
        return [
            (document["_id"], one)
            for document in found
            for one in (document.get("labels") or {}).get("detections") or []
        ]

    def change(
        self, what: str, labels: Sequence[tuple[ObjectId, dict[str, Any]]], field: str, value: str
    ) -> int:
        """Set a field of labels, and remember how they were; return how many changed."""
        changed = [(place, one) for place, one in labels if one.get(field) != value]
        if not changed:
            return 0
        before = [
            {"place": place, "label": one["_id"], "old": one.get(field)} for place, one in changed
        ]
        # Written first: a kill in between leaves an undo that changes nothing.
        self.undo.insert_one(
            {
                "dataset": self.name,
                "what": what,
                "field": field,
                "at": time.time(),
                "before": before,
            }
        )
        for old in (
            self.undo.find({"dataset": self.name}, {"_id": 1}).sort("at", -1).skip(UNDO_KEPT)
        ):
            self.undo.delete_one(old)
        self._set(field, value, [(place, one["_id"]) for place, one in changed])
        return len(changed)

    def _set(self, field: str, value: Any, labels: Iterable[tuple[ObjectId, ObjectId]]) -> None:
        """Set a field of labels to one value."""
        from datetime import UTC, datetime

        from pymongo import UpdateMany

        by_place: dict[ObjectId, list[ObjectId]] = {}
        for place, label in labels:
            by_place.setdefault(place, []).append(label)
        act = "$unset" if value is None else "$set"
        now = datetime.now(UTC)
        path = f"labels.detections.$[one].{field}"
        orders = []
        for place, ids in by_place.items():
            update: dict[str, Any] = {act: {path: value}}
            update.setdefault("$set", {})["last_modified_at"] = now
            orders.append(
                UpdateMany({"_id": place}, update, array_filters=[{"one._id": {"$in": ids}}])
            )
        if orders:
            self.labels.bulk_write(orders, ordered=False)
        self.refresh()

    def revert(self) -> str:
        """Undo the last change; return what it was."""
        last = self.undo.find_one({"dataset": self.name}, sort=[("at", -1)])
        if last is None:
            raise UsageError("there is nothing to undo")
        by_old: dict[Any, list[tuple[ObjectId, ObjectId]]] = {}
        for one in last["before"]:
            by_old.setdefault(one["old"], []).append((one["place"], one["label"]))
        for old, labels in by_old.items():
            self._set(last["field"], old, labels)
        self.undo.delete_one({"_id": last["_id"]})
        return str(last["what"])

    def refresh(self) -> None:
        """Let FiftyOne forget what it has of the samples in memory."""
        self.dataset.reload()
        self.dataset._reload_docs(hard=True)


def _chosen(ctx: Any, labels: _Labels) -> list[tuple[ObjectId, dict[str, Any]]]:
    """Return the labels that the reviewer means.

    Raises:
        UsageError: If nothing is selected or open.
    """
    if ctx.selected_labels:
        ids = {ObjectId(one["label_id"]) for one in ctx.selected_labels}
        samples = [ObjectId(one["sample_id"]) for one in ctx.selected_labels]
        found = labels.find({labels.sample_key: {"$in": samples}})
        found = [pair for pair in found if pair[1]["_id"] in ids]
        return found or _by_label(labels, ids)
    shown = ctx.selected or ([ctx.current_sample] if ctx.current_sample else [])
    if not shown:
        raise UsageError("select labels or pictures first, or open one")
    ids = {ObjectId(one) for one in shown}
    found = labels.find({labels.sample_key: {"$in": list(ids)}})
    if found:
        return [pair for pair in found if pair[1].get("review", "pending") == "pending"]
    return _by_label(labels, ids)  # patches: what is shown are labels


def _by_label(labels: _Labels, ids: set[ObjectId]) -> list[tuple[ObjectId, dict[str, Any]]]:
    """Return the labels of these ids, wherever they are."""
    found = labels.find({"labels.detections._id": {"$in": list(ids)}})
    return [pair for pair in found if pair[1]["_id"] in ids]


def _tracks(
    labels: _Labels, chosen: list[tuple[ObjectId, dict[str, Any]]]
) -> list[tuple[ObjectId, dict[str, Any]]]:
    """Return these labels and all others of the same tracks."""
    owners = {
        one["_id"]: one["_sample_id"]
        for one in labels.labels.find(
            {"_id": {"$in": [place for place, _ in chosen]}}, {"_sample_id": 1}
        )
    }
    found = list(chosen)
    known = {one["_id"] for _, one in chosen}
    for video in set(owners.values()):
        indexes = {one.get("index") for place, one in chosen if owners.get(place) == video}
        found += [
            (place, one)
            for place, one in labels.find({"_sample_id": video})
            if one.get("index") is not None and one["index"] in indexes and one["_id"] not in known
        ]
    return found


def set_review(ctx: Any, value: str) -> str:
    """Accept or reject what the reviewer means; return what was done."""
    labels = _Labels(ctx)
    count = labels.change(value, _chosen(ctx, labels), "review", value)
    return f"{count} labels {value} (Shift+U takes it back)" if count else f"nothing to be {value}"


def _above(labels: _Labels, score: float) -> list[tuple[ObjectId, dict[str, Any]]]:
    """Return the pending labels of this score or more."""
    return [
        (place, one)
        for place, one in labels.find({"labels.detections.confidence": {"$gte": score}})
        if one.get("confidence") is not None
        and one["confidence"] >= score
        and one.get("review", "pending") == "pending"
    ]


def count_above(ctx: Any, score: float) -> int:
    """Return how many labels ``accept_above`` would accept."""
    labels = _Labels(ctx)
    one = "labels.detections"
    wanted = {
        f"{one}.confidence": {"$gte": score},
        f"{one}.review": {"$nin": ["accepted", "rejected"]},
    }
    found = labels.labels.aggregate(
        [
            {"$match": {f"{one}.confidence": {"$gte": score}}},
            {"$unwind": f"${one}"},
            {"$match": wanted},
            {"$count": "count"},
        ]
    )
    return int(next(iter(found), {"count": 0})["count"])


def accept_above(ctx: Any, score: float) -> str:
    """Accept every pending label of this score or more; return what was done."""
    labels = _Labels(ctx)
    what = f"accepted from {score:g} on"
    return f"{labels.change(what, _above(labels, score), 'review', 'accepted')} labels {what}"


def change_class(ctx: Any, name: str, whole_tracks: bool = True) -> str:
    """Give what the reviewer selected another class; return what was done.

    Args:
        ctx: What the operator was called with.
        name: The class.
        whole_tracks: In videos, in all frames of the same tracks.
    """
    labels = _Labels(ctx)
    problem = why_no_class(ctx)
    if problem:
        raise UsageError(problem)
    chosen = _chosen(ctx, labels)
    if labels.video and whole_tracks:
        chosen = _tracks(labels, chosen)
    count = labels.change(f"class {name}", chosen, "label", name)
    return f"{count} labels are {name} now (Shift+U takes it back)"


def why_no_class(ctx: Any) -> str | None:
    """Return why no class can be changed now; None if labels are selected."""
    patches = getattr(ctx.view, "_is_patches", False)
    if ctx.selected_labels or (patches and (ctx.selected or ctx.current_sample)):
        return None
    return "Select the labels first: open a picture and click on them."


def undo(ctx: Any) -> str:
    """Take the last act back; return what it was."""
    return f"undone: {_Labels(ctx).revert()}"


def next_pending(ctx: Any) -> str | None:
    """Return the id of the next picture with pending labels after the open one, or None."""
    labels = _Labels(ctx)
    found = labels.labels.distinct(labels.sample_key, {"labels.detections.review": "pending"})
    after = ObjectId(ctx.current_sample) if ctx.current_sample else None
    later = [one for one in sorted(found) if after is None or one > after]
    chosen = later or [one for one in sorted(found) if one != after]
    return str(chosen[0]) if chosen else None


def class_names(ctx: Any) -> list[str]:
    """Return the classes that labels may have."""
    with Project.open(os.environ["AUTOLABEL_PROJECT"], readonly=True) as project:
        return list(project.class_names())


def failures(project: str) -> list[str]:
    """Return each failed input with its reason."""
    with Project.open(project, readonly=True) as opened:
        return [f"{one.name}: {one.reason}" for one in opened.failures()]
