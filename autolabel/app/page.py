"""The page: the line at the top, the tabs and the ontology; with ``tab``, the user of Gradio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from autolabel.app import handlers, html
from autolabel.app.desk import Desk
from autolabel.app.guard import Update, session, told
from autolabel.app.handlers import Asked
from autolabel.app.limits import Limits
from autolabel.app.tab import Tab
from autolabel.app.taking import FREE
from autolabel.ontology.tree import MAX_BYTES

YAML = [".yaml", ".yml"]
TITLES = {"image": "Image", "video": "Video"}
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
CSS = Path(__file__).with_name("style.css")
REFUSING = Path(__file__).with_name("refusing.js")


def theme() -> gr.themes.Base:
    """Return the page's colours and letters; fonts are the machine's own."""
    return gr.themes.Base(
        primary_hue="indigo", neutral_hue="slate", radius_size="lg", font=FONTS, font_mono=MONO
    )


class Page:
    """The page of one server.

    Args:
        desk: Where visits, jobs and results are.
        preset: The models chosen at first.
    """

    def __init__(self, desk: Desk, preset: str) -> None:
        self.desk, self.preset = desk, preset
        with gr.Blocks(
            title="autolabel", analytics_enabled=False, delete_cache=(3600, 3600)
        ) as self.blocks:
            self._build()

    def _build(self) -> None:
        """Lay the page out and connect it."""
        gr.HTML(html.header())
        self.quick = gr.Textbox(
            label="What to find",
            placeholder="car, delivery van = van, person = pedestrian",
            info="Commas between; `prompt = class` gives a class another name.",
            elem_id="al-quick",
            max_length=4000,
        )
        self.classes = gr.HTML(elem_id="al-classes")
        with gr.Tabs(elem_id="al-tabs"):
            tabs = []
            for kind in ("image", "video"):
                with gr.Tab(TITLES[kind], id=kind):
                    tabs.append(Tab(self, kind))
            with gr.Tab("Ontology", id="ontology"):
                self._ontology()
        for tab in tabs:
            tab.connect()
        self.blocks.unload(told(self._leave))

    def _ontology(self) -> None:
        """Lay out the tab of the ontology."""
        gr.Markdown(
            "What is typed above, as a file. Edit it for thresholds, negative prompts, sizes and "
            "colours of each class, or load one; what is written here then counts.",
            elem_classes="al-hint",
        )
        with gr.Row():
            load = gr.UploadButton("Load YAML", file_types=list(YAML), size="sm", elem_id="al-load")
            check = gr.Button("Check", size="sm", elem_id="al-check")
        gr.HTML(html.refusal("load"), elem_classes="al-refusals")
        self.yaml = gr.Code(
            language="yaml", lines=14, max_lines=30, label="classes.yaml", elem_id="al-yaml"
        )
        self.errors = gr.HTML(elem_id="al-errors")
        self.made = gr.State("")
        asked = [self.quick, self.yaml]
        both = [self.classes, self.errors]
        # Gradio's "input" of a line is its key presses: what is pasted or deleted is a "change".
        self.quick.change(
            told(self._typed, self.classes), [*asked, self.made], [*both, self.yaml, self.made],
            trigger_mode="always_last", **FREE,
        )  # fmt: skip
        self.yaml.input(
            told(self._edited, self.errors), [self.yaml], [*both, self.quick, self.made],
            trigger_mode="always_last", **FREE,
        )  # fmt: skip
        check.click(told(self._checked, self.errors), asked, both, **FREE)
        load.upload(
            told(self._loaded, self.errors),
            [load],
            [self.yaml, *both, self.quick, self.made],
            **FREE,
        )

    def _leave(self, request: gr.Request) -> None:
        """A tab was closed."""
        self.desk.leave(session(request))

    def _typed(self, quick: str, yaml: str, made: str) -> Update:
        """The line at the top changed: it becomes the ontology; emptied, what it made goes."""
        quick, yaml = quick or "", yaml or ""
        if not quick.strip():
            return self._emptied(yaml, made)
        asked = Asked(quick, "")
        shown: Update = {self.classes: handlers.described(asked), self.errors: ""}
        as_file = handlers.as_yaml(asked)
        return shown if as_file is None else {**shown, self.yaml: as_file, self.made: as_file}

    def _emptied(self, yaml: str, made: str) -> Update:
        """There is nothing in the line: the editor counts, unless it only repeats the line."""
        if yaml.strip() == made.strip():
            return {self.classes: "", self.errors: "", self.yaml: "", self.made: ""}
        return self._read(yaml)

    def _read(self, yaml: str) -> Update:
        """Tell what the editor asks for, or what is wrong with it."""
        words = handlers.described(Asked("", yaml))
        good = 'class="al-chips"' in words
        return {self.classes: words if good else "", self.errors: "" if good else words}

    def _edited(self, yaml: str) -> Update:
        """The editor changed: it counts, and the line at the top is emptied."""
        return {**self._read(yaml or ""), self.quick: "", self.made: ""}

    def _checked(self, quick: str, yaml: str) -> Update:
        """Say whether the editor's text is right."""
        shown = self._read(yaml or "")
        good = html.note("good", "No errors.") if shown[self.classes] else _nothing()
        return {**shown, self.errors: shown[self.errors] or good}

    def _loaded(self, path: str | None) -> Update:
        """Take a file into the editor."""
        if path is None:
            return {self.errors: gr.skip()}
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        try:
            if len(data) > MAX_BYTES:
                raise ValueError
            yaml = data.decode("utf-8-sig")
        except ValueError:
            words = f"Not a text in UTF-8 of at most {MAX_BYTES // 1024} kB."
            return {self.errors: html.note("error", words)}
        return {self.yaml: yaml, **self._edited(yaml)}


def _nothing() -> str:
    """Return that the editor is empty."""
    return html.note("warning", "There is nothing written here yet.")


def _refusing(limits: Limits) -> str:
    """Return the script that refuses files before they are sent."""
    least = min(MAX_BYTES, limits.bytes)
    told = {
        **{kind: limits.refusals(kind) for kind in TITLES},
        "load": {
            "bytes": least,
            "large": f"{{name}} has {{size}} MB; an ontology has {least // 1024} kB at most.",
            "taken": YAML,
            "wrong": {"": f"{{name}} is no ontology: expected a file {' or '.join(YAML)}."},
        },
    }
    return f"<script>({REFUSING.read_text('utf-8').strip()})({json.dumps(told)});</script>"


def mounted(desk: Desk, preset: str, login: tuple[str, str] | None) -> Any:
    """Return the page as an application; nothing of it comes from elsewhere."""
    from fastapi import FastAPI

    page = Page(desk, preset)
    page.blocks.queue(default_concurrency_limit=None, max_size=1000)
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page.blocks,
        path="/",
        footer_links=[],
        run_history=False,
        auth=login,
        auth_message="This page asks for the name and password that it was started with.",
        allowed_paths=[str(desk.served)],
        show_error=False,
        max_file_size=desk.limits.bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css_paths=[CSS],
        head=_refusing(desk.limits),
    )
