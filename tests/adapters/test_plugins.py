"""Other people's adapters: entry points, class paths, check-plugin, and the list of models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import autolabel
import autolabel.api
from autolabel import formats, registry
from autolabel.errors import SpecError, UsageError
from autolabel.models import cards
from autolabel.ontology import parse_ontology
from tests.command import start

MODULE = '''
import json
from pathlib import Path
import numpy as np
from autolabel.track.values import Prepared, Tracked
from autolabel.types import Proposals

raise_on_import = False

class Whole:
    CARD = {"licence": "MIT", "advice": "finds all of it", "supports": ["text", "scores"]}
    def __init__(self, weights, *, device, dtype):
        pass
    def fingerprint(self):
        return "whole"
    def check_prompts(self, prompts):
        return []
    def ground(self, images, prompts, floor):
        found = []
        for image in images:
            height, width = image.shape[:2]
            keep = bool(prompts) and floor <= 0.5
            boxes = np.array([[0, 0, width, height]] * keep, np.float32).reshape(-1, 4)
            found.append(Proposals(boxes, np.full((len(boxes), len(prompts)), 0.5, np.float32)))
        return found

class Wrong(Whole):
    CARD = {"licence": "MIT", "speed": 9}
    def ground(self, images, prompts, floor):
        found = super().ground(images, prompts, floor)
        return [Proposals(one.boxes / 1000, one.scores) for one in found]

class Still:
    """Keeps every mask where it was."""
    def __init__(self, weights, *, device, dtype):
        pass
    def prepare(self, image):
        return Prepared(image, *image.shape[:2])
    def session(self):
        return Session()
    def restore(self, state):
        told = np.frombuffer(state, np.uint8)
        return Session.of(json.loads(told.tobytes()))

class Session:
    def __init__(self):
        self.boxes, self.size = {}, None
    @classmethod
    def of(cls, told):
        made = cls()
        made.size = told["size"] and tuple(told["size"])
        made.boxes = {int(key): value for key, value in told["boxes"].items()}
        return made
    @property
    def ids(self):
        return tuple(self.boxes)
    def step(self, frame):
        self.size = frame.height, frame.width
        return self.tell(self.ids)
    def add(self, ids, prompts):
        for one, prompt in zip(ids, prompts):
            if prompt.mask is not None:
                rows, columns = np.nonzero(prompt.mask)
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            else:
                box = prompt.box or (*prompt.points[0], *np.add(prompt.points[0], 5))
            self.boxes[one] = [int(v) for v in box]
        return self.tell(ids)
    def remove(self, ids):
        for one in ids:
            self.boxes.pop(one, None)
    def forget(self, ids):
        pass
    def state(self):
        return json.dumps({"size": self.size, "boxes": self.boxes}).encode()
    def tell(self, ids):
        masks = np.zeros((len(ids), *self.size), np.bool_)
        for row, one in enumerate(ids):
            x1, y1, x2, y2 = self.boxes[one]
            masks[row, y1:y2, x1:x2] = True
        return Tracked(tuple(ids), masks, np.ones(len(ids), np.float32))

class Lines:
    """One line a label."""
    FIDELITY = "boxes only"
    def open(self, out, classes, options, tally):
        self.file, self.classes, self.tally = (out / "labels.txt").open("w"), classes, tally
    def add(self, media, instances):
        self.tally.pictures += 1
        for one in instances:
            self.tally.instances += 1
            self.file.write(f"{media.name} {self.classes[one.class_id][0]} {one.box}\\n")
    def close(self):
        self.file.close()
'''


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of somebody else, installed with entry points of all four groups."""
    package = tmp_path / "stranger"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text(MODULE)
    (package / "rotten.py").write_text("raise RuntimeError('no licence key')\n")
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[autolabel.grounders]\nwhole = stranger.parts:Whole\nwrong = stranger.parts:Wrong\n"
        "rotten = stranger.rotten:X\n"
        "[autolabel.trackers]\nstill = stranger.parts:Still\n"
        "[autolabel.formats]\nlines = stranger.parts:Lines\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_check_plugin_tells_kept_and_broken_promises(plug_in: Path) -> None:
    for name, kind in (
        ("whole", "grounder"),
        ("stranger.parts:Whole:text", "grounder"),
        ("still", "tracker"),
        ("stranger.parts:Still", "tracker"),
        ("lines", "format"),
        ("stranger.parts:Lines", "format"),
    ):
        found_kind, findings = autolabel.api.check_plugin(name, device="cpu")
        broken = [one for one in findings if not one.passed]
        assert (found_kind, broken) == (kind, []), name
    _, findings = autolabel.api.check_plugin("stranger.parts:Whole", device="cpu")
    assert len(list(findings)) == 11


def test_the_command_says_what_is_broken_and_ends_with_3(plug_in: Path) -> None:
    process = start("check-plugin", "stranger.parts:Whole", "--device", "cpu")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "stranger.parts:Whole, a grounder: 11 of 11 promises kept" in out
    (plug_in / "stranger" / "parts.py").write_text(MODULE.replace(', "speed": 9', ""))
    process = start("check-plugin", "wrong", "--device", "cpu", "--json")
    out, err = process.communicate()
    assert process.returncode == 3, err
    told = json.loads(out)
    broken = {one["name"]: one["detail"] for one in told["checks"] if not one["passed"]}
    assert told["kind"] == "grounder"
    assert "expected pixels, found shares" in broken["tells pixels from shares"]


def test_nobody_is_told_in_one_line() -> None:
    with pytest.raises(SpecError, match="nobody: no adapter has this name"):
        autolabel.api.check_plugin("nobody")


def test_all_plug_ins_are_listed_whatever_state_they_are_in(plug_in: Path) -> None:
    rows = {(row.name, row.kind): row for row in registry.list_models()}
    whole = rows["whole", "grounder"]
    assert (whole.licence, whole.text, whole.scores, whole.masks) == ("MIT", True, True, False)
    assert whole.advice == "plug-in stranger.parts:Whole: finds all of it"
    assert "unknown speed" in rows["wrong", "grounder"].advice
    assert rows["rotten", "grounder"].advice == "plug-in stranger.rotten:X"
    assert ("still", "tracker") in rows
    with pytest.raises(SpecError, match="can't import it: RuntimeError: no licence key"):
        registry.load_grounder("rotten", "cpu")


def test_a_plugged_in_format_exports(plug_in: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    autolabel.run(
        [tmp_path / "a.png"],
        parse_ontology("cat: cat"),
        out=tmp_path / "project",
        grounder="whole",
        segmenter="none",
        device="cpu",
    )
    for name in ("lines", "stranger.parts:Lines"):
        report = autolabel.export(tmp_path / "project", name, tmp_path / "out", overwrite=True)
        assert (report.pictures, report.instances, report.fidelity) == (1, 1, None)
        text = (tmp_path / "out" / "labels.txt").read_text()
        assert text == "a.png cat (0.0, 0.0, 40.0, 30.0)\n"
    with pytest.raises(UsageError, match="format 'lines' has no option 'polygons'"):
        autolabel.export(tmp_path / "project", "lines", tmp_path / "other", polygons=True)
    with pytest.raises(UsageError, match="can't import it"):
        formats.writer_class("stranger.gone:Lines")
    with pytest.raises(UsageError, match=r"expected one of coco, .*, lines, found 'line'"):
        formats.writer_class("line")


def test_another_tracker_follows_what_any_segmenter_outlined(plug_in: Path, tmp_path: Path) -> None:
    frames = tmp_path / "clip"
    frames.mkdir()
    from PIL import Image

    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for number in range(4):
        Image.fromarray(pixels).save(frames / f"{number}.png")
    settings = {
        "out": tmp_path / "project",
        "grounder": "whole",
        "segmenter": "none",
        "frame_folders": True,
        "device": "cpu",
    }
    ontology = parse_ontology("cat: cat")
    with pytest.raises(UsageError, match=r"can't follow objects.*these can: sam2, .*still"):
        autolabel.run([frames], ontology, **settings)
    report = autolabel.run([frames], ontology, tracker="still", **settings)
    assert (report.done, report.objects) == (1, 4)
    again = autolabel.run([frames], ontology, tracker="still", **settings)
    assert again.done == 1


def test_a_card_is_a_literal_and_says_only_what_cards_say(plug_in: Path) -> None:
    assert cards.read_card("stranger.parts:Whole").advice == "finds all of it"
    assert cards.read_card("stranger.parts:Still") == cards.Card()
    assert cards.read_card("stranger.gone:X") == cards.Card()
    with pytest.raises(SpecError, match=r"CARD of Wrong: unknown speed; allowed: advice, "):
        cards.read_card("stranger.parts:Wrong")
    for kind, names in registry.ADAPTERS.items():
        for name in names:
            card = registry.card_of(name, kind)
            assert card.advice, name
            assert card.licence, name


def test_the_list_says_what_each_can_do() -> None:
    rows = {(row.name, row.kind): row for row in registry.list_models()}

    def can(name: str, kind: str) -> set[str]:
        flags = ("text", "examples", "video", "scores", "masks")
        return {flag for flag in flags if getattr(rows[name, kind], flag)}

    assert can("owlv2", "grounder") == {"text", "examples", "scores"}
    assert can("florence-2", "grounder") == {"text"}
    assert can("sam3", "segmenter") == {"text", "video", "scores", "masks"}
    assert can("edgetam", "segmenter") == {"video", "scores", "masks"}
    assert can("ultralytics", "grounder") == {"scores"}
    assert can("none", "segmenter") == set()
    assert rows["sam3", "grounder"].weights_licence == "SAM License (gated)"
    assert "HF_TOKEN" in rows["sam3", "grounder"].needs
    assert rows["dino-x", "grounder"].here is False
