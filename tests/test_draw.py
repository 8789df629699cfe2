"""Drawn pictures: what a reviewer would misread if it were wrong."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from autolabel import draw as drawing
from autolabel import masks
from autolabel.draw import draw, label_text, text_color
from autolabel.types import Instance

NAMES = ["car", "Löwe 轮子"]
COLORS = [(200, 0, 50), (0, 100, 255)]


def blank(height: int, width: int, gray: int = 100) -> np.ndarray:
    return np.full((height, width, 3), gray, np.uint8)


def with_mask(mask: np.ndarray, class_id: int = 0, **changes: object) -> Instance:
    rle = masks.encode(mask)
    box = masks.tight_box(rle) or (0, 0, 1, 1)
    return Instance(class_id, tuple(map(float, box)), mask=rle, score=0.5, **changes)  # type: ignore[arg-type]


def test_nothing_found_gives_the_picture_itself_as_a_copy() -> None:
    image = blank(30, 40)
    drawn = draw(image, [], NAMES, COLORS)
    assert np.array_equal(drawn, image)
    drawn[0, 0] = 0
    assert image[0, 0, 0] == 100


def test_masks_and_boxes_have_their_classs_own_colour_red_is_red() -> None:
    mask = np.zeros((400, 400), bool)
    mask[100:300, 100:300] = True
    image = blank(400, 400)
    drawn = draw(image, [with_mask(mask), Instance(1, (20.0, 320.0, 380.0, 390.0))], NAMES, COLORS)
    assert drawn.dtype == np.uint8
    assert np.abs(drawn[200, 200].astype(int) - (135, 65, 82)).max() <= 1  # 35 % of the colour
    assert drawn[200, 100].tolist() == [200, 0, 50]  # the outline
    assert drawn[360, 20].tolist() == [0, 100, 255]  # the box
    assert drawn[310, 350].tolist() == [100, 100, 100]
    assert (image == 100).all()


def test_holes_and_separate_parts_stay_visible() -> None:
    mask = np.zeros((400, 400), bool)
    mask[100:300, 100:300] = True
    mask[150:250, 150:250] = False
    mask[350:380, 350:380] = True
    drawn = draw(blank(400, 400), [with_mask(mask)], NAMES, COLORS)
    assert drawn[200, 200].tolist() == [100, 100, 100]
    assert drawn[365, 365].tolist() != [100, 100, 100]


def test_a_small_object_is_seen_on_a_large_one() -> None:
    large, small = np.zeros((200, 200), bool), np.zeros((200, 200), bool)
    large[10:190, 10:190] = True
    small[80:120, 80:120] = True
    for order in ([0, 1], [1, 0]):
        both = [with_mask(large, 0), with_mask(small, 1)]
        drawn = draw(blank(200, 200), [both[i] for i in order], NAMES, COLORS)
        assert drawn[100, 100, 2] > drawn[100, 100, 0]  # blue on red


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (2, 900), (7, 7), (31, 33), (480, 640), (3000, 2000)]
)
def test_any_size_of_picture_can_be_drawn_on(height: int, width: int) -> None:
    full = with_mask(np.ones((height, width), bool), 1, track_id=12)
    empty = with_mask(np.zeros((height, width), bool))
    drawn = draw(blank(height, width), [full, empty], NAMES, COLORS)
    assert drawn.shape == (height, width, 3)


def test_text_and_lines_grow_with_the_picture() -> None:
    small, large = drawing.Sizes.of(480, 640), drawing.Sizes.of(3000, 4000)
    assert (small.line, small.text) == (1, 11)
    assert (large.line, large.text) == (7, 62)


def test_a_label_says_name_score_and_track() -> None:
    assert (
        label_text(Instance(1, (0, 0, 1, 1), score=0.876, track_id=3), NAMES) == "Löwe 轮子 0.88 #3"
    )
    assert label_text(Instance(0, (0, 0, 1, 1)), NAMES) == "car"


def test_a_mask_of_another_pictures_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected masks of 30 x 40, found 40 x 30"):
        draw(blank(30, 40), [with_mask(np.ones((40, 30), bool))], NAMES, COLORS)


@pytest.mark.parametrize(
    ("background", "text"),
    [
        ((255, 255, 0), drawing.DARK),
        ((255, 255, 255), drawing.DARK),
        ((0, 0, 0), drawing.LIGHT),
        ((0, 130, 200), drawing.LIGHT),
        ((230, 25, 75), drawing.LIGHT),
    ],
)
def test_names_can_be_read_on_every_colour(
    background: tuple[int, int, int], text: tuple[int, int, int]
) -> None:
    assert text_color(background) == text


def test_chips_stay_in_the_picture_and_off_each_other() -> None:
    boxes = [
        (0, 0, 50, 50),
        (0, 0, 60, 60),
        (560, 2, 640, 90),
        (600, 440, 640, 480),
        (5, 3, 70, 70),
    ]
    taken: list[tuple[int, int, int, int]] = []
    for box in boxes:
        one = Instance(0, tuple(map(float, box)))  # type: ignore[arg-type]
        taken.append(drawing._place(one, 80, 20, (640, 480), 2, taken))
    assert all(x1 >= 0 and y1 >= 0 and x2 < 640 and y2 < 480 for x1, y1, x2, y2 in taken)
    assert not [pair for pair in combinations(taken, 2) if drawing._overlap(*pair)]


def test_names_outside_latin_are_drawn_with_an_installed_font_if_there_is_one() -> None:
    font = drawing.font_for("Löwe Ж Ω", 20)
    assert drawing._has_letters(font, "Löwe Ж Ω")
    assert drawing.font_for("轮子", 20).getlength("轮子") > 0


def test_hundreds_of_masks_on_a_large_photo_do_not_fill_the_memory() -> None:
    code = (
        "import resource, numpy as np\n"
        "from autolabel import masks\n"
        "from autolabel.draw import draw\n"
        "from autolabel.types import Instance\n"
        "labels = []\n"
        "for i in range(400):\n"
        "    x, y = 190 * (i % 20), 140 * (i // 20)\n"
        "    runs = [3000 * x + y, *[100, 2900] * 99, 100]\n"
        "    rle = masks.from_runs([*runs, 12_000_000 - sum(runs)], 3000, 4000)\n"
        "    labels.append(Instance(0, masks.tight_box(rle), mask=rle, score=0.5))\n"
        "image = np.zeros((3000, 4000, 3), np.uint8)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "draw(image, labels, ['car'], [(255, 0, 0)])\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    root = Path(__file__).parents[1]
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert int(told.stdout) < 500  # MiB; the masks alone would be 4,800
