"""The project folder: what a user would lose, mix up or wait for if the store were wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from autolabel.errors import (
    ProjectBusy,
    ProjectDamaged,
    ProjectError,
    ProjectTooNew,
    StorageError,
    UsageError,
)
from autolabel.store import Project, Result
from autolabel.types import RLE, Candidates, Instance, MediaRecord, Proposals

ROOT = Path(__file__).parents[1]
CLASSES = [("car", "#ff0000"), ("person", "#00ff00")]
PROMPTS = ["car", "automobile", "person"]


def make_project(folder: Path) -> Project:
    project = Project.open(folder, create=True)
    project.set_run({"grounder": "fake"}, CLASSES, PROMPTS)
    return project


def record(name: str, **changes: object) -> MediaRecord:
    values = {"path": f"/in/{name}", "kind": "image", "key": f"key of {name}", "height": 40}
    return MediaRecord(name, **{**values, "width": 60, **changes})  # type: ignore[arg-type]


def found(*boxes: tuple[float, ...], masks: str = "m") -> Candidates:
    scores = np.zeros((len(boxes), 3), np.float32)
    scores[:, 0] = [0.9 - 0.1 * i for i in range(len(boxes))]
    scores[:, 2] = 0.125
    return Candidates(
        40,
        60,
        Proposals(np.array(boxes, np.float32).reshape(-1, 4), scores),
        tuple(RLE(40, 60, f"{masks}{i}") for i in range(len(boxes))),
        tuple(0.5 for _ in boxes),
    )


def label(candidates: Candidates, row: int, **changes: object) -> Instance:
    box = tuple(candidates.proposals.boxes[row].tolist())
    values: dict[str, object] = {
        "class_id": 0, "box": (1.0, 2.0, 3.0, 4.0), "detector_box": box,
        "mask": candidates.masks[row], "mask_score": candidates.mask_scores[row],
        "score": float(candidates.proposals.scores[row].max()), "prompt": "car",
        "runner_up_class": 1, "runner_up_score": 0.125,
    }  # fmt: skip
    return Instance(**{**values, **changes})  # type: ignore[arg-type]


def file_of(project: Project, name: str) -> tuple[str, int, int]:
    """The status, size and time that a project has of an input's file."""
    found = project.stored(name)
    assert found is not None
    return found.status, found.size_bytes, found.mtime_ns


def picture(name: str, boxes: int = 2, **changes: object) -> Result:
    candidates = found(*((i, 0, i + 10, 9.5) for i in range(boxes)))
    labels = [label(candidates, row) for row in range(boxes)]
    return Result(record(name, **changes), 100, 200, {0: candidates}, labels, {"ground": 0.5})


def without_uid(instances: list[Instance]) -> list[tuple[object, ...]]:
    names = [name for name in Instance.__slots__ if name != "uid"]
    return [tuple(getattr(one, name) for name in names) for one in instances]


# What goes in comes out


def test_a_label_comes_back_with_every_field(tmp_path: Path) -> None:
    candidates = found((0.25, 0, 10, 9.5), (5, 5, 20, 20))
    with make_project(tmp_path) as project:
        given = [label(candidates, 0), label(candidates, 1, class_id=1, mask=None)]
        project.commit([Result(record("a.jpg"), 1, 2, {0: candidates}, given)])
        first, second = project.instances("a.jpg")
    assert without_uid([first, second]) == without_uid(given)
    assert first.detector_box == (0.25, 0.0, 10.0, 9.5)
    assert first.mask == RLE(40, 60, "m0")
    assert (first.mask_score, first.score) == (0.5, float(np.float32(0.9)))
    assert second.mask is None  # though its candidate has one
    assert first.uid != second.uid


def test_candidates_come_back_with_every_prompts_score(tmp_path: Path) -> None:
    given = found((0.25, 0, 10, 9.5), (5, 5, 20, 20))
    without_masks = Candidates(40, 60, given.proposals, (None, given.masks[1]), (None, 0.25))
    with make_project(tmp_path) as project:
        project.commit([Result(record("a.jpg"), 1, 2, {0: without_masks})])
        read = project.candidates("a.jpg")[0]
    assert read.proposals.boxes.tolist() == [[0.25, 0, 10, 9.5], [5, 5, 20, 20]]
    assert read.proposals.scores.tolist() == given.proposals.scores.tolist()
    assert read.masks == (None, RLE(40, 60, "m1"))
    assert read.mask_scores == (None, 0.25)


def test_a_mask_that_label_and_candidate_share_is_stored_once(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg", boxes=1)])
        assert project.instances("a.jpg")[0].mask == RLE(40, 60, "m0")
    with sqlite3.connect(tmp_path / "labels.db") as db:
        assert db.execute("SELECT counts FROM labels").fetchall() == [(None,)]


def test_two_candidates_with_the_same_box_keep_their_own_masks(tmp_path: Path) -> None:
    candidates = found((0, 0, 10, 10), (0, 0, 10, 10))
    with make_project(tmp_path) as project:
        labels = [label(candidates, 1, class_id=1), label(candidates, 0)]
        project.commit([Result(record("a.jpg"), 1, 2, {0: candidates}, labels)])
        masks = {one.class_id: one.mask for one in project.instances("a.jpg")}
    assert masks == {0: RLE(40, 60, "m0"), 1: RLE(40, 60, "m1")}


def test_the_order_of_labels_does_not_depend_on_when_they_were_stored(tmp_path: Path) -> None:
    candidates = found(*((i, 0, i + 10, 9) for i in range(6)))
    labels = [label(candidates, row, score=0.5 + 0.1 * (row % 3)) for row in range(6)]
    names = [f"{n}.jpg" for n in range(5)]
    seen = []
    for turn in range(3):
        random.Random(turn).shuffle(labels)
        random.Random(turn).shuffle(names)
        with make_project(tmp_path / str(turn)) as project:
            for name in names:
                project.commit([Result(record(name), 1, 2, {0: candidates}, tuple(labels))])
            seen.append(
                [(media.name, without_uid(found)) for media, found in project.iter_labelled()]
            )
    assert seen[0] == seen[1] == seen[2]
    assert [name for name, _ in seen[0]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_unlabelled_and_failed_pictures_are_not_confused(tmp_path: Path) -> None:
    failed = Result(record("b.jpg", status="failed", reason="truncated", height=0, width=0))
    with make_project(tmp_path) as project:
        project.commit([picture("c.jpg"), failed, picture("a.jpg", boxes=0)])
        assert [(m.name, len(found)) for m, found in project.iter_labelled()] == [
            ("a.jpg", 0),
            ("c.jpg", 2),
        ]
        assert [(m.name, m.reason) for m in project.failures()] == [("b.jpg", "truncated")]
        assert [m.name for m in project.media()] == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    "name", ['it\'s "quoted".jpg', "sp ace/ü 漢字 😀.png", "a;DROP TABLE media.jpg", "a.jpg/a.jpg"]
)
def test_odd_names_are_kept_apart_and_come_back(tmp_path: Path, name: str) -> None:
    with make_project(tmp_path / "a folder?#%41'") as project:
        project.commit([picture("other.jpg", boxes=1), picture(name, boxes=2)])
        assert project.find(name) == record(name)
        assert len(project.instances(name)) == 2
        assert file_of(project, name) == ("done", 100, 200)


def test_a_name_that_is_not_unicode_does_not_end_the_run(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    with make_project(tmp_path) as project:
        project.commit([picture(name, key="k")])
        assert file_of(project, name) == ("done", 100, 200)
        assert [m.name for m in project.media()] == ["caf\\udce9.jpg"]


def test_streams_read_halfway_or_not_at_all_do_not_lose_the_next_picture(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture(f"{n}.jpg") for n in range(4)])
        stream = project.labelled()
        next(next(stream)[1])
        next(stream)
        media, instances = next(stream)
        assert (media.name, len(list(instances))) == ("2.jpg", 2)


def test_a_reader_sees_one_moment_while_the_run_writes(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("b.jpg"), picture("c.jpg")])
        with Project.open(tmp_path, readonly=True) as reader:
            stream = reader.iter_labelled()
            next(stream)
            project.commit([picture("a.jpg"), picture("d.jpg")])
            project.remove(["c.jpg"])
            assert [m.name for m, _ in stream] == ["c.jpg"]
            assert [m.name for m, _ in reader.iter_labelled()] == ["a.jpg", "b.jpg", "d.jpg"]


# Going on


def test_an_input_is_known_by_the_size_and_time_of_its_file(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg"), Result(record("b.jpg", status="failed"), 1, 2)])
        assert file_of(project, "a.jpg") == ("done", 100, 200)
        assert file_of(project, "b.jpg") == ("failed", 1, 2)
        assert project.stored("c.jpg") is None


def test_a_picture_committed_again_replaces_the_old_one(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg", boxes=3), picture("b.jpg", boxes=1)])
        project.commit([picture("a.jpg", boxes=1, key="new")])
        assert len(project.instances("a.jpg")) == 1
        assert len(project.candidates("a.jpg")[0].masks) == 1
        assert len(project.instances("b.jpg")) == 1
        assert project.find_content("key of a.jpg") is None


def test_identical_files_are_computed_once_even_within_a_batch(tmp_path: Path) -> None:
    copy = Result(record("b.jpg", key="key of a.jpg"), 100, 200, copy_of="a.jpg")
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg"), copy])
        assert without_uid(project.instances("b.jpg")) == without_uid(project.instances("a.jpg"))
        assert project.candidates("b.jpg")[0].masks == (RLE(40, 60, "m0"), RLE(40, 60, "m1"))
        assert project.find_content("key of a.jpg") == record("a.jpg")
        project.remove(["a.jpg"])
        assert len(project.instances("b.jpg")) == 2


def test_a_file_that_was_only_touched_keeps_its_labels(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg")])
        known = project.find_content("key of a.jpg")
        assert known is not None
        project.commit([Result(record("a.jpg"), 100, 999, copy_of=known.name)])
        assert len(project.instances("a.jpg")) == 2
        assert file_of(project, "a.jpg") == ("done", 100, 999)


def test_a_failed_picture_is_no_source_for_copies(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([Result(record("a.jpg", status="failed", key="k"))])
        assert project.find_content("k") is None
        with pytest.raises(UsageError, match=r"no input named 'gone\.jpg'"):
            project.commit([Result(record("b.jpg", key="k"), copy_of="gone.jpg")])


def test_a_bad_result_leaves_nothing_of_its_batch(tmp_path: Path) -> None:
    bad = found((0, 0, 1, 1))
    with make_project(tmp_path) as project:
        with pytest.raises(ValueError, match=r"a.jpg: expected masks of 41 x 60, found 40 x 60"):
            project.commit([picture("ok.jpg"), picture("a.jpg", height=41)])
        wrong = label(bad, 0, detector_box=(9.0, 9.0, 9.0, 9.0))
        with pytest.raises(ValueError, match="is none of its frame's candidates"):
            project.commit([picture("ok.jpg"), Result(record("a.jpg"), 1, 2, {0: bad}, [wrong])])
        proposals = Proposals(bad.proposals.boxes, np.ones((1, 5), np.float32))
        wide = Candidates(40, 60, proposals, bad.masks, bad.mask_scores)
        with pytest.raises(ValueError, match=r"expected the scores of 3 prompts .*, found 5"):
            project.commit([picture("ok.jpg"), Result(record("a.jpg"), 1, 2, {0: wide})])
        assert list(project.media()) == []


def test_a_video_grows_by_windows_and_is_exported_when_done(tmp_path: Path) -> None:
    clip = record("clip.mp4", kind="video", frames=20, status="partial")
    key_frame = found((0, 0, 10, 10))
    seeded = label(key_frame, 0, track_id=1)
    tracked = [
        Instance(0, (1, 1, 5, 5), mask=RLE(40, 60, f"t{i}"), track_id=1, frame_index=i)
        for i in range(1, 10)
    ]
    with make_project(tmp_path) as project:
        project.append(
            Result(clip, 5, 6, {0: key_frame}, [seeded, *tracked], {"track": 1.5}), b"\x00at 10"
        )
        assert project.state("clip.mp4") == b"\x00at 10"
        assert file_of(project, "clip.mp4") == ("partial", 5, 6)
        assert list(project.iter_labelled()) == []
        second = Instance(1, (2, 2, 4, 4), mask=RLE(40, 60, "n"), track_id=2, frame_index=5)
        done = record("clip.mp4", kind="video", frames=20)
        project.append(Result(done, 5, 6, {10: key_frame}, [second], {"track": 0.25}))
        assert project.state("clip.mp4") is None
        [(media, instances)] = project.iter_labelled()
        assert media == done
        assert [
            (one.frame_index, one.track_id) for one in instances if 4 <= one.frame_index <= 6
        ] == [
            (4, 1),
            (5, 1),
            (5, 2),
            (6, 1),
        ]
        assert instances[0].detector_box == (0.0, 0.0, 10.0, 10.0)
        assert sorted(project.candidates("clip.mp4")) == [0, 10]
        assert project.stats().seconds == {"track": 1.75}
        assert project.stats().tracks == 2


# Selecting again


def only_first(media: MediaRecord, candidates: Candidates) -> list[Instance]:
    return [label(candidates, 0, class_id=1)]


def test_reselect_replaces_pending_model_labels_and_leaves_humans_alone(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg"), picture("b.jpg"), picture("none.jpg", boxes=0)])
        project.commit([Result(record("imported.jpg"), 1, 2, {}, [Instance(0, (1, 1, 2, 2))])])
    with sqlite3.connect(tmp_path / "labels.db") as db:
        b = "(SELECT id FROM media WHERE name = 'b.jpg')"
        db.execute(f"UPDATE labels SET status='accepted' WHERE media_id={b} AND candidate_idx=0")
    with Project.open(tmp_path) as project:
        assert project.reselect(only_first, {"thresholds": "new"}) == 1
        assert [one.class_id for one in project.instances("a.jpg")] == [1]
        assert [(one.class_id, one.status) for one in project.instances("b.jpg")] == [
            (0, "accepted")
        ]
        assert len(project.instances("imported.jpg")) == 1
        assert project.meta() == {"grounder": "fake", "thresholds": "new"}


def test_reselect_that_fails_halfway_changes_nothing(tmp_path: Path) -> None:
    def fails_at_b(media: MediaRecord, candidates: Candidates) -> list[Instance]:
        if media.name == "b.jpg":
            raise KeyError("b")
        return only_first(media, candidates)

    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg"), picture("b.jpg")])
        before = list(project.iter_labelled())
        with pytest.raises(KeyError):
            project.reselect(fails_at_b, {"thresholds": "new"})
        assert list(project.iter_labelled()) == before
        assert project.meta() == {"grounder": "fake"}
        assert project.reselect(lambda media, found: [], {}) == 0
        assert project.stats().labels == 0


def accept_all(folder: Path) -> None:
    with sqlite3.connect(folder / "labels.db") as db:
        db.execute("UPDATE labels SET status = 'accepted'")


def test_labels_that_stay_keep_their_class_when_the_ontology_is_reordered(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg", boxes=1)])
    accept_all(tmp_path)
    turned = [("dog", "#0000ff"), *reversed(CLASSES)]
    with Project.open(tmp_path) as project:
        project.reselect(lambda media, found: [], {}, turned)
        [one] = project.instances("a.jpg")
        assert (turned[one.class_id][0], one.runner_up_class) == ("car", 1)
        with pytest.raises(UsageError, match="ontology lacks 'car'"):
            project.reselect(lambda media, found: [], {"thresholds": "new"}, CLASSES[1:])
        assert project.classes() == turned
        assert "thresholds" not in project.meta()
        project.reselect(lambda media, found: [], {}, CLASSES[:1])
        assert [one.runner_up_class for one in project.instances("a.jpg")] == [None]


def test_starting_over_forgets_what_models_said_but_not_what_people_did(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg"), picture("b.jpg")])
    with sqlite3.connect(tmp_path / "labels.db") as db:
        db.execute("UPDATE labels SET status = 'accepted' WHERE id = 1")
    with Project.open(tmp_path) as project:
        project.restart({"grounder": "other"}, [("dog", "#0000ff"), *CLASSES], ["dog"])
        assert list(project.iter_labelled()) == []
        assert project.candidates("a.jpg") == {}
        assert file_of(project, "a.jpg")[0] != "done"
        assert project.meta() == {"grounder": "other"}
        assert (project.prompts(), project.class_names()) == (["dog"], ("dog", "car", "person"))
        [kept] = project.instances("a.jpg")
        assert (kept.class_id, kept.mask, kept.mask_score) == (1, RLE(40, 60, "m0"), 0.5)
        assert project.instances("b.jpg") == []
        project.commit([Result(record("a.jpg"), 100, 200)])
        assert len(project.instances("a.jpg")) == 1


# What people see


def test_stats_count_by_sql_what_is_there(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg"), picture("b.jpg", boxes=1), picture("c.jpg", boxes=0)])
        project.commit([Result(record("d.jpg", status="failed", reason="empty file"))])
        candidates = found((0, 0, 10, 10))
        top = label(candidates, 0, class_id=1, score=1.0, mask=None)
        project.commit([Result(record("e.jpg"), 1, 2, {0: candidates}, [top])])
        stats = project.stats()
    assert stats.media == {"done": 4, "failed": 1}
    assert stats.kinds == {"image": 5}
    assert (stats.empty, stats.frames, stats.candidates) == (1, 4, 4)
    assert (stats.labels, stats.masks, stats.tracks) == (4, 3, 0)
    assert [(one.name, one.labels, one.media) for one in stats.classes] == [
        ("car", 3, 2),
        ("person", 1, 1),
    ]
    assert stats.histogram == (0, 0, 0, 0, 0, 0, 0, 0, 1, 3)  # 0.8, then 0.9, 0.9 and 1.0
    assert stats.seconds == {"ground": 1.5}
    assert (stats.by_status, stats.by_source) == ({"pending": 4}, {"model": 4})


def test_people_with_sqlite3_see_plain_names_and_every_mask(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg", boxes=1)])
    with sqlite3.connect(tmp_path / "labels.db") as db:
        row = db.execute(
            "SELECT media, class, runner_up, prompt, round(score, 3), counts, mask_score, height "
            "FROM annotations"
        ).fetchone()
    assert row == ("a.jpg", "car", "person", "car", 0.9, "m0", 0.5, 40)


# Kills


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import make_project, picture, only_first
from autolabel.store import Project
with make_project(Path({folder!r})) as project:
    print("ready", flush=True)
    for number in range(100_000):
        project.commit([picture(f"{{number:06d}}_{{i}}.jpg") for i in range(3)])
        print(number, flush=True)
"""


def run_python(code: str, **options: object) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env, **options
    )


@pytest.mark.parametrize("commits", [1, 7, 40])
def test_kill_9_loses_nothing_that_was_committed_and_halves_no_batch(
    tmp_path: Path, commits: int
) -> None:
    process = run_python(KILLED.format(tests=str(ROOT / "tests"), folder=str(tmp_path)))
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(commits + 1)]
    os.kill(process.pid, signal.SIGKILL)
    last = int(([*told, *process.stdout.read().splitlines()])[-1])
    process.wait()
    with Project.open(tmp_path) as project:  # the lock died with the process
        names = [media.name for media, found in project.iter_labelled() if len(found) == 2]
        assert names[: 3 * (last + 1)] == [
            f"{n:06d}_{i}.jpg" for n in range(last + 1) for i in range(3)
        ]
        assert len(names) in (3 * (last + 1), 3 * (last + 2))  # the commit under way: all or none
        project.commit([picture("after.jpg")])


RESELECTED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import only_first
from autolabel.store import Project
def select(media, found):
    print(media.name, flush=True)
    return only_first(media, found)
with Project.open(Path({folder!r})) as project:
    project.reselect(select, {{"thresholds": "new"}})
    print("committed", flush=True)
"""


@pytest.mark.parametrize("after", ["0000.jpg", "0150.jpg", "0299.jpg", "committed"])
def test_kill_9_while_selecting_again_leaves_all_old_or_all_new(tmp_path: Path, after: str) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture(f"{number:04d}.jpg") for number in range(300)])
    process = run_python(RESELECTED.format(tests=str(ROOT / "tests"), folder=str(tmp_path)))
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == after:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with Project.open(tmp_path) as project:
        counts = {len(found) for _, found in project.iter_labelled()}
        expected = {1} if project.meta().get("thresholds") == "new" else {2}
    assert counts == expected
    assert after != "committed" or counts == {1}


# Two at once


def test_a_second_writer_is_told_who_holds_the_project(tmp_path: Path) -> None:
    with make_project(tmp_path):
        held = rf"is in use by process {os.getpid()} since 20\d\d-\d\d-\d\d "
        with pytest.raises(ProjectBusy, match=held):
            Project.open(tmp_path)
        other = run_python(
            "import sys; from autolabel.store import Project\n"
            "from autolabel.errors import ProjectBusy\n"
            f"try: Project.open({str(tmp_path)!r}, create=True)\n"
            "except ProjectBusy as error: print(error)"
        )
        assert f"process {os.getpid()}" in other.communicate()[0]
        Project.open(tmp_path, readonly=True).close()
    Project.open(tmp_path).close()


def test_a_forked_worker_that_outlives_the_run_does_not_keep_the_project_busy(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys, time; from autolabel.store import Project\n"
        f"project = Project.open({str(tmp_path)!r}, create=True)\n"
        "child = os.fork()\n"
        "if child == 0: print(os.getpid(), flush=True); sys.stdin.read(); os._exit(0)\n"
        "os._exit(0)"
    )
    process = run_python(code, stdin=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.wait()
    os.kill(child, 0)  # it is still there
    Project.open(tmp_path).close()
    process.communicate("")


# What can be wrong with a folder


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ProjectError, match=r"is not a project: it has no labels.db"):
        Project.open(tmp_path)
    with pytest.raises(ProjectError, match="is not a project"):
        Project.open(tmp_path / "nowhere", readonly=True)
    with pytest.raises(ProjectError, match="is a file, not a folder"):
        Project.open(file, create=True)
    with pytest.raises(ProjectError, match="is not a project"):
        Project.open(file)
    assert sorted(tmp_path.iterdir()) == [file]


def test_a_folder_with_other_files_can_become_a_project(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    make_project(tmp_path).close()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_labels_db_that_is_text_or_cut_off_is_damaged_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "labels.db"
    for content in (b"these are not the labels you are looking for" * 9, b"SQLite format 3\0"):
        file.write_bytes(content)
        for options in ({}, {"create": True}, {"readonly": True}):
            with pytest.raises(ProjectDamaged, match=r"\.recover"):
                Project.open(tmp_path, **options)
        assert file.read_bytes() == content


def test_damage_past_the_header_is_told_where_it_is_met(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture(f"{number}.jpg") for number in range(2000)])
    file = tmp_path / "labels.db"
    size = file.stat().st_size
    with open(file, "r+b") as damaged:
        damaged.seek(size // 4 // 8192 * 8192)
        damaged.write(b"\xa5" * (size // 2))
    with pytest.raises(ProjectDamaged), Project.open(tmp_path) as project:
        list(project.iter_labelled())


def test_half_a_labels_db_is_damaged(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([picture(f"{number}.jpg") for number in range(500)])
    os.truncate(tmp_path / "labels.db", (tmp_path / "labels.db").stat().st_size // 2)
    with pytest.raises(ProjectDamaged), Project.open(tmp_path, readonly=True) as project:
        list(project.iter_labelled())


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "labels.db") as db:
        db.execute("CREATE TABLE recipes (id)")
    for options in ({"create": True}, {"readonly": True}):
        with pytest.raises(ProjectDamaged, match="another program"):
            Project.open(tmp_path, **options)


def test_a_newer_project_is_refused_and_not_changed(tmp_path: Path) -> None:
    make_project(tmp_path).close()
    with sqlite3.connect(tmp_path / "labels.db") as db:
        db.execute("PRAGMA user_version = 99")
    for options in ({}, {"create": True}, {"readonly": True}):
        with pytest.raises(ProjectTooNew, match=r"has format 99, .* reads up to 3\."):
            Project.open(tmp_path, **options)


def test_a_run_killed_before_its_first_table_can_be_started_again(tmp_path: Path) -> None:
    (tmp_path / "labels.db").touch()
    with make_project(tmp_path) as project:
        project.commit([picture("a.jpg")])


def test_a_project_opened_for_reading_refuses_to_change(tmp_path: Path) -> None:
    make_project(tmp_path).close()
    with Project.open(tmp_path, readonly=True) as project, pytest.raises(StorageError):
        project.commit([picture("a.jpg")])


def test_a_full_disk_says_that_nothing_is_lost_and_the_run_goes_on_later(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "from test_store import make_project, picture\n"
        "from autolabel.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
        f"project = make_project(Path({str(tmp_path)!r}))\n"
        "done = 0\n"
        "try:\n"
        "    while True:\n"
        "        project.commit([picture(f'{done:05d}.jpg', boxes=9)]); done += 1\n"
        "except StorageError as error: print(done, error)\n"
    )
    done, _, message = run_python(code).communicate()[0].partition(" ")
    assert "What was committed before is safe" in message
    with Project.open(tmp_path) as project:
        assert len(list(project.iter_labelled())) == int(done) > 5
        project.commit([picture("after.jpg")])


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("killed", [False, True])
def test_a_read_only_folder_can_be_read_but_not_written(killed: bool) -> None:
    folder = Path(tempfile.mkdtemp(prefix="autolabel-test-"))  # tmp_path is closed to others
    try:
        project = make_project(folder)
        project.commit([picture("a.jpg")])
        if killed:  # the labels are still in the WAL
            saved = {file.name: file.read_bytes() for file in folder.iterdir()}
            project.close()
            for name in ("labels.db", "labels.db-wal"):
                (folder / name).write_bytes(saved[name])
        else:
            project.close()
        folder.chmod(0o555)
        code = (
            "import os; from pathlib import Path; from autolabel.store import Project\n"
            "from autolabel.errors import StorageError\n"
            "os.setuid(65534)\n"
            f"folder = Path({str(folder)!r})\n"
            "with Project.open(folder, readonly=True) as project:\n"
            "    print(len(project.instances('a.jpg')), len(list(project.media())))\n"
            "try: Project.open(folder)\n"
            "except StorageError as error: print(error)\n"
        )
        counts, _, message = run_python(code).communicate()[0].partition("\n")
        assert counts == "2 1"
        assert "can't be written to" in message
    finally:
        shutil.rmtree(folder)


# Scale


def test_memory_does_not_grow_with_the_project(tmp_path: Path) -> None:
    def peak_of_export(pictures: int) -> int:
        with make_project(tmp_path / str(pictures)) as project:
            for start in range(0, pictures, 50):
                project.commit([picture(f"{n:06d}.jpg") for n in range(start, start + 50)])
            tracemalloc.start()
            assert sum(1 for _, found in project.labelled() for _ in found) == 2 * pictures
            project.reselect(only_first, {})
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak

    # Python keeps up to 0.4 MB of row tuples for reuse; 3,000 pictures would be 10 MB.
    assert peak_of_export(3000) < 1.3 * peak_of_export(300) + 600_000


def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    def peak_of_export(frames: int) -> int:
        clip = record("clip.mp4", kind="video", frames=frames)
        with make_project(tmp_path / str(frames)) as project:
            for start in range(0, frames, 100):
                labels = [
                    Instance(0, (1, 1, 5, 5), mask=RLE(40, 60, f"t{i}"), track_id=1, frame_index=i)
                    for i in range(start, start + 100)
                ]
                project.append(Result(clip, 1, 2, {}, labels))
            tracemalloc.start()
            assert sum(1 for _, found in project.labelled() for _ in found) == frames
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak

    assert peak_of_export(5000) < 1.3 * peak_of_export(500)


def test_the_database_streams_in_name_order_without_sorting(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        statements: list[str] = []
        reader = project._reader.connect()
        reader.set_trace_callback(statements.append)
        project._reader.connect = lambda: reader  # type: ignore[method-assign]
        list(project.labelled())
    queries = [sql for sql in statements if "SELECT" in sql]
    assert len(queries) == 2
    with sqlite3.connect(tmp_path / "labels.db") as db:
        plans = [row[3] for sql in queries for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert plans
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]


def test_what_is_known_of_all_files_comes_by_name(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.commit([Result(record(f"{n}.jpg"), n, 2 * n) for n in (10, 9, 8)])
        found = [(one.name, one.size_bytes, one.mtime_ns) for one in project.all_stored()]
    assert found == [("10.jpg", 10, 20), ("8.jpg", 8, 16), ("9.jpg", 9, 18)]


def test_the_record_of_a_run_survives_and_can_be_changed(tmp_path: Path) -> None:
    with make_project(tmp_path) as project:
        project.set_meta({"ontology": json.dumps({"ü": 1}), "grounder": "other"})
    with Project.open(tmp_path, readonly=True) as project:
        assert project.meta() == {"grounder": "other", "ontology": '{"\\u00fc": 1}'}
        assert project.classes() == CLASSES
        assert project.prompts() == PROMPTS
