"""Work in child processes, one at a time in the order asked for, which can be watched and ended.

A job is a request (JSON) to ``autolabel.app.worker``, which answers in lines of JSON. Whatever
happens to that process, a segmentation fault included, ends that one job with a sentence.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work and how far it is; written by its lane, read by anyone.

    Attributes:
        request: What the worker is asked, JSON values only.
        state: "waiting", "running", "done", "failed" or "cancelled".
        stage: What the worker is doing: "load", "label", "draw" or "write".
        done: Pictures or frames through this stage.
        total: How many there are; 0 if that isn't known.
        objects: Labels so far.
        previews: Pictures written so far, the newest last.
        notes: Remarks of the run, one line each.
        error: Why it failed, a sentence.
        result: What the worker answered at its end.
        since: When the present stage began (``time.monotonic``).
        began: When it left the queue.
    """

    request: dict[str, Any]
    state: str = WAITING
    stage: str = "load"
    done: int = 0
    total: int = 0
    objects: int = 0
    previews: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    since: float = 0.0
    began: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in (DONE, FAILED, CANCELLED)

    def take(self, message: dict[str, Any]) -> None:
        """Take in what the worker said."""
        stage = message.get("stage", self.stage)
        if stage != self.stage:
            self.stage, self.since = stage, time.monotonic()
        for name in ("done", "total", "objects", "error", "result"):
            if name in message:
                setattr(self, name, message[name])
        if "preview" in message:
            self.previews.append(message["preview"])
        if "note" in message:
            self.notes.append(message["note"])

    def seconds_left(self) -> float | None:
        """Return how long this stage will still take at its speed so far; None if unknown."""
        if not self.total or not self.done or self.state != RUNNING:
            return None
        return (time.monotonic() - self.since) / self.done * max(0, self.total - self.done)


class Lane:
    """A queue whose jobs run one at a time, each in a process of its own.

    Args:
        warm: Keep a process ready that has loaded what labelling needs, so that the next job
            begins at once.
    """

    def __init__(self, *, warm: bool = False) -> None:
        self._warm = warm
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: tuple[Job, subprocess.Popen[bytes]] | None = None
        self._spare: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def submit(self, request: dict[str, Any]) -> Job:
        """Return the job that will do this, behind those that wait."""
        job = Job(request)
        with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def ahead(self, job: Job) -> int:
        """Return how many jobs come before this one."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def cancel(self, job: Job) -> None:
        """End a job now, wherever it is."""
        with self._changed:
            if job.over:
                return
            job.state = CANCELLED
            if job in self._waiting:
                self._waiting.remove(job)
            if self._running is not None and self._running[0] is job:
                _kill(self._running[1])

    def close(self) -> None:
        """End all jobs and processes."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.state = CANCELLED
            self._waiting.clear()
            if self._running is not None:
                self._running[0].state = CANCELLED
                _kill(self._running[1])
            self._changed.notify_all()
        self._thread.join(timeout=10)
        if self._spare is not None:
            _kill(self._spare)
            self._spare.wait()

    def _work(self) -> None:
        """Do one job after the other until closed."""
        while True:
            if self._warm and self._spare is None and not self._closed:
                self._spare = _start(warm=True)
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._waiting.popleft()
                process = self._process()
                self._running = job, process
                job.state, job.began = RUNNING, time.monotonic()
                job.since = job.began
            try:
                _follow(job, process)
            finally:
                with self._changed:
                    self._running = None

    def _process(self) -> subprocess.Popen[bytes]:
        """Return the process that waits, if it is well, or a new one."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.poll() is None:
            return spare
        return _start(warm=False)


def _start(*, warm: bool) -> subprocess.Popen[bytes]:
    """Return a worker that waits for its request."""
    command = [sys.executable, "-m", "autolabel.app.worker", *(["--warm"] if warm else [])]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )


def _follow(job: Job, process: subprocess.Popen[bytes]) -> None:
    """Give a worker its request and take in what it says until it ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(job.request).encode() + b"\n")
        process.stdin.flush()
    for line in process.stdout:
        with suppress(ValueError):
            job.take(json.loads(line))
    code = process.wait()
    process.stdout.close()
    with suppress(BrokenPipeError):
        process.stdin.close()  # to the worker that means that the page is gone: only now
    if job.over:
        return
    if code != 0 and not job.error:
        job.error = _told(code)
    job.state = FAILED if job.error else DONE


def _told(code: int) -> str:
    """Return why a worker is gone that said nothing."""
    if code == -signal.SIGKILL:
        return (
            "The process that did this was killed, which is what happens when memory runs out. "
            "Try a smaller or shorter input, or smaller models."
        )
    what = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return (
        f"The process that did this crashed ({what}). Nothing else was harmed: try again, or "
        "another file. What it said is in the terminal of autolabel app."
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a worker and what it started, now."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
