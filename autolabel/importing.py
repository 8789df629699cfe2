"""A project made of labels that exist already: read, checked, and there whole or not at all.

What an imported label is: where the file says who made it, that counts; else a label with a
score is a model's and pending, and one without is a human's and accepted. Crowd regions
(COCO's ``iscrowd``) are kept as rejected labels: reviewed, but never exported as an object.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel import masks
from autolabel.errors import FormatError, InputError, OntologyError, StorageError, UsageError
from autolabel.formats import load_reader
from autolabel.formats.reading import (
    Pictures,
    Problems,
    ReadMedia,
    ReadObject,
    picture_size,
    unpacked,
)
from autolabel.media.pictures import file_key
from autolabel.ontology import ClassSpec, Ontology, to_yaml
from autolabel.ontology.model import check_name, distinct_colors
from autolabel.store import Project, Result
from autolabel.types import Instance, MediaRecord

BATCH = 64
SUFFIXES = {".json", ".xml", ".txt", ".yaml", ".yml", ".png"}
"""What label files are called inside a zip."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import read.

    Attributes:
        media: Pictures and videos.
        instances: Labels.
        classes: Names, in the project's order.
        skipped: What was left out, how often, and where it was seen first.
        notes: What else is worth knowing.
    """

    media: int
    instances: int
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def import_labels(
    format_name: str,
    path: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    skip_bad: bool = False,
) -> ImportReport:
    """Make a project of labels in another format; the folder appears when it is complete.

    Args:
        format_name: A key of ``autolabel.formats.FORMATS`` that can be read.
        path: The label file, the folder of label files, or a zip of it.
        images: The folder of the pictures and videos.
        out: The project folder, which must not exist or be empty.
        skip_bad: Leave out what is wrong and count it, in place of stopping there.

    Raises:
        FormatError: If the labels are wrong; says the file and the place.
        UsageError: If the format can't be read, or a folder is not as it must be.
        StorageError: If the disk is full, read-only or failing.
    """
    make_reader = load_reader(format_name)
    target = Path(os.path.realpath(out))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{out} is not an empty folder: choose another --out")
    pictures = Pictures(Path(images))
    problems = Problems(skip_bad)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.import-", dir=target.parent))
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror or error}") from error
    try:
        with unpacked(Path(path), SUFFIXES, problems) as labels:
            reader = make_reader(labels, pictures, problems)
            reading = _Import(reader, problems, f"{format_name} {path}")
            reading.run(work)
        report = reading.report()
        work.chmod(0o755)
        work.rename(target)
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


class _Import:
    """Writes what a reader gives into a new project."""

    def __init__(self, reader: Any, problems: Problems, origin: str) -> None:
        self._reader, self._problems, self._origin = reader, problems, origin
        self._seen: set[str] = set()
        self._instances = 0

    def run(self, folder: Path) -> None:
        """Fill the project folder."""
        names, colors = _class_table(self._reader.classes, self._origin)
        self._names = names
        meta = {"imported": self._origin} | _ontology(names)
        with Project.open(folder, create=True) as project:
            project.set_run(meta, list(zip(names, colors, strict=True)), names)
            for batch in _batches(self._results()):
                project.commit(batch)
        if not self._seen:
            raise FormatError(f"{self._origin}: nothing was read{self._first()}")

    def report(self) -> ImportReport:
        """Return what was read."""
        problems = self._problems
        skipped = tuple(
            f"{count} left out: {what} (first: {problems.first[what]})"
            for what, count in sorted(problems.skipped.items())
        )
        notes = tuple(f"{count} {what}" for what, count in sorted(problems.notes.items()))
        return ImportReport(len(self._seen), self._instances, tuple(self._names), skipped, notes)

    def _first(self) -> str:
        """Return what went wrong first, for the error."""
        return "".join(f"; {what}: {place}" for what, place in self._problems.first.items())

    def _results(self) -> Iterator[Result]:
        """Yield each picture or video with its labels as the store takes them."""
        for found in self._reader.media():
            name = found.item.name
            if name in self._seen:
                self._problems.add(name, "a picture that is there twice")
                continue
            media = self._record(found)
            if media is None:
                continue
            self._seen.add(name)
            labels = [
                one for read in found.objects if (one := self._instance(read, media)) is not None
            ]
            self._instances += len(labels)
            status = os.stat(found.item.path)
            yield Result(media, status.st_size, status.st_mtime_ns, {}, labels)

    def _record(self, found: ReadMedia) -> MediaRecord | None:
        """Return the store's record of a file; None if it is not as the labels say."""
        item = found.item
        try:
            if item.kind == "image":
                size = picture_size(item, self._problems)
                key, frames = file_key(item.path), 1
            else:
                size, key, frames = _video(item.path, found.frames)
        except InputError as error:
            self._problems.add(str(error), "a picture or video that can't be read")
            return None
        if size is None:
            return None
        height, width = size
        if (found.height or height, found.width or width) != (height, width):
            self._problems.add(
                item.name,
                "a picture of another size",
                f"the labels are for {found.width} x {found.height}, the picture as displayed "
                f"(EXIF applied) has {width} x {height}",
            )
            return None
        return MediaRecord(item.name, item.path, item.kind, key, height, width, frames)

    def _instance(self, read: ReadObject, media: MediaRecord) -> Instance | None:
        """Return a label as the store has it; None if it is not one."""
        with self._problems.guard(read.place or media.name, "a label that is wrong"):
            human = read.source == "human" or (read.source is None and read.score is None)
            if read.score is not None and not 0 <= read.score <= 1:
                raise ValueError(f"score {read.score:g}: expected 0 to 1")
            if read.frame_index >= media.frames:
                raise ValueError(f"frame {read.frame_index}: the video has {media.frames} frames")
            status = "rejected" if read.crowd else "accepted" if human else "pending"
            return Instance(
                class_id=read.class_id,
                box=_box(read, media),
                mask=read.mask,
                score=read.score,
                frame_index=read.frame_index,
                track_id=read.track_id,
                source="human" if human else "model",
                status=status,
            )
        return None


def _box(read: ReadObject, media: MediaRecord) -> tuple[float, float, float, float]:
    """Return a label's box inside the picture: the mask's where there is one."""
    if read.mask is not None:
        if (read.mask.height, read.mask.width) != (media.height, media.width):
            raise ValueError("its mask has another size than the picture")
        tight = masks.tight_box(read.mask)
        if tight is None:
            raise ValueError("its mask is empty")
        x1, y1, x2, y2 = tight
        return float(x1), float(y1), float(x2), float(y2)
    if read.box is None or not all(math.isfinite(value) for value in read.box):
        raise ValueError("it has neither mask nor box")
    left, top, right, bottom = read.box
    left, right = max(0.0, left), min(float(media.width), right)
    top, bottom = max(0.0, top), min(float(media.height), bottom)
    if left >= right or top >= bottom:
        raise ValueError(f"its box {read.box} is empty or outside the picture")
    return left, top, right, bottom


def _video(path: str, frames: int | None) -> tuple[tuple[int, int], str, int]:
    """Return a video's height and width, key, and number of frames."""
    from autolabel.media.video import frame_files, open_video, video_key

    info = open_video(path)
    if os.path.isdir(path):
        frames = len(frame_files(path))
    return (info.height, info.width), video_key(path), frames or info.frames


def _class_table(
    classes: Iterable[tuple[str, str | None]], origin: str
) -> tuple[list[str], list[str]]:
    """Return the classes' names and colours.

    Raises:
        FormatError: If there are none, or a name is not allowed or there twice.
    """
    names: list[str] = []
    given: list[str | None] = []
    for name, color in classes:
        try:
            clean = check_name(name)
        except ValueError as error:
            raise FormatError(f"{origin}: {error}") from None
        if clean in names:
            raise FormatError(f"{origin}: class {clean!r} is there twice")
        names.append(clean)
        given.append(color if color and len(color) == 7 and color[0] == "#" else None)
    if not names:
        raise FormatError(f"{origin}: has no classes")
    chosen = distinct_colors(names, set())
    colors = ["#{:02x}{:02x}{:02x}".format(*chosen[name]) for name in names]
    return names, [color or auto for color, auto in zip(given, colors, strict=True)]


def _ontology(names: list[str]) -> dict[str, str]:
    """Return the ontology that the classes' names make, where they can be prompts."""
    try:
        return {"ontology": to_yaml(Ontology(tuple(ClassSpec(n, (n,)) for n in names)))}
    except OntologyError:
        return {}


def _batches(results: Iterable[Result]) -> Iterator[list[Result]]:
    """Yield the results in batches, each stored in one transaction."""
    batch: list[Result] = []
    for result in results:
        batch.append(result)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
