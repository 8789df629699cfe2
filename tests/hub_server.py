"""A small server on loopback that speaks the hub's file protocol, for tests of downloads.

It serves ``GET /api/models/ORG/NAME[/revision/REV]``, ``GET .../tree/COMMIT`` and
``HEAD``/``GET /ORG/NAME/resolve/REV/FILE`` with ETag, X-Repo-Commit, Content-Length and
Range, and counts what is asked of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server has, how it misbehaves, and what it was asked.

    Attributes:
        repos: Repository id -> file name -> content.
        cut: Names of files whose connection is closed half-way.
        short: Names of files announced longer than what is sent, the connection closed well.
        gated: Repository ids that answer 401 with the hub's GatedRepo code.
        fetched: Every "METHOD file" of the resolve route, in order.
        asked: Every request, in order.
        url: Where it listens.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    short: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve ``hub`` on a free loopback port until the context ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        for route, reply in (
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
        ):
            match = re.fullmatch(route, path)
            if match:
                repo, revision = match[1], match[2]
                if repo in self.hub.gated:
                    self._error(401, "GatedRepo")
                elif repo not in self.hub.repos:
                    self._error(404, "RepoNotFound")
                elif revision not in (None, "main", COMMIT):
                    self._error(404, "RevisionNotFound")
                else:
                    reply(*match.groups())
                return
        self._error(404, "EntryNotFound")

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _info(self, repo: str, revision: str | None) -> None:
        siblings = [{"rfilename": name} for name in self.hub.repos[repo]]
        self._json({"id": repo, "sha": COMMIT, "siblings": siblings})

    def _tree(self, repo: str, revision: str) -> None:
        rows = [
            {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
            for name, data in self.hub.repos[repo].items()
        ]
        self._json(rows)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, repo: str, revision: str, name: str) -> None:
        self.hub.fetched.append(f"{self.command} {name}")
        data = self.hub.repos[repo].get(name)
        if data is None:
            self._error(404, "EntryNotFound")
            return
        headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start and self.command == "GET":
            first = int(start[1])
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self._send(206, data[first:], headers, name)
        else:
            self._send(200, data, headers, name)

    def _send(self, status: int, body: bytes, headers: dict[str, str], name: str = "") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if name in self.hub.short and self.command == "GET":
            # No length announced for the body itself: it ends where the connection does.
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if name in self.hub.cut:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
