"""Which inputs of a run the project has already, and what each is called in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autolabel.store import Project
from autolabel.types import MediaItem


def plan_inputs(project: Project, items: Sequence[MediaItem]) -> tuple[list[MediaItem], set[str]]:
    """Return the inputs under the names they have in the project, and the names that are done.

    An input is done when the project has it, labelled, with the same path, size and time of
    change. What failed before is tried again.

    Args:
        project: The project.
        items: Inputs as listed, names unique.
    """
    taken = {item.name for item in items}
    named = [_settle(project, item, taken) for item in items]
    done = {item.name for item in named if _is_done(project, item)}
    return named, done


def _settle(project: Project, item: MediaItem, taken: set[str]) -> MediaItem:
    """Return the item with a name that no other file has in the project.

    "1.jpg" of a second folder becomes "folder/1.jpg" when the project has a "1.jpg" from
    elsewhere; a file that was moved keeps its name.
    """
    parts = [part for part in Path(item.path).parent.parts if part != os.sep]
    name = item.name
    while True:
        known = project.find(name)
        if known is None or known.path == item.path or not os.path.exists(known.path):
            return item if name == item.name else replace(item, name=name)
        if not parts:
            return replace(item, name=_numbered(project, item, taken))
        tail = Path(item.path).parts[-(len(Path(name).parts) + 1) :]
        longer = "/".join(part for part in tail if part != os.sep)
        parts.pop()
        if longer in taken or longer == name:
            continue
        name = longer


def _numbered(project: Project, item: MediaItem, taken: set[str]) -> str:
    """Return the item's name with a number that makes it unique."""
    stem, suffix = os.path.splitext(item.name)
    number = 2
    while True:
        name = f"{stem}~{number}{suffix}"
        known = project.find(name)
        if name not in taken and (known is None or known.path == item.path):
            return name
        number += 1


def _is_done(project: Project, item: MediaItem) -> bool:
    """Return whether the project has this very file, labelled."""
    try:
        stat = os.stat(item.path)
    except OSError:
        return False
    known = project.find(item.name)
    return (
        known is not None
        and known.path == item.path
        and project.seen(item.name, stat.st_size, stat.st_mtime_ns) == "done"
    )
