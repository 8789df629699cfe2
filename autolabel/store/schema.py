"""The tables of a project's ``labels.db``, which anything that speaks SQLite can read.

    meta        key, value: what made this project (models, prompts' fingerprint, the
                ontology's text); all text
    classes     id (0-based, the ontology's order), name, color ("#rrggbb")
    prompts     id (0-based, positive and negative ones), text
    media       one row an input: name, path, kind ("image", "video", "frames"), key (SHA-256
                of the content), size_bytes and mtime_ns (as seen when it was read), height,
                width, frames, status ("done", "failed", "partial": a video under way),
                reason (why it failed), seconds (JSON: seconds by stage), state (where to go
                on with a partial video)
    candidates  every box above the run's floor: media_id, frame_index, idx (its row in the
                detector's list), x1 y1 x2 y2 (pixels, exclusive end), scores (6 bytes a
                prompt that scores above 0: uint16 prompt id, float32 score, little-endian),
                counts (COCO compressed RLE of height x width, or NULL), mask_score, opinions
                (where two grounders were asked, else NULL: each one's scores, packed as
                scores are, prompt ids of the second counting on from the first's)
    labels      the boxes that are labels: media_id, frame_index, candidate_idx (or NULL),
                track_id, class_id, prompt, score, runner_up_class, runner_up_score,
                x1 y1 x2 y2, counts (NULL: the candidate's; '': no mask), mask_score (goes
                with counts), source ("model", "human"), status ("pending", "accepted",
                "rejected"), doubt (why a human should look: where two grounders disagree)
    annotations a view for people: every label with its medium's and its class's name
    history     what humans did, one row a label and a kind of change: at (UTC, ISO), label_id,
                media, frame_index, action ("added", "deleted", "class", "box", "mask",
                "status", "tags"), source (always "human"), old and new (JSON)
    reviewed    review_id (a label's id in the app), label_id, state (JSON: how the app
                had it when it was last taken home)

Since format 2, media and labels have tags (JSON list of texts), and labels have deleted (1: a
human removed it; its status is "rejected").

For example::

    sqlite3 labels.db "SELECT class, count(*) FROM annotations GROUP BY class"

``MIGRATIONS`` is append-only: a database's ``user_version`` says how many have been applied.
Never change one that was released.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x416C_6162
"""SQLite's application_id of a labels.db: "Alab"."""


def m001_tables(db: sqlite3.Connection) -> None:
    """Create the first tables."""
    db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
    db.execute(
        "CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL, color TEXT NOT NULL)"
    )
    db.execute("CREATE TABLE prompts (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    db.execute(
        """CREATE TABLE media (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('image', 'video', 'frames')),
            key TEXT NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
            height INTEGER NOT NULL, width INTEGER NOT NULL, frames INTEGER NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('done', 'failed', 'partial')),
            reason TEXT NOT NULL, seconds TEXT NOT NULL, state BLOB)"""
    )
    db.execute("CREATE INDEX media_key ON media (key)")
    db.execute(
        """CREATE TABLE candidates (
            media_id INTEGER NOT NULL REFERENCES media, frame_index INTEGER NOT NULL,
            idx INTEGER NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL,
            y2 REAL NOT NULL, scores BLOB NOT NULL, counts TEXT, mask_score REAL,
            PRIMARY KEY (media_id, frame_index, idx)) WITHOUT ROWID"""
    )
    # AUTOINCREMENT: the id of a label that was deleted never comes back as another's.
    db.execute(
        """CREATE TABLE labels (
            id INTEGER PRIMARY KEY AUTOINCREMENT, media_id INTEGER NOT NULL REFERENCES media,
            frame_index INTEGER NOT NULL, candidate_idx INTEGER, track_id INTEGER,
            class_id INTEGER NOT NULL, prompt TEXT, score REAL, runner_up_class INTEGER,
            runner_up_score REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL,
            y2 REAL NOT NULL, counts TEXT, mask_score REAL,
            source TEXT NOT NULL CHECK (source IN ('model', 'human')),
            status TEXT NOT NULL CHECK (status IN ('pending', 'accepted', 'rejected')))"""
    )
    db.execute("CREATE INDEX labels_place ON labels (media_id, frame_index)")
    db.execute(
        """CREATE VIEW annotations AS
        SELECT l.id, m.name AS media, l.frame_index, l.track_id, k.name AS class, l.prompt,
            l.score, r.name AS runner_up, l.runner_up_score, l.x1, l.y1, l.x2, l.y2,
            m.height, m.width, nullif(coalesce(l.counts, c.counts), '') AS counts,
            CASE WHEN l.counts IS NULL THEN c.mask_score ELSE l.mask_score END AS mask_score,
            l.source, l.status
        FROM labels l JOIN media m ON m.id = l.media_id
        LEFT JOIN classes k ON k.id = l.class_id LEFT JOIN classes r ON r.id = l.runner_up_class
        LEFT JOIN candidates c ON c.media_id = l.media_id AND c.frame_index = l.frame_index
            AND c.idx = l.candidate_idx"""
    )


def m002_review(db: sqlite3.Connection) -> None:
    """Add what a review by humans leaves: what they did, tags, and what they removed."""
    db.execute("ALTER TABLE media ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'")
    db.execute("ALTER TABLE labels ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'")
    db.execute("ALTER TABLE labels ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """CREATE TABLE history (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, label_id INTEGER,
            media TEXT NOT NULL, frame_index INTEGER NOT NULL, action TEXT NOT NULL,
            source TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL)"""
    )
    db.execute("CREATE INDEX history_label ON history (label_id)")
    db.execute(
        """CREATE TABLE reviewed (
            review_id TEXT PRIMARY KEY, label_id INTEGER NOT NULL, state TEXT NOT NULL)
            WITHOUT ROWID"""
    )


def m003_opinions(db: sqlite3.Connection) -> None:
    """Keep what each of two grounders said, and why a label is in doubt."""
    db.execute("ALTER TABLE candidates ADD COLUMN opinions BLOB")
    db.execute("ALTER TABLE labels ADD COLUMN doubt TEXT NOT NULL DEFAULT ''")
    (view,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'annotations'").fetchone()
    db.execute("DROP VIEW annotations")
    db.execute(view.replace("l.source, l.status", "l.source, l.status, l.doubt"))


MIGRATIONS = (m001_tables, m002_review, m003_opinions)
SCHEMA_VERSION = len(MIGRATIONS)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the database to ``SCHEMA_VERSION``; the caller holds the transaction."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for step in MIGRATIONS[version:]:
        step(db)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
