"""The parts of the page as HTML. Every text that isn't ours is escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from autolabel.app.jobs import CANCELLED, FAILED, RUNNING, WAITING, Job
from autolabel.ontology import Ontology

CHIPS = 60
"""With more objects in a picture than this, names show where the pointer is."""
STAGES = {
    "load": "Loading the models",
    "label": "Finding and outlining",
    "draw": "Drawing the result",
    "write": "Writing the files",
}


def text(value: object) -> str:
    """Return any text as HTML that shows it; braces are entities, for the page's templates."""
    escaped = escape(str(value))
    return escaped.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")


def url(path: Path) -> str:
    """Return where the browser finds a served file."""
    return f"gradio_api/file={quote(str(path))}"


def note(kind: str, message: str) -> str:
    """Return a remark: "error", "warning" or "good"; ``message`` is HTML."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="al-note al-{kind}" role="{role}">{message}</div>'


def header() -> str:
    """Return the top of the page."""
    return (
        '<header class="al-top"><h1>auto<span>label</span></h1>'
        "<p>Say what to look for. Get it outlined to the pixel, and followed through video.</p>"
        "</header>"
    )


def empty(kind: str, limits: str) -> str:
    """Return what stands where results will be."""
    what = "a picture" if kind == "image" else "a short clip"
    after = "outlines" if kind == "image" else "tracks"
    return f"""<div class="al-empty"><svg viewBox="0 0 320 180" aria-hidden="true">
<rect x="8" y="8" width="304" height="164" rx="14" class="frame"/>
<circle cx="92" cy="98" r="38" class="a"/><path d="M176 136l34-66 34 66z" class="b"/>
<path d="M262 62c8-14 28-6 24 10-2 10-14 18-24 26-10-8-22-16-24-26-4-16 16-24 24-10z" class="c"/>
<rect x="48" y="54" width="88" height="88" rx="3" class="box a"/>
<rect x="170" y="64" width="80" height="78" rx="3" class="box b"/></svg>
<h2>Your {after} appear here</h2>
<ol><li>Add {what}, or take the example.</li><li>Type what to find.</li><li>Press Label.</li></ol>
<p>{text(limits)}</p></div>"""


def refusal(kind: str) -> str:
    """Return the place where the browser itself says what it doesn't send (``refusing.js``)."""
    return f'<div id="al-{kind}-refused" class="al-note al-error" role="alert" hidden></div>'


def classes(ontology: Ontology) -> str:
    """Return an ontology's classes in their colours."""
    chips = []
    for spec in ontology.classes[:24]:
        color = "#{:02x}{:02x}{:02x}".format(*spec.color)
        asked = ", ".join(spec.prompts)
        more = "" if asked == spec.name else f" <small>{text(asked)}</small>"
        chips.append(f'<li><i style="background:{color}"></i>{text(spec.name)}{more}</li>')
    rest = len(ontology.classes) - len(chips)
    chips += [f"<li>and {rest} more</li>"] if rest > 0 else []
    return f'<ul class="al-chips">{"".join(chips)}</ul>'


def ontology_error(message: str, source: str, line: int | None) -> str:
    """Return an error of an ontology with the lines around it."""
    lines = source.splitlines()
    if line is None or not 1 <= line <= len(lines):
        return note("error", text(message))
    rows = "".join(
        f'<tr class="{"here" if number == line else ""}"><td>{number}</td>'
        f"<td><pre>{text(lines[number - 1]) or ' '}</pre></td></tr>"
        for number in range(max(1, line - 2), min(len(lines), line + 2) + 1)
    )
    return note("error", f'{text(message)}<table class="al-code">{rows}</table>')


def progress(job: Job, ahead: int, served: Path) -> str:
    """Return how far a job is, and the pictures so far."""
    if job.state == WAITING:
        place = "You are next" if ahead == 1 else f"{ahead} jobs are before yours"
        return _bar("Waiting for the device", f"{place}. It starts by itself.", None)
    if job.state == CANCELLED:
        return note("warning", "Cancelled. Nothing of it was kept.")
    if job.state == FAILED:
        return note("error", text(job.error))
    if job.state != RUNNING:
        return ""
    words = []
    if job.total:
        words.append(f"{min(job.done, job.total)} of {job.total}")
    if job.objects:
        words.append(f"{job.objects} labels")
    left = job.seconds_left()
    if left is not None:
        words.append(f"{_duration(left)} left")
    share = min(1.0, job.done / job.total) if job.total else None
    folder = served / Path(job.request.get("view", "")).name
    shown = "".join(
        f'<img src="{url(folder / name)}" alt="Labelled so far">' for name in job.previews[-6:]
    )
    strip = f'<div class="al-strip">{shown}</div>' if shown else ""
    return _bar(STAGES[job.stage], " · ".join(words) or "A moment …", share) + strip


def _bar(title: str, words: str, share: float | None) -> str:
    """Return a progress bar; without a share it only moves."""
    width = "" if share is None else f' style="width:{100 * share:.1f}%"'
    moving = " moving" if share is None else ""
    value = "" if share is None else f' aria-valuenow="{100 * share:.0f}"'
    return (
        f'<div class="al-progress"><div><b>{text(title)}</b><span>{text(words)}</span></div>'
        f'<div class="bar{moving}" role="progressbar" aria-label="{text(title)}"{value}>'
        f"<i{width}></i></div></div>"
    )


def _duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"


def gallery(scene: dict[str, Any], folder: Path, kind: str) -> str:
    """Return the pictures with all objects that may be shown, each hidden until ``shown``."""
    name = f"al-{kind}-pick"
    picks, stages, thumbs = [], [], []
    for number, picture in enumerate(scene["pictures"]):
        checked = " checked" if number == 0 else ""
        ident = f"{name}{number}"
        picks.append(
            f'<input type="radio" name="{name}" id="{ident}"{checked} '
            f'aria-label="{text(picture["name"])}">'
        )
        stages.append(_stage(picture, number, scene["classes"], folder, kind))
        thumbs.append(
            f'<label for="{ident}"><img src="{url(folder / picture["file"])}" alt="" '
            f'loading="lazy"><span>{text(picture["name"])}</span></label>'
        )
    strip = f'<div class="al-thumbs">{"".join(thumbs)}</div>' if len(thumbs) > 1 else ""
    return (
        f"{picked(kind, len(thumbs))}"
        f'<div class="al-gallery">{"".join(picks)}<div class="al-stages">{"".join(stages)}</div>'
        f"{strip}</div>"
    )


def _stage(
    picture: dict[str, Any], number: int, names: Sequence[dict[str, str]], folder: Path, kind: str
) -> str:
    """Return one picture with its objects."""
    objects = picture["objects"]
    crowded = " crowded" if len(objects) > CHIPS else ""
    width, height = picture["width"], picture["height"]
    unit = max(width, height) / 100
    drawn = "".join(
        _object(one, _key(one, number, index), names[one["class"]], unit, width)
        for index, one in sorted(enumerate(objects), key=lambda item: -_area(item[1]))
    )
    return (
        f'<figure class="al-stage{crowded}" style="--ratio:{width / height:.4f}">'
        f'<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{text(picture["name"])} with its labels">'
        f'<image href="{url(folder / picture["file"])}" width="{width}" height="{height}"/>'
        f"{drawn}</svg></figure>"
    )


def _key(one: dict[str, Any], number: int, index: int) -> str:
    """Return the key by which an object is shown or hidden."""
    return f"t{one['track']}" if "track" in one else f"p{number}c{index}"


def _area(one: dict[str, Any]) -> float:
    """Return the area of an object's box: large ones are drawn first."""
    x1, y1, x2, y2 = one["box"]
    return float((x2 - x1) * (y2 - y1))


def _object(one: dict[str, Any], key: str, named: dict[str, str], unit: float, width: float) -> str:
    """Return one object: its tint and outline, and its name on a chip."""
    x1, y1, x2, y2 = one["box"]
    words = f"{named['name']} {one['score']:.2f}"
    words += f" #{one['track']}" if "track" in one else ""
    chip, size = unit * 2.9, unit * 2
    long = len(words) * size * 0.63 + unit * 1.2
    left, top = max(0.0, min(x1, width - long)), y1 - chip if y1 >= chip else y1
    shape = (
        f'<path d="{one["path"]}"/>'
        if one["path"]
        else f'<path d="M{x1} {y1}H{x2}V{y2}H{x1}z" class="only"/>'
    )
    return (
        f'<g class="o k-{key}" style="--c:{named["color"]}"><title>{text(words)}</title>{shape}'
        f'<rect class="box" x="{x1}" y="{y1}" width="{x2 - x1:.2f}" height="{y2 - y1:.2f}"/>'
        f'<g class="chip"><rect x="{left:.1f}" y="{top:.1f}" width="{long:.1f}" '
        f'height="{chip:.1f}" rx="{unit * 0.4:.1f}"/><text x="{left + unit * 0.6:.1f}" '
        f'y="{top + chip * 0.72:.1f}" font-size="{size:.1f}" fill="{named["ink"]}">'
        f"{text(words)}</text></g></g>"
    )


def table(scene: dict[str, Any], kind: str) -> str:
    """Return a row for every object that may be shown, each hidden until ``shown``."""
    rows = []
    if kind == "video":
        for one in scene["tracks"]:
            frames = f"{one['frames']} ({one['first']} to {one['last']})"
            rows.append(_row(one, f"t{one['id']}", f"#{one['id']}", frames, scene["classes"]))
    else:
        many = len(scene["pictures"]) > 1
        for number, picture in enumerate(scene["pictures"]):
            order = sorted(enumerate(picture["objects"]), key=lambda item: -item[1]["score"])
            for place, (index, one) in enumerate(order, 1):
                where = picture["name"] if many else "1"
                rows.append(_row(one, f"p{number}c{index}", f"#{place}", where, scene["classes"]))
    last = "Frames" if kind == "video" or len(scene["pictures"]) == 1 else "Picture"
    return (
        '<div class="al-table" tabindex="0" role="region" aria-label="Objects"><table><thead><tr>'
        f"<th>Class</th><th>Id</th><th>Score</th><th>{last}</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(
    one: dict[str, Any], key: str, ident: str, where: str, names: Sequence[dict[str, str]]
) -> str:
    """Return one object's row."""
    named, score = names[one["class"]], one["score"]
    return (
        f'<tr class="o k-{key}"><td><i style="background:{named["color"]}"></i>'
        f"{text(named['name'])}</td><td>{ident}</td>"
        f'<td><span class="meter" style="--v:{100 * score:.0f}%;--c:{named["color"]}"></span>'
        f"{score:.2f}</td><td>{text(where)}</td></tr>"
    )


def shown(keys: Iterable[str], kind: str) -> str:
    """Return the style sheet that shows these objects and no others."""
    names = ",".join(f".k-{key}" for key in keys)
    rule = f"#al-{kind} :is({names}){{display:revert!important}}" if names else ""
    return f"<style>{rule}</style>"


def legend(counts: dict[int, int], names: Sequence[dict[str, str]], words: str) -> str:
    """Return how many of each class are shown."""
    chips = "".join(
        f'<li><i style="background:{names[index]["color"]}"></i>{text(names[index]["name"])} '
        f"<b>{number}</b></li>"
        for index, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    return f'<div class="al-legend"><p>{words}</p><ul class="al-chips">{chips}</ul></div>'


def nothing(below: Sequence[dict[str, Any]], names: Sequence[dict[str, str]]) -> str:
    """Return that nothing was found, and what came nearest."""
    if not below:
        return note(
            "warning",
            "<b>No objects found</b>, and nothing came near. Other words for the same thing "
            "may help, or larger models.",
        )
    chips = "".join(
        f'<li><i style="background:{names[one["class"]]["color"]}"></i>'
        f"{text(names[one['class']]['name'])} <b>{one['score']:.2f}</b></li>"
        for one in below[:6]
    )
    again = any("frame" in one for one in below[:6])  # of a video: candidates that have no track
    told = " Label again with a lower threshold to follow them." if again else ""
    return note(
        "warning",
        "<b>No objects found</b> that reach the threshold. The nearest below it:"
        f'<ul class="al-chips">{chips}</ul>{told}',
    )


def player(file: Path) -> str:
    """Return the labelled video, playing in the page."""
    return (
        f'<video class="al-video" controls loop muted playsinline preload="auto" '
        f'src="{url(file)}"></video>'
    )


def download(file: Path, words: str) -> str:
    """Return a link that saves a file."""
    size = file.stat().st_size
    told = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, size // 1000)} kB"
    return (
        f'<a class="al-link" download="{text(file.name)}" href="{url(file)}">'
        f"{text(words)} <small>{told}</small></a>"
    )


def picked(kind: str, count: int) -> str:
    """Return the style sheet that puts the picture on the stage whose button is pressed."""
    name = f"#al-{kind}-pick"
    rules = []
    for number in range(count):
        on, place = f"{name}{number}:checked", number + 1
        rules.append(f"{on}~.al-stages>.al-stage:nth-child({place}){{display:block}}")
        thumb = f"{on}~.al-thumbs>label:nth-child({place}) img"
        rules.append(f"{thumb}{{outline-color:var(--primary-500)}}")
    return f"<style>{''.join(rules)}</style>"
