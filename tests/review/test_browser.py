"""A reviewer's session in a real browser, from the command to the export."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from autolabel import reviewing
from autolabel.review.documents import MEDIA_ID, object_id
from autolabel.review.session import mongo, read_session
from tests.command import autolabel, exported, start
from tests.review.browser import CHROMIUM, WHY_SKIPPED, Reviewer, page_of
from tests.review.projects import (
    BOXES,
    add_candidates,
    add_clip,
    add_failure,
    ellipse,
    make_project,
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=WHY_SKIPPED)


RED, GREEN = 0, 1
"""Cars are red, people are green."""


def sample(number: int) -> str:
    """The id in the app of the n-th picture, from 1."""
    return str(object_id(MEDIA_ID, number))


def lines_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """What a process printed up to the line with these words."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip())
        if words in line:
            return lines
    raise AssertionError((lines, process.stderr and process.stderr.read()))


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A project after one reviewer's session, and what was seen in it."""
    root = tmp_path_factory.mktemp("browser")
    project = make_project(root, pictures=7)
    add_candidates(project, root)
    add_clip(project, root / "clip.mkv")
    add_failure(project)
    process = start("review", project, "--no-browser")
    try:
        lines = lines_until(process, "Ctrl-C ends")
        url = lines[0].removeprefix("The app is at ")
        outside: list[str] = []
        with page_of(root / "profile", outside) as page:
            reviewer = Reviewer(page, url, root)
            grid = session(reviewer)
            operators(reviewer)
            clip(reviewer)
        again = autolabel("review", project, "--no-browser")
        pulled = autolabel("review", project, "--pull")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    coco = exported(project, root / "coco")
    return {
        "root": root,
        "project": project,
        "lines": lines,
        "again": again,
        "pulled": pulled,
        "outside": outside,
        "grid": grid,
        "coco": coco,
        "code": process.returncode,
    }


def session(reviewer: Reviewer) -> Path:
    """Look, and change one thing in each picture; return the picture of the grid."""
    page = reviewer.page
    reviewer.open()
    page.locator("canvas[canvas-loaded=true]").nth(5).wait_for()
    dismiss = page.get_by_text("Dismiss", exact=True)
    dismiss.wait_for()
    dismiss.click()
    dismiss.wait_for(state="hidden")
    grid = reviewer.shot("grid")

    reviewer.annotate(sample(1), "car")
    with reviewer.saved():
        page.get_by_role("radio").nth(1).click()
    reviewer.shot("class")

    reviewer.annotate(sample(2), "car")
    heading = page.get_by_text("Edit Detection").bounding_box()
    page.mouse.click(1346, heading["y"] + heading["height"] / 2)
    with reviewer.saved():
        page.get_by_text("Delete", exact=False).last.click()
    reviewer.shot("delete")

    reviewer.annotate(sample(3))
    reviewer.draw_box()
    with reviewer.saved():
        reviewer.drag((150, 20), (190, 60))
    with reviewer.saved():
        page.get_by_role("radio").nth(1).click()
    reviewer.shot("box")

    reviewer.annotate(sample(4), "car")
    reviewer.tool("Brush")
    with reviewer.saved():
        reviewer.drag((90, 100), (180, 100))
    reviewer.shot("brush")

    reviewer.open(sample(5))
    reviewer.act("check_circle", "2 labels accepted")
    reviewer.shot("accept")
    page.keyboard.press("Shift+N")
    page.wait_for_url(f"**id={sample(6)}")
    reviewer.act("cancel", "2 labels rejected")
    reviewer.key("Shift+U", "undone: rejected")
    reviewer.key("Shift+X", "2 labels rejected")
    reviewer.shot("reject")
    return grid


def operators(reviewer: Reviewer) -> None:
    """Press what the earlier steps didn't, from the sixth picture on."""
    page = reviewer.page
    page.keyboard.press("Shift+N")
    page.wait_for_url(f"**id={sample(7)}")
    reviewer.wait_for_mask(GREEN)
    reviewer.click(90, 100)
    reviewer.change_class("truck", "1 labels are truck now")
    reviewer.wait_for_mask(GREEN)
    reviewer.shot("changed")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")

    ask = "Accept all pending labels from this score on?"
    for score, count in ((0.5, 11), (0.85, 1)):
        dialog = reviewer.choose("Shift+T", ask)
        dialog.get_by_role("spinbutton").fill(str(score))
        dialog.get_by_text(f"{count} pending labels would be accepted").wait_for()
        reviewer.shot("ask")
        dialog.get_by_role("button", name="Accept").click()
        page.get_by_text(f"{count} labels accepted from {score} on").first.wait_for()
        if score == 0.5:
            reviewer.key("Shift+U", "undone: accepted from 0.5 on")

    dialog = reviewer.choose("Shift+F", "1 failed inputs")
    dialog.get_by_text("bad.png: cut short").wait_for()
    reviewer.close(dialog)

    dialog = reviewer.choose("Shift+R", "Select labels anew")
    dialog.get_by_role("spinbutton").fill("0.35")
    dialog.get_by_role("button", name="Select").click()
    page.get_by_text("labels selected with threshold 0.35 for (every class)").first.wait_for()
    page.locator("canvas[canvas-loaded=true]").nth(5).wait_for()
    dialog = reviewer.choose("Shift+E", "Export")
    dialog.get_by_role("button", name="Export").click()
    page.get_by_text("project-export").first.wait_for()
    reviewer.shot("export")


def clip(reviewer: Reviewer) -> None:
    """Give a car of a video another class, in all its frames."""
    page = reviewer.page
    page.goto(f"{reviewer.url}%20videos?id={sample(9)}", wait_until="commit")
    page.locator("#modal canvas").first.wait_for()
    reviewer.wait_for_mask(RED)
    reviewer.shot("clip")
    reviewer.click(90, 100)
    reviewer.change_class("truck", "3 labels are truck now")


def boxes(reviewed: dict[str, Any], number: int) -> dict[str, list[float]]:
    """Class and box of each label of a picture in the COCO export."""
    coco = reviewed["coco"]
    names = {one["id"]: one["name"] for one in coco["categories"]}
    files = {one["id"]: one["file_name"] for one in coco["images"]}
    return {
        names[one["category_id"]]: one["bbox"]
        for one in coco["annotations"]
        if files[one["image_id"]] == f"{number - 1}.png"
    }


def test_the_grid_shows_masks_in_the_ontologys_colours(reviewed: dict[str, Any]) -> None:
    pixels = np.asarray(Image.open(reviewed["grid"]).convert("RGB")).astype(int)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    cars = (red > green + 60) & (red > blue + 60) & (abs(green - blue) < 30)
    people = (green > red + 40) & (green > blue + 20)
    # Seven ellipses of each, some 5,000 pixels a car on the page: far more than outlines have.
    assert cars[150:, 310:].sum() > 15_000
    assert people[150:, 310:].sum() > 10_000


def test_class_delete_and_new_box_arrive_in_the_export(reviewed: dict[str, Any]) -> None:
    person = [200, 80, 60, 120]
    assert boxes(reviewed, 1) == {"truck": [40, 60, 100, 80], "person": person}
    assert boxes(reviewed, 2) == {"person": person}
    made = boxes(reviewed, 3)
    assert made["truck"] == pytest.approx([150, 20, 40, 40], abs=1.5)
    assert made["car"] == [40, 60, 100, 80]


def test_the_brushed_mask_arrives_in_pixels(reviewed: dict[str, Any]) -> None:
    coco = reviewed["coco"]
    files = {one["id"]: one["file_name"] for one in coco["images"]}
    (rle,) = [
        one["segmentation"]
        for one in coco["annotations"]
        if files[one["image_id"]] == "3.png" and one["bbox"][0] < 100
    ]
    mask = coco_mask.decode(rle).astype(bool)
    assert mask.shape == (240, 320)
    before = ellipse(BOXES["car"])
    assert (mask & before).sum() / before.sum() > 0.97
    assert mask[100, 145:178].all()  # the stroke beyond the ellipse
    assert not mask[:55].any()
    assert 100 < (mask & ~before).sum() < 600


def test_what_operators_did_arrives(reviewed: dict[str, Any]) -> None:
    assert boxes(reviewed, 7) == {"truck": [40, 60, 100, 80], "person": [200, 80, 60, 120]}
    with sqlite3.connect(reviewed["project"] / "labels.db") as db:
        rows = "SELECT frame_index, class, x1, status, source FROM annotations WHERE media = ? "
        candidates = db.execute(rows + "ORDER BY x1", ("a.png",)).fetchall()
        tracked = db.execute(rows + "ORDER BY frame_index", ("clip.mkv",)).fetchall()
    assert candidates == [
        (0, "car", 10, "accepted", "model"),
        (0, "car", 100, "pending", "model"),
        (0, "car", 200, "pending", "model"),  # 0.4: only the second threshold has it
    ]
    assert tracked == [(index, "truck", 40, "accepted", "human") for index in (0, 1, 4)]


def test_the_export_of_the_app_is_that_of_the_command_before_the_clip(
    reviewed: dict[str, Any],
) -> None:
    found = json.loads((reviewed["root"] / "project-export" / "annotations.json").read_text())
    mine = [one["bbox"] for one in reviewed["coco"]["annotations"]]
    assert [one["bbox"] for one in found["annotations"]] == mine
    assert len(mine) == 18


def test_accepted_and_rejected_by_button_and_key(reviewed: dict[str, Any]) -> None:
    with sqlite3.connect(reviewed["project"] / "labels.db") as db:
        found = dict(
            db.execute(
                "SELECT media, group_concat(DISTINCT status) FROM annotations "
                "WHERE media IN ('4.png', '5.png') GROUP BY 1"
            )
        )
    assert found == {"4.png": "accepted", "5.png": "rejected"}
    assert boxes(reviewed, 6) == {}


def test_nothing_called_out(reviewed: dict[str, Any]) -> None:
    assert reviewed["outside"] == []


def test_a_second_review_finds_the_first_and_the_end_leaves_nothing(
    reviewed: dict[str, Any],
) -> None:
    assert reviewed["lines"][1] == "9 of 10 inputs loaded, 19 labels."
    assert "It was running already" in reviewed["again"]
    assert "0 of 10 inputs loaded" in reviewed["again"]
    assert reviewed["code"] == 0
    places = reviewing.places_of(reviewed["project"])
    assert read_session(places) is None
    assert reviewing.processes.running_mongod(places) is None


def test_what_is_killed_is_told_and_the_next_review_has_the_edits(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    places = reviewing.places_of(project)
    process = start("review", project, "--no-browser")
    lines_until(process, "Ctrl-C ends")
    process.kill()
    process.communicate(timeout=30)
    orphan = read_session(places)
    assert orphan is not None

    process = start("review", project, "--no-browser")
    assert "0 of 1 inputs loaded, 0 labels." in lines_until(process, "Ctrl-C ends")
    adopted = read_session(places)
    assert adopted is not None
    assert (adopted.app_pid, adopted.owner) == (orphan.app_pid, process.pid)
    with mongo(adopted.mongo_port) as db:
        samples = db["datasets"].find_one({"name": "project"})["sample_collection_name"]
        truck = {"$set": {"labels.detections.0.label": "truck"}}
        assert db[samples].update_one({}, truck).modified_count
        db.client.admin.command("fsync")
    os.kill(adopted.mongo_pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: the review's database ended unexpectedly" in err
    assert "edits made in the app are kept up to the last moment: run the same command again" in err
    assert not adopted.app_alive()

    process = start("review", project, "--no-browser")
    lines_until(process, "Ctrl-C ends")
    now = read_session(places)
    assert now is not None
    os.kill(now.app_pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the FiftyOne app ended unexpectedly" in err
    assert "No review is running." in autolabel("review", project, "--stop")
    assert json.loads(autolabel("info", project, "--json"))["labels"] == 2
    assert "label 1: class, status" in autolabel("review", project, "--pull")
