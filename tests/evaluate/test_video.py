"""Measuring tracks: figures worked out by hand, and TrackEval's own on the same clip."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from autolabel import api, masks
from autolabel.cli import cli
from autolabel.errors import FormatError
from autolabel.evaluate.truth import load_truth
from autolabel.evaluate.video import evaluate_video
from autolabel.evaluate.video_metrics import boundary_f, boundary_map
from autolabel.formats import export
from autolabel.store import Project, Result
from autolabel.tiny.truth import write_dataset
from autolabel.types import RLE, Instance, MediaRecord

CLASSES = [("ball", "#ff0000"), ("cube", "#00ff00")]
HEIGHT, WIDTH, FRAMES = 32, 48, 10

Seen = tuple[int, int, int, RLE]
"""Frame, track, class, mask."""


def square(x: int, y: int = 4, side: int = 10) -> RLE:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[max(0, y) : y + side, max(0, x) : x + side] = True
    return masks.encode(mask)


def still(
    track: int, x: int, frames: Iterable[int] = range(FRAMES), class_id: int = 0
) -> list[Seen]:
    """Return an object that stays where it is."""
    return [(frame, track, class_id, square(x)) for frame in frames]


def instance(seen: Seen, **changes: Any) -> Instance:
    frame, track, class_id, mask = seen
    box = tuple(map(float, masks.tight_box(mask) or (0, 0, 0, 0)))
    known = {"mask": mask, "score": 0.9, "frame_index": frame, "track_id": track}
    return Instance(class_id, box, **{**known, **changes})


def record(name: str, **changes: Any) -> MediaRecord:
    values = {"height": HEIGHT, "width": WIDTH, "frames": FRAMES, **changes}
    return MediaRecord(name, f"/in/{name}", values.pop("kind", "video"), name, **values)


def make_project(folder: Path, clips: dict[str, list[Instance]], **changes: Any) -> Path:
    """Make a project, each clip appended in two windows as a run does."""
    with Project.open(folder, create=True) as project:
        project.set_run({}, CLASSES, ["p"])
        for name, labels in clips.items():
            media = record(name, **changes)
            half = len(labels) // 2
            project.append(Result(replace(media, status="partial"), 1, 2, {}, labels[:half]), b"x")
            project.append(Result(media, 1, 2, {}, labels[half:]))
    return folder


def truth_data(clips: dict[str, list[Seen]], frames: int = FRAMES) -> dict[str, Any]:
    """Return a truth as ``autolabel scenes`` writes it."""
    data: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, (name, _) in enumerate(CLASSES, 1)],
        "videos": [],
    }
    size = {"height": HEIGHT, "width": WIDTH}
    for video_id, (name, things) in enumerate(clips.items(), 1):
        data["videos"].append({"id": video_id, "file_name": name, "length": frames, **size})
        for index in range(frames):
            image = {"id": len(data["images"]) + 1, "file_name": f"{name}/{index:06d}.jpg"}
            data["images"].append(image | size | {"video_id": video_id, "frame_index": index})
            for frame, track, class_id, mask in things:
                if frame == index:
                    rle = {"size": [HEIGHT, WIDTH], "counts": mask.counts}
                    x1, y1, x2, y2 = masks.tight_box(mask) or (0, 0, 0, 0)
                    data["annotations"].append(
                        {
                            "id": len(data["annotations"]) + 1,
                            "image_id": image["id"],
                            "category_id": class_id + 1,
                            "bbox": [x1, y1, x2 - x1, y2 - y1],
                            "segmentation": rle,
                            "track_id": track,
                        }
                    )
    return data


def write(path: Path, data: dict[str, Any]) -> Path:
    path.write_text(json.dumps(data))
    return path


def measured(tmp_path: Path, truth: list[Seen], labels: list[Seen]) -> dict[str, Any]:
    """Return ``video`` of one clip."""
    project = make_project(tmp_path / "p", {"c.mp4": [instance(one) for one in labels]})
    found = api.measure(project, write(tmp_path / "t.json", truth_data({"c.mp4": truth})))
    video: dict[str, Any] = found["video"]
    assert video["clips"] == [{"name": "c.mp4", **{k: video[k] for k in video if k != "clips"}}]
    return video


def figures(video: dict[str, Any]) -> list[float]:
    return [video[key] for key in ("j", "f", "jf", "idf1", "hota", "id_switches")]


# Worked out by hand

TWO = still(1, 2) + still(2, 30)


def test_perfect_labels_measure_one_whatever_their_ids(tmp_path: Path) -> None:
    video = measured(tmp_path, TWO, still(7, 30) + still(9, 2))
    assert figures(video) == [1, 1, 1, 1, 1, 0]
    assert video["davis"] == {"j": 1, "f": 1, "jf": 1}
    assert (video["tracks"], video["truth_tracks"], video["frames"]) == (2, 2, FRAMES)


def test_ids_that_swap_at_half_time(tmp_path: Path) -> None:
    first, second = range(5), range(5, 10)
    labels = still(1, 2, first) + still(2, 30, first) + still(2, 2, second) + still(1, 30, second)
    video = measured(tmp_path, TWO, labels)
    # Each of 20 labels is right in one half: IDTP 10. A(c) = 5 / (5 + 5 + 5) for every match.
    assert figures(video) == pytest.approx([0.5, 0.5, 0.5, 0.5, (1 / 3) ** 0.5, 2])


def test_an_object_without_a_track_counts_nothing(tmp_path: Path) -> None:
    video = measured(tmp_path, TWO, still(1, 2))
    assert figures(video) == pytest.approx([0.5, 0.5, 0.5, 20 / 30, 0.5**0.5, 0])
    assert video["davis"]["j"] == 0.5


def test_an_object_found_late(tmp_path: Path) -> None:
    video = measured(tmp_path, still(1, 2), still(1, 2, range(5, 10)))
    # DetA = 5 / 10, AssA = 5 / (5 + 5).
    assert figures(video) == pytest.approx([0.5, 0.5, 0.5, 10 / 15, 0.5, 0])


def test_a_track_that_stays_when_its_object_has_left(tmp_path: Path) -> None:
    video = measured(tmp_path, still(1, 2, range(5)), still(1, 2))
    assert figures(video) == pytest.approx([0.5, 0.5, 0.5, 10 / 15, 0.5, 0])
    assert video["davis"] == {"j": 0.5, "f": 0.5, "jf": 0.5}


def test_frames_with_neither_object_nor_track_count_for_davis_only(tmp_path: Path) -> None:
    never_found = still(1, 2) + still(2, 30, range(2))
    video = measured(tmp_path, never_found, still(1, 2))
    assert video["j"] == 0.5  # of 1 and 0
    assert video["davis"]["j"] == pytest.approx(0.9)  # of 1 and 8 / 10


def test_masks_that_are_shifted(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    a_pixel = measured(tmp_path / "a", still(1, 2), still(1, 3))
    assert a_pixel["j"] == pytest.approx(90 / 110)
    assert a_pixel["f"] == 1  # the tolerance is ceil(0.008 x 57.7) = 1 pixel
    assert a_pixel["idf1"] == 1
    assert a_pixel["hota"] == pytest.approx(16 / 19)  # alpha 0.05 to 0.80
    half = measured(tmp_path / "b", still(1, 2), still(1, 7))
    assert half["j"] == pytest.approx(1 / 3)
    assert (half["idf1"], half["id_switches"]) == (0, 0)
    assert half["hota"] == pytest.approx(6 / 19)  # alpha 0.05 to 0.30


def test_a_label_of_another_class_finds_nothing(tmp_path: Path) -> None:
    video = measured(tmp_path, still(1, 2), still(1, 2, class_id=1))
    assert figures(video) == [0, 0, 0, 0, 0, 0]


def test_nothing_found_in_the_whole_clip(tmp_path: Path) -> None:
    video = measured(tmp_path, TWO, [])
    assert figures(video) == [0, 0, 0, 0, 0, 0]
    assert video["tracks"] == 0


def test_without_objects_nothing_is_measurable(tmp_path: Path) -> None:
    video = measured(tmp_path, [], still(1, 2))
    assert figures(video) == [None] * 6
    assert video["tracks"] == 1


def test_clips_are_summed_not_averaged(tmp_path: Path) -> None:
    clips = {"a.mp4": TWO, "b.mp4": still(5, 12), "empty.mp4": []}
    labels = {"a.mp4": TWO, "b.mp4": [], "empty.mp4": still(1, 2, [3])}
    project = make_project(
        tmp_path / "p", {name: [instance(one) for one in seen] for name, seen in labels.items()}
    )
    found = api.measure(project, write(tmp_path / "t.json", truth_data(clips)))
    video = found["video"]
    assert [row["name"] for row in video["clips"]] == ["a.mp4", "b.mp4", "empty.mp4"]
    assert [row["j"] for row in video["clips"]] == [1, 0, None]
    assert video["j"] == pytest.approx(2 / 3)  # of three objects
    assert video["idf1"] == pytest.approx(40 / (40 + 1 + 10))
    assert (video["tracks"], video["truth_tracks"], video["frames"]) == (3, 3, 30)
    assert found["pictures"] == 0
    assert found["box"] is None


# The same clip through TrackEval


def crossing() -> tuple[list[Seen], list[Seen]]:
    """Three objects that enter, cross and leave; tracks that drift, swap, pause and invent."""
    truth, labels = [], []
    for t in range(24):
        places = {1: (t - 4, 3), 2: (40 - 2 * t, 5), 3: (18, 24 - t // 2)}
        here = {
            track: square(x, y)
            for track, (x, y) in places.items()
            if -6 < x < WIDTH - 4 and (track != 3 or 5 <= t < 20)
        }
        truth += [(t, track, 0, mask) for track, mask in here.items()]
        for track, (x, y) in places.items():
            if track not in here or (track == 3 and 11 <= t < 14) or (track == 1 and t < 3):
                continue
            drift = (t * track) % 4 - 1
            name = {1: 2, 2: 1}.get(track, track) if t >= 15 else track
            labels.append((t, name, 0, square(x + drift, y + t % 2, 10 + t % 3)))
        if t % 5 == 0:
            labels.append((t, 9, 0, square(36, 20, 7)))
    return truth, labels


TRACKEVAL = {
    "idf1": 0.5691056910569106,
    "hota": 0.40534330337599805,
    "id_switches": 2,
    "j": 0.5248646248505419,
    "f": 0.5653396463739623,
}
"""TrackEval 1.3.0 of ``crossing()``: Identity, HOTA, CLEAR and JAndF, IoU of masks."""


def test_the_figures_are_those_of_trackeval(tmp_path: Path) -> None:
    truth, labels = crossing()
    project = make_project(tmp_path / "p", {"c.mp4": [instance(one) for one in labels]}, frames=24)
    path = write(tmp_path / "t.json", truth_data({"c.mp4": truth}, 24))
    video = api.measure(project, path)["video"]
    found = {key: video[key] for key in ("idf1", "hota", "id_switches")}
    found |= {key: video["davis"][key] for key in ("j", "f")}
    assert found == pytest.approx(TRACKEVAL, abs=1e-9)


# Boundaries


def test_the_boundary_lies_half_a_pixel_to_the_origin() -> None:
    mask = np.zeros((5, 6), bool)
    mask[2:4, 2:4] = True
    drawn = ["".join(".#"[int(pixel)] for pixel in row) for row in boundary_map(mask)]
    assert drawn == ["......", ".###..", ".#.#..", ".###..", "......"]
    assert not boundary_map(np.ones((5, 6), bool)).any()


def davis_f(truth: np.ndarray, label: np.ndarray) -> float:
    """Return F as davis2017-evaluation writes it, widening by a disk pixel by pixel."""
    radius = int(np.ceil(0.008 * np.hypot(*truth.shape)))

    def widened(edge: np.ndarray) -> np.ndarray:
        wide = np.zeros_like(edge)
        for y, x in np.argwhere(edge):
            for v in range(max(0, y - radius), min(edge.shape[0], y + radius + 1)):
                for u in range(max(0, x - radius), min(edge.shape[1], x + radius + 1)):
                    wide[v, u] |= (v - y) ** 2 + (u - x) ** 2 <= radius**2
        return wide

    ours, theirs = boundary_map(label), boundary_map(truth)
    precision = (ours & widened(theirs)).sum() / ours.sum()
    recall = (theirs & widened(ours)).sum() / theirs.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(8))
def test_f_is_that_of_davis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:150, :210]  # a tolerance of 3 pixels
    drawn = []
    for _ in range(2):
        blobs = np.zeros(y.shape, bool)
        for cy, cx, r in rng.uniform([40, 60, 5], [150, 210, 60], (2, 3)):  # over the border too
            blobs |= (y - cy) ** 2 + (x - cx) ** 2 < r**2
        drawn.append(blobs)
    expected = davis_f(*drawn)
    assert boundary_f(*map(masks.encode, drawn)) == pytest.approx(expected, abs=1e-12)


def test_f_of_empty_masks() -> None:
    empty = masks.encode(np.zeros((HEIGHT, WIDTH), bool))
    assert boundary_f(empty, empty) == 1
    assert boundary_f(empty, square(3)) == boundary_f(square(3), empty) == 0
    with pytest.raises(ValueError, match="one size"):
        boundary_f(square(3), masks.encode(np.zeros((3, 3), bool)))


# What truths and projects may look like


def test_generated_clips_are_a_truth(tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "d", count=1, clips=1, frames=4, seed=3, height=64, width=96, hard=False
    )
    truth = json.loads((tmp_path / "d" / "truth.json").read_text())
    names = [one["name"] for one in truth["categories"]]
    frames = {one["id"]: one for one in truth["images"] if "video_id" in one}
    with Project.open(tmp_path / "p", create=True) as project:
        project.set_run({}, [(name, "#000000") for name in names], ["p"])
        labels = [
            instance(
                (
                    frames[one["image_id"]]["frame_index"],
                    one["track_id"],
                    one["category_id"] - 1,
                    RLE(64, 96, one["segmentation"]["counts"]),
                )
            )
            for one in truth["annotations"]
            if one["image_id"] in frames
        ]
        media = record("clip_003.mp4", height=64, width=96, frames=4)
        project.append(Result(media, 1, 2, {}, labels))
    found = api.measure(tmp_path / "p", tmp_path / "d" / "truth.json")
    assert found["video"]["jf"] == found["video"]["hota"] == 1
    assert found["notes"] == ["1 of the truth's 1 pictures are not in the project"]


def test_an_export_of_the_project_is_a_truth(tmp_path: Path) -> None:
    pictured = Result(MediaRecord("a.jpg", "/a", "image", "k", HEIGHT, WIDTH), 1, 2, {}, [])
    make_project(tmp_path / "p", {"in/c.mp4": [instance(one) for one in TWO]})
    with Project.open(tmp_path / "p") as project:
        project.commit([pictured])
        export(project, "coco", tmp_path / "coco")
    found = api.measure(tmp_path / "p", tmp_path / "coco" / "annotations.json")
    assert figures(found["video"]) == [1, 1, 1, 1, 1, 0]
    assert found["pictures"] == 1
    assert found["box"] == {"ap": None, "ap50": None}


def test_a_truth_of_boxes_measures_identities(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", {"c.mp4": [instance(one) for one in TWO]})
    data = truth_data({"c.mp4": TWO})
    for one in data["annotations"]:
        one["segmentation"] = []
    found = api.measure(project, write(tmp_path / "t.json", data))
    assert figures(found["video"]) == [None, None, None, 1, 1, 0]
    assert found["notes"] == ["J&F is not measured where masks are missing: c.mp4"]


def test_a_folder_of_a_clips_frames_is_that_clip(tmp_path: Path) -> None:
    labels = [instance(one) for one in TWO]
    project = make_project(tmp_path / "p", {"c": labels}, kind="frames")
    path = write(tmp_path / "t.json", truth_data({"clips/c.mp4": TWO}))
    assert api.measure(project, path)["video"]["jf"] == 1


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    labels = [
        *(instance(one) for one in still(1, 2)),
        instance((0, 1, 0, square(20))),  # the same id again
        instance((1, 0, 0, square(20)), track_id=None),
        instance((2, 5, 0, masks.encode(np.zeros((HEIGHT, WIDTH), bool)))),  # nothing
        instance((3, 6, 0, square(20)), status="rejected"),
        instance((9, 7, 0, square(20))),
    ]
    project = make_project(tmp_path / "p", {"c.mp4": labels})
    data = truth_data({"c.mp4": still(1, 2, range(9)), "gone.mp4": TWO}, frames=9)
    data["annotations"].append({**data["annotations"][0], "id": 999, "iscrowd": 1})
    found = api.measure(project, write(tmp_path / "t.json", data))
    assert found["video"]["tracks"] == 3
    assert found["video"]["j"] == 1
    assert found["notes"] == [
        "2 labels are in frames that the truth doesn't list",
        "1 labels in clips have no track: each counts as its own",
        "1 labels share a track with another in their frame",
        "1 of the truth's crowd regions in clips don't count",
        "1 of the truth's 2 clips are not in the project",
    ]


def test_a_clip_that_is_not_done_is_not_measured(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", {"c.mp4": []}, status="partial")
    path = write(tmp_path / "t.json", truth_data({"c.mp4": TWO}))
    with pytest.raises(FormatError, match=r"no picture or clip .*nothing that is done.*c\.mp4"):
        api.measure(project, path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: d["images"][3].pop("frame_index"), r"images\[3\] has no 'frame_index'"),
        (lambda d: d["images"][3].update(frame_index=2), r"images\[3\]: .*frame_index 2.* twice"),
        (lambda d: d["images"][3].update(frame_index=-1), r"images\[3\]: frame_index: .*found -1"),
        (lambda d: d["images"][3].update(video_id=7), r"images\[3\]: video_id 7 doesn't exist"),
        (lambda d: d["images"][3].update(height=5), r"annotations\[6\]: segmentation: found size"),
        (lambda d: d["videos"][0].pop("file_name"), r"videos\[0\] has no 'name'"),
        (lambda d: d.update(videos={}), "videos: expected a list"),
        (lambda d: d["annotations"][4].pop("track_id"), r"annotation 5 of .*has no track_id"),
        (lambda d: d["annotations"][4].update(track_id="a"), r"annotations\[4\]: track_id: .*'a'"),
        (lambda d: d["annotations"][5].update(track_id=1), r"annotation 6 .*track_id 1 .*twice"),
    ],
)
def test_a_wrong_truth_is_refused_with_its_place(tmp_path: Path, spoil: Any, said: str) -> None:
    project = make_project(tmp_path / "p", {"c.mp4": []})
    data = truth_data({"c.mp4": TWO})
    spoil(data)
    with pytest.raises(FormatError, match=said):
        api.measure(project, write(tmp_path / "t.json", data))


def test_a_clip_of_another_size_is_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", {"c.mp4": []}, height=HEIGHT * 2)
    path = write(tmp_path / "t.json", truth_data({"c.mp4": []}))
    with pytest.raises(FormatError, match=r"is 48 x 32 in the truth, c\.mp4 is 48 x 64 in the"):
        api.measure(project, path)


def test_memory_does_not_grow_with_the_number_of_clips(tmp_path: Path) -> None:
    def peak(clips: int) -> int:
        names = [f"{number}.mp4" for number in range(clips)]
        labels = [instance(one) for one in TWO]
        project = make_project(tmp_path / str(clips), dict.fromkeys(names, labels))
        data = truth_data(dict.fromkeys(names, TWO))
        truth = load_truth(write(tmp_path / f"{clips}.json", data))
        with Project.open(project, readonly=True) as opened:
            tracemalloc.start()
            assert len(evaluate_video(opened, truth, {0: 1, 1: 2}).clips) == clips
            grown = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return grown

    peak(1)  # what is loaded on first use
    few, many = peak(3), peak(9)
    assert many - few < 6 * 0.1 * few  # the index of the truth: some bytes an annotation


def test_the_table_on_the_terminal(tmp_path: Path) -> None:
    project = make_project(
        tmp_path / "p",
        {"a.mp4": [instance(one) for one in TWO], "empty.mp4": [instance(still(1, 2)[0])]},
    )
    path = write(tmp_path / "t.json", truth_data({"a.mp4": TWO, "empty.mp4": []}))
    said = CliRunner().invoke(cli, ["eval", str(project), "--truth", str(path)])
    assert said.output.splitlines() == [
        "2 clips",
        "",
        "clip       frames  objects  tracks       J       F     J&F    IDF1    HOTA  switches",
        "a.mp4          10        2       2   1.000   1.000   1.000   1.000   1.000         0",
        "empty.mp4      10        0       1       -       -       -       -       -         -",
        "all            20        2       3   1.000   1.000   1.000   0.976   0.976         0",
    ]
    said = CliRunner().invoke(cli, ["eval", str(project), "--truth", str(path), "--json"])
    assert json.loads(said.output) == api.measure(project, path)


def test_a_project_with_clips_is_a_truth(tmp_path: Path) -> None:
    make_project(tmp_path / "p", {"in/c.mp4": [instance(one) for one in still(1, 2)]})
    make_project(tmp_path / "q", {"in/c.mp4": [instance(one) for one in TWO]})
    found = api.measure(tmp_path / "p", tmp_path / "q")
    assert figures(found["video"]) == pytest.approx([0.5, 0.5, 0.5, 20 / 30, 0.5**0.5, 0])
    assert found["video"]["frames"] == FRAMES
    assert (found["macro_f1"], found["confusion"]) == (None, None)
