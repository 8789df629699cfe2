"""The Image and Video tabs of the page: what is given at the left, what was found at the right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from autolabel.app import handlers, html
from autolabel.app.desk import Visit
from autolabel.app.guard import Update, told
from autolabel.app.handlers import Asked, Files
from autolabel.app.jobs import DONE, Job
from autolabel.app.limits import EXTENSIONS
from autolabel.app.results import Found
from autolabel.config import PROMPT_TYPES
from autolabel.errors import AutolabelError
from autolabel.formats import FORMATS
from autolabel.ontology import to_yaml
from autolabel.registry import PRESETS

if TYPE_CHECKING:
    from autolabel.app.page import Page

ALL = "all classes"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
FREE: dict[str, Any] = {**QUIET, "concurrency_limit": None, "queue": False}
"""Of what answers at once."""
LONG: dict[str, Any] = {**QUIET, "concurrency_limit": None}
"""Of what shows how far it is."""
SAVE = "(root) => { const links = document.querySelectorAll('%s a.al-link'); \
if (links.length) links[links.length - 1].click(); }"


class Tab:
    """The Image tab or the Video tab: inputs at the left, results at the right."""

    def __init__(self, page: Page, kind: str) -> None:
        self.page, self.desk, self.kind = page, page.desk, kind
        with gr.Row(elem_classes="al-split"):
            with gr.Column(scale=4, min_width=300):
                self._inputs()
            with gr.Column(scale=9, min_width=320, elem_id=f"al-{kind}"):
                self._results()

    def _inputs(self) -> None:
        """Lay out what a visitor gives."""
        kind, limits = self.kind, self.desk.limits
        self.file = gr.File(
            label="Pictures" if kind == "image" else "Video",
            file_count="multiple" if kind == "image" else "single",
            file_types=list(EXTENSIONS[kind]),
            height=150,
            elem_id=f"al-{kind}-file",
        )
        self.example = gr.Button(
            "Take the example", size="sm", variant="secondary", elem_id=f"al-{kind}-example"
        )
        self.models = gr.Dropdown(
            list(PRESETS),
            value=self.page.preset,
            label="Models",
            info="tiny knows drawn shapes only; base wants a GPU.",
            filterable=False,
            elem_id=f"al-{kind}-models",
        )
        if kind == "video":
            self.prompt = gr.Radio(
                [(name.capitalize(), name) for name in PROMPT_TYPES],
                value=PROMPT_TYPES[0],
                label="Show new objects to SAM 2 as",
                elem_id="al-video-prompt",
            )
            self.every = gr.Slider(
                1, 60, 10, step=1, label="Frames between detections", elem_id="al-video-every"
            )
        self.start_threshold = gr.Slider(
            0.1,
            1,
            0.3,
            step=0.01,
            label="Threshold",
            info="For what is typed above; an ontology has its own.",
            elem_id=f"al-{kind}-start",
        )
        with gr.Row():
            self.run = gr.Button("Label", variant="primary", elem_id=f"al-{kind}-run")
            self.cancel = gr.Button(
                "Cancel", variant="stop", visible=False, elem_id=f"al-{kind}-cancel"
            )
        more = f"{limits.pictures} pictures"
        long = f"{limits.seconds:g} seconds and {limits.frames} frames"
        self._limits = f"Up to {limits.megabytes} MB a file, {more if kind == 'image' else long}."

    def _results(self) -> None:
        """Lay out what a visitor gets."""
        kind = self.kind
        self.status = gr.HTML(html.empty(kind, self._limits), elem_id=f"al-{kind}-status")
        self.nearest = gr.Button(
            "Show the nearest", size="sm", visible=False, elem_id=f"al-{kind}-nearest"
        )
        with gr.Column(visible=False) as self.results:
            self.legend = gr.HTML(elem_id=f"al-{kind}-legend")
            self.style = gr.HTML(elem_classes="al-style")
            with gr.Row(elem_classes="al-thresholds"):
                self.which = gr.Dropdown(
                    [ALL], value=ALL, label="Threshold of", filterable=False, scale=1,
                    min_width=140, elem_id=f"al-{kind}-which",
                )  # fmt: skip
                self.slider = gr.Slider(
                    0.1, 1, 0.3, step=0.01, label="Show what scores at least", scale=3,
                    elem_id=f"al-{kind}-threshold",
                )  # fmt: skip
            if kind == "video":
                self.player = gr.HTML(elem_id="al-video-player")
            self.gallery = gr.HTML(elem_id=f"al-{kind}-gallery")
            self.table = gr.HTML(elem_id=f"al-{kind}-objects")
            with gr.Row(elem_classes="al-take"):
                what = "picture" if kind == "image" else "video"
                self.save = gr.Button(f"Save {what}", size="md", elem_id=f"al-{kind}-save")
                self.format = gr.Dropdown(
                    list(FORMATS), value="coco", label="Format", filterable=False,
                    show_label=False, container=False, min_width=120, elem_id=f"al-{kind}-format",
                )  # fmt: skip
                self.pictures = gr.Checkbox(
                    True, label="with pictures", container=False, min_width=110,
                    elem_id=f"al-{kind}-pictures",
                )  # fmt: skip
                self.zip = gr.Button("Export as zip", size="md", elem_id=f"al-{kind}-zip")
                self.keep = gr.Button(
                    "Open as a project", size="md", min_width=170, elem_id=f"al-{kind}-keep"
                )
            self.files = gr.HTML(elem_id=f"al-{kind}-files")
            with gr.Accordion("Copy as command", open=False, elem_id=f"al-{kind}-copy"):
                self.command = gr.Code(
                    language="shell", interactive=False, show_label=False,
                    elem_id=f"al-{kind}-command",
                )  # fmt: skip

    def connect(self) -> None:
        """Connect the parts with what they do."""
        page = self.page
        asked = [self.file, page.quick, page.yaml, self.start_threshold]
        chosen = [self.models, *([self.prompt, self.every] if self.kind == "video" else [])]
        self._shown = [
            self.status, self.results, self.legend, self.style, self.which, self.slider,
            self.gallery, self.table, self.files, self.command, self.run, self.cancel, self.nearest,
            *([self.player] if self.kind == "video" else []),
        ]  # fmt: skip
        self.file.upload(told(self._add, self.status), [self.file], [self.status], **FREE)
        self.example.click(
            told(self._example, self.status), None,
            [self.file, page.quick, page.classes, page.yaml, page.made, self.models, self.status],
            **FREE,
        )  # fmt: skip
        begin = self._label_pictures if self.kind == "image" else self._label_video
        ended = told(begin, self.status, self._ready())
        self.run.click(ended, [*asked, *chosen], self._shown, **LONG)
        self.cancel.click(told(self._cancel), None, None, **FREE)
        self.slider.input(
            told(self._select, self.status), [self.which, self.slider], self._selected(),
            trigger_mode="always_last", **FREE,
        )  # fmt: skip
        self.which.input(
            told(self._which, self.status), [self.which], [self.slider, self.status], **FREE
        )
        self.nearest.click(
            told(self._lower, self.status), None,
            [*self._selected(), self.slider, self.which], **FREE,
        )  # fmt: skip
        self._connect_files()

    def _connect_files(self) -> None:
        """Connect what makes something to take away."""
        taken = [self.files, *([self.player] if self.kind == "video" else [])]
        save = SAVE % f"#al-{self.kind}-files"
        for button, handler, given in (
            (self.save, self._save, None),
            (self.zip, self._export, [self.format, self.pictures]),
        ):
            event = button.click(told(handler, self.files), given, taken, **LONG)
            event.success(None, js=save)
        self.keep.click(told(self._keep, self.files), None, [self.files], **FREE)

    def _ready(self) -> Update:
        """Return what the buttons are when nothing is under way."""
        return {self.run: gr.update(interactive=True), self.cancel: gr.update(visible=False)}

    def _selected(self) -> list[Any]:
        """Return what a threshold changes."""
        return [
            self.legend, self.style, self.status, self.files, self.command, self.nearest,
        ]  # fmt: skip

    def _visit(self, request: gr.Request) -> Visit:
        """Return whose page it is."""
        return self.desk.visit(session(request))

    def _add(self, files: Files, request: gr.Request) -> Update:
        """Files were uploaded."""
        try:
            self.desk.add(self._visit(request), self.kind, handlers.listed(files))
        except AutolabelError as error:
            return {self.status: html.note("error", html.text(handlers.sentence(error)))}
        return {self.status: gr.skip()}

    def _example(self, request: gr.Request) -> Update:
        """Fill the page with something that works at once."""
        path, quick = handlers.example(self.desk, self._visit(request), self.kind)
        asked = Asked(quick, "")
        return {
            self.file: [str(path)] if self.kind == "image" else str(path),
            self.page.quick: quick,
            self.page.classes: handlers.described(asked),
            self.page.yaml: (as_file := handlers.as_yaml(asked) or ""),
            self.page.made: as_file,
            self.status: gr.skip(),
            self.models: "tiny",
        }

    async def _label_pictures(
        self,
        files: Files,
        quick: str,
        yaml: str,
        threshold: float,
        models: str,
        request: gr.Request,
    ) -> AsyncIterator[Update]:
        """Label pictures."""
        asked = Asked(quick or "", yaml or "", threshold)
        async for update in self._label(files, asked, {"preset": models}, request):
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
            self.desk.add(
                visit, self.kind, handlers.listed(files)
            )  # what is seen, whatever came before
            job = self.desk.label(visit, self.kind, to_yaml(ontology), options)
        except AutolabelError as error:
            yield {self.status: html.note("error", html.text(handlers.sentence(error)))}
            return
        yield {
            self.status: html.progress(job, self.desk.models.ahead(job), visit.served),
            self.nearest: gr.update(visible=False),
            self.run: gr.update(interactive=False),
            self.cancel: gr.update(visible=True),
            self.results: gr.update(visible=False),
        }
        async for words in handlers.watched(self.desk.models, job, visit.served):
            yield {self.status: words}
        if job.state != DONE:
            yield {self.status: handlers.outcome(job, None), **self._ready()}
            return
        yield {**await asyncio.to_thread(self._found, visit, job), **self._ready()}

    def _found(self, visit: Visit, job: Job) -> Update:
        """Show what a job found."""
        found = self.desk.collect(visit, self.kind, job)
        if not found.scene["pictures"]:
            return {self.status: handlers.outcome(job, found)}
        keys = found.visible()
        seconds = html.note(
            "good", f"Labelled in {job.result['seconds']:.1f} s." if keys else "Done."
        )
        shown: Update = {
            self.status: handlers.outcome(job, found) or seconds,
            self.results: gr.update(visible=True),
            self.legend: handlers.summary(found, keys),
            self.style: html.shown(keys, self.kind),
            self.which: gr.update(choices=[ALL, *found.thresholds], value=ALL),
            self.slider: self._range(found, None),
            self.gallery: html.gallery(found.scene, found.view, self.kind),
            self.table: html.table(found.scene, self.kind),
            self.files: "",
            self.command: found.command(),
            self.nearest: self._offer(found, keys),
        }
        if self.kind == "video":
            shown[self.player] = html.player(handlers.labelled_file(found))
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
            return {self.slider: gr.skip()}
        return {self.slider: self._range(found, None if which == ALL else which)}

    def _select(self, which: str, value: float, request: gr.Request) -> Update:
        """Show what reaches a threshold; no model runs."""
        found = self._visit(request).found.get(self.kind)
        if found is None:
            return {self.status: gr.skip()}
        return self._chosen(found, found.select(None if which == ALL else which, float(value)))

    def _lower(self, request: gr.Request) -> Update:
        """Show the nearest candidates below the threshold, where nothing reached it."""
        found = self._visit(request).found.get(self.kind)
        nearest = found.nearest() if found is not None else None
        if found is None or nearest is None:
            return {self.nearest: gr.update(visible=False)}
        shown = self._chosen(found, found.select(None, nearest))
        return {**shown, self.slider: self._range(found, None), self.which: ALL}

    def _offer(self, found: Found, keys: list[str]) -> Any:
        """Return the button that shows the nearest, where there is nothing else to see."""
        return gr.update(visible=not keys and found.nearest() is not None)

    def _chosen(self, found: Found, keys: list[str]) -> Update:
        """Return the page with these objects shown."""
        below = "" if keys else html.nothing(found.below(), found.scene["classes"])
        stale = "The video shows the thresholds of before: save it to draw it anew."
        note = html.note("warning", stale) if self.kind == "video" and found.stale else ""
        return {
            self.legend: handlers.summary(found, keys),
            self.style: html.shown(keys, self.kind),
            self.status: below or note,
            self.files: "",
            self.command: found.command(),
            self.nearest: self._offer(found, keys),
        }

    def _cancel(self, request: gr.Request) -> None:
        """End the job that is under way."""
        job = self._visit(request).jobs.get(self.kind)
        if job is not None:
            self.desk.models.cancel(job)

    async def _save(self, request: gr.Request) -> AsyncIterator[Update]:
        """Draw the result as it is chosen now, and offer it."""
        visit = self._visit(request)
        found = visit.found.get(self.kind)
        if found is None:
            return
        again = found.stale
        if again:
            thresholds = dict(found.thresholds)
            job = await asyncio.to_thread(handlers.redraw, self.desk, visit, found)
            async for words in handlers.watched(self.desk.files, job, visit.served):
                yield {self.files: words}
            handlers.drawn(found, job, thresholds)
            if failure := handlers.failed(job):
                yield {self.files: failure}
                return
        file = await asyncio.to_thread(handlers.labelled_file, found)
        shown: Update = {self.files: html.download(file, f"Save {file.name}")}
        if self.kind == "video" and again:
            shown[self.player] = html.player(file)
        yield shown

    async def _export(
        self, format_name: str, pictures: bool, request: gr.Request
    ) -> AsyncIterator[Update]:
        """Export what is shown, and offer the zip."""
        visit = self._visit(request)
        found = visit.found.get(self.kind)
        if found is None:
            return
        job = await asyncio.to_thread(
            handlers.export, self.desk, visit, found, format_name, pictures
        )
        async for words in handlers.watched(self.desk.files, job, visit.served):
            yield {self.files: words}
        if failure := handlers.failed(job):
            yield {self.files: failure}
            return
        file = Path(job.result["file"])
        counts = f"{job.result['instances']} labels of {job.result['pictures']} pictures"
        notes = "".join(html.note("warning", html.text(line)) for line in job.result["notes"])
        yield {self.files: html.download(file, f"Save {file.name}, {counts}") + notes}

    def _keep(self, request: gr.Request) -> Update:
        """Keep the result as a project."""
        visit = self._visit(request)
        found = visit.found.get(self.kind)
        if found is None:
            return {self.files: gr.skip()}
        try:
            folder = found.keep(self.desk.keep, visit.folder / "narrowed")
        except AutolabelError as error:
            return {self.files: html.note("error", html.text(handlers.sentence(error)))}
        return {self.files: handlers.kept(folder)}


def session(request: gr.Request) -> str:
    """Return what tells one browser tab from another."""
    return str(request.session_hash)
