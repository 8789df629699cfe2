"""What happens at the page, as plain functions of a visit; no Gradio here but its waiting."""

from __future__ import annotations

import asyncio
import logging
import shlex
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from autolabel.app import html
from autolabel.app.desk import Desk, Visit
from autolabel.app.jobs import DONE, FAILED, Job, Lane
from autolabel.app.results import Found
from autolabel.errors import AutolabelError, OntologyError
from autolabel.ontology import Ontology, parse_ontology, parse_quick, to_yaml
from autolabel.ontology.model import DEFAULT_THRESHOLD

LOG = logging.getLogger(__name__)
Files = str | list[str] | None
"""What a file field holds."""
TICK = 0.15
"""Seconds between looks at a job."""
EXAMPLE_SEED = {"image": 21, "video": 11}
EXAMPLE_FRAMES = 24


@dataclass(frozen=True, slots=True)
class Asked:
    """What the ontology part of the page holds: the line at the top, or the editor's text."""

    quick: str
    yaml: str
    threshold: float = DEFAULT_THRESHOLD

    def ontology(self) -> Ontology:
        """Return what to look for: the line at the top where there is one.

        Raises:
            OntologyError: If it is wrong, or there is none.
        """
        if self.quick.strip():
            return parse_quick(self.quick, self.threshold)
        if self.yaml.strip():
            return parse_ontology(self.yaml, "ontology")
        raise OntologyError("type what to find, or write an ontology", "nothing is asked for")


def listed(files: Files) -> list[str]:
    """Return the files that a file field holds."""
    return [files] if isinstance(files, str) else files or []


def sentence(error: Exception) -> str:
    """Return any error as a sentence for the page; what wasn't foreseen goes to the log."""
    if isinstance(error, AutolabelError):
        told = str(error)
        return told[:1].upper() + told[1:]
    LOG.error("the page failed", exc_info=error)
    return (
        f"That failed in a way that was not foreseen ({type(error).__name__}); the terminal of "
        "autolabel app says more."
    )


def described(asked: Asked) -> str:
    """Return the classes of what is asked, or what is wrong with it and where."""
    try:
        if not (asked.quick.strip() or asked.yaml.strip()):
            return ""
        return html.classes(asked.ontology())
    except OntologyError as error:
        source = "" if asked.quick.strip() else asked.yaml
        return html.ontology_error(str(error), source, error.line)


def as_yaml(asked: Asked) -> str | None:
    """Return the line at the top as an ontology file; None while it isn't one."""
    try:
        return to_yaml(asked.ontology()) if asked.quick.strip() else None
    except OntologyError:
        return None


def example(desk: Desk, visit: Visit, kind: str) -> tuple[Path, str]:
    """Make a generated picture or clip in the visit's uploads; return it and what is on it."""
    from fractions import Fraction

    from PIL import Image

    from autolabel.media.encoding import VideoWriter
    from autolabel.tiny.scenes import make_clip, make_scene

    folder = desk.uploads / f"example{next(visit.numbers)}-{visit.folder.name}"
    folder.mkdir()
    seed = EXAMPLE_SEED[kind]
    if kind == "image":
        path = folder / "example.png"
        scene = make_scene(seed, height=384, width=512)
        Image.fromarray(scene.image).save(path)
        objects = list(scene.objects)
    else:
        path = folder / "example.mp4"
        scenes = list(islice(make_clip(seed, frames=EXAMPLE_FRAMES), EXAMPLE_FRAMES))
        with VideoWriter(path, *scenes[0].image.shape[:2]) as writer:
            for index, scene in enumerate(scenes):
                writer.add(scene.image, Fraction(index, 12))
        objects = [one for scene in scenes for one in scene.objects]
    desk.add(visit, kind, [str(path)])
    prompts = dict.fromkeys(f"{one.name} = {one.shape}" for one in objects)
    return path, ", ".join(prompts)


async def watched(lane: Lane, job: Job, served: Path) -> AsyncIterator[str]:
    """Yield how far a job is, as often as it changes, until it is over."""
    last = ""
    while not job.over:
        now = html.progress(job, lane.ahead(job), served)
        if now != last:
            yield now
            last = now
        await asyncio.sleep(TICK)


def outcome(job: Job, found: Found | None) -> str:
    """Return how a job ended, in words."""
    parts = []
    if job.state != DONE:
        parts.append(html.progress(job, 0, Path()))
    for name, reason in job.result.get("failures", []):
        parts.append(html.note("error", f"<b>{html.text(name)}</b>: {html.text(reason)}"))
    parts += [html.note("warning", html.text(line)) for line in job.notes[:8]]
    if found is not None and not found.visible() and found.scene["pictures"]:
        parts.append(html.nothing(found.below(), found.scene["classes"]))
    return "".join(parts)


def summary(found: Found, keys: list[str]) -> str:
    """Return what is shown, in words and by class."""
    what = "object" if found.kind == "image" else "track"
    total = len(keys)
    words = f"<b>{total}</b> {what}{'' if total == 1 else 's'}"
    if found.kind == "video":
        words += " · the slider hides whole tracks by their mean score"
    return html.legend(dict(found.counts(keys)), found.scene["classes"], words)


def labelled_file(found: Found) -> Path:
    """Return the labelled picture or video; several pictures as one zip."""
    files = sorted(path for path in found.drawn.rglob("*") if path.is_file())
    if len(files) == 1:
        name = Path(found.inputs[0]).stem + "-labelled" + files[0].suffix
        target = found.view / name
        shutil.copyfile(files[0], target)
        return target
    archive = shutil.make_archive(str(found.view / "labelled"), "zip", found.drawn)
    return Path(archive)


def redraw(desk: Desk, visit: Visit, found: Found) -> Job:
    """Begin to draw the result with the thresholds as they are now."""
    project = found.narrowed(visit.folder / "narrowed")
    frames = max((track["last"] + 1 for track in found.scene["tracks"]), default=0)
    return desk.files.submit(
        {
            "kind": "draw",
            "project": str(project),
            "drawn": str(found.view / f"drawn{next(visit.numbers)}"),
            "total": frames or len(found.scene["pictures"]),
        }
    )


def export(desk: Desk, visit: Visit, found: Found, format_name: str, pictures: bool) -> Job:
    """Begin to export what is shown."""
    from autolabel.formats import FORMATS

    images = "copy" if pictures and "images" in FORMATS[format_name].options else "none"
    return desk.files.submit(
        {
            "kind": "export",
            "project": str(found.narrowed(visit.folder / "narrowed")),
            "format_name": format_name,
            "images": images,
            "out": str(found.view / f"{Path(found.inputs[0]).stem}-{format_name}"),
        }
    )


def drawn(found: Found, job: Job, thresholds: dict[str, float]) -> None:
    """Take what a drawing made as the result's own."""
    if job.state == DONE:
        shutil.rmtree(found.drawn, ignore_errors=True)
        found.drawn, found.drawn_with = Path(job.request["drawn"]), thresholds


def kept(folder: Path) -> str:
    """Return where a project was kept, and what can be done with it."""
    place = shlex.quote(str(folder))
    lines = f"autolabel info {place}\nautolabel export {place} --format coco --out coco"
    return html.note(
        "good", f"Kept in <code>{html.text(folder)}</code><pre>{html.text(lines)}</pre>"
    )


def failed(job: Job) -> str:
    """Return why a drawing or an export failed, or "" if it didn't."""
    return html.note("error", html.text(job.error)) if job.state == FAILED else ""
