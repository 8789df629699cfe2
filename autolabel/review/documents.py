"""Inputs and labels as documents of FiftyOne's own schema, written without FiftyOne.

FiftyOne's ``add_samples`` builds and checks an object for every label; writing what it would
write is several times faster. ``autolabel.review.datasets`` declares the fields that are used
here, and a test reads the documents back with FiftyOne itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from bson import ObjectId
from bson.binary import Binary

from autolabel import masks
from autolabel.probability import Probabilities
from autolabel.review import pixels
from autolabel.review.flags import Flags
from autolabel.review.snapshot import State
from autolabel.store import ReviewLabel, ReviewMedia

LABEL_ID, MEDIA_ID = b"alab", b"amed"
"""The first bytes of the ids that are made here: then comes the row id, 8 bytes."""
FIELD = "labels"
FAILED = "failed"
"""The tag of an input that could not be labelled."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What is the same for all documents of a load.

    Attributes:
        names: The classes' names.
        flags: What is remarkable in the whole project.
        generation: Which load this is.
        dataset_ids: The data sets' ids, "image" and "video".
        sure: What scores mean, where the project was calibrated.
    """

    names: Sequence[str]
    flags: Flags
    generation: int
    dataset_ids: Mapping[str, ObjectId]
    sure: Probabilities | None = None


def object_id(kind: bytes, row: int) -> ObjectId:
    """Return the id in the app of a row of the project."""
    return ObjectId(kind + row.to_bytes(8, "big"))


def row_id(kind: bytes, oid: ObjectId) -> int | None:
    """Return the row of the project that an id in the app means, or None if it was made there."""
    return int.from_bytes(oid.binary[4:], "big") if oid.binary[:4] == kind else None


def label_document(
    found: ReviewLabel, media: ReviewMedia, context: Context
) -> tuple[Document, State]:
    """Return a label as the app has it, and the state by which changes will be told."""
    one = found.instance
    height, width = media.media.height, media.media.width
    document: Document = {
        "_id": object_id(LABEL_ID, one.uid or 0),
        "_cls": "Detection",
        "attributes": {},
        "tags": list(found.tags),
        "label": context.names[one.class_id],
    }
    state: State = {"uid": one.uid, "version": found.version, "label": document["label"]}
    x1, y1, x2, y2 = one.box
    tight = masks.tight_box(one.mask) if one.mask is not None else None
    if one.mask is not None and tight is not None:
        x1, y1, x2, y2 = tight
        crop = pixels.crop(one.mask, tight)
        packed = pixels.pack(crop)
        document["mask"] = Binary(packed)
        state["raw"], state["mask"] = pixels.digest(packed), pixels.content(crop)
    document["bounding_box"] = [
        x1 / width,
        y1 / height,
        (x2 - x1) / width,
        (y2 - y1) / height,
    ]
    if one.score is not None:
        document["confidence"] = one.score
    if one.track_id is not None:
        document["index"] = one.track_id
    document |= _attributes(found, context)
    state |= {"box": [x1, y1, x2, y2], "review": one.status, "tags": list(found.tags)}
    return document, state


def _attributes(found: ReviewLabel, context: Context) -> Document:
    """Return what helps a reviewer to find mistakes, where it is known."""
    one = found.instance
    threshold = context.flags.thresholds.get(context.names[one.class_id])
    runner_up = None
    if one.runner_up_class is not None and one.runner_up_class < len(context.names):
        runner_up = context.names[one.runner_up_class]
    values = {
        "review": one.status,
        "source": one.source,
        "prompt": one.prompt,
        "mask_score": one.mask_score,
        "runner_up": runner_up,
        "runner_up_score": one.runner_up_score if runner_up else None,
        "margin": None if one.score is None else one.score - one.runner_up_score,
        "above": None if one.score is None or threshold is None else one.score - threshold,
        "doubt": one.doubt or None,
        "probability": context.sure.of_label(one, context.names) if context.sure else None,
        "odd_size": one.uid in context.flags.odd_sizes,
        "track_break": one.uid in context.flags.track_breaks,
    }
    return {name: value for name, value in values.items() if value is not None}


def labels_document(labels: Sequence[Document]) -> Document:
    """Return a frame's labels as one field."""
    return {"_cls": "Detections", "detections": list(labels)}


def sample_document(
    media: ReviewMedia, context: Context, path: str, metadata: Document
) -> Document:
    """Return an input as the app has it, without its labels."""
    now = datetime.now(UTC)
    kind = "image" if media.media.kind == "image" else "video"
    return {
        "_id": object_id(MEDIA_ID, media.id),
        "filepath": path,
        "tags": list(media.tags),
        "metadata": metadata,
        "_media_type": kind,
        # The order in which FiftyOne draws at random; FiftyOne's own range.
        "_rand": 0.999 + (media.id * 0.6180339887 % 1) * 0.001,
        "_dataset_id": context.dataset_ids[kind],
        "created_at": now,
        "last_modified_at": now,
        "name": media.media.name,
        "loaded": context.generation,
    }


def image_metadata(media: ReviewMedia) -> Document:
    """Return a picture's size as FiftyOne keeps it."""
    return {
        "_cls": "ImageMetadata",
        "width": media.media.width,
        "height": media.media.height,
        "num_channels": 3,
    }


def video_metadata(media: ReviewMedia, fps: float, frames: int) -> Document:
    """Return a video's size and timing as FiftyOne keeps them."""
    return {
        "_cls": "VideoMetadata",
        "frame_width": media.media.width,
        "frame_height": media.media.height,
        "frame_rate": fps,
        "total_frame_count": frames,
        "duration": frames / fps,
        "encoding_str": "avc1",
    }


def frame_documents(
    media: ReviewMedia, context: Context, labels: Iterable[tuple[int, Document]]
) -> Iterator[Document]:
    """Yield a video's frames that have labels; FiftyOne counts frames from 1."""
    now = datetime.now(UTC)
    for index, group in groupby(labels, key=lambda one: one[0]):
        yield {
            "frame_number": index + 1,
            FIELD: labels_document([document for _, document in group]),
            "_sample_id": object_id(MEDIA_ID, media.id),
            "_dataset_id": context.dataset_ids["video"],
            "created_at": now,
            "last_modified_at": now,
        }
