"""A page in Debian's Chromium, with everything noted that it asks for and complains about."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.command import ROOT, command

CHROMIUM = shutil.which("chromium")
WITHOUT = "no chromium on PATH: .ci/browser installs it"
PATIENCE = 30_000
"""Milliseconds that anything may take on a page, other work on the machine included."""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def served(*args: str | Path, **environ: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Give the address of ``autolabel app`` with these arguments, and its process."""
    process = subprocess.Popen(
        command("app", "--port", "0", *args),
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environ},
        text=True,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = re.search(r"http://\S+", said)
        assert address is not None, said
        yield address[0], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@dataclass
class Watched:
    """A page of a browser, what it asked for, and what it complained about."""

    page: Any
    address: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def elsewhere(self) -> list[str]:
        """Return the addresses asked for that are not the server's own."""
        own = (self.address, "data:", "blob:")
        return [url for url in self.requests if not url.startswith(own)]


def watch(browser: Any, address: str, **options: Any) -> Watched:
    """Open a page in a profile of its own."""
    return watch_page(browser.new_context(accept_downloads=True, **options), address)


def watch_page(profile: Any, address: str) -> Watched:
    """Open a page in a profile that others may be open in: what was loaded once isn't again."""
    page = profile.new_page()
    page.set_default_timeout(PATIENCE)
    seen = Watched(page, address)
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))

    def said(message: Any) -> None:
        if message.type == "error":
            seen.complaints.append(message.text)

    page.on("console", said)
    page.goto(address)
    page.wait_for_selector("#al-image-run")
    return seen
