"""A client of the DeepDataSpace API (version 2): tasks are sent, asked about, and counted.

``POST /v2/task/NAME/detection`` gives a task's id, ``GET /v2/task_status/ID`` what became of it.
Every answer is ``{"code": 0, "msg": ..., "data": ...}``. What may succeed later (429, 5xx, a
broken or slow connection) is tried again with a longer pause each time, or after what
``Retry-After`` says; a task that was accepted is never sent twice.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autolabel.errors import InputError, ServiceError, UsageError

LOG = logging.getLogger(__name__)
MAX_ANSWER = 64 << 20
"""Bytes of an answer."""
LONGEST_PAUSE = 60.0
_LATER = (408, 425, 429, 500, 502, 503, 504)
_REFUSED = {401: "refuses the token", 402: "has no quota left for it", 403: "refuses the token"}


@dataclass(frozen=True, slots=True)
class Manners:
    """How patient the client is; seconds.

    Attributes:
        timeout: Without a byte, until a request is given up.
        answer: Until an answer must be there, however slowly it comes.
        task: Until a task must be done.
        tries: How often one request is sent at most.
        pause: Before the second try; doubled for each one after it.
        poll: Between two questions about a task.
        apart: Least time between two tasks: the rate limit of the account.
    """

    timeout: float = 20.0
    answer: float = 60.0
    task: float = 120.0
    tries: int = 5
    pause: float = 1.0
    poll: float = 0.5
    apart: float = 0.0


class _Later(Exception):
    """What went wrong may go right in some seconds."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Client:
    """Sends tasks one after the other, and counts those that were accepted (``sent``).

    ``most`` is how many it may send; None for any number.

    Args:
        address: Where the API is, "https://...".
        token: What the account is known by; never logged.
        manners: How patient to be.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        address: str,
        token: str,
        manners: Manners | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not address.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise UsageError(f"{address}: expected https://, for the token goes with each request")
        self._address, self._token = address.rstrip("/"), token
        self._manners, self._sleep = manners or Manners(), sleep
        self._lock = threading.Lock()
        self._last = -1e9
        self.sent = 0
        self.most: int | None = None

    def run(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return a task's result.

        Raises:
            ServiceError: If the token is refused, no more tasks may be sent, or the service
                can't be reached for too long.
            InputError: If this task failed, or its answer makes no sense.
        """
        with self._lock:
            data = self._start(path, body)
            task = data.get("task_uuid")
            if not isinstance(task, str) or not task:
                raise InputError("the API gave no task_uuid")
            return self._wait_for(task)

    def _start(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.most is not None and self.sent >= self.most:
            raise ServiceError(
                f"--max-requests {self.most}: that many tasks were sent. What was labelled is in "
                "the project; the same command with a larger number goes on"
            )
        rest = self._last + self._manners.apart - time.monotonic()
        if rest > 0:
            self._sleep(rest)
        data = self._insist("POST", path, body)
        self._last = time.monotonic()
        self.sent += 1
        return data

    def _wait_for(self, task: str) -> dict[str, Any]:
        """Return the result of a task once it is done."""
        end = time.monotonic() + self._manners.task
        while True:
            data = self._insist("GET", f"/v2/task_status/{task}", None)
            status = data.get("status")
            if status == "success":
                result = data.get("result")
                if not isinstance(result, dict):
                    raise InputError(f"the API's task {task} succeeded without a result")
                return result
            if status not in ("waiting", "running"):
                raise InputError(f"the API's task {task}: {status}: {data.get('error')}")
            if time.monotonic() > end:
                raise InputError(
                    f"the API's task {task} was not done after {self._manners.task:g} s"
                )
            self._sleep(self._manners.poll)

    def _insist(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Return an answer's data, tried again where that may help."""
        pause = self._manners.pause
        for left in reversed(range(self._manners.tries)):
            try:
                return self._once(method, path, body)
            except _Later as later:
                if not left:
                    raise ServiceError(
                        f"{self._address}{path}: {later} ({self._manners.tries} tries)"
                    ) from later
                seconds = (
                    pause * random.uniform(0.8, 1.2) if later.seconds is None else later.seconds
                )
                seconds = min(seconds, LONGEST_PAUSE)
                LOG.warning("%s: %s; again in %.1f s", self._address, later, seconds)
                self._sleep(seconds)
                pause *= 2
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(
            self._address + path,
            None if body is None else json.dumps(body).encode(),
            {"Token": self._token, "Content-Type": "application/json", "User-Agent": "autolabel"},
            method=method,
        )
        try:
            with _OPENER.open(request, timeout=self._manners.timeout) as answer:
                text = self._read(answer)
        except urllib.error.HTTPError as error:
            raise self._refusal(error, path) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            # A task may have been taken before its answer was lost: it isn't sent again.
            if method == "POST" and not _never_arrived(error):
                raise InputError(f"{self._address}{path}: {reason}") from error
            raise _Later(f"{reason}") from error
        return _data(text, self._address + path)

    def _read(self, answer: Any) -> bytes:
        """Return an answer's body, unless it comes too slowly or is too long."""
        end, parts, length = time.monotonic() + self._manners.answer, [], 0
        while part := answer.read1(1 << 16):
            parts.append(part)
            length += len(part)
            if length > MAX_ANSWER:
                raise InputError(f"{self._address}: an answer of more than {MAX_ANSWER >> 20} MiB")
            if time.monotonic() > end:
                raise TimeoutError(f"the answer was not there after {self._manners.answer:g} s")
        if answer.length:  # of what Content-Length announced, this much is missing
            raise ConnectionResetError(f"the answer broke off, {answer.length} bytes are missing")
        return b"".join(parts)

    def _refusal(self, error: urllib.error.HTTPError, path: str) -> Exception:
        """Return what an HTTP status means."""
        with error:
            code, wait = error.code, error.headers.get("Retry-After", "")
        if code in _REFUSED:
            return ServiceError(
                f"{self._address} {_REFUSED[code]} ({code}). Check the environment variable "
                "DDS_API_TOKEN and the account it belongs to"
            )
        if code in _LATER:
            return _Later(f"HTTP {code}", float(wait) if wait.isdecimal() else None)
        return InputError(f"{self._address}{path}: HTTP {code}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: the token would go along to wherever it leads."""

    def redirect_request(self, *_args: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _never_arrived(error: BaseException) -> bool:
    """Return whether the request can't have been taken: there was no connection at all.

    urllib wraps what goes wrong until a request is sent; what comes bare came afterwards.
    """
    reason = error.reason if isinstance(error, urllib.error.URLError) else None
    return isinstance(reason, OSError) and not isinstance(
        reason, TimeoutError | ConnectionResetError | ConnectionAbortedError | BrokenPipeError
    )


def _data(text: bytes, where: str) -> dict[str, Any]:
    """Return the data of an answer that says it is one.

    Raises:
        InputError: If it is no JSON, or says that something went wrong.
    """
    try:
        answer = json.loads(text)
        code, data = answer["code"], answer.get("data")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        shown = text[:80].decode("utf-8", "replace")
        raise InputError(f"{where}: expected JSON with a code, found {shown!r}") from error
    if code != 0:
        raise InputError(f"{where}: code {code}: {str(answer.get('msg'))[:200]}")
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected data, found {type(data).__name__}")
    return data
