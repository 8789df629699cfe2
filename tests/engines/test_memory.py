"""Batches that don't fit into memory: halved, remembered, and no picture lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import autolabel
from autolabel.engines.memory import Limit, in_pieces
from autolabel.ontology import parse_ontology
from autolabel.store import Project
from autolabel.types import Image, Proposals
from tests.command import make_pictures
from tests.fakes import Blobs


class Small:
    """A device that holds two pictures, and never the one of the number 7."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.lost: list[tuple[int, str]] = []

    def call(self, piece: Sequence[int]) -> None:
        self.calls.append(list(piece))
        if len(piece) > 2 or 7 in piece:
            raise MemoryError("no room")

    def failed(self, one: int, error: Exception) -> None:
        self.lost.append((one, str(error)))


def test_a_batch_is_halved_until_it_fits_and_later_ones_begin_there() -> None:
    device, limit = Small(), Limit()
    in_pieces([1, 2, 3, 4, 5], limit, device.call, device.failed)
    assert device.calls == [[1, 2, 3, 4, 5], [1, 2], [3, 4], [5]]
    device.calls.clear()
    in_pieces([10, 11, 12], limit, device.call, device.failed)
    assert device.calls == [[10, 11], [12]]
    assert device.lost == []


def test_a_picture_that_never_fits_is_tried_again_and_fails_alone() -> None:
    device, limit = Small(), Limit()
    in_pieces([6, 7, 8], limit, device.call, device.failed)
    assert device.calls == [[6, 7, 8], [6], [7], [7], [8]]
    assert device.lost == [(7, "no room")]


class Tight(Blobs):
    """Blobs that run out of memory with more than three pictures."""

    seen: list[int] = []

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        self.seen.append(len(images))
        if len(images) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().ground(images, prompts, floor)


@pytest.mark.parametrize("size", [8, 3])
def test_a_run_loses_no_picture(tmp_path: Path, size: int) -> None:
    pictures = make_pictures(tmp_path / "in", 16)
    report = autolabel.run(
        [pictures],
        parse_ontology("cat: cat"),
        out=tmp_path / "p",
        grounder="tests.engines.test_memory:Tight",
        segmenter="none",
        device="cpu",
        batch_size=size,
    )
    assert (report.done, report.failed) == (16, 0)
    with Project.open(tmp_path / "p", readonly=True) as project:
        assert sum(1 for _ in project.media("done")) == 16
