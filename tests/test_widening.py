"""Tiles, mirrored views and two grounders: what they find, and that nothing is there twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel import masks
from autolabel.config import RunConfig, RunIdentity, Tiling
from autolabel.errors import UsageError
from autolabel.ground.consensus import Consensus
from autolabel.ground.flip import Flipped
from autolabel.ground.tiles import TiledGrounder
from autolabel.ontology import ClassSpec, Ontology
from autolabel.pipeline import Question, Stages, label_images
from autolabel.segment.tiles import TiledSegmenter
from autolabel.types import Image, Instance, Proposals
from autolabel.views.tiling import windows_of
from tests.coloured import Colours, Fill, canvas

ONTOLOGY = Ontology(tuple(ClassSpec(name, (name,)) for name in ("red", "green", "blue")))
ASK = Question(ONTOLOGY, ONTOLOGY.prompts, 0.1)
TILES = Tiling(100, 0.2)


def labelled(image: Image, grounder: object, segmenter: object = None) -> list[Instance]:
    stages = Stages(grounder, segmenter)  # type: ignore[arg-type]
    return list(label_images([image], ASK, stages)[0].instances)


def tiled(image: Image, tiling: Tiling = TILES, least: float = 0.05) -> list[Instance]:
    return labelled(
        image,
        TiledGrounder(Colours(least=least), tiling, 4),
        TiledSegmenter(Fill(), tiling, 4),
    )


# Where tiles lie


def test_tiles_cover_the_picture_evenly_at_full_size() -> None:
    assert windows_of(100, 260, Tiling(100, 0.2)).tolist() == [
        [0, 0, 100, 100],
        [80, 0, 180, 100],
        [160, 0, 260, 100],
    ]


def test_a_picture_no_larger_than_a_tile_has_none() -> None:
    assert windows_of(100, 100, Tiling(100)).shape == (0, 4)
    assert windows_of(30, 101, Tiling(100, 0.0)).tolist() == [[0, 0, 100, 30], [1, 0, 101, 30]]


@given(st.integers(1, 700), st.integers(1, 700), st.integers(32, 300), st.floats(0, 0.9))
@settings(max_examples=60, deadline=None)
def test_every_pixel_is_in_a_tile_and_neighbours_overlap(
    height: int, width: int, size: int, overlap: float
) -> None:
    tiles = windows_of(height, width, Tiling(size, overlap)).astype(int)
    if not len(tiles):
        assert max(height, width) <= size
        return
    seen = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in tiles:
        assert (x2 - x1, y2 - y1) == (min(size, width), min(size, height))
        seen[y1:y2, x1:x2] = True
    assert seen.all()
    for starts in (np.unique(tiles[:, 0]), np.unique(tiles[:, 1])):
        assert (np.diff(starts) <= np.ceil(size * (1 - overlap)) + 1).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0", "32 pixels or more"),
        ("-5", "32 pixels or more"),
        ("640:1", "overlap from 0 to 0.9"),
        ("640:64", "64 pixels are 640:0.1"),
        ("640:-0.1", "overlap from 0 to 0.9"),
        ("big", "expected SIZE[:OVERLAP]"),
        ("640:", "expected SIZE[:OVERLAP]"),
        ("640:0.1.2", "expected SIZE[:OVERLAP]"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        RunConfig("a", "none", tile=text)
    assert told in str(error.value)


# What tiles find


def test_small_things_are_found_in_tiles_and_masked_to_the_pixel() -> None:
    image = canvas(300, 300, ("red", 40, 50, 48, 57), ("blue", 200, 100, 290, 190))
    assert [one.class_id for one in labelled(image, Colours(), Fill())] == [2]
    found = {one.class_id: one for one in tiled(image)}
    assert found[0].box == (40, 50, 48, 57)
    assert found[0].mask is not None
    assert masks.area(found[0].mask) == 8 * 7
    assert (found[0].mask.height, found[0].mask.width) == (300, 300)
    assert found[2].box == (200, 100, 290, 190)


@given(st.integers(0, 290), st.integers(0, 290), st.integers(6, 60), st.integers(6, 60))
@settings(max_examples=150, deadline=None)
def test_one_thing_anywhere_is_one_label(x: int, y: int, wide: int, high: int) -> None:
    x2, y2 = min(300, x + wide), min(300, y + high)
    found = tiled(canvas(300, 300, ("red", x, y, x2, y2)), least=0.0)
    assert [one.box for one in found] == [(x, y, x2, y2)]


def test_neighbours_of_one_colour_stay_two() -> None:
    image = canvas(300, 300, ("red", 90, 90, 100, 100), ("red", 102, 90, 112, 100))
    boxes = sorted(one.box for one in tiled(image))
    assert boxes == [(90, 90, 100, 100), (102, 90, 112, 100)]


def test_what_no_view_shows_whole_is_joined_across_the_seams() -> None:
    class NearSighted(Colours):
        """Doesn't see anything in a picture as a whole."""

        def ground(self, images, prompts, floor):  # type: ignore[no-untyped-def]
            found = super().ground(images, prompts, floor)
            large = [max(image.shape) > 100 for image in images]
            empty = Proposals.empty(len(prompts))
            return [empty if big else one for one, big in zip(found, large, strict=True)]

    image = canvas(300, 300, ("red", 20, 120, 280, 150))
    for overlap in (0.2, 0.0):
        tiling = Tiling(100, overlap)
        stages = (TiledGrounder(NearSighted(), tiling, 4), TiledSegmenter(Fill(), tiling, 4))
        (one,) = labelled(image, *stages)
        assert one.box == (20, 120, 280, 150)


def test_without_masks_boxes_are_merged() -> None:
    image = canvas(300, 300, ("red", 82, 82, 98, 98), ("green", 130, 20, 160, 50))
    found = labelled(image, TiledGrounder(Colours(), TILES, 4))
    assert sorted(one.box for one in found) == [(82, 82, 98, 98), (130, 20, 160, 50)]


def test_a_picture_without_anything_and_one_smaller_than_a_tile() -> None:
    assert tiled(canvas(300, 300)) == []
    (one,) = tiled(canvas(60, 60, ("red", 10, 10, 30, 30)))
    assert one.box == (10, 10, 30, 30)


def test_tiles_go_through_the_models_in_batches() -> None:
    grounder, segmenter = Colours(), Fill()
    image = canvas(300, 300, ("red", 40, 50, 48, 57), ("blue", 10, 100, 200, 290))
    stages = (TiledGrounder(grounder, TILES, 4), TiledSegmenter(segmenter, TILES, 4))
    assert len(labelled(image, *stages)) == 2
    assert grounder.asked == [(300, 300), *[(100, 100)] * 16]
    assert segmenter.seen == [(300, 300), (100, 100)]  # only the tile with something in it


def test_merged_candidates_serve_other_thresholds() -> None:
    image = canvas(300, 300, ("red", 82, 82, 98, 98))
    stages = Stages(TiledGrounder(Colours(), TILES, 4), TiledSegmenter(Fill(), TILES, 4))
    (found,) = label_images([image], ASK, stages)
    assert len(found.candidates.proposals) == 1
    assert found.candidates.masks[0] is not None


# Mirrored views


def test_both_views_agree_on_one_label_with_the_mean_score() -> None:
    class OneSided(Colours):
        """Is surer of what lies in the left half."""

        def _one(self, image, prompts, floor):  # type: ignore[no-untyped-def]
            found = super()._one(image, prompts, floor)
            left = found.boxes[:, :1] < image.shape[1] / 2
            return Proposals(
                found.boxes, np.where(left, found.scores, found.scores / 2).astype(np.float32)
            )

    (one,) = labelled(canvas(90, 200, ("red", 10, 20, 50, 60)), Flipped(OneSided()))
    assert one.box == pytest.approx((10, 20, 50, 60))
    assert one.score == pytest.approx((0.8 + 0.4) / 2)


def test_what_one_view_alone_shows_keeps_half_its_score() -> None:
    class Left(Colours):
        """Sees nothing that begins in the right half."""

        def _one(self, image, prompts, floor):  # type: ignore[no-untyped-def]
            found = super()._one(image, prompts, floor)
            return found.take(np.flatnonzero(found.boxes[:, 0] < image.shape[1] / 2))

    (one,) = labelled(canvas(90, 200, ("red", 10, 20, 50, 60)), Flipped(Left()))
    assert one.score == pytest.approx(0.4)


def test_prompts_that_tell_left_from_right_are_warned_about() -> None:
    (warning,) = [w for w in Flipped(Colours()).check_prompts(["left shoe", "red"]) if "--tta" in w]
    assert "'left shoe'" in warning
    assert "'red'" not in warning


# Two grounders


def test_agreement_raises_the_score_and_leaves_no_doubt() -> None:
    both = Consensus(Colours(score=0.5), Colours(score=0.6), ("one", "two"))
    (one,) = labelled(canvas(100, 100, ("red", 10, 10, 50, 50)), both)
    assert one.score == pytest.approx(1 - 0.5 * 0.4)
    assert one.doubt == ""


def test_what_one_grounder_alone_found_is_marked() -> None:
    both = Consensus(Colours(), Colours(least=0.5), ("sharp", "blunt"))
    (one,) = labelled(canvas(100, 100, ("red", 10, 10, 30, 30)), both)
    assert one.score == pytest.approx(0.8)
    assert one.doubt == "second grounder: nothing here"


def test_another_class_is_marked_and_named() -> None:
    class Mistaken(Colours):
        """Takes red for green."""

        def ground(self, images, prompts, floor):  # type: ignore[no-untyped-def]
            turned = [np.ascontiguousarray(image[:, :, [1, 0, 2]]) for image in images]
            return super().ground(turned, prompts, floor)

    both = Consensus(Colours(), Mistaken(score=0.6), ("one", "two"))
    (one,) = labelled(canvas(100, 100, ("red", 10, 10, 50, 50)), both)
    assert (one.class_id, one.runner_up_class) == (0, 1)
    assert one.doubt == "second grounder: green 0.60"


def test_two_names_for_one_grounder_are_refused() -> None:
    with pytest.raises(UsageError, match="have the same weights"):
        Consensus(Colours(), Colours(), ("one", "two"))
    with pytest.raises(UsageError, match="needs two different grounders"):
        RunConfig("a:b", "none", second_grounder="a:b")


def test_a_prompt_that_one_grounder_refuses_names_the_grounder() -> None:
    class Fixed(Colours):
        """Can't be asked for anything new."""

        def check_prompts(self, prompts):  # type: ignore[no-untyped-def]
            raise UsageError("'red' is none of its names")

    both = Consensus(Colours(), Fixed(least=0.5), ("free", "fixed:x.pt"))
    with pytest.raises(UsageError, match=r"--grounder fixed:x\.pt: 'red' is none"):
        both.check_prompts(["red"])


def test_all_together() -> None:
    both = Consensus(Flipped(Colours(score=0.5)), Flipped(Colours(score=0.6)), ("one", "two"))
    image = canvas(300, 300, ("red", 82, 82, 98, 98), ("blue", 150, 100, 290, 240))
    found = labelled(image, TiledGrounder(both, TILES, 3), TiledSegmenter(Fill(), TILES, 3))
    assert sorted((one.class_id, one.box) for one in found) == [
        (0, (82, 82, 98, 98)),
        (2, (150, 100, 290, 240)),
    ]
    assert {round(one.score or 0, 4) for one in found} == {0.8}
    assert {one.doubt for one in found} == {""}


# What makes two runs the same


def test_other_views_are_another_run() -> None:
    now = RunIdentity("a", "w", "b", "v", ("red",), 0.1, "m", tile="640:0.25", tta="flip")
    assert now.changes(now.as_meta()) == []
    before = replace(now, grounder_weights="x", tile="", tta="none").as_meta()
    del before["tile"], before["tta"]  # as an older project has it
    assert now.changes(before) == [
        "tile: was none, is now 640:0.25",
        "tta: was none, is now flip",
    ]


def test_how_objects_of_pictures_are_shown_is_another_run_where_there_are_pictures() -> None:
    now = RunIdentity("a", "w", "b", "v", ("red",), 0.1, "m", prompt_type="point")
    told = "prompt_type of pictures: was box, is now point"
    older = now.as_meta()
    del older["prompt_type"]
    assert now.changes(older) == [told]
    for was, is_now, changes in (
        ("box", "point", [told]),
        ("point", "point", []),
        ("", "point", []),  # videos so far
        ("point", "", []),  # videos from now on
    ):
        before = replace(now, prompt_type=was).as_meta()
        assert replace(now, prompt_type=is_now).changes(before) == changes
