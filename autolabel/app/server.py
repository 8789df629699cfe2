"""The web server of the page: who may reach it, what it may load, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autolabel.app.desk import Desk
from autolabel.app.limits import Limits
from autolabel.errors import MissingExtra, UsageError
from autolabel.registry import preset as known_preset

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
        "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Nothing from elsewhere is loaded, and no other site may show the page in a frame."""


def serve(
    *,
    host: str,
    port: int,
    auth: str | None,
    preset: str,
    keep: Path,
    limits: Limits,
    fixed: dict[str, Any],
    ready: Callable[[str], None],
) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        host: Where to listen; beyond this machine only with ``auth``.
        port: The port; 0 for any that is free.
        auth: "USER:PASSWORD", or None.
        preset: The models chosen at first.
        keep: Where kept projects go.
        limits: What may be uploaded.
        fixed: Options of every run.
        ready: Called with the page's address when it can be opened.

    Raises:
        UsageError: If the host needs a password, or the address is not to be had.
        MissingExtra: If Gradio is not installed.
    """
    login = _login(host, auth)
    known_preset(preset)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    listening = _listen(host, port)
    with contextlib.closing(listening):
        desk = Desk(limits, keep.resolve(), fixed)
        try:
            os.environ["GRADIO_TEMP_DIR"] = str(desk.uploads)
            _run(desk, preset, login, listening, ready)
        finally:
            desk.close()


def _run(
    desk: Desk,
    preset: str,
    login: tuple[str, str] | None,
    listening: socket.socket,
    ready: Callable[[str], None],
) -> None:
    """Build the page and answer until told to stop."""
    try:
        import uvicorn

        app = application(desk, preset, login)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("gradio", "uvicorn", "fastapi"):
            raise MissingExtra("gradio", "app") from error
        raise
    told = _announced(app, listening, ready)
    config = uvicorn.Config(told, log_level="warning", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    logging.getLogger("uvicorn.error").addFilter(_not_cancelled)
    # uvicorn ends in good order, then raises the signal again: this is what it meets.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


def application(desk: Desk, preset: str, login: tuple[str, str] | None) -> Any:
    """Return the page as an ASGI application."""
    from autolabel.app.page import mounted

    app = mounted(desk, preset, login)

    return Guarded(app)


class Guarded:
    """An application whose every answer carries ``HEADERS``.

    Args:
        app: The ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        await self._app(scope, receive, guarded)


def _announced(app: Any, listening: socket.socket, ready: Callable[[str], None]) -> Any:
    """Return the application that tells its address when it has started."""

    async def telling(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                host, port = listening.getsockname()[:2]
                ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

        await app(scope, receive, sent if scope["type"] == "lifespan" else send)

    return telling


def _not_cancelled(record: logging.LogRecord) -> bool:
    """Return whether a log line is worth showing: open pages at the end are no error."""
    cancelled = record.exc_info and record.exc_info[0] is asyncio.CancelledError
    return not cancelled and "Cancel" not in record.getMessage()


def _login(host: str, auth: str | None) -> tuple[str, str] | None:
    """Return the name and password; refuse an open page beyond this machine."""
    if auth is None:
        if not _is_local(host):
            raise UsageError(
                f"--host {host}: others could use this machine. Add --auth USER:PASSWORD, or "
                "leave --host out to listen on 127.0.0.1 only."
            )
        return None
    user, colon, password = auth.partition(":")
    if not (user and colon and password):
        raise UsageError("--auth: expected USER:PASSWORD, both with at least one letter")
    return user, password


def _is_local(host: str) -> bool:
    """Return whether only this machine reaches this address."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        UsageError: If it can't.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
    except OSError as error:
        raise UsageError(
            f"can't listen on {host}, port {port} ({error.strerror or error}): choose another "
            "with --port, or --port 0 for any that is free"
        ) from error
    return found
