"""The pictures of a report: the most doubtful and the worst, with their labels drawn on."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence

from PIL import Image as Pillow

from autolabel.draw import draw
from autolabel.errors import InputError, UsageError
from autolabel.evaluate.detection import Evaluation
from autolabel.evaluate.matching import Pairing
from autolabel.evaluate.suggest import suggest
from autolabel.evaluate.truth import Truth, match_names, rle
from autolabel.media.pictures import read_image
from autolabel.report import page as html
from autolabel.store import EXPORTED, Project
from autolabel.types import Instance

DOUBTFUL, WORST = 12, 8
"""Pictures shown of each kind."""
SIDE = 640
"""Pixels of a shown picture's longer side."""


class Pictures:
    """Sections with pictures.

    Args:
        project: Where the pictures and labels are.
        names: Class names, by class id.
        colors: "#rrggbb" by class id.
    """

    def __init__(self, project: Project, names: Sequence[str], colors: Sequence[str]) -> None:
        self._project, self._names = project, tuple(names)
        self._colors = [_rgb(color) for color in colors]

    def doubtful(self) -> str:
        """Return the most doubtful pictures."""
        try:
            found = suggest(self._project, DOUBTFUL)
        except UsageError as error:
            return html.section("Most doubtful pictures", html.soft(str(error)))
        shown = []
        for one in found:
            about = ", ".join(f"{name} {p:.2f}" for name, p in one.about)
            caption = f"<b>{html.text(one.name)}</b><br>{html.text(about)}"
            labels = self._labels(one.name)
            shown.append(html.picture(self._picture(one.name, labels), caption, one.name))
        said = (
            "Correct these first (autolabel suggest). Below each, the candidates most in doubt "
            "with their probability of being right."
        )
        return html.section(
            "Most doubtful pictures",
            html.soft(said),
            f'<div class="pictures">{"".join(shown)}</div>',
        )

    def worst(self, evaluation: Evaluation | None, truth: Truth | None) -> str:
        """Return the pictures with most mistakes, labels beside truth."""
        if evaluation is None or truth is None:
            return ""
        bad = sorted(evaluation.pairings, key=lambda one: -one.mistakes)[:WORST]
        bad = [one for one in bad if one.mistakes]
        if not bad:
            return ""
        files = {one["id"]: name for name, one in truth.pictures.items()}
        ours = [one.name for one in self._project.media("done") if one.kind == "image"]
        name_of = {theirs: name for name, theirs in match_names(ours, list(files.values())).items()}
        shown = []
        for one in bad:
            name = name_of[files[one.image_id]]
            labels, truths = self._labels(name), self._truths(one, truth)
            pair = (
                f"<div>{html.shown(self._picture(name, labels), name)}labels</div>"
                f"<div>{html.shown(self._picture(name, truths), name)}truth</div>"
            )
            caption = f"<b>{html.text(name)}</b> · {html.text(_told(one, truth))}"
            shown.append(
                f'<figure><div class="pair">{pair}</div><figcaption>{caption}</figcaption></figure>'
            )
        return html.section(
            "Worst pictures",
            html.soft("Those with the most to correct."),
            f'<div class="pictures pairs">{"".join(shown)}</div>',
        )

    def _truths(self, one: Pairing, truth: Truth) -> list[Instance]:
        """Return a picture's truths as labels to draw."""
        names = {category: name for name, category in truth.categories.items()}
        found = []
        for entry in one.truths:
            x, y, width, height = entry["bbox"]
            class_id = self._names.index(names[entry["category_id"]])
            box = (float(x), float(y), float(x + width), float(y + height))
            found.append(Instance(class_id, box, mask=rle(entry), source="human"))
        return found

    def _labels(self, name: str) -> list[Instance]:
        """Return a picture's labels, rejected ones not."""
        return [one for one in self._project.instances(name) if one.status in EXPORTED]

    def _picture(self, name: str, labels: Sequence[Instance]) -> str | None:
        """Return a picture with labels drawn as a data URI; None if it can't be read."""
        media = self._project.find(name)
        try:
            if media is None:
                return None
            frame, key = read_image(media.path)
            if key != media.key:
                return None
            drawn = Pillow.fromarray(draw(frame.image, labels, self._names, self._colors))
            drawn.thumbnail((SIDE, SIDE))
            file = io.BytesIO()
            drawn.save(file, "JPEG", quality=82)
            return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
        except (InputError, OSError):
            return None


def _rgb(color: str) -> tuple[int, int, int]:
    """Return "#rrggbb" as three numbers."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _told(one: Pairing, truth: Truth) -> str:
    """Return a picture's mistakes in words."""
    names = {category: name for name, category in truth.categories.items()}
    labels = [names[label["category_id"]] for label in one.labels]
    truths = [names[entry["category_id"]] for entry in one.truths]
    kinds = {
        "missed": Counter(truths[index] for index in one.missed),
        "wrong class": Counter(f"{truths[t]} as {labels[n]}" for n, t in one.confused),
        "nothing there": Counter(labels[index] for index in one.spurious),
        "double": Counter(labels[index] for index in one.double),
    }
    return "; ".join(
        f"{kind}: " + ", ".join(f"{n} {what}" if n > 1 else what for what, n in found.items())
        for kind, found in kinds.items()
        if found
    )
