"""What the Image and Video tabs are made of: what is given at the left, what is found at the right.

Only how it looks: ``autolabel.app.tab`` says what it does.
"""

from __future__ import annotations

import gradio as gr

from autolabel.app import html
from autolabel.app.limits import EXTENSIONS, Limits
from autolabel.config import PICTURE_PROMPT, PROMPT_TYPES, VIDEO_PROMPT
from autolabel.formats import FORMATS
from autolabel.registry import PRESETS

ALL = "all classes"
PROMPTED = {"image": PICTURE_PROMPT, "video": VIDEO_PROMPT}
"""How objects are shown to SAM 2, unless something else is chosen: as ``autolabel run`` does."""


class Given:
    """What a visitor gives: files and how to label them.

    Args:
        kind: "image" or "video".
        limits: What may be uploaded.
        preset: The models chosen at first.
    """

    def __init__(self, kind: str, limits: Limits, preset: str) -> None:
        self.file = gr.File(
            label="Pictures" if kind == "image" else "Video",
            file_count="multiple" if kind == "image" else "single",
            file_types=list(EXTENSIONS[kind]),
            height=150,
            elem_id=f"al-{kind}-file",
        )
        gr.HTML(html.refusal(kind), elem_classes="al-refusals")
        self.example = gr.Button(
            "Take the example", size="sm", variant="secondary", elem_id=f"al-{kind}-example"
        )
        self.models = gr.Dropdown(
            list(PRESETS),
            value=preset,
            label="Models",
            info="tiny knows drawn shapes only; base wants a GPU.",
            filterable=False,
            elem_id=f"al-{kind}-models",
        )
        self.prompt = gr.Radio(
            [(name.capitalize(), name) for name in PROMPT_TYPES],
            value=PROMPTED[kind],
            label="Show objects to SAM 2 as" if kind == "image" else "Show new objects to SAM 2 as",
            elem_id=f"al-{kind}-prompt",
        )
        self.own = [self.models, self.prompt]
        if kind == "video":
            self.every = gr.Slider(
                1, 60, 10, step=1, label="Frames between detections", elem_id="al-video-every"
            )
            self.own.append(self.every)
        self.threshold = gr.Slider(
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


class Results:
    """What a visitor gets: how far it is, what was found, and what can be taken away.

    Args:
        kind: "image" or "video".
        limits: What may be uploaded.
    """

    def __init__(self, kind: str, limits: Limits) -> None:
        self.status = gr.HTML(html.empty(kind, limits.told(kind)), elem_id=f"al-{kind}-status")
        self.nearest = gr.Button(
            "Show the nearest", size="sm", visible=False, elem_id=f"al-{kind}-nearest"
        )
        with gr.Column(visible=False) as self.all:
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
            self.player = gr.HTML(elem_id=f"al-{kind}-player", visible=kind == "video")
            self.gallery = gr.HTML(elem_id=f"al-{kind}-gallery")
            self.table = gr.HTML(elem_id=f"al-{kind}-objects")
            self._take(kind)
            self.files = gr.HTML(elem_id=f"al-{kind}-files")
            with gr.Accordion("Copy as command", open=False, elem_id=f"al-{kind}-copy"):
                self.command = gr.Code(
                    language="shell", interactive=False, show_label=False,
                    elem_id=f"al-{kind}-command",
                )  # fmt: skip

    def _take(self, kind: str) -> None:
        """Lay out the buttons for what can be taken away."""
        with gr.Row(elem_classes="al-take"):
            what = "picture" if kind == "image" else "video"
            self.save = gr.Button(f"Save {what}", size="md", elem_id=f"al-{kind}-save")
            names = [n for n, one in FORMATS.items() if kind == "video" or not one.videos_only]
            self.format = gr.Dropdown(
                names, value="coco", label="Format", filterable=False,
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
