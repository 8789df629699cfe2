"""What the Image and Video tabs do: take files, label them, show and select what was found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from autolabel.app import handlers, html
from autolabel.app.desk import Visit
from autolabel.app.guard import Update, session, told
from autolabel.app.handlers import Asked, Files
from autolabel.app.jobs import DONE, Job
from autolabel.app.layout import ALL, Given, Results
from autolabel.app.results import Found
from autolabel.app.taking import FREE, LONG, Taking
from autolabel.errors import AutolabelError
from autolabel.ontology import to_yaml

if TYPE_CHECKING:
    from autolabel.app.page import Page


class Tab:
    """The Image tab or the Video tab: inputs at the left, results at the right."""

    def __init__(self, page: Page, kind: str) -> None:
        self.page, self.desk, self.kind = page, page.desk, kind
        with gr.Row(elem_classes="al-split"):
            with gr.Column(scale=4, min_width=300):
                self.given = Given(kind, self.desk.limits, page.preset)
            with gr.Column(scale=9, min_width=320, elem_id=f"al-{kind}"):
                self.got = Results(kind, self.desk.limits)

    def connect(self) -> None:
        """Connect the parts with what they do."""
        page, given, got = self.page, self.given, self.got
        asked = [given.file, page.quick, page.yaml, given.threshold]
        shown = [
            got.status, got.all, got.legend, got.style, got.which, got.slider, got.gallery,
            got.table, got.files, got.command, got.nearest, got.player, given.run, given.cancel,
        ]  # fmt: skip
        given.file.upload(told(self._add, got.status), [given.file], [got.status], **FREE)
        given.example.click(
            told(self._example, got.status), None,
            [given.file, page.quick, page.classes, page.yaml, page.made, given.models, got.status],
            **FREE,
        )  # fmt: skip
        begin = self._label_pictures if self.kind == "image" else self._label_video
        ended = told(begin, got.status, self._ready())
        given.run.click(ended, [*asked, *given.own], shown, **LONG)
        given.cancel.click(told(self._cancel), None, None, **FREE)
        got.slider.input(
            told(self._select, got.status), [got.which, got.slider], self._selected(),
            trigger_mode="always_last", **FREE,
        )  # fmt: skip
        got.which.input(
            told(self._which, got.status), [got.which], [got.slider, got.status], **FREE
        )
        got.nearest.click(
            told(self._lower, got.status), None,
            [*self._selected(), got.slider, got.which], **FREE,
        )  # fmt: skip
        Taking(self.desk, self.kind, got).connect()

    def _ready(self) -> Update:
        """Return what the buttons are when nothing is under way."""
        return {
            self.given.run: gr.update(interactive=True),
            self.given.cancel: gr.update(visible=False),
        }

    def _selected(self) -> list[Any]:
        """Return what a threshold changes."""
        got = self.got
        return [got.legend, got.style, got.status, got.files, got.command, got.nearest]

    def _visit(self, request: gr.Request) -> Visit:
        """Return whose page it is."""
        return self.desk.visit(session(request))

    def _add(self, files: Files, request: gr.Request) -> Update:
        """Files were uploaded."""
        try:
            self.desk.add(self._visit(request), self.kind, handlers.listed(files))
        except AutolabelError as error:
            return {self.got.status: html.note("error", html.text(handlers.sentence(error)))}
        return {self.got.status: gr.skip()}

    def _example(self, request: gr.Request) -> Update:
        """Fill the page with something that works at once."""
        path, quick = handlers.example(self.desk, self._visit(request), self.kind)
        asked = Asked(quick, "")
        return {
            self.given.file: [str(path)] if self.kind == "image" else str(path),
            self.page.quick: quick,
            self.page.classes: handlers.described(asked),
            self.page.yaml: (as_file := handlers.as_yaml(asked) or ""),
            self.page.made: as_file,
            self.got.status: gr.skip(),
            self.given.models: "tiny",
        }

    async def _label_pictures(
        self,
        files: Files,
        quick: str,
        yaml: str,
        threshold: float,
        models: str,
        prompt: str,
        request: gr.Request,
    ) -> AsyncIterator[Update]:
        """Label pictures."""
        asked = Asked(quick or "", yaml or "", threshold)
        options = {"preset": models, "prompt_type": prompt}
        async for update in self._label(files, asked, options, request):
            yield update

    async def _label_video(
        self,
        files: Files,
        quick: str,
        yaml: str,
        threshold: float,
        models: str,
        prompt: str,
        every: float,
        request: gr.Request,
    ) -> AsyncIterator[Update]:
        """Label a video."""
        asked = Asked(quick or "", yaml or "", threshold)
        options = {"preset": models, "prompt_type": prompt, "keyframe_every": int(every)}
        async for update in self._label(files, asked, options, request):
            yield update

    async def _label(
        self, files: Files, asked: Asked, options: dict[str, Any], request: gr.Request
    ) -> AsyncIterator[Update]:
        """Label what was uploaded, and show how far it is and what was found."""
        visit = self._visit(request)
        try:
            ontology = asked.ontology()
            # What the field shows now counts, whatever was uploaded before.
            self.desk.add(visit, self.kind, handlers.listed(files))
            job = self.desk.label(visit, self.kind, to_yaml(ontology), options)
        except AutolabelError as error:
            yield {self.got.status: html.note("error", html.text(handlers.sentence(error)))}
            return
        yield {
            self.got.status: html.progress(job, self.desk.models.ahead(job), visit.served),
            self.got.nearest: gr.update(visible=False),
            self.given.run: gr.update(interactive=False),
            self.given.cancel: gr.update(visible=True),
            self.got.all: gr.update(visible=False),
        }
        async for words in handlers.watched(self.desk.models, job, visit.served):
            yield {self.got.status: words}
        if job.state != DONE:
            yield {self.got.status: handlers.outcome(job, None), **self._ready()}
            return
        yield {**await asyncio.to_thread(self._found, visit, job), **self._ready()}

    def _found(self, visit: Visit, job: Job) -> Update:
        """Show what a job found."""
        found = self.desk.collect(visit, self.kind, job)
        if not found.scene["pictures"]:
            return {self.got.status: handlers.outcome(job, found)}
        keys = found.visible()
        seconds = html.note(
            "good", f"Labelled in {job.result['seconds']:.1f} s." if keys else "Done."
        )
        shown: Update = {
            self.got.status: handlers.outcome(job, found) or seconds,
            self.got.all: gr.update(visible=True),
            self.got.legend: handlers.summary(found, keys),
            self.got.style: html.shown(keys, self.kind),
            self.got.which: gr.update(choices=[ALL, *found.thresholds], value=ALL),
            self.got.slider: self._range(found, None),
            self.got.gallery: html.gallery(found.scene, found.view, self.kind),
            self.got.table: html.table(found.scene, self.kind),
            self.got.files: "",
            self.got.command: found.command(),
            self.got.nearest: self._offer(found, keys),
        }
        if self.kind == "video":
            shown[self.got.player] = html.player(handlers.labelled_file(found))
        return shown

    def _range(self, found: Found, class_name: str | None) -> Any:
        """Return the slider for a class."""
        limits = found.thresholds
        value = min(limits.values()) if class_name is None else limits[class_name]
        return gr.update(minimum=round(found.floor, 2), value=max(value, found.floor))

    def _which(self, which: str, request: gr.Request) -> Update:
        """Another class's threshold is to be moved."""
        found = self._visit(request).found.get(self.kind)
        if found is None:
            return {self.got.slider: gr.skip()}
        return {self.got.slider: self._range(found, None if which == ALL else which)}

    def _select(self, which: str, value: float, request: gr.Request) -> Update:
        """Show what reaches a threshold; no model runs."""
        found = self._visit(request).found.get(self.kind)
        if found is None:
            return {self.got.status: gr.skip()}
        return self._chosen(found, found.select(None if which == ALL else which, float(value)))

    def _lower(self, request: gr.Request) -> Update:
        """Show the nearest candidates below the threshold, where nothing reached it."""
        found = self._visit(request).found.get(self.kind)
        nearest = found.nearest() if found is not None else None
        if found is None or nearest is None:
            return {self.got.nearest: gr.update(visible=False)}
        shown = self._chosen(found, found.select(None, nearest))
        return {**shown, self.got.slider: self._range(found, None), self.got.which: ALL}

    def _offer(self, found: Found, keys: list[str]) -> Any:
        """Return the button that shows the nearest, where there is nothing else to see."""
        return gr.update(visible=not keys and found.nearest() is not None)

    def _chosen(self, found: Found, keys: list[str]) -> Update:
        """Return the page with these objects shown."""
        below = "" if keys else html.nothing(found.below(), found.scene["classes"])
        stale = "The video shows the thresholds of before: save it to draw it anew."
        note = html.note("warning", stale) if self.kind == "video" and found.stale else ""
        return {
            self.got.legend: handlers.summary(found, keys),
            self.got.style: html.shown(keys, self.kind),
            self.got.status: below or note,
            self.got.files: "",
            self.got.command: found.command(),
            self.got.nearest: self._offer(found, keys),
        }

    def _cancel(self, request: gr.Request) -> None:
        """End the job that is under way."""
        job = self._visit(request).jobs.get(self.kind)
        if job is not None:
            self.desk.models.cancel(job)
