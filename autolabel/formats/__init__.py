"""Labels as data sets: which formats there are, and the export that is the same for all.

A format is one file with a ``Writer`` (see ``autolabel.formats.base``) and one line here.
Other packages add theirs as entry points in the group ``autolabel.formats``, and
``package.module:Class`` names any importable one; the class is a ``Writer`` and may say how
faithful it is (FIDELITY), which options it heeds (OPTIONS), and what reads it (BACK, READER).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import re
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from autolabel.errors import FormatError, UsageError
from autolabel.formats.base import ExportOptions, LabelSource, Tally
from autolabel.formats.fidelity import Fidelity
from autolabel.formats.folder import complete_folder
from autolabel.formats.labelled_frames import LabelledFrames, frames_folder
from autolabel.formats.selection import Selected, Selection
from autolabel.formats.split import FolderPerPart, SplitRequest
from autolabel.formats.verify import READERS, Reading, VerifyReport, marker, verify_folder

__all__ = [
    "FORMATS",
    "ExportReport",
    "Fidelity",
    "Format",
    "Selection",
    "SplitRequest",
    "VerifyReport",
    "export",
    "load_reader",
    "verify",
]


@dataclass(frozen=True, slots=True)
class Format:
    """One format that can be written.

    Attributes:
        target: Where its writer is, "module:Class"; loaded when asked for.
        fidelity: What it keeps and what it can't, in one line.
        options: The names of the options that it heeds; "splitter" says that it has its own
            layout for parts, where others get a folder a part.
        back: Where what reads an export back is (see ``autolabel.formats.back``).
        reader: Where its reader is, or "" if it is only written.
        videos_only: Whether pictures have no place in it.
    """

    target: str
    fidelity: str
    options: frozenset[str]
    back: str
    reader: str = ""
    videos_only: bool = False


_HERE = "autolabel.formats"
_IMAGES = frozenset({"images"})

FORMATS: dict[str, Format] = {
    "coco": Format(
        f"{_HERE}.coco:CocoWriter",
        "keeps every pixel of every mask, holes and separate parts included, scores and track ids",
        _IMAGES | {"polygons"},
        f"{_HERE}.back_json:CocoBack",
        f"{_HERE}.coco_read:CocoReader",
    ),
    "ytvis": Format(
        f"{_HERE}.ytvis:YtvisWriter",
        "videos: keeps every pixel and track; one score and class a track",
        _IMAGES,
        f"{_HERE}.back_json:YtvisBack",
        f"{_HERE}.coco_read:YtvisReader",
        videos_only=True,
    ),
    "yolo-seg": Format(
        f"{_HERE}.yolo:YoloWriter",
        "one polygon a mask; holes survive exactly, separate parts are joined by a line 1 pixel "
        "wide; no scores or track ids",
        _IMAGES | {"splitter"},
        f"{_HERE}.back_files:YoloBack",
        f"{_HERE}.yolo_read:YoloReader",
    ),
    "yolo": Format(
        f"{_HERE}.yolo:YoloBoxWriter",
        "boxes only; no scores or track ids",
        _IMAGES | {"splitter"},
        f"{_HERE}.back_files:YoloBack",
        f"{_HERE}.yolo_read:YoloReader",
    ),
    "cvat-images": Format(
        f"{_HERE}.cvat_images:CvatImagesWriter",
        "keeps every pixel as masks or bridged polygons; no scores or track ids",
        _IMAGES | {"polygons", "boxes"},
        f"{_HERE}.back_files:CvatImagesBack",
        f"{_HERE}.cvat_read:CvatImagesReader",
    ),
    "cvat-video": Format(
        f"{_HERE}.cvat_video:CvatVideoWriter",
        "videos: keeps every pixel (bridged polygons) and track id; one class a track; no scores",
        _IMAGES | {"boxes"},
        f"{_HERE}.back_files:CvatVideoBack",
        f"{_HERE}.cvat_read:CvatVideoReader",
        videos_only=True,
    ),
    "voc": Format(
        f"{_HERE}.voc:VocWriter",
        "keeps boxes; masks of up to 254 objects a picture, where they overlap the smaller is on "
        "top; no scores or track ids",
        _IMAGES | {"splitter"},
        f"{_HERE}.back_files:VocBack",
        f"{_HERE}.voc_read:VocReader",
    ),
    "mots": Format(
        f"{_HERE}.png_tracks:MotsWriter",
        "videos: every pixel of one object each, where masks overlap the smaller is on top; "
        "tracks are renumbered (tracks.json)",
        _IMAGES,
        f"{_HERE}.back_files:MotsBack",
        videos_only=True,
    ),
    "davis": Format(
        f"{_HERE}.png_tracks:DavisWriter",
        "videos: as mots, up to 255 objects a video; classes only in tracks.json",
        _IMAGES | {"splitter"},
        f"{_HERE}.back_files:DavisBack",
        videos_only=True,
    ),
    "labelme": Format(
        f"{_HERE}.labelme:LabelmeWriter",
        "keeps every pixel as one bridged polygon, scores, and track ids as group_id",
        _IMAGES | {"boxes"},
        f"{_HERE}.back_files:LabelmeBack",
        f"{_HERE}.labelme_read:LabelmeReader",
    ),
    "label-studio": Format(
        f"{_HERE}.label_studio:LabelStudioWriter",
        "keeps every pixel as brush strokes or bridged polygons, and scores; no track ids",
        _IMAGES | {"polygons"},
        f"{_HERE}.back_json:LabelStudioBack",
    ),
    "parquet": Format(
        f"{_HERE}.parquet:ParquetWriter",
        "keeps every pixel of every mask, scores, track ids and who made a label",
        _IMAGES | {"splitter"},
        f"{_HERE}.parquet:ParquetBack",
    ),
}

OTHERS = {
    "coco": f"{_HERE}.other_readers:PycocotoolsBack",
    "yolo-seg": f"{_HERE}.other_readers:UltralyticsBack",
}
"""What reads an export back with somebody else's code."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        format: The format's name.
        out: The folder.
        pictures: Pictures, and frames of videos.
        instances: Labels.
        notes: What was left out and why, one line each.
        fidelity: How well the export, read back, fits the labels; None if it was not.
        frames: Frames of videos written as pictures; None if they weren't asked for.
    """

    format: str
    out: Path
    pictures: int
    instances: int
    notes: tuple[str, ...]
    fidelity: Fidelity | None = field(default=None, compare=False)
    frames: int | None = None


def export(
    project: LabelSource,
    format_name: str,
    out: Path,
    *,
    overwrite: bool = False,
    select: Selection | None = None,
    split: SplitRequest | None = None,
    verify: bool = True,
    frames: Path | None = None,
    **options: Any,
) -> ExportReport:
    """Write a project's labels to the folder ``out``, which appears when it is complete.

    Labels that a human rejected are left out, as are inputs that failed or aren't finished.

    Args:
        project: The labels.
        format_name: A key of ``FORMATS``.
        out: The folder to make.
        overwrite: Replace an earlier export in ``out``.
        select: Which labels and inputs to write; None for all.
        split: How to divide the inputs; None for one part.
        verify: Read the export back and compare it with the labels.
        frames: Write the labelled frames of videos there, as pictures.
        **options: Fields of ``ExportOptions``.

    Raises:
        UsageError: If the format or an option is unknown, or ``out`` can't be replaced.
        StorageError: If the disk is full, read-only or failing.
        MissingExtra: If the format needs a package that is not installed.
    """
    known = _find(format_name)
    chosen = _options(format_name, known, options)
    select, tally = select or Selection(), Tally()
    source = Selected(project, select, tally)
    if split is not None:
        chosen = replace(chosen, splitter=split.splitter(source))
    writer = _load(known.target)
    folders = chosen.splitter is not None and "splitter" not in known.options
    if folders:
        writer = FolderPerPart(lambda: _load(known.target))
    told = marker(format_name, options, select, split)
    with complete_folder(out, told, overwrite) as folder, ExitStack() as stack:
        written: Selected | LabelledFrames = source
        if frames is not None:
            beside = stack.enter_context(frames_folder(frames, out, folder, overwrite))
            written = LabelledFrames(source, beside, tally)
        writer.open(folder, source.classes(), chosen, tally)
        broken = 0
        for media, instances in written.labelled():
            writer.add(media, instances)
            broken += media.status == "failed"
        writer.close()
        told |= {"pictures": tally.pictures, "instances": tally.instances}
        told |= {"affected": dict(tally.affected)} if tally.affected else {}
    notes, fidelity = list(_notes(project, tally, broken)), None
    if verify and known.back:
        again = Selected(project, select, Tally())
        try:
            reading = Reading(
                out, known.back, [name for name, _ in again.classes()], chosen.splitter, folders
            )
            fidelity, more = reading.compare(again.labelled(), tally.instances, tally.affected)
            notes += more
        except FormatError as error:
            notes.append(f"the export can't be read back: {error}")
    counts = tally.pictures, tally.instances
    extracted = written.count if isinstance(written, LabelledFrames) else None
    return ExportReport(format_name, out, *counts, tuple(notes), fidelity, extracted)


def verify(folder: Path, project: LabelSource | None = None, reader: str = "own") -> VerifyReport:
    """Read an export back, and compare it with its project where that is given.

    Args:
        folder: What ``export`` wrote.
        project: The labels that it was exported from.
        reader: "own", or "other": pycocotools for coco, Ultralytics for yolo-seg.

    Raises:
        UsageError: If the folder is no export, or the format has no such reader.
        FormatError: If it is damaged beyond reading.
        MissingExtra: If the reader is not installed.
    """
    if reader not in READERS:
        raise UsageError(f"reader: expected {' or '.join(READERS)}, found {reader!r}")
    targets = {
        name: (
            known.back if reader == "own" else OTHERS.get(name, ""),
            "splitter" not in known.options,
        )
        for name, known in FORMATS.items()
    }
    plugged = {name: one for name in _entry_points() if (one := _plugged(name)) and one.back}
    targets |= {name: (one.back, "splitter" not in one.options) for name, one in plugged.items()}
    return verify_folder(folder, targets, project)


def knows(name: str) -> bool:
    """Return whether there is a format of this name, bundled, plugged in or importable."""
    return name in FORMATS or name in _entry_points() or hasattr(_importable(name), "open")


def writer_class(name: str) -> Any:
    """Return the class of a format's writer.

    Raises:
        UsageError: If the format is unknown or can't be imported.
    """
    return _class(_find(name).target)


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group="autolabel.formats")
    return {point.name: point for point in found}


def _importable(name: str) -> Any:
    """Return what "package.module:Class" names, or None."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+:[A-Za-z_]\w*", name):
        return None
    try:
        return _class(name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"format {name}: can't import it: {error}") from error


def _plugged(name: str) -> Format | None:
    """Return another package's format: its class may say FIDELITY, OPTIONS, BACK and READER."""
    point = _entry_points().get(name)
    target = point.value if point is not None else name
    found = _importable(target)
    if found is None:
        return None
    return Format(
        target,
        str(getattr(found, "FIDELITY", "a plug-in's own")),
        frozenset(getattr(found, "OPTIONS", ())),
        str(getattr(found, "BACK", "")),
        str(getattr(found, "READER", "")),
    )


def _find(name: str) -> Format:
    """Return the format of this name."""
    if name in FORMATS:
        return FORMATS[name]
    if plugged := _plugged(name):
        return plugged
    near = difflib.get_close_matches(name, FORMATS, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    names = ", ".join([*FORMATS, *_entry_points()])
    raise UsageError(f"format: expected one of {names}, found {name!r}{hint}")


def _options(name: str, known: Format, given: dict[str, Any]) -> ExportOptions:
    """Return the options; refuse those that the format would ignore."""
    defaults = {one.name: one.default for one in fields(ExportOptions)}
    for option, value in given.items():
        if option not in defaults:
            raise UsageError(f"export has no option {option!r}")
        if value != defaults[option] and option not in known.options:
            raise UsageError(f"format {name!r} has no option {option!r}")
    return ExportOptions(**given)


def _load(target: str) -> Any:
    """Return a new object of a class, "module:Class"."""
    return _class(target)()


def load_reader(format_name: str) -> Any:
    """Return the class of a format's reader.

    Raises:
        UsageError: If the format is unknown or only written.
    """
    known = _find(format_name)
    if not known.reader:
        readable = ", ".join(name for name, one in FORMATS.items() if one.reader)
        raise UsageError(f"format {format_name!r} is written only; read are {readable}")
    return _class(known.reader)


def _class(target: str) -> Any:
    """Return the class that "module:Class" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _notes(project: LabelSource, tally: Tally, broken: int) -> tuple[str, ...]:
    """Return what is not in the export and why.

    Args:
        project: What was exported.
        tally: What the writer left out or changed.
        broken: How many videos broke off and are in it as far as they were labelled.
    """
    lines = [f"{count} left out: {reason}" for reason, count in sorted(tally.skipped.items())]
    lines += [f"{count} affected: {what}" for what, count in sorted(tally.affected.items())]
    if broken:
        lines.append(f"{broken} in part: videos that broke off, as far as they were labelled")
    for status, why in (("failed", "could not be labelled"), ("partial", "are not finished")):
        count = sum(1 for _ in project.media(status)) - (broken if status == "failed" else 0)
        if count > 0:
            lines.append(f"{count} left out: inputs that {why} (see autolabel info)")
    return tuple(lines)
