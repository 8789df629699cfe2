"""Which candidates become labels: each rule by a small example, and what holds for all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.boxes import box_iou
from autolabel.ontology import ClassSpec, Ontology
from autolabel.select import align, choose, prepare, select, to_segment
from autolabel.types import Proposals, Selected

CAR = ClassSpec("car", ("car", "van"), threshold=0.3)
TRUCK = ClassSpec("truck", ("truck",), threshold=0.3)
BOTH = Ontology((CAR, TRUCK))  # prompts: car, van, truck


def proposals(*rows: tuple[list[float], list[float]]) -> Proposals:
    """Candidates from (box, scores) pairs."""
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    return Proposals(boxes, np.array([scores for _, scores in rows], np.float32))


def picked(found: Proposals, ontology: Ontology, height: int = 100, width: int = 100) -> list[int]:
    return [label.candidate for label in select(found, ontology, height, width)]


def test_a_label_tells_its_class_prompt_and_runner_up() -> None:
    found = proposals(([0, 0, 10, 10], [0.25, 0.5, 0.375]))
    assert select(found, BOTH, 100, 100) == [
        Selected(0, 0, 1, 0.5, runner_up_class=1, runner_up_score=0.375)
    ]


def test_one_class_has_no_runner_up() -> None:
    found = proposals(([0, 0, 10, 10], [0.5, 0.25]))
    assert select(found, Ontology((CAR,)), 100, 100) == [Selected(0, 0, 0, 0.5, None, 0.0)]


def test_the_threshold_is_the_class_s_own_and_included() -> None:
    found = proposals(
        ([0, 0, 10, 10], [0.3, 0, 0]),
        ([20, 0, 30, 10], [0.29, 0, 0]),
        ([40, 0, 50, 10], [0, 0, 0.29]),
    )
    assert picked(found, BOTH) == [0]
    eager = Ontology((CAR, replace(TRUCK, threshold=0.1)))
    assert picked(found, eager) == [0, 2]


def test_synonyms_of_one_class_are_one_object() -> None:
    found = proposals(
        ([0, 0, 10, 10], [0.4, 0, 0]),
        ([0, 0, 10, 11], [0, 0.6, 0]),
        ([0, 0, 10, 30], [0.5, 0, 0]),  # IoU 1/3 and 11/30: another object
    )
    assert picked(found, BOTH) == [1, 2]


def test_across_classes_the_loser_becomes_the_runner_up() -> None:
    found = proposals(
        ([0, 0, 10, 10], [0.6, 0, 0.125]),
        ([0, 0, 10, 10], [0, 0, 0.5]),
    )
    (label,) = select(found, BOTH, 100, 100)
    assert (label.candidate, label.runner_up_class, label.runner_up_score) == (0, 1, 0.5)


def test_a_loser_that_scores_less_leaves_the_runner_up() -> None:
    third = ClassSpec("bus", ("bus",))
    found = proposals(
        ([0, 0, 10, 10], [0.75, 0, 0, 0.625]),
        ([0, 0, 10, 10], [0, 0, 0.5, 0]),
    )
    (label,) = select(found, Ontology((CAR, TRUCK, third)), 100, 100)
    assert (label.runner_up_class, label.runner_up_score) == (2, 0.625)


def test_across_classes_less_overlap_keeps_both() -> None:
    found = proposals(([0, 0, 10, 10], [0.6, 0, 0]), ([0, 0, 10, 7.5], [0, 0, 0.5]))
    assert picked(found, BOTH) == [0, 1]  # IoU 0.75: under 0.8, though over duplicate_iou
    assert picked(found, replace(BOTH, cross_class_iou=0.75)) == [0]


TOY = Ontology((ClassSpec("car", ("car",), ("toy car",), threshold=0.1),))  # car, toy car


def test_a_negative_that_explains_the_box_better_drops_it() -> None:
    found = proposals(
        ([0, 0, 10, 10], [0.4, 0.5]), ([20, 0, 30, 10], [0.4, 0.4]), ([40, 0, 50, 10], [0.4, 0.3])
    )
    assert picked(found, TOY) == [2]


def test_a_margin_says_how_far_a_box_must_beat_its_negatives() -> None:
    found = proposals(
        ([0, 0, 10, 10], [0.4, 0.5]),
        ([20, 0, 30, 10], [0.4, 0.34]),
        ([40, 0, 50, 10], [0.4, 0.2]),
        ([60, 0, 70, 10], [0.4, 0.0]),  # no negative says anything
    )

    def at(margin: float) -> list[int]:
        (toy,) = TOY.classes
        return picked(found, Ontology((replace(toy, not_margin=margin),)))

    assert at(0.0) == [1, 2, 3]
    assert at(0.1) == [2, 3]
    assert at(0.5) == [3]
    assert at(-0.2) == [0, 1, 2, 3]


def test_a_weight_counts_where_classes_compete_and_not_for_the_threshold() -> None:
    found = proposals(
        ([0, 0, 10, 10], [0.5, 0, 0.3]),  # the truck's by weight
        ([20, 0, 30, 10], [0.5, 0, 0.2]),  # the car's: 0.4 is less
        ([40, 0, 50, 10], [0.3, 0, 0.28]),  # the truck's, and under its threshold
    )
    heavy = Ontology((CAR, replace(TRUCK, weight=2.0)))
    assert select(found, heavy, 100, 100) == [
        Selected(0, 1, 2, pytest.approx(0.3), runner_up_class=0, runner_up_score=0.5),
        Selected(1, 0, 0, 0.5, runner_up_class=1, runner_up_score=pytest.approx(0.2)),
    ]
    light = Ontology((replace(CAR, weight=0.5), TRUCK))  # the same to everyone
    assert select(found, light, 100, 100) == select(found, heavy, 100, 100)
    same = Ontology((replace(CAR, weight=3.0), replace(TRUCK, weight=3.0)))
    assert select(found, same, 100, 100) == select(found, BOTH, 100, 100)


def test_boxes_that_weights_bring_into_one_class_are_duplicates() -> None:
    found = proposals(
        ([0, 0, 10, 10], [0.6, 0, 0.4]),
        ([0, 0, 10, 7.5], [0, 0, 0.5]),  # IoU 0.75: another class leaves it alone
    )
    assert picked(found, BOTH) == [0, 1]
    heavy = Ontology((CAR, replace(TRUCK, weight=2.0)))
    assert picked(found, heavy) == [1]


def test_weights_settle_overlaps_across_classes() -> None:
    found = proposals(([0, 0, 10, 10], [0.6, 0, 0]), ([0, 0, 10, 9], [0, 0, 0.5]))
    assert picked(found, BOTH) == [0]
    (label,) = select(found, Ontology((CAR, replace(TRUCK, weight=2.0))), 100, 100)
    assert (label.candidate, label.class_id, label.score) == (1, 1, 0.5)
    assert (label.runner_up_class, label.runner_up_score) == (0, pytest.approx(0.6))


def test_what_is_prepared_once_serves_every_threshold() -> None:
    found = proposals(*(([9 * n, 0, 9 * n + 20, 20], [0.1 * n, 0.8 - 0.1 * n]) for n in range(8)))
    prepared = prepare(found, TOY, 100, 100)
    for threshold in (0.0, 0.2, 0.45, 0.9):
        (toy,) = TOY.classes
        ontology = Ontology((replace(toy, threshold=threshold, not_margin=0.1),))
        assert choose(prepared, ontology) == select(found, ontology, 100, 100)


def test_a_box_won_by_a_negative_takes_weaker_boxes_with_it() -> None:
    toy = ([0, 0, 10, 10], [0.1, 0.5])
    found = proposals(
        toy,
        ([0, 0, 10, 11], [0.4, 0.0]),  # nearly the same box, weaker: goes
        ([0, 0, 12, 12], [0.6, 0.0]),  # IoU 0.69: stays
    )
    assert picked(found, TOY) == [2]
    stronger = proposals(toy, ([0, 0, 10, 11], [0.6, 0.0]))
    assert picked(stronger, TOY) == [1]


def test_negatives_of_one_class_leave_the_others_alone() -> None:
    ontology = Ontology((*TOY.classes, TRUCK))  # car, truck, toy car
    found = proposals(([0, 0, 10, 10], [0.1, 0.4, 0.9]))
    assert picked(found, ontology) == [0]


def test_a_prompt_of_one_class_may_speak_against_another() -> None:
    van = Ontology((ClassSpec("car", ("car",), ("van",)), ClassSpec("van", ("van",))))
    assert van.prompts == ("car", "van")
    found = proposals(([0, 0, 10, 10], [0.0, 0.9]), ([0, 0, 10, 7.5], [0.5, 0.0]))
    assert picked(found, van) == [0]  # IoU 0.75: the van's box takes the car with it


def test_area_limits_are_shares_up_to_one_and_pixels_above() -> None:
    found = proposals(
        ([0, 0, 10, 10], [0.9]), ([20, 0, 40, 20], [0.8]), ([50, 0, 100, 50], [0.7])
    )  # 100, 400 and 2500 square pixels of 10,000

    def with_limits(low: float | None, high: float | None) -> list[int]:
        spec = ClassSpec("a", ("a",), min_area=low, max_area=high)
        return picked(found, Ontology((spec,)))

    assert with_limits(None, None) == [0, 1, 2]
    assert with_limits(0.04, None) == [1, 2]
    assert with_limits(401, None) == [2]
    assert with_limits(None, 0.04) == [0, 1]
    assert with_limits(101, 0.2) == [1]


def test_a_box_that_only_frames_two_better_ones_is_dropped() -> None:
    left, right = ([0, 0, 10, 10], [0.6]), ([12, 0, 22, 10], [0.5])
    one = Ontology((ClassSpec("a", ("a",)),))
    assert picked(proposals(left, right, ([0, 0, 22, 10], [0.4])), one) == [0, 1]
    # A large object behind two small ones isn't their frame, and a better box is no group.
    assert picked(proposals(left, right, ([0, 0, 40, 30], [0.4])), one) == [0, 1, 2]
    assert picked(proposals(left, right, ([0, 0, 22, 10], [0.55])), one) == [0, 2, 1]
    # One box inside another is no group either.
    assert picked(proposals(left, ([0, 0, 22, 10], [0.4])), one) == [0, 1]


def test_ties_go_by_box_then_by_row() -> None:
    found = proposals(
        ([30, 0, 40, 10], [0.5, 0, 0]),
        ([0, 0, 10, 10], [0.5, 0, 0]),
        ([0, 0, 10, 10], [0.5, 0, 0]),
    )
    assert picked(found, BOTH) == [1, 0]


def test_boxes_without_area_or_score_are_no_candidates() -> None:
    found = proposals(
        ([5, 5, 5, 9], [0.9, 0, 0]),
        ([100, 0, 120, 10], [0.9, 0, 0]),  # beyond the picture
        ([0, 0, 10, 10], [0, 0, 0]),
    )
    assert to_segment(found, BOTH, 100, 100).tolist() == []
    assert to_segment(Proposals.empty(3), BOTH, 100, 100).tolist() == []
    assert select(Proposals.empty(3), BOTH, 100, 100) == []


def test_columns_must_match_the_prompts() -> None:
    with pytest.raises(ValueError, match=r"expected 3 columns, .* found 2"):
        select(Proposals.empty(2), BOTH, 100, 100)


def test_align_finds_columns_by_prompt() -> None:
    stored = proposals(([0, 0, 10, 10], [0.1, 0.2, 0.3]))
    found = align(stored, ["truck", "van", "car"], BOTH)
    assert found.scores.tolist() == [[np.float32(0.3), np.float32(0.2), np.float32(0.1)]]
    with pytest.raises(ValueError, match="never asked: truck"):
        align(Proposals.empty(2), ["van", "car"], BOTH)


def test_box_iou() -> None:
    a = np.array([[0, 0, 10, 10], [3, 3, 3, 9]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [10, 0, 20, 10]], np.float32)
    assert box_iou(a, b) == pytest.approx(np.array([[1, 1 / 3, 0, 0], [0, 0, 0, 0]]))


def test_a_box_masked_only_for_a_negative_is_spared_by_the_floor() -> None:
    found = proposals(([0, 0, 10, 10], [0.02, 0.9]), ([20, 0, 30, 10], [0.2, 0.0]))
    assert to_segment(found, TOY, 100, 100).tolist() == [0, 1]
    assert to_segment(found, TOY, 100, 100, floor=0.1).tolist() == [1]


# --- what holds for all ------------------------------------------------------------------------

levels = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])


@st.composite
def pictures(draw: st.DrawFn) -> Proposals:
    """Few places and scores, so that overlaps and ties are common."""
    count = draw(st.integers(0, 14))
    rows = []
    for _ in range(count):
        x, y = draw(st.integers(0, 4)), draw(st.integers(0, 4))
        w, h = draw(st.integers(1, 12)), draw(st.integers(1, 12))
        rows.append(([x, y, x + w, y + h], draw(st.lists(levels, min_size=6, max_size=6))))
    return proposals(*rows) if rows else Proposals.empty(6)


@st.composite
def settings_of(draw: st.DrawFn) -> Ontology:
    """Three classes over six fixed prompts, with any limits and negatives."""
    prompts = (("a", "b"), ("c",), ("d",))
    classes = []
    for i, own in enumerate(prompts):
        others = [text for text in "abcdef" if text not in own]
        chosen = draw(st.lists(st.sampled_from(others), unique=True))
        limits = sorted(draw(st.lists(st.floats(0, 1), min_size=2, max_size=2)))
        low, high = limits if draw(st.booleans()) else (None, None)
        weight = draw(st.sampled_from([1.0, 1.0, 0.3, 2.5]))
        classes.append(
            ClassSpec(f"class {i}", own, tuple(chosen), draw(levels), low, high, weight=weight)
        )
    # "e" and "f" are asked in any case, so that the columns stay the same.
    classes[0] = replace(classes[0], negatives=(*classes[0].negatives, "e", "f"))
    return Ontology(tuple(classes), 0.5, draw(st.sampled_from([0.1, 0.5, 0.9, 1.0])))


@settings(max_examples=150, deadline=None)
@given(pictures(), settings_of(), settings_of(), st.sampled_from([0.0, 0.1, 0.3]))
def test_masks_made_once_serve_every_later_choice(
    found: Proposals, first: Ontology, later: Ontology, floor: float
) -> None:
    assert first.segment_fingerprint() == later.segment_fingerprint()
    stored = align(found, list("abcdef"), first)
    today = align(found, list("abcdef"), later)
    masked = set(to_segment(stored, first, 16, 16, floor).tolist())
    labels = select(today, later, 16, 16)
    lowest = {i: spec.threshold for i, spec in enumerate(later.classes)}
    assert {x.candidate for x in labels if lowest[x.class_id] >= floor} <= masked


@settings(max_examples=60, deadline=None)
@given(pictures(), settings_of(), st.randoms())
def test_the_order_of_candidates_does_not_matter(
    found: Proposals, ontology: Ontology, random: st.randoms
) -> None:
    found = align(found, list("abcdef"), ontology)
    order = list(range(len(found)))
    random.shuffle(order)
    shuffled = Proposals(found.boxes[order], found.scores[order])

    def told(given: Proposals) -> list[tuple]:
        return [
            (given.boxes[x.candidate].tolist(), x.class_id, x.score, x.runner_up_score)
            for x in select(given, ontology, 16, 16)
        ]

    # Equal boxes with equal scores may differ in class by row; all else is settled.
    if len(
        {
            (tuple(b), max(s))
            for b, s in zip(found.boxes.tolist(), found.scores.tolist(), strict=True)
        }
    ) == len(found):
        assert told(shuffled) == told(found)


@settings(max_examples=60, deadline=None)
@given(pictures(), settings_of())
def test_labels_keep_what_was_promised(found: Proposals, ontology: Ontology) -> None:
    found = align(found, list("abcdef"), ontology)
    labels = select(found, ontology, 16, 16)
    ranks = [np.float32(x.score * ontology.classes[x.class_id].weight) for x in labels]
    if len({spec.weight for spec in ontology.classes}) == 1:
        ranks = [x.score for x in labels]
    assert ranks == sorted(ranks, reverse=True)
    iou = box_iou(found.boxes, found.boxes)
    for i, one in enumerate(labels):
        spec = ontology.classes[one.class_id]
        assert one.score >= np.float32(spec.threshold)
        assert ontology.prompt_classes[one.prompt_id] == one.class_id
        assert found.scores[one.candidate, one.prompt_id] == np.float32(one.score)
        assert one.runner_up_class != one.class_id
        for other in labels[i + 1 :]:
            same = one.class_id == other.class_id
            limit = ontology.duplicate_iou if same else ontology.cross_class_iou
            assert iou[one.candidate, other.candidate] < np.float32(limit)
