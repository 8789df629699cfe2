"""What can be taken away from a tab: the labelled file, an export, a project."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from autolabel.app import handlers, html
from autolabel.app.desk import Desk
from autolabel.app.guard import Update, session, told
from autolabel.app.layout import Results
from autolabel.errors import AutolabelError

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
FREE: dict[str, Any] = {**QUIET, "concurrency_limit": None, "queue": False}
"""Of what answers at once."""
LONG: dict[str, Any] = {**QUIET, "concurrency_limit": None}
"""Of what shows how far it is."""
SAVE = "(root) => { const links = document.querySelectorAll('%s a.al-link'); \
if (links.length) links[links.length - 1].click(); }"


class Taking:
    """The buttons under a result.

    Args:
        desk: Where results are.
        kind: "image" or "video".
        results: The parts of the page.
    """

    def __init__(self, desk: Desk, kind: str, results: Results) -> None:
        self._desk, self._kind, self._results = desk, kind, results

    def connect(self) -> None:
        """Connect the buttons with what they do."""
        parts = self._results
        save = SAVE % f"#al-{self._kind}-files"
        for button, handler, given in (
            (parts.save, self._save, None),
            (parts.zip, self._export, [parts.format, parts.pictures]),
        ):
            event = button.click(
                told(handler, parts.files), given, [parts.files, parts.player], **LONG
            )
            event.success(None, js=save)
        parts.keep.click(told(self._keep, parts.files), None, [parts.files], **FREE)

    async def _save(self, request: gr.Request) -> AsyncIterator[Update]:
        """Draw the result as it is chosen now, and offer it."""
        visit, files = self._desk.visit(session(request)), self._results.files
        found = visit.found.get(self._kind)
        if found is None:
            return
        again = found.stale
        if again:
            thresholds = dict(found.thresholds)
            job = await asyncio.to_thread(handlers.redraw, self._desk, visit, found)
            async for words in handlers.watched(self._desk.files, job, visit.served):
                yield {files: words}
            handlers.drawn(found, job, thresholds)
            if failure := handlers.failed(job):
                yield {files: failure}
                return
        file = await asyncio.to_thread(handlers.labelled_file, found)
        shown: Update = {files: html.download(file, f"Save {file.name}")}
        if self._kind == "video" and again:
            shown[self._results.player] = html.player(file)
        yield shown

    async def _export(
        self, format_name: str, pictures: bool, request: gr.Request
    ) -> AsyncIterator[Update]:
        """Export what is shown, and offer the zip."""
        visit, files = self._desk.visit(session(request)), self._results.files
        found = visit.found.get(self._kind)
        if found is None:
            return
        job = await asyncio.to_thread(
            handlers.export, self._desk, visit, found, format_name, pictures
        )
        async for words in handlers.watched(self._desk.files, job, visit.served):
            yield {files: words}
        if failure := handlers.failed(job):
            yield {files: failure}
            return
        file = Path(job.result["file"])
        counts = f"{job.result['instances']} labels of {job.result['pictures']} pictures"
        notes = "".join(html.note("warning", html.text(line)) for line in job.result["notes"])
        yield {files: html.download(file, f"Save {file.name}, {counts}") + notes}

    def _keep(self, request: gr.Request) -> Update:
        """Keep the result as a project."""
        visit, files = self._desk.visit(session(request)), self._results.files
        found = visit.found.get(self._kind)
        if found is None:
            return {files: gr.skip()}
        try:
            folder = found.keep(self._desk.keep, visit.folder / "narrowed")
        except AutolabelError as error:
            return {files: html.note("error", html.text(handlers.sentence(error)))}
        return {files: handlers.kept(folder)}
