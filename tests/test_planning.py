"""What a run finds done, what it calls its inputs, and that millions of them cost no memory."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autolabel.errors import StorageError
from autolabel.media import spool as spooling
from autolabel.media.inputs import spooled
from autolabel.planning import Plan, planned
from autolabel.store import Project, Result
from autolabel.types import MediaItem, MediaRecord
from tests.test_inputs import touch


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.open(tmp_path / "project", create=True) as opened:
        yield opened


@contextmanager
def plan_for(project: Project | None, *inputs: Path, **options: int | None) -> Iterator[Plan]:
    with spooled(list(inputs)) as spool, planned(spool, project, **options) as plan:
        yield plan


def finish(project: Project, *inputs: Path, status: str = "done") -> list[str]:
    """Commit everything that is to do; return what it was called."""
    with plan_for(project, *inputs) as plan:
        items = list(plan.todo())
    project.commit([result(item, status) for item in items])
    return [item.name for item in items]


def result(item: MediaItem, status: str) -> Result:
    media = MediaRecord(item.name, item.path, item.kind, item.path, 1, 1, status=status)
    seen = os.stat(item.path)
    return Result(media, seen.st_size, seen.st_mtime_ns)


def test_what_is_done_is_this_very_file_labelled(tmp_path: Path, project: Project) -> None:
    touch(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg")
    finish(project, tmp_path / "in")
    (tmp_path / "in/b.jpg").write_bytes(b"changed")
    touch(tmp_path / "in", "aa.jpg")
    with plan_for(project, tmp_path / "in") as plan:
        assert (plan.total, plan.done) == (4, 2)
        assert [item.name for item in plan.todo()] == ["aa.jpg", "b.jpg"]
    with plan_for(project, tmp_path / "in", redo=True) as plan:
        assert (plan.total, plan.done) == (4, 0)
    with plan_for(project, tmp_path / "in", limit=2) as plan:
        assert (plan.total, plan.done) == (2, 1)


def test_what_failed_is_tried_again(tmp_path: Path, project: Project) -> None:
    touch(tmp_path / "in", "a.jpg")
    finish(project, tmp_path / "in", status="failed")
    assert finish(project, tmp_path / "in") == ["a.jpg"]
    assert finish(project, tmp_path / "in") == []


def test_batches_are_cut_from_all_pictures_and_videos_come_apart(
    tmp_path: Path, project: Project
) -> None:
    folder = touch(tmp_path / "in", "1.jpg", "2.jpg", "5.jpg")
    finish(project, folder)
    touch(folder, "0.mp4", "3.jpg", "4.jpg", "6.jpg", "7.mov")
    with plan_for(project, folder) as plan:
        batches = [[item.name for item in batch] for batch in plan.pictures(2)]
        assert batches == [["3.jpg", "4.jpg"], ["6.jpg"]]
        assert [item.name for item in plan.videos()] == ["0.mp4", "7.mov"]


def test_other_files_of_the_same_names_get_names_of_their_own(
    tmp_path: Path, project: Project
) -> None:
    one = touch(tmp_path / "one", "1.jpg", "2.jpg")
    two = touch(tmp_path / "x/two", "1.jpg", "3.jpg")
    other = touch(tmp_path / "y/two", "1.jpg")
    assert finish(project, one) == ["1.jpg", "2.jpg"]
    assert finish(project, two) == ["two/1.jpg", "3.jpg"]
    assert finish(project, other) == ["y/two/1.jpg"]
    for folder in (one, two, other):
        assert finish(project, folder) == []


def test_a_name_that_another_input_of_the_run_has_is_not_taken(
    tmp_path: Path, project: Project
) -> None:
    finish(project, touch(tmp_path / "one", "1.jpg"))
    two = touch(tmp_path / "two", "1.jpg", "two/1.jpg")
    with plan_for(project, two) as plan:
        names = {item.path: item.name for item in plan.todo()}
    assert names[str(two / "two/1.jpg")] == "two/1.jpg"
    assert names[str(two / "1.jpg")] == f"{tmp_path.name}/two/1.jpg"


def test_a_file_that_was_moved_keeps_its_name(tmp_path: Path, project: Project) -> None:
    one = touch(tmp_path / "one", "1.jpg")
    finish(project, one)
    one.rename(tmp_path / "moved")
    assert finish(project, tmp_path / "moved") == ["1.jpg"]
    assert finish(project, tmp_path / "moved") == []


def test_a_name_that_is_no_utf8_stays_the_same(tmp_path: Path, project: Project) -> None:
    folder = touch(tmp_path / "in", "a.jpg")
    with open(os.fsencode(folder) + b"/\xff.jpg", "wb"):
        pass
    with plan_for(project, folder) as plan:
        items = list(plan.todo())
    assert [item.name for item in items] == ["\\udcff.jpg", "a.jpg"]
    media = [MediaRecord(i.name, i.path, i.kind, "", 0, 0, status="failed") for i in items]
    project.commit([Result(one) for one in media])
    with plan_for(project, folder) as plan:
        assert [item.name for item in plan.todo()] == [item.name for item in items]


def test_inputs_cost_no_memory(tmp_path: Path, project: Project) -> None:
    folder = touch(tmp_path / "in", *(f"{i % 7}/{i:05d}.jpg" for i in range(3000)))
    finish(project, folder)
    tracemalloc.start()
    try:
        with plan_for(project, folder) as plan:
            assert sum(map(len, plan.pictures(4))) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300_000


def test_temporary_databases_lie_on_disk_and_leave_no_file(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from autolabel.media.spool import temporary\n"
        "db = temporary()\n"
        "db.execute('CREATE TABLE t (b)')\n"
        "db.executemany('INSERT INTO t VALUES (?)', ((b'x' * 1000,) for _ in range(5000)))\n"
        "print(sum(os.fstat(int(f)).st_size for f in os.listdir('/proc/self/fd')\n"
        "    if os.path.realpath(f'/proc/self/fd/{f}').startswith(os.environ['SQLITE_TMPDIR'])))\n"
    )
    environ = {**os.environ, "SQLITE_TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert int(done.stdout) > 3_000_000, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_temporary_folder_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = spooling.temporary

    def small() -> sqlite3.Connection:
        db = real()
        db.execute("PRAGMA max_page_count = 8")
        return db

    monkeypatch.setattr(spooling, "temporary", small)
    folder = touch(tmp_path / "in", *(f"{i:05d}.jpg" for i in range(2000)))
    with pytest.raises(StorageError, match="SQLITE_TMPDIR"), spooled([folder]):
        pass
