"""The rules that keep the rooms apart, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "autolabel"
HEAVY = {
    "torch",
    "torchvision",
    "transformers",
    "sam2",
    "supervision",
    "fiftyone",
    "gradio",
    "ray",
    "sklearn",
}
ADAPTERS = {
    "app/page.py",
    "app/layout.py",
    "app/tab.py",
    "app/taking.py",
    "models/compiling.py",
    "models/device.py",
    "draw.py",
    "evaluate/fitting.py",
    "models/pretrained.py",
    "models/box_prompts.py",
    "models/prompt_types.py",
    "engines/ray.py",
    "ground/loading.py",
    "ground/grounding_dino.py",
    "ground/owlv2.py",
    "ground/omdet_turbo.py",
    "ground/florence2.py",
    "ground/sam3.py",
    "ground/seen.py",
    "ground/squares.py",
    "ground/ultralytics.py",
    "review/datasets.py",
    "review/plugins/autolabel/__init__.py",
    "review/serve.py",
    "ground/ultralytics_names.py",
    "models/sam2_checkpoint.py",
    "models/sam2_levels.py",
    "segment/edgetam.py",
    "segment/sam2_image.py",
    "segment/sam2_pixels.py",
}
ROOMS = ("ground", "segment", "track", "formats", "review", "evaluate")
# `app` is no room of the pipeline: it composes them, as the command line does.


def imports(path: Path, top_only: bool = False) -> set[str]:
    """Return the modules that a file imports (at its top level only, or anywhere)."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def sources() -> list[Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def test_heavy_libraries_are_imported_by_their_adapters_alone() -> None:
    guilty = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in sources()
        for name in imports(path)
        if name.split(".")[0] in HEAVY
        and str(path.relative_to(PACKAGE)) not in ADAPTERS
        and path.relative_to(PACKAGE).parts[0] not in ("tiny", "track")
    ]
    assert guilty == []


def test_rooms_do_not_import_each_other() -> None:
    guilty = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for room in ROOMS
        for path in (PACKAGE / room).rglob("*.py")
        for name in imports(path)
        for other in ROOMS
        if other != room and (name + ".").startswith(f"autolabel.{other}.")
    ]
    assert guilty == []


def test_nothing_below_the_command_line_imports_it_or_prints() -> None:
    guilty = []
    for path in sources():
        place = path.relative_to(PACKAGE)
        if place.parts[0] in ("cli", "tiny", "__main__.py"):
            continue
        called = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        if "print" in called or any(name.startswith("autolabel.cli") for name in imports(path)):
            guilty.append(str(place))
    assert guilty == []


def test_help_and_import_load_no_heavy_library() -> None:
    code = (
        "import sys, autolabel, autolabel.cli\n"
        "from click.testing import CliRunner\n"
        "assert CliRunner().invoke(autolabel.cli.cli, ['run', '--help']).exit_code == 0\n"
        f"print(sorted(set(sys.modules) & {HEAVY | {'numpy', 'scipy', 'rich', 'av', 'PIL'}!r}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_modules_stay_short_enough_to_read() -> None:
    long = {
        str(path.relative_to(PACKAGE)): count
        for path in sources()
        if (count := len(path.read_text("utf-8").splitlines())) > 420
    }
    assert long == {}


def test_no_file_names_a_registry() -> None:
    root = PACKAGE.parent
    words = (
        "pypi" + ".org",
        "files.python" + "hosted",
        "registry.npm" + "js",
        "deb.debian" + ".org",
    )
    texts = [p for p in root.glob("*") if p.is_file() and p.suffix in (".md", ".txt", ".toml", "")]
    guilty = [
        f"{path.name}: {word}"
        for path in [*texts, *sources()]
        for word in words
        if word in path.read_text("utf-8", errors="replace")
    ]
    assert guilty == []
