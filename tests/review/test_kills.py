"""kill -9 of a pull, a load and the database: labels are as before or as after, and it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from pymongo.write_concern import WriteConcern

from autolabel import reviewing
from autolabel.errors import StorageError
from autolabel.review import load, processes, session
from autolabel.review.documents import LABEL_ID, MEDIA_ID, object_id
from autolabel.review.snapshot import Snapshot
from autolabel.store import Project
from tests.review.loaded import CAR, PERSON, App, labels

KILLED = """
import os, signal, sys
def killed(owner, name, calls, after):
    real = getattr(owner, name)
    seen = []
    def wrapped(*args, **kwargs):
        seen.append(1)
        if len(seen) == calls and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if len(seen) == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, wrapped)
"""


def killed(code: str, *args: str) -> None:
    """Run code that kills its own process by SIGKILL."""
    ran = subprocess.run([sys.executable, "-c", KILLED + code, *args], capture_output=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr


def kill_mongod(app: App) -> None:
    """Kill the database, and wait until it is gone."""
    running = processes.running_mongod(app.places)
    assert running is not None
    os.kill(running[0], signal.SIGKILL)
    processes.end(running[0], "--dbpath")


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ("Project, '_apply', 2, False", 2),  # between the first label and the second
        ("Project, '_apply', 2, True", 2),  # all written, nothing committed
        ("Project, 'apply_edits', 1, True", 0),
    ],
)
def test_a_killed_pull_has_taken_all_or_nothing(app: App, place: str, left: int) -> None:
    app.edit({"label": "truck"})
    app.delete(PERSON)
    before = labels(app.folder)
    killed(
        "from autolabel import reviewing\nfrom autolabel.store import Project\n"
        f"killed({place})\nreviewing.pull(sys.argv[1])\n",
        str(app.folder),
    )
    now = labels(app.folder)
    if left:
        assert now == before
    else:
        assert (now[CAR].class_id, now[PERSON].status) == (1, "rejected")
    found = reviewing.pull(app.folder)
    assert (len(found.edits), found.problems) == (left, [])
    after = labels(app.folder)
    assert (after[CAR].class_id, after[PERSON].status) == (1, "rejected")


@pytest.mark.parametrize("place", ["Snapshot, 'put', 2, True", "Snapshot, 'forget', 2, False"])
def test_after_a_killed_load_the_next_goes_on_and_finds_no_edits(app: App, place: str) -> None:
    app.edit({"review": "accepted"}, CAR)
    app.edit({"review": "accepted"}, 3)
    assert len(reviewing.pull(app.folder).edits) == 2  # now both pictures are to be loaded anew
    killed(
        "import json\nfrom pathlib import Path\nfrom tests.review.loaded import App\n"
        "from autolabel.review import load\nfrom autolabel.review.snapshot import Snapshot\n"
        "load.BATCH = 1\n"
        f"killed({place})\napp = App(Path(sys.argv[1]))\n"
        "app.made = json.loads(sys.argv[2])\napp.load()\n",
        str(app.folder),
        json.dumps(app.made),
    )
    app.edit({"label": "truck"}, CAR)  # the reviewer goes on with what is there
    assert app.load().loaded <= 1
    (edit,) = reviewing.pull(app.folder).edits
    assert (edit.label, edit.actions) == (CAR, ("class",))
    app.load()
    assert reviewing.pull(app.folder).edits == []


def test_after_the_database_was_killed_the_app_counts_right(app: App) -> None:
    """What FiftyOne shows as the number of samples; mongod's own is off by what came last."""
    with session.mongo(app.port) as db:
        samples = db[app.made["image"]["samples"]]
        samples.insert_many({"late": n} for n in range(30))
        db.client.admin.command("fsync")
        kept = samples.with_options(write_concern=WriteConcern(j=True))
        kept.delete_many({"late": {"$exists": True}})
    kill_mongod(app)
    app.port = processes.start_mongod(app.places)[1]
    app.load()
    with session.mongo(app.port) as db:
        samples = db[app.made["image"]["samples"]]
        assert (samples.estimated_document_count(), samples.count_documents({})) == (2, 2)


def test_the_database_killed_before_a_pull_comes_back_with_the_edits(app: App) -> None:
    app.edit({"label": "truck"})
    with session.mongo(app.port) as db:
        db.client.admin.command("fsync")
    kill_mongod(app)
    (edit,) = reviewing.pull(app.folder).edits
    assert edit.actions == ("class", "status")
    assert processes.running_mongod(app.places) is None
    app.port = processes.start_mongod(app.places)[1]


def test_the_database_killed_while_a_pull_reads_is_told_and_nothing_changes(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.edit({"label": "truck"})
    with session.mongo(app.port) as db:
        db.client.admin.command("fsync")
    before, get = labels(app.folder), Snapshot.get

    def kills(*args: object) -> object:
        monkeypatch.undo()
        kill_mongod(app)
        return get(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Snapshot, "get", kills)
    with pytest.raises(StorageError, match=r"the review's database failed: .*labels are as they"):
        reviewing.pull(app.folder)
    assert labels(app.folder) == before
    app.port = processes.start_mongod(app.places)[1]
    assert [edit.label for edit in reviewing.pull(app.folder).edits] == [CAR]


def test_the_database_killed_while_loading_is_told_and_the_next_load_has_all(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session.mongo(app.port) as db:
        db[app.made["image"]["samples"]].delete_many({})
    write, monkey = load.Loader._write, monkeypatch
    monkey.setattr(load, "BATCH", 1)

    def kills(*args: object) -> object:
        monkey.setattr(load.Loader, "_write", write)
        report = write(*args)  # type: ignore[arg-type]
        kill_mongod(app)
        return report

    monkey.setattr(load.Loader, "_write", kills)
    with pytest.raises(StorageError, match="the review's database failed"):
        app.load()
    app.port = processes.start_mongod(app.places)[1]
    app.load()
    with session.mongo(app.port) as db:
        found = {one["name"]: one for one in db[app.made["image"]["samples"]].find({})}
    assert {name: len(one["labels"]["detections"]) for name, one in found.items()} == {
        "0.png": 2,
        "1.png": 2,
    }
    assert reviewing.pull(app.folder).edits == []
    with Project.open(app.folder, readonly=True) as project:
        assert project.stats().labels == 4
    assert found["0.png"]["_id"] == object_id(MEDIA_ID, 1)
    assert found["0.png"]["labels"]["detections"][0]["_id"] == object_id(LABEL_ID, CAR)
