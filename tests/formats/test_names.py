"""Class names and frames that a format has no room for: told apart, and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autolabel.errors import FormatError
from autolabel.formats import export
from autolabel.formats.voc import label_names
from autolabel.importing import import_labels
from autolabel.store import Project
from tests.formats import cases

ODD = ["a:b", "a_b", "#1", "background", 'it\'s <b> & "q"']


def test_a_label_map_tells_every_class_apart() -> None:
    assert label_names(ODD) == ["a_b_2", "a_b", "_1", "background_2", 'it\'s <b> & "q"']
    assert label_names(["cat", "dog"]) == ["cat", "dog"]


def test_voc_keeps_classes_whose_names_its_label_map_cannot_hold(tmp_path: Path) -> None:
    labels = [cases.label(cases.pixel(i, i), class_id=i) for i in range(len(ODD))]
    picture = cases.picture(tmp_path / "images", "a:b.jpg", *labels)
    with Project.open(tmp_path / "p", create=True) as project:
        project.set_run({}, [(name, "#ff0000") for name in ODD], ["p"])
        project.commit([picture])
        report = export(project, "voc", tmp_path / "voc", images="copy")
    assert report.fidelity is not None
    assert (report.fidelity.lost, report.fidelity.changed, report.fidelity.masks.lowest) == (
        0,
        0,
        1,
    )
    assert report.notes == (
        "3 affected: class names that a label map can't hold: written otherwise",
    )
    import_labels("voc", tmp_path / "voc", tmp_path / "images", tmp_path / "back")
    with Project.open(tmp_path / "back", readonly=True) as back:
        assert back.class_names() == tuple(label_names(ODD))
        read = {one.class_id: one.mask for one in back.instances("a:b.jpg")}
        assert read == {i: one.mask for i, one in enumerate(labels)}


def test_skip_bad_leaves_out_one_frame_of_a_track_and_keeps_the_others(tmp_path: Path) -> None:
    with cases.video(tmp_path) as project:
        export(project, "ytvis", tmp_path / "y")
    path = tmp_path / "y" / "annotations.json"
    data = json.loads(path.read_text("utf-8"))
    (first,) = [one for one in data["annotations"] if one["category_id"] == 1]
    first["segmentations"][4] = {"size": [40, 60], "counts": "~~"}
    path.write_text(json.dumps(data), "utf-8")
    images, out = tmp_path / "images", tmp_path / "back"
    with pytest.raises(FormatError, match=r"annotations\[\d\]: frame 4: "):
        import_labels("ytvis", path, images, out)
    assert not out.exists()
    report = import_labels("ytvis", path, images, out, skip_bad=True)
    assert report.skipped[0].startswith("1 left out: a frame of a track that is wrong (first: ")
    with Project.open(out, readonly=True) as back:
        found = [(one.frame_index, one.track_id) for one in back.instances("a clip")]
    assert found == [(0, 1), (1, 1), (1, 2), (2, 2), (3, 2), (5, 1)]
