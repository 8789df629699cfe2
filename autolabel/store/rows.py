"""How labels and candidates become rows of ``labels.db`` and come back; no SQL is run here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np

from autolabel.types import RLE, Candidates, Instance, MediaRecord, Proposals

Row: TypeAlias = tuple[Any, ...]

MEDIA = "name, path, kind, key, height, width, frames, status, reason"
INSERT_MEDIA = f"""INSERT INTO media ({MEDIA}, size_bytes, mtime_ns, seconds, state)
    VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)
    ON CONFLICT (name) DO UPDATE SET path = excluded.path, kind = excluded.kind,
    key = excluded.key, height = excluded.height, width = excluded.width,
    frames = excluded.frames, status = excluded.status, reason = excluded.reason,
    size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns,
    seconds = excluded.seconds, state = excluded.state RETURNING id"""

CANDIDATE = "frame_index, idx, x1, y1, x2, y2, scores, counts, mask_score, opinions"
INSERT_CANDIDATE = f"INSERT INTO candidates (media_id, {CANDIDATE}) VALUES (?{',?' * 10})"
COPY_CANDIDATES = f"""INSERT INTO candidates (media_id, {CANDIDATE})
    SELECT ?, {CANDIDATE} FROM candidates WHERE media_id = ?"""

LABEL = (
    "frame_index, candidate_idx, track_id, class_id, prompt, score, runner_up_class, "
    "runner_up_score, x1, y1, x2, y2, counts, mask_score, source, status, doubt"
)
INSERT_LABEL = f"INSERT INTO labels (media_id, {LABEL}) VALUES (?{',?' * 17})"
COPY_LABELS = f"""INSERT INTO labels (media_id, {LABEL}, tags, deleted)
    SELECT ?, {LABEL}, tags, deleted FROM labels WHERE media_id = ? ORDER BY id"""

INSTANCE = """l.frame_index, l.id, l.track_id, l.class_id, l.prompt, l.score,
    l.runner_up_class, l.runner_up_score, l.x1, l.y1, l.x2, l.y2,
    coalesce(l.counts, c.counts),
    CASE WHEN l.counts IS NULL THEN c.mask_score ELSE l.mask_score END,
    l.source, l.status, c.x1, c.y1, c.x2, c.y2, l.doubt"""
LABEL_CANDIDATE = """LEFT JOIN candidates c ON c.media_id = l.media_id
    AND c.frame_index = l.frame_index AND c.idx = l.candidate_idx"""

FROM_MODEL = "source = 'model' AND status = 'pending'"
"""Which labels a new run may replace: no human has touched them."""
OWN_MASKS = """UPDATE labels SET
    counts = coalesce(counts, (SELECT coalesce(c.counts, '') FROM candidates c
        WHERE c.media_id = labels.media_id AND c.frame_index = labels.frame_index
        AND c.idx = labels.candidate_idx)),
    mask_score = CASE WHEN counts IS NULL THEN (SELECT c.mask_score FROM candidates c
        WHERE c.media_id = labels.media_id AND c.frame_index = labels.frame_index
        AND c.idx = labels.candidate_idx) ELSE mask_score END,
    candidate_idx = NULL WHERE candidate_idx IS NOT NULL"""
"""Gives labels whose candidates are about to go their own copy of the mask."""

NO_MASK = ""
"""labels.counts of a label without a mask (NULL would mean its candidate's)."""

_SCORE = np.dtype([("prompt", "<u2"), ("score", "<f4")])


def text(value: str) -> str:
    r"""Return the string with what UTF-8 can't hold (names from odd disks) as ``\udcff``."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def media_row(
    media: MediaRecord,
    size_bytes: int,
    mtime_ns: int,
    seconds: dict[str, float],
    state: bytes | None,
) -> Row:
    """Return the values of INSERT_MEDIA."""
    return (
        text(media.name),
        text(media.path),
        media.kind,
        media.key,
        media.height,
        media.width,
        media.frames,
        media.status,
        text(media.reason),
        size_bytes,
        mtime_ns,
        json.dumps({stage: round(value, 6) for stage, value in seconds.items()}),
        state,
    )


def candidate_rows(media_id: int, frame_index: int, found: Candidates) -> Iterator[Row]:
    """Yield the values of INSERT_CANDIDATE, one row a box."""
    scores = pack_scores(found.proposals.scores)
    opinions: Sequence[bytes | None] = [None] * len(scores)
    if found.proposals.opinions is not None:
        opinions = pack_scores(found.proposals.opinions.reshape(len(scores), -1))
    boxes = found.proposals.boxes.tolist()
    for idx, (box, mask, score) in enumerate(
        zip(boxes, found.masks, found.mask_scores, strict=True)
    ):
        counts = mask.counts if mask is not None else None
        yield (media_id, frame_index, idx, *box, scores[idx], counts, score, opinions[idx])


def pack_scores(scores: np.ndarray) -> list[bytes]:
    """Return each row's scores above 0, and NaN, as pairs (uint16 prompt, float32 score)."""
    rows, prompts = np.nonzero((scores > 0) | np.isnan(scores))
    packed = np.empty(len(rows), _SCORE)
    packed["prompt"], packed["score"] = prompts, scores[rows, prompts]
    data = packed.tobytes()
    ends = np.cumsum(np.bincount(rows, minlength=len(scores))) * _SCORE.itemsize
    starts = [0, *ends.tolist()]
    return [data[first:last] for first, last in pairwise(starts)]


def unpack_scores(packed: Sequence[bytes], prompts: int) -> np.ndarray:
    """Return float32 (N, prompts) from N packed rows."""
    scores = np.zeros((len(packed), prompts), np.float32)
    pairs = np.frombuffer(b"".join(packed), _SCORE)
    rows = np.repeat(np.arange(len(packed)), [len(one) // _SCORE.itemsize for one in packed])
    scores[rows, pairs["prompt"]] = pairs["score"]
    return scores


def label_rows(
    media_id: int, instances: Iterable[Instance], found: dict[int, Candidates]
) -> Iterator[tuple[int | None, Row]]:
    """Yield each label's candidate and the values of INSERT_LABEL.

    Args:
        media_id: The medium's row id.
        instances: The labels.
        found: Each frame's candidates, by frame index.
    """
    places = {index: _places(candidates) for index, candidates in found.items()}
    for one in instances:
        candidates = found.get(one.frame_index)
        idx = None
        if one.detector_box is not None and candidates is not None:
            idx = _find_candidate(one, candidates, places[one.frame_index])
        if one.detector_box is not None and idx is None:
            raise ValueError(
                f"a label's detector_box {one.detector_box} is none of its frame's candidates"
            )
        yield idx, _label_row(media_id, one, candidates, idx)


def _places(candidates: Candidates) -> dict[tuple[float, ...], list[int]]:
    """Return the candidates' rows by box."""
    places: dict[tuple[float, ...], list[int]] = {}
    for idx, box in enumerate(candidates.proposals.boxes.tolist()):
        places.setdefault(tuple(box), []).append(idx)
    return places


def _find_candidate(
    one: Instance, candidates: Candidates, places: dict[tuple[float, ...], list[int]]
) -> int | None:
    """Return the candidate a label came from: by its box, and among equals by its mask."""
    equals = places.get(tuple(one.detector_box or ()), [])
    with_mask = (idx for idx in equals if candidates.masks[idx] == one.mask)
    return next(with_mask, equals[0] if equals else None)


def _label_row(media_id: int, one: Instance, candidates: Candidates | None, idx: int | None) -> Row:
    """Return the values of INSERT_LABEL; a mask that is the candidate's is not stored again."""
    counts: str | None = one.mask.counts if one.mask is not None else NO_MASK
    mask_score = one.mask_score
    if idx is not None and candidates is not None:
        same = candidates.masks[idx] == one.mask and candidates.mask_scores[idx] == mask_score
        counts, mask_score = (None, None) if same else (counts, mask_score)
    return (
        media_id,
        one.frame_index,
        idx,
        one.track_id,
        one.class_id,
        one.prompt,
        one.score,
        one.runner_up_class,
        one.runner_up_score,
        *one.box,
        counts,
        mask_score,
        one.source,
        one.status,
        text(one.doubt),
    )


def check_sizes(media: MediaRecord, masks: Iterable[RLE | None]) -> None:
    """Raise ValueError if a mask isn't of its picture's size."""
    for mask in masks:
        if mask is not None and (mask.height, mask.width) != (media.height, media.width):
            raise ValueError(
                f"{media.name}: expected masks of {media.height} x {media.width}, "
                f"found {mask.height} x {mask.width}"
            )


def read_instance(media: MediaRecord, row: Row) -> Instance:
    """Return the label in a row of INSTANCE's columns."""
    counts = row[12]
    return Instance(
        class_id=row[3],
        box=row[8:12],
        detector_box=row[16:20] if row[16] is not None else None,
        mask=RLE(media.height, media.width, counts) if counts else None,
        score=row[5],
        mask_score=row[13],
        prompt=row[4],
        runner_up_class=row[6],
        runner_up_score=row[7],
        frame_index=row[0],
        track_id=row[2],
        source=row[14],
        status=row[15],
        uid=row[1],
        doubt=row[20],
    )


def with_labels(
    media_rows: Iterable[Row], label_rows: Iterable[Row]
) -> Iterator[tuple[Row, Iterator[Row]]]:
    """Yield each medium's row with the rows of its labels; read them before the next medium.

    Args:
        media_rows: The medium's id comes first.
        label_rows: In the same order of media, whose ids come last.
    """
    groups = groupby(label_rows, key=itemgetter(-1))
    owner, group = next(groups, (None, iter(())))
    for row in media_rows:
        if row[0] != owner:
            yield row, iter(())
            continue
        yield row, group
        owner, group = next(groups, (None, iter(())))


def read_instances(media: MediaRecord, rows: Iterable[Row]) -> Iterator[Instance]:
    """Yield labels, frame by frame, in an order that doesn't depend on when they were stored."""
    for _, frame in groupby(rows, key=itemgetter(0)):
        yield from sorted((read_instance(media, row) for row in frame), key=_order)


def _order(one: Instance) -> Row:
    """Return the sort key of a label within its frame: by track, then best first."""
    return (
        one.track_id or 0,
        -one.score if one.score is not None else -2.0,
        one.box,
        one.class_id,
        one.prompt or "",
        one.mask.counts if one.mask is not None else "",
    )


def read_candidates(media: MediaRecord, rows: Sequence[Row], prompts: int) -> Candidates:
    """Return one frame's candidates from its rows of CANDIDATE's columns."""
    boxes = np.array([row[2:6] for row in rows], np.float32).reshape(-1, 4)
    scores = unpack_scores([row[6] for row in rows], prompts)
    opinions = None
    if rows and rows[0][9] is not None:
        opinions = unpack_scores([row[9] for row in rows], 2 * prompts).reshape(-1, 2, prompts)
    proposals = Proposals(boxes, scores, None, opinions)
    masks = tuple(RLE(media.height, media.width, row[7]) if row[7] else None for row in rows)
    return Candidates(media.height, media.width, proposals, masks, tuple(row[8] for row in rows))
