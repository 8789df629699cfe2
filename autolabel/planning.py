"""Which inputs of a run the project has already, and what each is called in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import count, islice

from autolabel.media.remote import is_url, size_and_time
from autolabel.media.spool import Spool, disk_errors_told, temporary
from autolabel.store import Project
from autolabel.store.reading import Stored
from autolabel.types import MediaItem


class Plan:
    """A run's inputs in order, under the names they have in the project, and which are done.

    Everything streams, from a temporary database; any number of iterators may be under way.
    Pictures and videos are told apart here: each engine asks for its own.

    Attributes:
        total: Number of inputs.
        done: How many of them are labelled in the project already.
    """

    def __init__(self) -> None:
        self.total = self.done = 0
        self._db = temporary()
        self._db.execute(
            "CREATE TABLE plan (id INTEGER PRIMARY KEY, name TEXT UNIQUE, path TEXT, kind TEXT, "
            "done INTEGER)"
        )

    def fill(self, items: Iterable[tuple[MediaItem, bool]]) -> None:
        """Take in the inputs, each with whether it is done."""
        with disk_errors_told():
            self._db.executemany(
                "INSERT INTO plan (name, path, kind, done) VALUES (?,?,?,?)",
                ((item.name, item.path, item.kind, done) for item, done in items),
            )
            counts = self._db.execute("SELECT count(*), coalesce(sum(done), 0) FROM plan")
            self.total, self.done = counts.fetchone()

    def has_pictures(self) -> bool:
        """Return whether there are pictures among the inputs, done or not."""
        return next(self._items("kind = 'image'"), None) is not None

    def has(self, name: str) -> bool:
        """Return whether an input was given this name so far."""
        with disk_errors_told():
            found = self._db.execute("SELECT 1 FROM plan WHERE name = ?", (name,)).fetchone()
        return found is not None

    def todo(self) -> Iterator[MediaItem]:
        """Yield the inputs that are not done, pictures and videos."""
        return (item for item, _ in self._items("NOT done"))

    def pictures(self, size: int) -> Iterator[list[MediaItem]]:
        """Yield the unfinished part of each batch of ``size`` pictures, where there is one.

        Batches are cut from all pictures, done or not, so that a run that goes on sends the
        same ones through the models together.
        """
        pictures = self._items("kind = 'image'")
        while batch := list(islice(pictures, size)):
            if todo := [item for item, done in batch if not done]:
                yield todo

    def videos(self) -> Iterator[MediaItem]:
        """Yield the videos and folders of frames that are not done."""
        return (item for item, _ in self._items("kind <> 'image' AND NOT done"))

    def close(self) -> None:
        """Let go of the temporary file."""
        self._db.close()

    def _items(self, which: str) -> Iterator[tuple[MediaItem, bool]]:
        """Yield inputs in order, each with whether it is done."""
        with disk_errors_told():
            for *item, done in self._db.execute(
                f"SELECT name, path, kind, done FROM plan WHERE {which} ORDER BY id"
            ):
                yield MediaItem(*item), bool(done)


@contextmanager
def planned(
    spool: Spool, project: Project | None, *, limit: int | None = None, redo: bool = False
) -> Iterator[Plan]:
    """Give what a run over the inputs has to do.

    An input is done when the project has it, labelled, with the same path, size and time of
    change. What failed before is tried again.

    Args:
        spool: The inputs.
        project: The project; None if it is yet to be made.
        limit: Take the first inputs only.
        redo: Take nothing as done.
    """
    with closing(Plan()) as plan:
        if project is None:
            plan.fill((item, False) for item in spool.items(limit))
        else:
            settled = _settled(project, spool, plan, limit)
            plan.fill((item, not redo and _is_done(item, known)) for item, known in settled)
        yield plan


def _settled(
    project: Project, spool: Spool, plan: Plan, limit: int | None
) -> Iterator[tuple[MediaItem, Stored | None]]:
    """Yield the inputs under names that no other file has in the project, and what it has there.

    Inputs and project are read side by side, both sorted by name: a query an input would take
    several times as long.
    """
    stored = project.all_stored()
    known = next(stored, None)
    for item in spool.items(limit):
        while known is not None and known.name < item.name:
            known = next(stored, None)
        same = known if known is not None and known.name == item.name else None
        yield (item, same) if _is_free(same, item) else _rename(project, item, spool, plan)


def _is_free(known: Stored | None, item: MediaItem) -> bool:
    """Return whether an item may have a name by which the project knows this file, or none.

    A file that was moved keeps its name: the one that has it is gone.
    """
    if known is None or known.path == item.path:
        return True
    return not (is_url(known.path) or os.path.exists(known.path))


def _rename(
    project: Project, item: MediaItem, spool: Spool, plan: Plan
) -> tuple[MediaItem, Stored | None]:
    """Return the item with a name that is free, and what the project has by that name.

    "1.jpg" of a second folder becomes "folder/1.jpg" when the project has a "1.jpg" from
    elsewhere.
    """
    for name in _longer_names(item):
        if not (spool.has(name) or plan.has(name)):
            known = project.stored(name)
            if _is_free(known, item):
                return MediaItem(name, item.path, item.kind), known
    raise AssertionError("unreachable: numbers don't end")


def _longer_names(item: MediaItem) -> Iterator[str]:
    """Yield the names an item may have beside its own: longer by folders, then numbered."""
    parts = item.path.strip(os.sep).split(os.sep)
    for length in range(item.name.count("/") + 2, len(parts) + 1):
        yield "/".join(parts[-length:])
    stem, suffix = os.path.splitext(item.name)
    for number in count(2):
        yield f"{stem}~{number}{suffix}"


def _is_done(item: MediaItem, known: Stored | None) -> bool:
    """Return whether what the project knows by this name is this very file, labelled."""
    if known is None or known.status != "done" or known.path != item.path:
        return False
    try:
        return (known.size_bytes, known.mtime_ns) == size_and_time(item.path)
    except OSError:
        return False
