"""What humans did to a project's labels: taken in whole, kept with the old values, respected later.

``Project`` has these methods. A human's label is one whose ``source`` is "human" or whose status
is not "pending": nothing a model says later replaces it, and where a model's new label is the
same object, the human's wins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from autolabel.boxes import box_iou
from autolabel.store import rows
from autolabel.store.database import errors_told
from autolabel.store.reading import Reader
from autolabel.types import Instance, MediaRecord

CONTENT = frozenset({"added", "class", "box", "mask"})
"""The changes that make a label a human's; who only accepts or rejects leaves its maker."""


class ReviewLabel(NamedTuple):
    """A label as a reviewer gets it; ``version`` changes whenever anything of it does."""

    instance: Instance
    tags: tuple[str, ...]
    version: str


class ReviewMedia(NamedTuple):
    """An input with all its labels but those a human deleted."""

    id: int
    media: MediaRecord
    tags: tuple[str, ...]
    labels: list[ReviewLabel]


class LabelSize(NamedTuple):
    """How large a label is and where: ``share`` is its box's part of the picture."""

    id: int
    media_id: int
    frame_index: int
    track_id: int | None
    class_id: int
    status: str
    share: float


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing a human did, checked and ready to be stored.

    Attributes:
        media: Name of the input.
        frame_index: The frame.
        label: Row id of the label; None for a new one, or for the input's own tags.
        review_id: The label's (or input's) id in the app.
        actions: What changed: "added", "deleted", "class", "box", "mask", "status", "tags".
        instance: The label as it is to be; None for a deleted one, or for the input's tags.
        tags: Its tags as they are to be.
        state: JSON of how the app has it, so that it is not taken home twice.
    """

    media: str
    frame_index: int
    label: int | None
    review_id: str
    actions: tuple[str, ...]
    instance: Instance | None
    tags: tuple[str, ...]
    state: str


class HistoryRow(NamedTuple):
    """One line of a project's history; ``old`` and ``new`` are plain JSON values."""

    at: str
    label: int | None
    media: str
    frame_index: int
    action: str
    source: str
    old: Any
    new: Any


class HumanEdits(Reader):
    """The part of a project that is about humans."""

    overlaps: tuple[float, float] = (0.7, 0.8)
    """IoU from which a model's label is the same object as a human's: of its class, of another."""

    def _transaction(self) -> AbstractContextManager[None]:
        """Commit what is done inside, or nothing of it."""
        raise NotImplementedError

    def history(self, limit: int | None = None) -> list[HistoryRow]:
        """Return what humans did, the last first."""
        found = self._rows(
            "SELECT at, label_id, media, frame_index, action, source, old, new FROM history "
            "ORDER BY id DESC LIMIT ?",
            -1 if limit is None else limit,
        )
        return [
            HistoryRow._make((*row[:6], json.loads(row[6]), json.loads(row[7]))) for row in found
        ]

    def reviewed(self) -> dict[str, tuple[int, str]]:
        """Return label id and state of what was taken home, by its id in the app."""
        found = self._rows("SELECT review_id, label_id, state FROM reviewed")
        return {row[0]: (row[1], row[2]) for row in found}

    def label_sizes(self) -> Iterator[LabelSize]:
        """Yield the size of every label that no human deleted, without its mask."""
        with errors_told(self.folder), closing(self._reader.connect()) as db:
            yield from map(
                LabelSize._make,
                db.execute(
                    """SELECT l.id, l.media_id, l.frame_index, l.track_id, l.class_id, l.status,
                    (l.x2 - l.x1) * (l.y2 - l.y1) / max(1.0, m.height * m.width)
                    FROM labels l JOIN media m ON m.id = l.media_id WHERE NOT l.deleted"""
                ),
            )

    def media_ids(self, status: str) -> dict[str, int]:
        """Return the row id of every input of a status, by name."""
        return dict(self._rows("SELECT name, id FROM media WHERE status = ?", status))

    def for_review(self) -> Iterator[ReviewMedia]:
        """Yield every input that is done, by id, with its labels, rejected ones included."""
        names = self.class_names()
        with errors_told(self.folder), closing(self._reader.connect()) as db:
            db.execute("BEGIN")
            media_rows = db.execute(
                f"SELECT id, tags, {rows.MEDIA} FROM media WHERE status = 'done' ORDER BY id"
            )
            label_rows = db.execute(
                f"""SELECT {rows.INSTANCE}, l.tags, m.id FROM media m CROSS JOIN labels l
                ON l.media_id = m.id {rows.LABEL_CANDIDATE}
                WHERE m.status = 'done' AND NOT l.deleted ORDER BY m.id, l.frame_index, l.id"""
            )
            for (media_id, tags, *values), labels in rows.with_labels(media_rows, label_rows):
                media = MediaRecord(*values)
                found = [_review_label(media, row, names) for row in labels]
                yield ReviewMedia(media_id, media, tuple(json.loads(tags)), found)

    def apply_edits(self, edits: Sequence[Edit]) -> None:
        """Store what humans did with the old values, all or nothing."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._transaction():
            for edit in edits:
                self._apply(edit, at)

    def _apply(self, edit: Edit, at: str) -> None:
        """Store one edit inside a transaction."""
        media = self._known(edit.media)
        (media_id,) = self._rows("SELECT id FROM media WHERE name = ?", rows.text(edit.media))[0]
        label, old = edit.label, None
        if label is not None:
            old = self._label(media, label)
        if edit.instance is None and label is None:
            old_tags = self._rows("SELECT tags FROM media WHERE id = ?", media_id)[0][0]
            values = [("tags", json.loads(old_tags), list(edit.tags))]
            self._db.execute(
                "UPDATE media SET tags = ? WHERE id = ?", (json.dumps(edit.tags), media_id)
            )
        else:
            if edit.instance is None:
                self._db.execute(
                    "UPDATE labels SET status = 'rejected', source = 'human', deleted = 1 "
                    "WHERE id = ?",
                    (label,),
                )
            elif label is None:
                label = self._insert(media_id, edit.instance)
            else:
                self._update(label, edit)
            if edit.instance is not None:
                self._db.execute(
                    "UPDATE labels SET tags = ? WHERE id = ?", (json.dumps(edit.tags), label)
                )
            values = [
                (action, self._value(action, old), self._value(action, _after(edit)))
                for action in edit.actions
            ]
        self._db.executemany(
            "INSERT INTO history (at, label_id, media, frame_index, action, source, old, new) "
            "VALUES (?,?,?,?,?,'human',?,?)",
            [
                (at, label, rows.text(edit.media), edit.frame_index, action, _json(a), _json(b))
                for action, a, b in values
            ],
        )
        state = json.loads(edit.state)
        if edit.instance is not None:
            state |= {"uid": label, "version": self._label(media, label or 0).version}
        self._db.execute(
            "INSERT OR REPLACE INTO reviewed VALUES (?,?,?)",
            (edit.review_id, label or 0, _json(state)),
        )

    def _label(self, media: MediaRecord, label: int) -> ReviewLabel:
        """Return a label as it is now."""
        row = self._rows(
            f"SELECT {rows.INSTANCE}, l.tags, 0 FROM labels l {rows.LABEL_CANDIDATE} "
            "WHERE l.id = ?",
            label,
        )[0]
        return _review_label(media, row, self.class_names())

    def _insert(self, media_id: int, one: Instance) -> int:
        """Insert a human's new label; return its id."""
        (_, row), *_ = rows.label_rows(media_id, [one], {})
        return int(self._db.execute(f"{rows.INSERT_LABEL} RETURNING id", row).fetchone()[0])

    def _update(self, label: int, edit: Edit) -> None:
        """Change a label; one whose content a human changed has no score of a model any more."""
        one = edit.instance
        assert one is not None
        self._db.execute("UPDATE labels SET status = ? WHERE id = ?", (one.status, label))
        if not CONTENT & set(edit.actions):
            return
        self._db.execute(
            "UPDATE labels SET class_id = ?, x1 = ?, y1 = ?, x2 = ?, y2 = ?, source = 'human', "
            "score = NULL, runner_up_class = NULL, runner_up_score = 0, doubt = '' WHERE id = ?",
            (one.class_id, *one.box, label),
        )
        if {"box", "mask"} & set(edit.actions):
            counts = one.mask.counts if one.mask is not None else rows.NO_MASK
            self._db.execute(
                "UPDATE labels SET counts = ?, mask_score = NULL WHERE id = ?", (counts, label)
            )

    def _value(self, action: str, label: ReviewLabel | None) -> Any:
        """Return what the history keeps of a label for one kind of change."""
        if label is None:
            return None
        one = label.instance
        every = {
            "class": self.class_names()[one.class_id],
            "box": list(one.box),
            "mask": one.mask.counts if one.mask is not None else None,
            "status": one.status,
            "score": one.score,
            "tags": list(label.tags),
        }
        return every if action in ("added", "deleted") else every[action]

    def _drop_doubles(self, media_id: int, frames: tuple[int, int] | None = None) -> int:
        """Delete a model's labels that are objects a human has decided on; return how many."""
        where = "" if frames is None else " AND frame_index BETWEEN ? AND ?"
        place = (media_id, *(frames or ()))
        mine = self._rows(
            "SELECT frame_index, class_id, x1, y1, x2, y2, status FROM labels WHERE media_id = ?"
            f"{where} AND NOT ({rows.FROM_MODEL})",
            *place,
        )
        if not mine:
            return 0
        theirs = self._rows(
            "SELECT frame_index, class_id, x1, y1, x2, y2, id FROM labels WHERE media_id = ?"
            f"{where} AND {rows.FROM_MODEL}",
            *place,
        )
        doubles = _doubles(theirs, mine, *self.overlaps)
        self._db.executemany("DELETE FROM labels WHERE id = ?", [(one,) for one in doubles])
        return len(doubles)


def _doubles(
    theirs: list[rows.Row], mine: list[rows.Row], same_iou: float, other_iou: float
) -> list[int]:
    """Return the ids of the model's labels that a human has decided on already.

    A rejected label speaks for its own class only: what is no car may still be a truck.
    """
    if not theirs:
        return []
    their, my = np.array([row[:6] for row in theirs]), np.array([row[:6] for row in mine])
    overlap = box_iou(their[:, 2:].astype(np.float32), my[:, 2:].astype(np.float32))
    overlap[their[:, :1] != my[None, :, 0]] = 0
    same_class = their[:, 1:2] == my[None, :, 1]
    rejected = np.array([row[6] == "rejected" for row in mine])
    least = np.where(same_class, same_iou, np.where(rejected, 2.0, other_iou)).astype(np.float32)
    return [theirs[index][6] for index in np.flatnonzero((overlap >= least).any(axis=1))]


def _review_label(media: MediaRecord, row: rows.Row, names: Sequence[str]) -> ReviewLabel:
    """Return the label in a row of INSTANCE's columns, then tags and one more."""
    one, tags = rows.read_instance(media, row), tuple(json.loads(row[-2]))
    counts = one.mask.counts if one.mask is not None else ""
    name = names[one.class_id] if one.class_id < len(names) else ""
    seen = (name, one.box, counts, one.track_id, one.source, one.status, tags)
    version = hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest()
    return ReviewLabel(one, tags, version)


def _after(edit: Edit) -> ReviewLabel | None:
    """Return the label that an edit leaves, None for a deleted one."""
    return None if edit.instance is None else ReviewLabel(edit.instance, edit.tags, "")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
