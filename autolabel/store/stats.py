"""What is in a project, counted by the database itself."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

HISTOGRAM_BINS = 10


@dataclass(frozen=True, slots=True)
class ClassStats:
    """How often a class was found: labels, and inputs that have at least one."""

    name: str
    color: str
    labels: int
    media: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What is in a project. Labels that were rejected count only in ``by_status``.

    Attributes:
        media: Inputs by status ("done", "failed", "partial").
        kinds: Inputs by kind ("image", "video", "frames").
        empty: Inputs that are done and have no label.
        frames: Pictures and frames in the inputs that are done.
        candidates: Boxes above the run's floor.
        labels: Labels.
        masks: Labels that have a mask.
        tracks: Objects followed through videos.
        doubts: Labels that two grounders disagree on.
        by_status: Labels by status.
        by_source: Labels by source.
        classes: One entry a class, in the ontology's order.
        histogram: Labels by score: ten bins, [0, 0.1) to [0.9, 1].
        seconds: Time spent by stage.
    """

    media: dict[str, int]
    kinds: dict[str, int]
    empty: int
    frames: int
    candidates: int
    labels: int
    masks: int
    tracks: int
    doubts: int
    by_status: dict[str, int]
    by_source: dict[str, int]
    classes: tuple[ClassStats, ...]
    histogram: tuple[int, ...]
    seconds: dict[str, float]


def read_stats(db: sqlite3.Connection) -> Stats:
    """Return what is in the project; nothing is loaded but the counts."""
    live = "FROM labels WHERE status <> 'rejected'"
    return Stats(
        media=_counts(db, "SELECT status, count(*) FROM media GROUP BY 1 ORDER BY 1"),
        kinds=_counts(db, "SELECT kind, count(*) FROM media GROUP BY 1 ORDER BY 1"),
        empty=_number(
            db,
            """SELECT count(*) FROM media m WHERE m.status = 'done' AND NOT EXISTS
            (SELECT 1 FROM labels l WHERE l.media_id = m.id AND l.status <> 'rejected')""",
        ),
        frames=_number(db, "SELECT coalesce(sum(frames), 0) FROM media WHERE status = 'done'"),
        candidates=_number(db, "SELECT count(*) FROM candidates"),
        labels=_number(db, f"SELECT count(*) {live}"),
        masks=_number(
            db, "SELECT count(*) FROM annotations WHERE status <> 'rejected' AND counts IS NOT NULL"
        ),
        tracks=_number(
            db,
            f"SELECT count(*) FROM (SELECT DISTINCT media_id, track_id {live} "
            "AND track_id IS NOT NULL)",
        ),
        doubts=_number(db, f"SELECT count(*) {live} AND doubt <> ''"),
        by_status=_counts(db, "SELECT status, count(*) FROM labels GROUP BY 1 ORDER BY 1"),
        by_source=_counts(db, f"SELECT source, count(*) {live} GROUP BY 1 ORDER BY 1"),
        classes=_classes(db),
        histogram=_histogram(db),
        seconds=_seconds(db),
    )


def _number(db: sqlite3.Connection, sql: str) -> int:
    """Return the one number that a query gives."""
    return int(db.execute(sql).fetchone()[0])


def _counts(db: sqlite3.Connection, sql: str) -> dict[str, int]:
    """Return a query's two columns as a dict."""
    return {str(key): int(count) for key, count in db.execute(sql)}


def _classes(db: sqlite3.Connection) -> tuple[ClassStats, ...]:
    """Return the counts of every class, those never found included."""
    found = db.execute(
        """SELECT k.name, k.color, coalesce(n.labels, 0), coalesce(n.media, 0) FROM classes k
        LEFT JOIN (SELECT class_id, count(*) AS labels, count(DISTINCT media_id) AS media
            FROM labels WHERE status <> 'rejected' GROUP BY class_id) n ON n.class_id = k.id
        ORDER BY k.id"""
    )
    return tuple(ClassStats(*row) for row in found)


def _histogram(db: sqlite3.Connection) -> tuple[int, ...]:
    """Return the labels in each tenth of the scores; float32's 0.7 belongs to the eighth."""
    found = dict(
        db.execute(
            f"""SELECT min({HISTOGRAM_BINS - 1},
                CAST(score * {HISTOGRAM_BINS} + 1e-5 AS INTEGER)), count(*)
            FROM labels WHERE score IS NOT NULL AND status <> 'rejected' GROUP BY 1"""
        )
    )
    return tuple(found.get(index, 0) for index in range(HISTOGRAM_BINS))


def _seconds(db: sqlite3.Connection) -> dict[str, float]:
    """Return the time spent by stage."""
    found = db.execute(
        "SELECT j.key, sum(j.value) FROM media m, json_each(m.seconds) j GROUP BY 1 ORDER BY 1"
    )
    return {str(stage): float(value) for stage, value in found}
