"""Which models there are by name, what their weights are, and how one is loaded.

An adapter is one ``Entry`` below. Other packages add theirs as entry points in the groups
``autolabel.grounders`` and ``autolabel.segmenters``, and ``package.module:Class`` names any
importable one. Such a class is called ``Class(weights, device=..., dtype=...)``, with the
text after the name in the spec (None without one), and implements ``autolabel.stages``.

Importing this loads no model library: an adapter's file is imported when it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from autolabel import weights
from autolabel.device import resolve_device, resolve_dtype
from autolabel.errors import MissingExtra, SpecError, UsageError, WeightsError
from autolabel.stages import Grounder, Segmenter

if TYPE_CHECKING:
    from autolabel.track.values import Tracker

LOG = logging.getLogger(__name__)
Kind: TypeAlias = Literal["grounder", "segmenter"]
BUNDLED = Path(__file__).parent / "tiny" / "weights"
"""The tiny pair: ``detector/`` and ``segmenter/``, with their sums in ``SHA256SUMS``."""
_CLASS_PATH = re.compile(r"(?P<name>[A-Za-z_]\w*(?:\.\w+)+:[A-Za-z_]\w*)(?::(?P<weights>.+))?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that are known to work: where they are, whose licence, about how large."""

    ref: str
    licence: str
    size: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One adapter.

    Attributes:
        target: "module:Class", imported when asked for; "" for none at all (boxes only).
        licence: Of the code that it runs.
        advice: When to take it, in one line.
        files: What its weights are on the hub; None when it takes the text as it is.
        checkpoints: Known weights; the first is the default.
        bundled: Folder of its weights in ``BUNDLED``, asked for as ``NAME:tiny``.
        tracker: "module:function" that makes a tracker of a segmenter's weights; "" if none can.
        extra: Extra of autolabel that brings its package of the same name.
        notice: Logged when it is chosen.
    """

    target: str
    licence: str
    advice: str
    files: weights.Files | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    bundled: str = ""
    tracker: str = ""
    extra: str = ""
    notice: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model by name, and its weights: a path, a hub id, or None for the default."""

    name: str
    weights: str | None = None

    def __str__(self) -> str:
        """Return the spec as it is written on the command line."""
        return self.name if self.weights is None else f"{self.name}:{self.weights}"


@dataclass(frozen=True, slots=True)
class Preset:
    """Two specs that go together."""

    grounder: str
    segmenter: str
    advice: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of ``autolabel models``."""

    name: str
    kind: str
    weights: str
    licence: str
    size: str
    needs: str
    here: bool
    advice: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


GROUNDERS: dict[str, Entry] = {
    "grounding-dino": Entry(
        "autolabel.ground.grounding_dino:GroundingDino",
        "Apache-2.0",
        "free text, the safe choice; base is better, tiny faster",
        weights.TRANSFORMERS,
        (
            Checkpoint("IDEA-Research/grounding-dino-base", "Apache-2.0", "0.9 GB"),
            Checkpoint("IDEA-Research/grounding-dino-tiny", "Apache-2.0", "0.7 GB"),
        ),
        bundled="detector",
    ),
    "mm-grounding-dino": Entry(
        "autolabel.ground.grounding_dino:GroundingDino",
        "Apache-2.0",
        "free text, trained on more data than grounding-dino; good on rare classes",
        weights.TRANSFORMERS,
        (
            Checkpoint(
                "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
                "Apache-2.0",
                "0.7 GB",
            ),
        ),
    ),
    "ultralytics": Entry(
        "autolabel.ground.ultralytics:Ultralytics",
        "AGPL-3.0",
        "your own trained YOLO, or a fast detector with fixed names; mind the AGPL",
        weights.CHECKPOINT,
        extra="ultralytics",
        notice=(
            "ultralytics is AGPL-3.0, code and weights: check that this suits your project. "
            "Its .pt files can run code when loaded: use only those you trust."
        ),
    ),
}

SEGMENTERS: dict[str, Entry] = {
    "sam2": Entry(
        "autolabel.segment.sam2_image:Sam2Image",
        "Apache-2.0",
        "SAM 2 and 2.1; large for the best masks, tiny where there is no GPU",
        weights.CHECKPOINT,
        (
            Checkpoint("facebook/sam2.1-hiera-large", "Apache-2.0", "0.9 GB"),
            Checkpoint("facebook/sam2.1-hiera-base-plus", "Apache-2.0", "0.3 GB"),
            Checkpoint("facebook/sam2.1-hiera-small", "Apache-2.0", "0.2 GB"),
            Checkpoint("facebook/sam2.1-hiera-tiny", "Apache-2.0", "0.2 GB"),
        ),
        bundled="segmenter",
        tracker="autolabel.track.loading:load_tracker",
    ),
    "none": Entry("", "Apache-2.0", "boxes only, no masks"),
}

PRESETS: dict[str, Preset] = {
    "base": Preset(
        "grounding-dino:IDEA-Research/grounding-dino-base",
        "sam2:facebook/sam2.1-hiera-large",
        "the default: the best results, for a GPU",
    ),
    "small": Preset(
        "grounding-dino:IDEA-Research/grounding-dino-tiny",
        "sam2:facebook/sam2.1-hiera-tiny",
        "small GPUs; patient CPUs (about 20 s a picture)",
    ),
    "tiny": Preset(
        "grounding-dino:tiny",
        "sam2:tiny",
        "bundled, no download: drawn coloured shapes only, for trying and for tests",
    ),
}

_ENTRIES: dict[Kind, dict[str, Entry]] = {"grounder": GROUNDERS, "segmenter": SEGMENTERS}


def preset(name: str) -> Preset:
    """Return the preset of this name.

    Raises:
        SpecError: If there is none; the message lists them.
    """
    if name not in PRESETS:
        raise SpecError(f"--models {name}: there is no such preset. {_suggest(name, PRESETS)}")
    return PRESETS[name]


def parse_spec(text: str, kind: Kind) -> ModelSpec:
    """Return what ``NAME[:HUB-ID-OR-PATH]`` names; the path may hold colons.

    Raises:
        SpecError: If the name is unknown; the message suggests near ones and lists all.
    """
    path = _CLASS_PATH.fullmatch(text)
    if path:
        return ModelSpec(path["name"], path["weights"])
    name, colon, rest = text.partition(":")
    if colon and not rest:
        raise SpecError(f"--{kind} {text}: expected a hub id or a path after the colon")
    names = [*_ENTRIES[kind], *_entry_points(kind)]
    if name not in names:
        hint = " Write NAME:WEIGHTS." if "/" in name or Path(name).exists() else ""
        raise SpecError(f"--{kind} {text}: unknown name '{name}'.{hint} {_suggest(name, names)}")
    return ModelSpec(name, rest or None)


def load_grounder(spec: str | ModelSpec, device: str = "auto", dtype: str = "auto") -> Grounder:
    """Return the grounder that the spec names, loaded.

    Args:
        spec: ``NAME[:HUB-ID-OR-PATH]``, or ``package.module:Class[:TEXT]``.
        device: "auto", "cpu", "cuda" or "cuda:N".
        dtype: "auto", "fp32", "bf16" or "fp16".

    Raises:
        SpecError: If the name is unknown.
        UsageError: If the device or number format is not to be had.
        WeightsError: If the weights can't be had, or are not what they should be.
        MissingExtra: If it needs a package that is not installed.
    """
    loaded = _load(_spec(spec, "grounder"), "grounder", device, dtype)
    if not isinstance(loaded, Grounder):
        raise SpecError(f"--grounder {spec}: it lacks the methods of autolabel.stages.Grounder")
    return loaded


def load_segmenter(
    spec: str | ModelSpec, device: str = "auto", dtype: str = "auto"
) -> Segmenter | None:
    """Return the segmenter that the spec names, loaded; None for ``none`` (boxes only).

    Arguments and errors are those of ``load_grounder``.
    """
    parsed = _spec(spec, "segmenter")
    if parsed.name == "none":
        return None
    loaded = _load(parsed, "segmenter", device, dtype)
    if not isinstance(loaded, Segmenter):
        raise SpecError(f"--segmenter {spec}: it lacks the methods of autolabel.stages.Segmenter")
    return loaded


def load_tracker(spec: str | ModelSpec, device: str = "auto", dtype: str = "auto") -> Tracker:
    """Return what follows objects through videos with the weights of this segmenter.

    Arguments and errors are those of ``load_grounder``.

    Raises:
        UsageError: If this segmenter can't follow objects.
    """
    parsed = _spec(spec, "segmenter")
    entry = SEGMENTERS.get(parsed.name)
    if entry is None or not entry.tracker:
        able = ", ".join(name for name, known in SEGMENTERS.items() if known.tracker)
        raise UsageError(
            f"--segmenter {spec} can't follow objects through videos; these can: {able}. "
            "Or extract the frames and label them as pictures."
        )
    device = resolve_device(device)
    path = _find(parsed, "segmenter", entry)
    made = _import(entry.tracker, "")(path, device=device, dtype=resolve_dtype(dtype, device))
    return cast("Tracker", made)


def list_models() -> list[Row]:
    """Return what there is: presets, then grounders and segmenters with their known weights."""
    rows = [_preset_row(name) for name in PRESETS]
    for kind, entries in _ENTRIES.items():
        for name, entry in entries.items():
            rows += _entry_rows(name, kind, entry)
        for name, point in _entry_points(kind).items():
            rows.append(Row(name, kind, "", "its own", "", "", True, f"plug-in {point.value}"))
    return rows


def _spec(spec: str | ModelSpec, kind: Kind) -> ModelSpec:
    return parse_spec(spec, kind) if isinstance(spec, str) else spec


def _load(spec: ModelSpec, kind: Kind, device: str, dtype: str) -> object:
    """Return the adapter's object; every text about devices is made definite first."""
    device = resolve_device(device)
    dtype = resolve_dtype(dtype, device)
    entry = _ENTRIES[kind].get(spec.name)
    if entry is None:
        return _plug_in(spec, kind)(spec.weights, device=device, dtype=dtype)
    path = _find(spec, kind, entry)
    if entry.notice:
        LOG.warning("%s", entry.notice)
    return _import(entry.target, entry.extra)(path, device=device, dtype=dtype)


def _find(spec: ModelSpec, kind: Kind, entry: Entry) -> Path:
    """Return where the weights are, after a download if need be."""
    ref = spec.weights or (entry.checkpoints[0].ref if entry.checkpoints else "")
    if not ref:
        raise SpecError(f"--{kind} {spec}: it has no default; write {spec.name}:/path/to/model.pt")
    if entry.bundled and ref == "tiny":
        return bundled(entry.bundled)
    return weights.resolve(ref, files=entry.files or weights.CHECKPOINT, kind=kind)


def bundled(part: str) -> Path:
    """Return the folder of the tiny pair's "detector" or "segmenter", its content checked.

    Raises:
        WeightsError: If it is not there, or a file differs from ``SHA256SUMS``.
    """
    again = "Reinstall autolabel: pip install --force-reinstall --no-deps autolabel"
    folder, sums = BUNDLED / part, BUNDLED / "SHA256SUMS"
    if not (folder / "config.json").is_file():
        raise WeightsError(f"the bundled {part} is not in {folder}. {again}")
    lines = sums.read_text("utf-8").splitlines() if sums.is_file() else []
    for line in lines:
        right, _, name = line.partition(" ")
        path = BUNDLED / name.strip().lstrip("*").removeprefix("./")
        if not path.is_relative_to(folder):
            continue
        if not path.is_file():
            raise WeightsError(f"{path}, part of the bundled {part}, is missing. {again}")
        if weights.sha256_of(path) != right:
            raise WeightsError(f"{path}, part of the bundled {part}, is damaged. {again}")
    return folder


def _import(target: str, extra: str) -> Callable[..., object]:
    """Return the class "module:Class"; a missing extra package is named with its extra."""
    module, _, name = target.partition(":")
    try:
        found: Callable[..., object] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if extra and (error.name or "").split(".")[0] == extra:
            raise MissingExtra(extra, extra) from error
        raise
    return found


def _plug_in(spec: ModelSpec, kind: Kind) -> Callable[..., object]:
    """Return the class of another package: an entry point's, or "package.module:Class"."""
    point = _entry_points(kind).get(spec.name)
    try:
        if point is not None:
            loaded: Callable[..., object] = point.load()
            return loaded
        return _import(spec.name, "")
    except (ImportError, AttributeError) as error:
        raise SpecError(f"--{kind} {spec}: can't import it: {error}") from error


def _entry_points(kind: Kind) -> dict[str, importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=f"autolabel.{kind}s")
    return {point.name: point for point in found}


def _suggest(name: str, names: Any) -> str:
    """Return near names and all names, as two sentences."""
    near = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
    did_you = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{did_you}There are: {', '.join(names)}."


def _preset_row(name: str) -> Row:
    found = PRESETS[name]
    specs = [parse_spec(found.grounder, "grounder"), parse_spec(found.segmenter, "segmenter")]
    here = all(
        _is_here(entries[spec.name], spec.weights or "")
        for entries, spec in zip((GROUNDERS, SEGMENTERS), specs, strict=True)
    )
    both = f"{found.grounder} + {found.segmenter}"
    return Row(name, "preset", both, "Apache-2.0", "", f"--models {name}", here, found.advice)


def _entry_rows(name: str, kind: Kind, entry: Entry) -> list[Row]:
    """Return a row for each of the entry's known weights, or one without."""
    installed = not entry.extra or importlib.util.find_spec(entry.extra) is not None
    needs = f"pip install 'autolabel[{entry.extra}]', a .pt file" if entry.extra else ""
    if not entry.checkpoints:
        return [Row(name, kind, "", entry.licence, "", needs, installed, entry.advice)]
    return [
        Row(
            name,
            kind,
            known.ref,
            known.licence
            if known.licence == entry.licence
            else f"{entry.licence}, weights {known.licence}",
            known.size,
            needs,
            _is_here(entry, known.ref),
            entry.advice,
        )
        for known in entry.checkpoints
    ]


def _is_here(entry: Entry, ref: str) -> bool:
    if entry.bundled and ref == "tiny":
        return (BUNDLED / entry.bundled / "config.json").is_file()
    return weights.is_here(ref, files=entry.files or weights.CHECKPOINT)
