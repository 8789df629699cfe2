"""The README is held to the code: commands, options, files, formats and examples."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from autolabel.cli import cli
from autolabel.formats import FORMATS
from autolabel.ontology import load_ontology, parse_ontology
from autolabel.registry import PRESETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
CVAT = {"--function-module", "--function-file"}  # cvat-cli's own
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_every_command_and_option_is_explained() -> None:
    missing = []
    for name, command in cli.commands.items():
        match = re.search(rf"### `autolabel {name}\b.*?(?=\n##)", README, re.DOTALL)
        section = match[0] if match else ""
        missing += [] if section else [name]
        for option in command.params:
            if isinstance(option, click.Option) and f"`{option.opts[0]}`" not in section:
                missing.append(f"{name} {option.opts[0]}")
    assert missing == []


def test_no_option_is_explained_that_does_not_exist() -> None:
    known = {opt for command in cli.commands.values() for p in command.params for opt in p.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--help", "--json", "--no-deps"}
    named -= CVAT
    assert named - known == set()


def test_every_format_is_listed_with_its_fidelity() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", README, re.MULTILINE))
    assert {name: rows.get(name) for name in FORMATS} == {
        name: known.fidelity for name, known in FORMATS.items()
    }


def test_every_preset_and_shipped_ontology_is_named() -> None:
    for name in (*PRESETS, *(path.name for path in (ROOT / "ontologies").iterdir())):
        assert f"`{name}`" in README


def file_tree() -> str:
    """Return the package's files, each with the first line of its docstring."""
    package = ROOT / "autolabel"
    lines = []
    for path in sorted(package.rglob("*.py"), key=lambda p: (len(p.relative_to(package).parts), p)):
        said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        first = " ".join(said.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        lines.append(f"    {path.relative_to(ROOT).as_posix():38} {first}")
    return "\n".join(lines)


def test_the_file_tree_is_the_one_there_is() -> None:
    assert file_tree() in README, "python -m tests.test_readme prints the tree for the README"


@pytest.mark.parametrize("text", [body for language, body in BLOCKS if language == "yaml"])
def test_every_ontology_shown_loads(text: str) -> None:
    assert parse_ontology(text).classes


@pytest.mark.parametrize("path", sorted((ROOT / "ontologies").iterdir()), ids=lambda p: p.name)
def test_every_shipped_ontology_loads(path: Path) -> None:
    assert len(load_ontology(path).classes) >= 6


def test_the_detector_shown_labels_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    import autolabel
    import autolabel.api

    (shown,) = [body for language, body in BLOCKS if "class Mine" in body]
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "detector.py").write_text(shown)
    monkeypatch.syspath_prepend(tmp_path)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    report = autolabel.run(
        [tmp_path / "a.png"],
        parse_ontology("cat: cat"),
        out=tmp_path / "project",
        grounder="shown.detector:Mine",
        segmenter="none",
        device="cpu",
    )
    assert (report.done, report.objects) == (1, 1)
    assert len(shown.splitlines()) < 40
    kind, findings = autolabel.api.check_plugin("shown.detector:Mine:x", device="cpu")
    assert (kind, [one for one in findings if not one.passed]) == ("grounder", [])


if __name__ == "__main__":
    print(file_tree())
