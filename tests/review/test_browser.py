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
from autolabel.review.session import read_session
from tests.command import autolabel, exported, start
from tests.review.browser import CHROMIUM, WHY_SKIPPED, Reviewer, page_of
from tests.review.projects import BOXES, ellipse, make_project

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=WHY_SKIPPED)


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
    project = make_project(root, pictures=6)
    process = start("review", project, "--no-browser")
    try:
        lines = lines_until(process, "Ctrl-C ends")
        url = lines[0].removeprefix("The app is at ")
        outside: list[str] = []
        with page_of(root / "profile", outside) as page:
            grid = session(Reviewer(page, url, root))
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
    reviewer.open(sample(6))
    reviewer.act("cancel", "2 labels rejected")
    page.keyboard.press("Shift+U")
    page.get_by_text("undone: rejected").first.wait_for()
    page.keyboard.press("Shift+X")
    page.get_by_text("2 labels rejected").first.wait_for()
    page.keyboard.press("Shift+T")
    page.get_by_text("0 pending labels would be accepted").wait_for()
    reviewer.shot("reject")
    reviewer.shot("ask")
    return grid


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
    # Six ellipses of each, some 5,000 pixels a car on the page: far more than outlines have.
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
    assert reviewed["lines"][1] == "6 of 6 inputs loaded, 12 labels."
    assert "It was running already" in reviewed["again"]
    assert "0 of 6 inputs loaded" in reviewed["again"]
    assert reviewed["code"] == 0
    places = reviewing.places_of(reviewed["project"])
    assert read_session(places) is None
    assert reviewing.processes.running_mongod(places) is None


def test_the_app_killed_is_told_and_the_next_review_starts(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    process = start("review", project, "--no-browser")
    lines_until(process, "Ctrl-C ends")
    process.kill()
    process.communicate(timeout=30)
    orphan = read_session(reviewing.places_of(project))
    assert orphan is not None
    process = start("review", project, "--no-browser")
    assert "0 of 1 inputs loaded, 0 labels." in lines_until(process, "Ctrl-C ends")
    adopted = read_session(reviewing.places_of(project))
    assert adopted is not None
    assert (adopted.app_pid, adopted.owner) == (orphan.app_pid, process.pid)
    os.kill(adopted.app_pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the FiftyOne app ended unexpectedly" in err
    assert "No review is running." in autolabel("review", project, "--stop")
    assert json.loads(autolabel("info", project, "--json"))["labels"] == 2
