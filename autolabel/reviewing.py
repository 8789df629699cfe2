"""A review from start to end: started or found, loaded, pulled, selected anew, stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autolabel.errors import AutolabelError, StorageError, UsageError
from autolabel.review import processes, session
from autolabel.review.flags import Flags, find_flags
from autolabel.review.places import Places
from autolabel.review.session import Session
from autolabel.store import Project

Told = Callable[[str], None]


def places_of(project: str | Path) -> Places:
    """Return where a project's review is."""
    return Places(Path(project).resolve())


def dataset_names(project: Project) -> dict[str, str]:
    """Return the names of the app's data sets, by kind of input; those that are needed."""
    kinds = project.stats().kinds
    name = project.folder.resolve().name or "autolabel"
    names = {}
    if kinds.get("image") or not kinds:
        names["image"] = name
    if kinds.get("video") or kinds.get("frames"):
        names["video"] = f"{name} videos"
    return names


def make_datasets(places: Places, project: Project, flags: Flags, port: int) -> dict[str, Any]:
    """Return the app's data sets, made or brought up to date by FiftyOne in its own process.

    Raises:
        AutolabelError: If FiftyOne fails.
        StorageError: If the database ended.
    """
    order = {
        "datasets": dataset_names(project),
        "classes": project.classes(),
        "crowded": flags.crowded,
        "suggested": _suggested(project),
        "doubts": project.stats().doubts > 0,
        "failures": bool(project.media_ids("failed")),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "autolabel.review.datasets"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        env=places.environ(port),
        cwd=places.root,
    )
    try:
        made: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        places.log("datasets").write_text(ran.stderr)
        if processes.running_mongod(places) is None:
            raise StorageError(session.database_ended(places)) from None
        last = " ".join(ran.stderr.strip().splitlines()[-2:])[-500:]
        raise AutolabelError(
            f"FiftyOne could not make the data sets: {last} (see {places.log('datasets')})"
        ) from None
    return made


def _suggested(project: Project) -> list[str]:
    """Return the pictures that ``autolabel suggest`` named last, best first."""
    try:
        named = json.loads(project.meta().get("suggested", "[]"))
    except ValueError:
        return []
    return [name for name in named if isinstance(name, str)]


def check_labelled(project: Project) -> None:
    """Raise UsageError unless there is something to review."""
    if not project.media_ids("done"):
        raise UsageError(
            f"{project.folder} has no labelled inputs, so there is nothing to review: run "
            "`autolabel run` first"
        )


@contextmanager
def running_mongod(places: Places) -> Iterator[int]:
    """Give the port of the project's database, started for this block where none runs.

    Raises:
        UsageError: If the project was never loaded into the app.
    """
    if not places.snapshot.exists():
        raise UsageError(
            f"{places.project} has no review to pull from: `autolabel review {places.project}` "
            "opens one"
        )
    running = processes.running_mongod(places)
    mongod = running or processes.start_mongod(places)
    try:
        yield mongod[1]
    finally:
        if running is None:
            processes.end(mongod[0], str(places.database))


def pull(project_folder: str | Path, *, dry_run: bool = False, reload: bool = False) -> Any:
    """Return what a human did in the app, taken home into the project unless ``dry_run``.

    Args:
        project_folder: The project.
        dry_run: Only look.
        reload: Afterwards load the inputs with conflicts anew: the edits in conflict are given
            up, and the app shows what the project has.

    Raises:
        UsageError: If there is nothing to pull from.
        ProjectBusy: If a run or another pull holds the project.
    """
    from autolabel.review.pull import compare
    from autolabel.review.snapshot import Snapshot

    places = places_of(project_folder)
    with Project.open(places.project, readonly=dry_run) as project:
        processes.fiftyone_folder()
        with running_mongod(places) as port, session.mongo(port) as db:
            snapshot = Snapshot(places)
            try:
                found = compare(project, db, dataset_names(project), snapshot)
            finally:
                snapshot.close()
        if found.edits and not dry_run:
            project.apply_edits(found.edits)
    if reload and not dry_run and found.conflicts():
        _load_again(places, found.conflicts())
    return found


def rethreshold(project_folder: str | Path, class_name: str, threshold: float) -> str:
    """Return what selecting anew with another threshold did: pulled before, loaded after.

    Args:
        project_folder: The project, whose review runs.
        class_name: The class; a name in parentheses for every class.
        threshold: The new threshold.

    Raises:
        UsageError: If the project has no ontology, or edits that can't be taken.
        ProjectBusy: If a run holds the project.
    """
    from autolabel.labeling import select_anew
    from autolabel.ontology import parse_ontology

    pulled = pull(project_folder)
    if pulled.problems:
        raise UsageError(
            f"{len(pulled.problems)} edits can't be taken home, so nothing was selected anew: "
            f"{pulled.problems[0].what}"
        )
    with Project.open(project_folder) as project:
        text = project.meta().get("ontology")
        if not text:
            raise UsageError("the project has no ontology to select with")
        ontology = parse_ontology(text)
        every = class_name.startswith("(")
        changed = tuple(
            dataclasses.replace(spec, threshold=threshold)
            if every or spec.name == class_name
            else spec
            for spec in ontology.classes
        )
        count = select_anew(project, dataclasses.replace(ontology, classes=changed))
    _load_again(places_of(project_folder))
    return (
        f"{count} labels selected with threshold {threshold:g} for {class_name}. Write it into "
        "your ontology file, too, or the next run goes back."
    )


def _load_again(places: Places, anew: Collection[str] = ()) -> None:
    """Bring what changed into the data sets that are there, while the app runs on.

    Args:
        places: The review's folders.
        anew: Inputs whose edits in the app are given up.
    """
    from autolabel.review.load import Loader
    from autolabel.review.pull import find_datasets
    from autolabel.review.snapshot import Snapshot

    with (
        Project.open(places.project, readonly=True) as project,
        session.locked(places),
        running_mongod(places) as port,
        session.mongo(port) as db,
    ):
        snapshot = Snapshot(places)
        try:
            made = find_datasets(db, dataset_names(project))
            for _ in Loader(project, db, made, snapshot, places, anew).run(find_flags(project)):
                pass
        finally:
            snapshot.close()


def format_names() -> list[str]:
    """Return the formats that a review can export to."""
    from autolabel.formats import FORMATS

    return list(FORMATS)


def export_folder(project: str | Path, out: str) -> Path:
    """Return where the app exports to: what isn't absolute is beside the project."""
    folder = Path(project).resolve()
    return folder.parent / (Path(out).expanduser() if out.strip() else f"{folder.name}-export")


def pull_and_export(
    project: str | Path, format_name: str, out: str, *, status: str, overwrite: bool
) -> str:
    """Return what was exported after taking the corrections home, in words."""
    from autolabel import api

    pulled = pull(project)
    folder = export_folder(project, out)
    report = api.export(project, format_name, folder, status=status, overwrite=overwrite)
    left = f"; {len(pulled.problems)} edits could not be taken" if pulled.problems else ""
    return f"{report.pictures} pictures, {report.instances} objects -> {folder}{left}"


def stop(project: str | Path) -> bool:
    """End the project's review; return whether one ran."""
    return session.stop(places_of(project))


class Review:
    """A project's review, started or found.

    Args:
        project: The project folder.
        port: The app's port; None for FiftyOne's usual one, or any free one.
    """

    def __init__(self, project: str | Path, port: int | None = None) -> None:
        self.places = places_of(project)
        self._port = port
        self.session: Session | None = None

    def open(self, progress: Callable[[Any], None], ready: Told) -> Any:
        """Start or find the review and load what is new; return what was loaded.

        Args:
            progress: Is called with the growing report after each batch.
            ready: Is called with the app's address as soon as it answers, which may be while
                the load goes on.
        """
        with Project.open(self.places.project, readonly=True) as project:
            check_labelled(project)
            processes.fiftyone_folder()
            with session.locked(self.places):
                before = session.find(self.places)
                try:
                    return self._open(project, progress, ready)
                except BaseException:
                    if before is None and self.session is None:
                        session.stop(self.places)  # a database that was started for nothing
                    raise

    def _open(self, project: Project, progress: Callable[[Any], None], ready: Told) -> Any:
        from autolabel.review.load import Loader
        from autolabel.review.snapshot import Snapshot

        places, found = self.places, session.find(self.places)
        if found is not None and self._port not in (None, found.app_port):
            raise UsageError(
                f"the review of {places.project} runs on port {found.app_port} already: "
                f"`autolabel review {places.project} --stop` ends it"
            )
        if found is None:
            processes.app_port(self._port)  # a port that is taken is told before anything starts
        mongod = processes.start_mongod(places)
        flags = find_flags(project)
        made = make_datasets(places, project, flags, mongod[1])
        if found is None:
            found = session.start_app(places, self._port, mongod)
        elif not found.owner_alive():
            found = Session(found.app_pid, found.app_port, *mongod, os.getpid())
            session.write_session(places, found)
        self.session = found
        snapshot = Snapshot(places)
        try:
            with session.mongo(mongod[1]) as db:
                loader = Loader(project, db, made, snapshot, places)
                batches = loader.run(flags)

                def step() -> bool:
                    report = next(batches, None)
                    if report is not None:
                        progress(report)
                    return report is not None

                more = step()
                session.wait_for_app(places, found, step if more else lambda: False)
                ready(f"{found.url}/datasets/{made[next(iter(made))]['name']}")
                while step():
                    pass
                return loader.report
        finally:
            snapshot.close()

    @property
    def ours(self) -> bool:
        """Whether this process started the review, and has to end it."""
        return self.session is not None and self.session.owner == os.getpid()

    def lost(self) -> str | None:
        """Return what ended that should run, None if all is well or it was stopped by a command."""
        if self.session is None:
            return None
        problem = session.lost(self.places, self.session)
        return None if self.stopped() else problem

    def stopped(self) -> bool:
        """Return whether `--stop` ends the review, or has."""
        now = session.read_session(self.places)
        return now is None or (self.session is not None and now.owner != self.session.owner)

    def close(self) -> None:
        """End the app and its database."""
        session.stop(self.places)
