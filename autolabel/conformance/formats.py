"""What a format's writer promises: see ``autolabel.formats.base.Writer``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from autolabel import masks
from autolabel.conformance.cases import Case, expect
from autolabel.formats.base import ExportOptions, Tally
from autolabel.types import Instance, MediaRecord

CLASSES = [("cat", "#ff0000"), ("traffic light", "#00ff00")]


def offers_every_method(case: Case) -> None:
    """It is made without arguments and has open, add and close."""
    writer = case.adapter()
    for name in ("open", "add", "close"):
        expect(callable(getattr(writer, name, None)), f"it has no method {name}")


def writes_files_and_counts(case: Case) -> None:
    """Two pictures with labels give files, and the tally says how many."""
    files, tally = write(case, records())
    expect(bool(files), "it wrote no files")
    expect(tally.pictures == 2, f"it counted {tally.pictures} pictures, expected 2")
    skipped = sum(tally.skipped.values())
    total = tally.instances + skipped
    expect(total == 3, f"it counted {tally.instances} labels and {skipped} left out, expected 3")


def writes_the_same_again(case: Case) -> None:
    """The same labels give the same files, to the byte."""
    first, _ = write(case, records())
    second, _ = write(case, records())
    expect(first == second, "the same labels gave other files")


def takes_an_empty_project(case: Case) -> None:
    """No pictures are no error."""
    _, tally = write(case, [])
    expect(tally.pictures == 0, f"it counted {tally.pictures} pictures in an empty project")


FORMAT_CHECKS = (
    offers_every_method,
    writes_files_and_counts,
    writes_the_same_again,
    takes_an_empty_project,
)


def records() -> list[tuple[MediaRecord, list[Instance]]]:
    """Return two pictures: one with two labels, one with one that has no mask and no score."""
    mask = np.zeros((40, 60), np.bool_)
    mask[5:20, 10:30] = True
    mask[10:14, 15:20] = False
    whole = Instance(0, (10.0, 5.0, 30.0, 20.0), mask=masks.encode(mask), score=0.9)
    boxed = Instance(1, (1.5, 2.5, 50.0, 39.0), score=0.4)
    human = Instance(1, (0.0, 0.0, 30.0, 20.0), source="human", status="accepted")
    return [
        (MediaRecord("a.jpg", "/nowhere/a.jpg", "image", "0" * 64, 40, 60), [whole, boxed]),
        (MediaRecord("b/ü.png", "/nowhere/b/ü.png", "image", "1" * 64, 20, 30), [human]),
    ]


def write(
    case: Case, inputs: Sequence[tuple[MediaRecord, list[Instance]]]
) -> tuple[dict[str, bytes], Tally]:
    """Return the files that the writer makes, by name, and its tally."""
    writer, tally = case.adapter(), Tally()
    with tempfile.TemporaryDirectory() as folder:
        writer.open(Path(folder), CLASSES, ExportOptions(), tally)
        for media, instances in inputs:
            writer.add(media, _stream(instances))
        writer.close()
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
    return found, tally


def _stream(instances: list[Instance]) -> Iterator[Instance]:
    yield from instances
