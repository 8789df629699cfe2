"""The app's server with a lock on the door: FiftyOne's own, on loopback, and the page calls nobody.

FiftyOne's page asks for fonts from the internet. The policy that is sent with every answer here
forbids browsers any address but this server's. ``python -m autolabel.review.serve PORT``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

os.environ["FIFTYONE_SERVER"] = "1"

from fiftyone.server.app import app
from fiftyone.server.events import set_port
from hypercorn.asyncio import serve
from hypercorn.config import Config

POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; form-action 'self'; "
    "frame-ancestors 'none'"
)


class NoCallsOut:
    """Adds the policy to every answer of an ASGI application."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, and its answer back with the policy."""

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message = {**message, "headers": [*message.get("headers", []), policy]}
            await send(message)

        await self._inner(scope, receive, send_with_policy)


def main(port: int) -> None:
    """Serve the app until the process is told to end."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 0.5
    set_port(port)
    asyncio.run(serve(NoCallsOut(app), config))


if __name__ == "__main__":
    main(int(sys.argv[1]))
