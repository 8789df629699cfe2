"""The report as a file that anyone may be given, and which pictures to correct next."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from autolabel import api
from autolabel.cli import cli
from autolabel.errors import UsageError
from autolabel.importing import import_labels
from autolabel.store import Project, Result
from autolabel.types import MediaRecord
from tests.evaluate.made import make_project, slot, write_truth

EVIL = "<img src=x onerror=alert(1)>&\"'"


class Page(HTMLParser):
    """Collects tags, and the texts between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text("utf-8"))
    return page


def evil_project(tmp_path: Path) -> Path:
    ontology = tmp_path / "o.yaml"
    ontology.write_text(f"classes:\n  - name: {json.dumps(EVIL)}\n    prompts: [cat]\n  - dog\n")
    name = f"{EVIL}.png"
    project, _ = make_project(tmp_path / "p", ontology, {name: [(slot(0), {"cat": 0.8})]})
    with Project.open(project) as opened:
        bad = MediaRecord("b.png", "/in/b.png", "image", "k", 0, 0, status="failed", reason=EVIL)
        opened.commit([Result(bad, 1, 2)])
    return project


def test_untrusted_text_is_text_and_nothing_is_fetched(tmp_path: Path) -> None:
    project = evil_project(tmp_path)
    truth = write_truth(
        tmp_path / "t.json", [EVIL, "dog"], {f"{EVIL}.png": [(0, EVIL), (1, "dog")]}
    )
    said = CliRunner().invoke(cli, ["report", str(project), "--truth", str(truth)])
    assert said.output == f"{project}/report.html\n"
    page = read(project / "report.html")
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "main", "section", "div", "span", "b",
        "i", "h1", "h2", "h3", "p", "bdi", "table", "thead", "tbody", "tr", "th", "td", "figure",
        "figcaption", "svg", "rect", "line", "text", "polyline", "circle", "br", "pre", "img",
    }  # fmt: skip
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key == "href"]
        assert tag != "img" or (attributes["src"] or "").startswith("data:image/jpeg;base64,")
    assert EVIL in page.said  # as it is, in words
    text = (project / "report.html").read_text()
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text


def test_pictures_are_inside_with_labels_and_what_is_wrong(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(noise).save(tmp_path / "in" / "a.png")
    truth = write_truth(tmp_path / "t.json", ["cat", "dog"], {"a.png": [(0, "cat"), (3, "dog")]})
    ours = write_truth(tmp_path / "ours.json", ["cat", "dog"], {"a.png": [(0, "dog"), (3, "dog")]})
    import_labels("coco", ours, tmp_path / "in", tmp_path / "p")
    out = api.report(tmp_path / "p", tmp_path / "r" / "out.html", truth=truth)
    page = read(out)
    pictures = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 2  # labels and truth of the one picture
    assert any("wrong class: cat as dog" in words for words in page.said)
    assert "macro F1" in page.said


def test_suggestions_are_unsure_pictures_of_all_kinds(tmp_path: Path) -> None:
    ontology = tmp_path / "o.yaml"
    ontology.write_text("cat: cat\ndog: dog\n")
    found = {
        "sure.png": [(slot(n), {"cat": 0.97}) for n in range(6)],
        "cats.png": [(slot(n), {"cat": 0.3}) for n in range(6)],
        "cats2.png": [(slot(n), {"cat": 0.31}) for n in range(6)],
        "dog.png": [(slot(0), {"dog": 0.3}), (slot(1), {"dog": 0.32})],
        "empty.png": [],
    }
    project, _ = make_project(tmp_path / "p", ontology, found)
    got = api.suggest(project, 3)
    assert [one["name"] for one in got] == ["cats.png", "dog.png", "cats2.png"]
    assert got[0]["about"][0] == {"class": "cat", "probability": 0.5}
    with Project.open(project, readonly=True) as opened:
        assert json.loads(opened.meta()["suggested"]) == ["cats.png", "dog.png", "cats2.png"]
    truth = write_truth(tmp_path / "t.json", ["cat", "dog"], {"cats.png": []})
    again = api.suggest(project, 9, truth=truth, save=False)
    assert [one["name"] for one in again][:2] == ["cats2.png", "dog.png"]
    assert "cats.png" not in [one["name"] for one in again]
    with pytest.raises(UsageError, match="count: expected 1 or more, found 0"):
        api.suggest(project, 0)
