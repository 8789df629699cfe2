"""The command line as a user runs it, in a process of its own, with instant fake models."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
FAKES = (
    "--grounder",
    "tests.fakes:Blobs",
    "--segmenter",
    "tests.fakes:Ellipses",
    "--device",
    "cpu",
)
ONTOLOGY = "cat: cat\ndog: dog\npuppy: dog\n"


def command(*args: str | Path) -> list[str]:
    """Return the command line that runs autolabel with these arguments."""
    return [sys.executable, "-m", "autolabel", *map(str, args)]


def start(*args: str | Path, **environ: str) -> subprocess.Popen[str]:
    """Start autolabel."""
    return subprocess.Popen(
        command(*args),
        cwd=ROOT,
        env={**os.environ, **environ},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def autolabel(*args: str | Path, code: int = 0, **environ: str) -> str:
    """Run autolabel to its end; return what it printed to both streams."""
    process = start(*args, **environ)
    out, err = process.communicate(timeout=900)
    assert process.returncode == code, (out, err)
    return out + err


def make_pictures(folder: Path, count: int, size: int = 48) -> Path:
    """Write pictures of noise, each different."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        noise = np.random.default_rng(index).integers(0, 255, (size, size + 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index:04d}.png")
    return folder


def digest(folder: Path) -> str:
    """Return a hash over every file of an export."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def exported(project: Path, out: Path) -> dict[str, list[dict[str, object]]]:
    """Return a project's COCO export."""
    autolabel("export", project, "--out", out)
    found: dict[str, list[dict[str, object]]] = json.loads((out / "annotations.json").read_text())
    return found
