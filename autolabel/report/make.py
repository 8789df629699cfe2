"""What is known of a project as one HTML file: composes counting, measuring, drawing, the page."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from autolabel.errors import StorageError, UsageError
from autolabel.evaluate.detection import Evaluation, evaluate_detection
from autolabel.evaluate.truth import Truth
from autolabel.evaluate.truth_project import read_truth, reviewed, reviewed_truth
from autolabel.probability import Probabilities
from autolabel.report import charts
from autolabel.report import page as html
from autolabel.report.data import SIZE_EDGES, curves, ontology_of, overview
from autolabel.report.pictures import Pictures
from autolabel.store import Project

CURVES = 60
"""Classes whose curves are shown, those with most truths."""
FAILURES = 200
HIDDEN_META = {"ontology", "calibration", "selection", "masked", "masked_groups", "suggested",
               "prompts"}  # fmt: skip


def report(folder: Path, out: Path | None, truth: Path | None) -> Path:
    """Write the report and return its path.

    Raises:
        ProjectError: If there is no project in the folder.
        FormatError: If the truth is wrong or doesn't fit.
        StorageError: If the file can't be written.
    """
    target = out or folder / "report.html"
    if target.is_dir():
        raise UsageError(f"{target} is a folder; --out is the HTML file to write")
    with Project.open(folder, readonly=True) as project:
        known = read_truth(truth) if truth is not None else None
        if known is None and reviewed(project):
            known = reviewed_truth(project)
        text = _Report(project, known).text()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        partial.write_text(text, "utf-8", "backslashreplace")
        partial.replace(target)
    except OSError as error:
        raise StorageError(f"{target}: can't be written: {error.strerror}") from error
    return target


class _Report:
    """The parts of the page, in order."""

    def __init__(self, project: Project, truth: Truth | None) -> None:
        self._project, self._truth = project, truth
        self._meta, self._stats = project.meta(), project.stats()
        classes = project.classes()
        colors = [c if re.fullmatch("#[0-9a-fA-F]{6}", c) else "#888888" for _, c in classes]
        self._names, self._colors = tuple(name for name, _ in classes), tuple(colors)
        self._evaluation = evaluate_detection(project, truth) if truth else None

    def text(self) -> str:
        """Return the page."""
        name = self._project.folder.resolve().name
        pictures = Pictures(self._project, self._names, self._colors)
        parts = [
            f"<h1>{html.text(name)}</h1>",
            html.soft("What autolabel found, how sure it is, and where to look first."),
            self._tiles(),
            *self._quality(),
            self._classes(),
            self._scores(),
            pictures.doubtful(),
            pictures.worst(self._evaluation, self._truth),
            self._failures(),
            self._run(),
        ]
        return html.page(f"{name}: autolabel report", filter(None, parts))

    def _tiles(self) -> str:
        """Return the headline figures."""
        stats = self._stats
        done = stats.media.get("done", 0)
        tiles = [
            (f"{done:,}", "inputs labelled"),
            (f"{stats.labels:,}", "labels"),
            (f"{sum(1 for one in stats.classes if one.labels)}", "classes with labels"),
            (f"{stats.empty:,}", "inputs without a label"),
        ]
        if failed := stats.media.get("failed", 0):
            tiles.append((f"{failed:,}", "failed"))
        if self._evaluation and self._evaluation.macro_f1 is not None:
            tiles.append((f"{self._evaluation.macro_f1:.3f}", "macro F1"))
        for kind, found in (("box", "box"), ("mask", "mask")):
            measured = getattr(self._evaluation, found, None)
            if measured and measured["ap"] is not None:
                tiles.append((f"{measured['ap']:.3f}", f"{kind} AP"))
        return html.tiles(tiles)

    def _quality(self) -> list[str]:
        """Return what a truth says: figures, curves, confusion, clips."""
        found = self._evaluation
        if found is None or self._truth is None:
            said = "No truth was given: autolabel report PROJECT --truth coco.json measures."
            return [html.section("Quality", html.soft(said))]
        parts = []
        if found.pictures:
            parts.append(self._measured(found))
        if found.video:
            parts.append(_clips(found.video.as_dict()))
        if curve := self._curves():
            parts.append(curve)
        if found.matches:
            parts.append(self._confusion(found))
        return parts

    def _measured(self, found: Evaluation) -> str:
        """Return the table of classes' precision, recall and F1."""
        fits = found.matches.mask_iou if found.matches else {}
        rows = [
            (
                self._named(one.name),
                str(one.truths),
                str(one.labels),
                html.meter(one.precision),
                html.meter(one.recall),
                html.meter(one.f1),
                _share(fits.get(one.name)),
            )
            for one in found.classes
            if one.truths or one.labels
        ]
        heads = ("class", "truths", "labels", "precision", "recall", "F1", "mask IoU")
        averages = [
            (kind, _share(one["ap"]), _share(one["ap50"]))
            for kind, one in (("box", found.box), ("mask", found.mask))
            if one
        ]
        notes = "".join(f"<p class='soft'>{html.text(note)}</p>" for note in found.notes)
        said = f"Against {self._truth.path if self._truth else ''}, {found.pictures} pictures."
        return html.section(
            "Quality",
            f"<p class='soft'>{html.text(said)}</p>",
            html.table(("", "AP", "AP50"), averages),
            "<h3>At the thresholds in use</h3>",
            html.table(heads, rows),
            notes,
        )

    def _curves(self) -> str:
        """Return precision-recall curves."""
        assert self._truth is not None
        found = sorted(curves(self._project, self._truth), key=lambda one: -one.truths)
        if not found:
            return ""
        drawings = "".join(
            f"<figure>{charts.curve(one.recall, one.precision, one.at, one.name)}"
            f"<figcaption>{self._named(one.name)} ({one.truths})</figcaption></figure>"
            for one in found[:CURVES]
        )
        more = f" {len(found) - CURVES} classes with fewer truths are not shown." * (
            len(found) > CURVES
        )
        said = "Precision over recall of the stored candidates; the dot is the threshold in use."
        return html.section(
            "Precision and recall", html.soft(said + more), f'<div class="curves">{drawings}</div>'
        )

    def _confusion(self, found: Evaluation) -> str:
        """Return the confusion matrix, of the classes that have anything."""
        matches = found.matches
        assert matches is not None
        matrix, nothing = matches.confusion, len(matches.names)
        busy = [i for i in range(nothing) if sum(matrix[i]) + sum(row[i] for row in matrix)]
        if not busy:
            return ""
        if len(busy) > CURVES:
            busy = sorted(busy, key=lambda i: -sum(matrix[i]))[:CURVES]
        kept = [*busy, nothing]
        chart = charts.heat(
            [matches.names[i] for i in busy], [[matrix[r][c] for c in kept] for r in kept]
        )
        worst = [
            (self._named(truth), self._named(label), str(count))
            for truth, label, count in matches.mixed_up()[:12]
        ]
        pairs = html.table(("truth", "label", "times"), worst, (0, 1)) if worst else ""
        said = (
            "Rows are the truth, columns the labels. The diagonal is right; the last row counts "
            "labels where nothing is, the last column objects that were missed. "
            f"Duplicates: {sum(matches.duplicates.values())}."
        )
        return html.section("Confusion", html.soft(said), f'<div class="wide">{chart}</div>', pairs)

    def _classes(self) -> str:
        """Return the table of classes."""
        counted, ontology = overview(self._project), ontology_of(self._project)
        specs = {spec.name: spec for spec in ontology.classes} if ontology else {}
        rows = []
        for index, one in enumerate(self._stats.classes):
            spec = specs.get(one.name)
            side = counted.sides[index]
            rows.append(
                (
                    self._named(one.name),
                    f"{one.labels:,}",
                    f"{one.media:,}",
                    f"{spec.threshold:g}" if spec else html.NOTHING,
                    f"{side:.0f} px" if side == side else html.NOTHING,
                    charts.spark(
                        counted.scores[index].tolist(),
                        spec.threshold if spec else None,
                        self._colors[index],
                    ),
                )
            )
        heads = ("class", "labels", "inputs", "threshold", "median side", "scores 0 to 1")
        self._counted = counted
        return html.section("Classes", html.table(heads, rows))

    def _scores(self) -> str:
        """Return the histograms of scores and sizes."""
        total = self._counted.scores.sum(0).tolist()
        ticks = [f"{index / len(total):g}" if index % 4 == 0 else "" for index in range(len(total))]
        used = int(np.flatnonzero(self._counted.sizes).max(initial=5)) + 1
        sizes = [f"{low}+" for low in SIZE_EDGES[:used]]
        counts = self._counted.sizes[:used].tolist()
        drawings = (
            charts.bars(total, ticks, "score"),
            charts.bars(counts, sizes, "side of the box, pixels"),
        )
        parts = [f"<figure>{one}</figure>" for one in drawings]
        sure = Probabilities.from_meta(self._meta)
        said = "Not calibrated: scores are no probabilities (autolabel calibrate)."
        if sure is not None and sure.about.get("ece") is not None:
            said = (
                f"Calibrated on {sure.about['pictures']} pictures; expected calibration error of "
                f"the probabilities {sure.about['ece']:.3f}."
            )
        return html.section(
            "Scores and sizes", f'<div class="charts">{"".join(parts)}</div>', html.soft(said)
        )

    def _failures(self) -> str:
        """Return the inputs that failed and why."""
        failed = list(self._project.failures())
        if not failed:
            return html.section("Failures", html.soft("None: every input was read."))
        rows = [(html.text(one.name), html.text(one.reason)) for one in failed[:FAILURES]]
        more = len(failed) - FAILURES
        return html.section(
            "Failures",
            html.table(("input", "why"), rows, (0, 1)),
            html.soft(f"{more} more: autolabel info PROJECT --json") if more > 0 else "",
        )

    def _run(self) -> str:
        """Return the configuration and the time it took."""
        rows = [
            (html.text(key), html.text(value))
            for key, value in self._meta.items()
            if key not in HIDDEN_META
        ]
        seconds = self._stats.seconds
        total = sum(seconds.values())
        times = [
            (html.text(stage), f"{value:.1f}", html.meter(value / total if total else None))
            for stage, value in seconds.items()
        ]
        parts = [html.table(("setting", "value"), rows, (0, 1))]
        if times:
            parts += ["<h3>Seconds by stage</h3>", html.table(("stage", "seconds", "share"), times)]
        if written := self._meta.get("ontology"):
            parts.append(f"<h3>Ontology</h3><pre>{escape(written)}</pre>")
        return html.section("The run", *parts)

    def _named(self, name: str) -> str:
        """Return a class's name with its colour."""
        where = self._names.index(name) if name in self._names else None
        color = self._colors[where] if where is not None else "#888888"
        return html.swatch(color) + html.text(name)


def _clips(video: dict[str, Any]) -> str:
    """Return the table of clips."""
    keys = ("j", "f", "jf", "idf1", "hota")
    rows = [
        (
            html.text(one["name"]),
            str(one["frames"]),
            str(one["truth_tracks"]),
            str(one["tracks"]),
            *(_share(one[key]) for key in keys),
            html.NOTHING if one["id_switches"] is None else str(one["id_switches"]),
        )
        for one in (*video["clips"], {"name": "all", **video})
    ]
    heads = ("clip", "frames", "objects", "tracks", "J", "F", "J&F", "IDF1", "HOTA", "switches")
    return html.section("Clips", html.table(heads, rows))


def _share(value: float | None) -> str:
    """Return a share with three digits."""
    return html.NOTHING if value is None else f"{value:.3f}"
