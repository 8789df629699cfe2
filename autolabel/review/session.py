"""A running review: its database and its app, started once, found again, ended cleanly."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from autolabel.errors import AutolabelError, ProjectBusy, StorageError
from autolabel.review import processes
from autolabel.review.places import Places

SERVER = "autolabel.review.serve"


@dataclass(frozen=True, slots=True)
class Session:
    """Who serves a project's review.

    Attributes:
        app_pid: The app's process.
        app_port: Its port.
        mongo_pid: The database's process.
        mongo_port: Its port.
        owner: The `autolabel review` that ends them when it ends.
    """

    app_pid: int
    app_port: int
    mongo_pid: int
    mongo_port: int
    owner: int

    @property
    def url(self) -> str:
        """Where the app is."""
        return f"http://{processes.LOOPBACK}:{self.app_port}"

    def app_alive(self) -> bool:
        """Return whether the app's process runs."""
        return processes.alive(self.app_pid, SERVER, str(self.app_port))

    def mongo_alive(self, places: Places) -> bool:
        """Return whether the database's process runs."""
        return processes.alive(self.mongo_pid, str(places.database))

    def owner_alive(self) -> bool:
        """Return whether another `autolabel review` looks after these processes."""
        return self.owner != os.getpid() and processes.alive(self.owner, "review")


def read_session(places: Places) -> Session | None:
    """Return what the last start left, running or not."""
    try:
        return Session(**json.loads(places.session.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_session(places: Places, session: Session) -> None:
    """Record who serves the review; a kill leaves the old record or the new one."""
    part = places.session.with_suffix(".part")
    part.write_text(json.dumps(asdict(session)))
    part.replace(places.session)


def find(places: Places) -> Session | None:
    """Return the review that runs now, app and database, or None."""
    session = read_session(places)
    if session is None or not session.app_alive() or not session.mongo_alive(places):
        return None
    return session


def stop(places: Places) -> bool:
    """End whatever of a review runs; return whether anything did."""
    session = read_session(places)
    ran = False
    if session is not None:
        # Its owner sees that this is meant, not an accident; a kill in between loses nothing.
        write_session(places, replace(session, owner=os.getpid()))
    if session is not None and session.app_alive():
        ran = True
        processes.end(session.app_pid, SERVER, patience=3)
    mongod = processes.running_mongod(places)
    if mongod is not None:
        ran = True
        processes.end(mongod[0], str(places.database))
    with suppress(FileNotFoundError):
        places.session.unlink()
    return ran


def start_app(places: Places, wanted_port: int | None, mongod: tuple[int, int]) -> Session:
    """Start the app on a running database and record both; it answers a few seconds later."""
    old = read_session(places)
    if old is not None and old.app_alive():
        processes.end(old.app_pid, SERVER, patience=3)  # its database is gone
    port = processes.app_port(wanted_port)
    session = Session(processes.start_app(places, port, mongod[1]), port, *mongod, os.getpid())
    write_session(places, session)
    return session


def wait_for_app(places: Places, session: Session, work: Callable[[], bool]) -> None:
    """Wait until the app answers, doing pieces of ``work`` meanwhile until it returns False.

    Raises:
        AutolabelError: If it ends, or doesn't answer.
    """
    busy, until = True, time.monotonic() + processes.START_SECONDS
    while not processes.app_answers(session.app_port):
        if not session.app_alive() or time.monotonic() > until:
            log = places.log("app")
            last = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise AutolabelError(
                f"the FiftyOne app did not start: {' '.join(last)[-400:] or 'no output'} "
                f"(see {log})"
            )
        busy = busy and work()
        if not busy:
            time.sleep(0.1)


def database_ended(places: Places) -> str:
    """Return what to say when the database isn't there any more."""
    return (
        f"the review's database ended unexpectedly (see {places.log('mongod')}). The project's "
        "labels are as they were, and edits made in the app are kept up to the last moment: "
        "run the same command again."
    )


def lost(places: Places, session: Session) -> str | None:
    """Return what ended that should run, or None if all is well."""
    if not session.mongo_alive(places):
        return database_ended(places)
    if not session.app_alive():
        return (
            f"the FiftyOne app ended unexpectedly (see {places.log('app')}). Edits are kept: run "
            "the same command again."
        )
    return None


@contextmanager
def mongo(port: int) -> Iterator[Any]:
    """Give the review's database; its errors become ours.

    Raises:
        StorageError: If it can't be reached, or ends meanwhile.
    """
    import pymongo
    from pymongo.errors import PyMongoError

    # Not asked twice: a database that ended doesn't come back on this port.
    client: Any = pymongo.MongoClient(
        processes.LOOPBACK, port, serverSelectionTimeoutMS=5000, retryReads=False
    )
    try:
        yield client["fiftyone"]
    except PyMongoError as error:
        raise StorageError(
            f"the review's database failed: {str(error)[:200]}. The project's labels are as they "
            "were: run the same command again."
        ) from error
    finally:
        client.close()


@contextmanager
def locked(places: Places) -> Iterator[None]:
    """Hold the review for oneself while starting, loading or pulling.

    Raises:
        ProjectBusy: If another process does.
        StorageError: If the folder can't be written to.
    """
    try:
        places.make()
        descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"{places.root} can't be written to: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ProjectBusy(
            f"{places.root} is being loaded or pulled by another process: wait for it to finish"
        ) from None
    finally:
        os.close(descriptor)
