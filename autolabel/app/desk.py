"""Who is at the page: each visitor's own folder, uploads, jobs and results, and their end.

Everything lies under one temporary folder that is removed when the server ends; what a crash
left is removed by the next start. A visitor's part is removed when the tab closes. Paths are
made here, from random names: none comes from a visitor but the base name of an uploaded file.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any

from autolabel.app.jobs import Job, Lane
from autolabel.app.limits import Limits
from autolabel.app.results import Found
from autolabel.errors import InputError, UsageError

PREFIX = "autolabel-app-"


@dataclass(slots=True)
class Visit:
    """One open tab.

    Attributes:
        folder: Its inputs and projects; never served.
        served: What its page may load.
        uploads: Files added, by kind ("image", "video").
        jobs: The job under way, by kind.
        found: The last results, by kind.
    """

    folder: Path
    served: Path
    uploads: dict[str, list[Path]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: count(1))


class Desk:
    """The server's side of all visits.

    Args:
        limits: What may be uploaded.
        keep: Where projects go that a visitor keeps.
        fixed: Options of every run that the page doesn't ask for (``grounder``, ``device``, ...).
    """

    def __init__(self, limits: Limits, keep: Path, fixed: dict[str, Any]) -> None:
        self.limits, self.keep, self.fixed = limits, keep, fixed
        _sweep(Path(tempfile.gettempdir()))
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = _locked(self.root)
        self.uploads = self.root / "uploads"
        self.served = self.root / "served"
        for folder in (self.uploads, self.served, self.root / "visits"):
            folder.mkdir()
        self.models, self.files = Lane(warm=True), Lane()
        self._visits: dict[str, Visit] = {}
        self._guard = threading.Lock()

    def visit(self, session: str) -> Visit:
        """Return the visit of a browser tab."""
        with self._guard:
            if session not in self._visits:
                name = secrets.token_urlsafe(18)
                visit = Visit(self.root / "visits" / name, self.served / name)
                visit.folder.mkdir()
                visit.served.mkdir()
                self._visits[session] = visit
            return self._visits[session]

    def leave(self, session: str) -> None:
        """End a visit: its jobs are cancelled, its files removed."""
        with self._guard:
            visit = self._visits.pop(session, None)
        if visit is None:
            return
        for job in visit.jobs.values():
            self.models.cancel(job)
            self.files.cancel(job)
        shutil.rmtree(visit.folder, ignore_errors=True)
        shutil.rmtree(visit.served, ignore_errors=True)

    def close(self) -> None:
        """End all jobs and remove everything."""
        self.models.close()
        self.files.close()
        shutil.rmtree(self.root, ignore_errors=True)
        self._lock.close()

    def add(self, visit: Visit, kind: str, paths: Sequence[str]) -> None:
        """Take uploaded files into a visit, in place of those before.

        Raises:
            InputError: If one of them isn't an upload, or not what is taken here.
        """
        visit.uploads.pop(kind, None)
        self.limits.check_names(kind, [Path(path).name for path in paths])
        folder = visit.folder / f"uploads{next(visit.numbers)}"
        folder.mkdir()
        taken = []
        for path in paths:
            if not Path(path).resolve().is_relative_to(self.uploads.resolve()):
                raise InputError("That is not an upload of this page.")
            target = _free(folder / _plain_name(Path(path).name))
            try:
                os.link(path, target)
            except OSError:
                raise InputError("The upload is gone: add the file once more.") from None
            taken.append(target)
        visit.uploads[kind] = taken

    def label(self, visit: Visit, kind: str, ontology: str, options: dict[str, Any]) -> Job:
        """Begin to label a visit's uploads; the same kind's earlier job ends.

        Raises:
            UsageError: If nothing was uploaded.
        """
        inputs = visit.uploads.get(kind)
        if not inputs:
            what = "pictures" if kind == "image" else "a video"
            raise UsageError(f"Add {what} first, or take the example.")
        if (before := visit.jobs.get(kind)) is not None:
            self.models.cancel(before)
        number = next(visit.numbers)
        view = visit.served / f"job{number}"
        view.mkdir()
        request = {
            "kind": "label",
            "inputs": [str(path) for path in inputs],
            "ontology": ontology,
            "project": str(visit.folder / f"project{number}"),
            "view": str(view),
            "drawn": str(view / "drawn"),
            "limits": asdict(self.limits),
            "options": {**options, **self.fixed},
        }
        job = self.models.submit(request)
        visit.jobs[kind] = job
        return job

    def collect(self, visit: Visit, kind: str, job: Job) -> Found:
        """Return what a finished job found, and drop what it replaces."""
        asked = job.request
        found = Found.load(
            kind,
            Path(asked["project"]),
            asked["inputs"],
            asked["ontology"],
            asked["options"],
            Path(asked["view"]),
            Path(asked["drawn"]),
        )
        old = visit.found.get(kind)
        visit.found[kind] = found
        if old is not None:
            shutil.rmtree(old.project, ignore_errors=True)
            shutil.rmtree(old.view, ignore_errors=True)
        return found


def _plain_name(name: str) -> str:
    """Return a file name that is safe on a disk and on a command line, its letters kept."""
    stem, suffix = os.path.splitext(name)
    stem = re.sub(r"[^\w .()+-]+", "_", stem).strip(" .").lstrip("-")[:100] or "upload"
    return stem + re.sub(r"[^\w.]+", "", suffix)[:10]


def _free(path: Path) -> Path:
    """Return a path that isn't taken, numbered if need be."""
    for number in count(2):
        if not path.exists():
            return path
        stem = path.stem.removesuffix(f" ({number - 1})")
        path = path.with_name(f"{stem} ({number}){path.suffix}")
    raise AssertionError("unreachable: numbers don't end")


def _locked(root: Path) -> IO[bytes]:
    """Hold a folder, so that no other server takes it for an orphan."""
    file = (root / "lock").open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _sweep(parent: Path) -> None:
    """Remove the folders of servers of this user that were killed."""
    for root in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if root.is_symlink() or root.stat().st_uid != os.getuid():
                continue
            with (root / "lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)
