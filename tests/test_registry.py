"""The registry: specs, presets, plug-ins, the bundled pair, and what `autolabel models` lists."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autolabel import registry
from autolabel.errors import MissingExtra, SpecError, UsageError, WeightsError
from autolabel.models.device import resolve_device, resolve_dtype
from autolabel.registry import ModelSpec, parse_spec

ROOT = Path(__file__).parents[1]

PLUG_IN = """
import numpy as np
from autolabel.types import Proposals, Segments

class Whole:
    def __init__(self, weights, *, device, dtype):
        self.weights, self.device, self.dtype = weights, device, dtype
    def fingerprint(self):
        return f"whole {self.weights} {self.device} {self.dtype}"
    def check_prompts(self, prompts):
        return []
    def ground(self, images, prompts, floor):
        return [Proposals.empty(len(prompts)) for _ in images]

class Hollow:
    def __init__(self, weights, *, device, dtype):
        pass
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of somebody else, installed with an entry point."""
    package = tmp_path / "somebody"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text(PLUG_IN)
    info = tmp_path / "somebody-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[autolabel.grounders]\nwhole = somebody.models:Whole\nbroken = somebody.gone:X\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name", "weights"),
    [
        ("grounding-dino", "grounding-dino", None),
        ("grounding-dino:org/name@v1", "grounding-dino", "org/name@v1"),
        ("ultralytics:../a b/x:y.pt", "ultralytics", "../a b/x:y.pt"),
        ("ultralytics:C:\\models\\x.pt", "ultralytics", "C:\\models\\x.pt"),
        ("my.package:Class", "my.package:Class", None),
        ("my.package:Class:C:\\x", "my.package:Class", "C:\\x"),
    ],
)
def test_a_spec_is_a_name_and_all_that_follows_the_first_colon(
    text: str, name: str, weights: str | None
) -> None:
    assert parse_spec(text, "grounder") == ModelSpec(name, weights)
    assert str(parse_spec(text, "grounder")) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grounding-dno", "unknown name 'grounding-dno'. Did you mean grounding-dino or mm-"),
        ("sam2", "There are: grounding-dino, mm-grounding-dino, owlv2, omdet-turbo"),
        ("IDEA-Research/grounding-dino-base", "Write NAME:WEIGHTS. "),
        ("grounding-dino:", "expected a hub id or a path after the colon"),
    ],
)
def test_a_wrong_spec_says_what_there_is(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "grounder")
    assert message in str(caught.value)


def test_presets_are_two_specs_each() -> None:
    base = registry.preset("base")
    assert base.grounder == "grounding-dino:IDEA-Research/grounding-dino-base"
    assert base.segmenter == "sam2:facebook/sam2.1-hiera-large"
    assert registry.preset("tiny").grounder == "grounding-dino:tiny"
    for name in ("base", "small", "tiny"):
        parse_spec(registry.preset(name).grounder, "grounder")
        parse_spec(registry.preset(name).segmenter, "segmenter")
    with pytest.raises(SpecError, match="Did you mean small"):
        registry.preset("smal")


def test_none_is_boxes_only_and_ultralytics_wants_a_path() -> None:
    assert registry.load_segmenter("none") is None
    with pytest.raises(SpecError, match=r"write ultralytics:/path/to/model\.pt"):
        registry.load_grounder("ultralytics", "cpu")


def test_another_packages_grounder_is_loaded_by_entry_point_and_by_class_path(
    plug_in: Path,
) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    for spec in ("whole:some text", "somebody.models:Whole:some text"):
        grounder = registry.load_grounder(spec, "cpu", "auto")
        assert grounder.fingerprint() == "whole some text cpu fp32"
        assert grounder.ground([image], ["a", "b"], 0.1)[0].scores.shape == (0, 2)
    assert "whole" in {row.name for row in registry.list_models()}
    with pytest.raises(SpecError, match=r"lacks the methods of autolabel\.stages\.Grounder"):
        registry.load_grounder("somebody.models:Hollow", "cpu")
    for wrong in ("broken", "somebody.models:Gone", "not.there:X"):
        with pytest.raises(SpecError, match="can't import it"):
            registry.load_grounder(wrong, "cpu")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "autolabel.ground.ultralytics", raising=False)
    path = tmp_path / "x.pt"
    path.write_bytes(b"")
    with pytest.raises(MissingExtra, match=r"pip install 'autolabel\[ultralytics\]'"):
        registry.load_grounder(f"ultralytics:{path}", "cpu")


def test_choosing_ultralytics_says_agpl(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("cv2")
    path = tmp_path / "x.pt"
    path.write_bytes(b"")
    with caplog.at_level(logging.WARNING), pytest.raises((WeightsError, MissingExtra)):
        registry.load_grounder(f"ultralytics:{path}", "cpu")
    assert "AGPL-3.0" in caplog.text
    assert "only those you trust" in caplog.text


def bundle(folder: Path) -> None:
    for part in ("detector", "segmenter"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        (folder / part / "model.safetensors").write_bytes(part.encode())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def test_the_bundled_pair_is_checked_before_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "BUNDLED", tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"the bundled detector is not in .* Reinstall"):
        registry.load_grounder("grounding-dino:tiny", "cpu")
    bundle(tmp_path / "weights")
    assert registry.bundled("detector") == tmp_path / "weights" / "detector"
    (tmp_path / "weights" / "detector" / "model.safetensors").write_bytes(b"Detector")
    with pytest.raises(WeightsError, match=r"model\.safetensors.* is damaged\. Reinstall"):
        registry.load_grounder("grounding-dino:tiny", "cpu")
    assert registry.bundled("segmenter")
    (tmp_path / "weights" / "segmenter" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors.* is missing\. Reinstall"):
        registry.load_segmenter("sam2:tiny", "cpu")


def test_the_list_tells_licence_size_and_whether_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "BUNDLED", tmp_path / "weights")
    bundle(tmp_path / "weights")
    rows = {(row.name, row.weights): row.as_dict() for row in registry.list_models()}
    tiny = rows["tiny", "grounding-dino:tiny + sam2:tiny"]
    assert (tiny["kind"], tiny["here"]) == ("preset", True)
    base = rows["grounding-dino", "IDEA-Research/grounding-dino-base"]
    assert (base["kind"], base["licence"], base["size"]) == ("grounder", "Apache-2.0", "0.9 GB")
    assert rows["ultralytics", ""]["licence"] == "AGPL-3.0"
    assert rows["none", ""]["here"] is True
    assert all(row["advice"] for row in rows.values())


def test_importing_and_listing_load_no_model_library() -> None:
    code = (
        "import sys; from autolabel import registry; registry.list_models(); "
        "print([m for m in ('torch', 'transformers', 'ultralytics', 'sam2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_device_is_made_definite_or_refused() -> None:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda:0" if count else "cpu")
    with pytest.raises(UsageError, match="--device cuda:99: no such GPU"):
        resolve_device("cuda:99")
    for wrong in ("gpu", "cuda:", "cuda:x", ""):
        with pytest.raises(UsageError, match="expected auto, cpu, cuda or cuda:N"):
            resolve_device(wrong)


def test_a_number_format_is_made_definite_or_refused() -> None:
    assert resolve_dtype("auto", "cpu") == "fp32"
    assert resolve_dtype("fp32", "cpu") == "fp32"
    with pytest.raises(UsageError, match="--dtype bf16 needs a GPU"):
        resolve_dtype("bf16", "cpu")
    with pytest.raises(UsageError, match="expected one of auto, fp32, bf16, fp16"):
        resolve_dtype("int8", "cpu")
