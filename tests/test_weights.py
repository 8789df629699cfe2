"""Weights: paths, the hub's cache, and downloads from a server that speaks its protocol.

huggingface_hub reads its environment when imported, so each case is a process of its own,
as a user's command is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autolabel.errors import WeightsError
from autolabel.models import weights
from tests.hub_server import COMMIT, Hub, serve

ROOT = Path(__file__).parents[1]
DETECTOR = {
    "config.json": b'{"model_type": "grounding-dino"}',
    "preprocessor_config.json": b"{}",
    "tokenizer.json": b'{"model": 1}',
    "vocab.txt": b"[PAD]\n",
    "README.md": b"a model",
    "model.safetensors": bytes(range(256)) * 4000,
    "pytorch_model.bin": b"pickle" * 1000,
    "onnx/model.onnx": b"onnx",
}
NEEDED = {k for k in DETECTOR if k not in ("README.md", "pytorch_model.bin", "onnx/model.onnx")}
SAM = {
    "README.md": b"a model",
    "config.json": b"{}",
    "model.safetensors": b"x" * 3000,
    "sam2.1_hiera_t.yaml": b"a: 1",
    "sam2.1_hiera_tiny.pt": b"y" * 5000,
}
ASK = """
import sys
from autolabel.models import weights
from autolabel.errors import WeightsError
try:
    print(weights.resolve(sys.argv[1], files=getattr(weights, sys.argv[2]), kind="grounder"))
except WeightsError as error:
    sys.exit(f"WeightsError: {error}")
"""
HERE = """
import sys
from autolabel.models import weights
print(weights.is_here(sys.argv[1], files=getattr(weights, sys.argv[2])))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub({"org/detector": dict(DETECTOR), "org/sam": dict(SAM)})) as served:
        yield served


def run(
    code: str, url: str, home: Path, ref: str, files: str = "TRANSFORMERS", **more: str
) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k}
    return subprocess.run(
        [sys.executable, "-c", code, ref, files],
        cwd=ROOT,
        env={**kept, "HF_ENDPOINT": url, "HF_HOME": str(home), **more},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def leftovers(home: Path) -> list[str]:
    """Return the names of large files that a later run could take for weights."""
    return [p.name for p in home.rglob("*") if p.name in ("model.safetensors", "pytorch_model.bin")]


def test_the_first_use_downloads_what_is_needed_and_the_second_asks_nobody(
    hub: Hub, tmp_path: Path
) -> None:
    assert run(HERE, hub.url, tmp_path, "org/detector").stdout == "False\n"
    first = run(ASK, hub.url, tmp_path, "org/detector")
    assert first.returncode == 0, first.stderr
    folder = Path(first.stdout.strip())
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {k: DETECTOR[k] for k in NEEDED}
    assert {line.split()[1] for line in hub.fetched if line.startswith("GET")} == NEEDED
    assert "model.safetensors" in first.stderr or "%" in first.stderr, "progress is shown"
    hub.asked.clear()
    second = run(ASK, hub.url, tmp_path, "org/detector")
    assert second.stdout == first.stdout
    assert hub.asked == []
    assert run(HERE, hub.url, tmp_path, "org/detector").stdout == "True\n"
    assert run(ASK, hub.url, tmp_path, "org/detector", HF_HUB_OFFLINE="1").stdout == first.stdout


def test_a_bin_file_is_taken_where_there_are_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    del hub.repos["org/detector"]["model.safetensors"]
    done = run(ASK, hub.url, tmp_path, "org/detector")
    assert (Path(done.stdout.strip()) / "pytorch_model.bin").is_file(), done.stderr


def test_sam2_is_its_one_pt_file_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    done = run(ASK, hub.url, tmp_path, "org/sam", "CHECKPOINT")
    assert Path(done.stdout.strip()).name == "sam2.1_hiera_tiny.pt", done.stderr
    assert [line for line in hub.fetched if line.startswith("GET")] == ["GET sam2.1_hiera_tiny.pt"]
    again = run(ASK, "http://127.0.0.1:9", tmp_path, "org/sam", "CHECKPOINT")
    assert again.stdout == done.stdout


def test_several_checkpoints_are_listed_and_none_is_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.repos["org/sam"]["other.pt"] = b"z" * 100
    done = run(ASK, hub.url, tmp_path, "org/sam", "CHECKPOINT")
    assert "several checkpoints (other.pt, sam2.1_hiera_tiny.pt)" in done.stderr
    assert hub.fetched == []


def test_a_revision_can_be_named(hub: Hub, tmp_path: Path) -> None:
    done = run(ASK, hub.url, tmp_path, f"org/sam@{COMMIT}", "CHECKPOINT")
    assert done.returncode == 0, done.stderr
    other = run(ASK, hub.url, tmp_path, "org/sam@v9", "CHECKPOINT")
    assert "no such revision" in other.stderr


@pytest.mark.parametrize("fault", ["cut", "short"])
def test_a_broken_download_is_an_error_and_not_kept(hub: Hub, tmp_path: Path, fault: str) -> None:
    getattr(hub, fault).add("model.safetensors")
    broken = run(ASK, hub.url, tmp_path, "org/detector")
    assert broken.returncode == 1
    assert "WeightsError: Can't get the grounder weights 'org/detector': the download" in (
        broken.stderr
    )
    assert "Traceback" not in broken.stderr
    assert leftovers(tmp_path) == []
    assert run(HERE, hub.url, tmp_path, "org/detector").stdout == "False\n"
    getattr(hub, fault).clear()
    whole = run(ASK, hub.url, tmp_path, "org/detector")
    content = (Path(whole.stdout.strip()) / "model.safetensors").read_bytes()
    assert content == DETECTOR["model.safetensors"]


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("org/absent", "no such repository"),
        ("org/gated", "asks for a login (401)"),
        ("org/text", "it doesn't hold such a model; it holds notes.txt"),
        ("nowhere.pt", "there is no such file or folder"),
        ("./org/detector", "there is no such file or folder"),
        ("a/b/c", "there is no such file or folder"),
    ],
)
def test_each_failure_says_why_and_names_the_three_ways_out(
    hub: Hub, tmp_path: Path, ref: str, reason: str
) -> None:
    hub.repos["org/text"] = {"notes.txt": b""}
    hub.gated.add("org/gated")
    done = run(ASK, hub.url, tmp_path, ref)
    assert reason in done.stderr
    assert "--grounder NAME:/path/to/weights" in done.stderr
    assert f"{tmp_path}/hub (moved with HF_HOME or HF_HUB_CACHE)" in done.stderr
    assert "--models tiny" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_at_all_and_offline_mode_say_so(tmp_path: Path) -> None:
    gone = run(ASK, "http://127.0.0.1:9", tmp_path, "org/detector")
    assert "http://127.0.0.1:9 is not reachable" in gone.stderr
    assert "--models tiny" in gone.stderr
    offline = run(ASK, "http://127.0.0.1:9", tmp_path, "org/detector", HF_HUB_OFFLINE="1")
    assert "not in the cache and HF_HUB_OFFLINE forbids the network" in offline.stderr


def test_a_path_that_exists_is_used_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "with space:and colon"
    folder.mkdir()
    assert weights.resolve(str(folder), files=weights.TRANSFORMERS, kind="grounder") == folder
    assert weights.is_here(str(folder), files=weights.TRANSFORMERS)


def test_the_sum_of_a_file_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights.sha256_of(path) == abc
    path.write_bytes(b"abcd")
    assert weights.sha256_of(path) != abc


def test_a_missing_path_raises_in_process(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file or folder"):
        weights.resolve(str(tmp_path / "gone"), files=weights.CHECKPOINT, kind="segmenter")
