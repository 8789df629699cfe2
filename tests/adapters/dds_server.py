"""A server on loopback that speaks the DeepDataSpace API, version 2, well or badly.

``POST /v2/task/.../detection`` takes a task, ``GET /v2/task_status/ID`` answers "running" once
and then with its result, which ``look`` makes of the very picture that was sent.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from autolabel.types import Image as Pixels

TOKEN = "right-token"


@dataclass
class Service:
    """What the server answers, and what it was asked.

    Attributes:
        look: Picture and prompts to objects.
        replies: What comes before anything else, one a request: a status, raw bytes, "hang",
            "drip" or "cut".
        headers: Sent with a status among ``replies``.
        fail: Tasks end with this error.
        bodies: Every task's body.
        asked: Every request, "METHOD path".
        address: Where it listens.
    """

    look: Callable[[Pixels, list[str]], list[dict[str, Any]]] = lambda _image, _prompts: []
    replies: list[Any] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    fail: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    address: str = ""
    done: dict[str, int] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve(service: Service) -> Iterator[Service]:
    handler = type("Handler", (_Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    service.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(lambda: self._take(json.loads(body)))

    def do_GET(self) -> None:
        self._answer(self._status)

    def _answer(self, well: Callable[[], dict[str, Any]]) -> None:
        service = self.service
        service.asked.append(f"{self.command} {self.path}")
        if service.replies:
            reply = service.replies.pop(0)
            if reply is not None:
                self._badly(reply)
                return
        if self.headers.get("Token") != TOKEN:
            self._send(401, b'{"code": 401, "msg": "token"}')
            return
        self._send(200, json.dumps({"code": 0, "msg": "ok", "data": well()}).encode())

    def _badly(self, reply: Any) -> None:
        if reply == "hang":
            self.service.over.wait(30)
            self.close_connection = True
        elif reply == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"code": 0')
            self.close_connection = True
        elif reply == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            while not self.service.over.is_set():
                try:
                    self.wfile.write(b" ")
                    self.wfile.flush()
                except OSError:
                    break
                time.sleep(0.02)
            self.close_connection = True
        elif isinstance(reply, bytes):
            self._send(200, reply)
        else:
            self._send(reply, b"{}", self.service.headers)

    def _take(self, body: dict[str, Any]) -> dict[str, Any]:
        self.service.bodies.append(body)
        task = f"task-{len(self.service.bodies)}"
        self.service.done[task] = 0
        return {"task_uuid": task}

    def _status(self) -> dict[str, Any]:
        task = self.path.rsplit("/", 1)[-1]
        self.service.done[task] += 1
        if self.service.done[task] == 1:
            return {"status": "running"}
        if self.service.fail:
            return {"status": "failed", "error": self.service.fail}
        body = self.service.bodies[int(task.split("-")[1]) - 1]
        kind, _, data = body["image"].partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        objects = self.service.look(pixels, body["prompt"]["text"].split("."))
        found = [one for one in objects if one["score"] >= body["bbox_threshold"]]
        return {"status": "success", "result": {"objects": found}}

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
