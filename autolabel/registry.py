"""Which models there are by name, what their weights are, and how one is loaded.

An adapter is one line of ``ADAPTERS`` and its own file, which states its card (licence,
weights, when to take it: see ``autolabel.models.cards``). Other packages add theirs as entry points
in the groups ``autolabel.grounders``, ``autolabel.segmenters`` and ``autolabel.trackers``, and
``package.module:Class`` names any importable one. Such a class is called
``Class(weights, device=..., dtype=...)``, with the text after the name in the spec (None
without one), and implements ``autolabel.stages``.

Importing this loads no model library: an adapter's file is imported when it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from autolabel.errors import MissingExtra, SpecError, UsageError, WeightsError
from autolabel.models import weights
from autolabel.models.cards import Card, read_card
from autolabel.models.device import resolve_device, resolve_dtype
from autolabel.stages import Grounder, Segmenter

if TYPE_CHECKING:
    from autolabel.models.catalogue import Row
    from autolabel.track.values import Tracker

LOG = logging.getLogger(__name__)
Kind: TypeAlias = Literal["grounder", "segmenter", "tracker"]
BUNDLED = Path(__file__).parent / "tiny" / "weights"
"""The tiny pair: ``detector/`` and ``segmenter/``, with their sums in ``SHA256SUMS``."""
_CLASS_PATH = re.compile(r"(?P<name>[A-Za-z_]\w*(?:\.\w+)+:[A-Za-z_]\w*)(?::(?P<weights>.+))?")

ADAPTERS: dict[Kind, dict[str, str]] = {
    "grounder": {
        "grounding-dino": "autolabel.ground.grounding_dino:GroundingDino",
        "mm-grounding-dino": "autolabel.ground.mm_grounding_dino:MMGroundingDino",
        "owlv2": "autolabel.ground.owlv2:Owlv2",
        "omdet-turbo": "autolabel.ground.omdet_turbo:OmDetTurbo",
        "florence-2": "autolabel.ground.florence2:Florence2",
        "florence-2-grounding": "autolabel.ground.florence2:Florence2Grounding",
        "sam3": "autolabel.ground.sam3:Sam3",
        "ultralytics": "autolabel.ground.ultralytics:Ultralytics",
        "dino-x": "autolabel.ground.dds_api:DinoX",
        "grounding-dino-1.5": "autolabel.ground.dds_api:GroundingDino15",
    },
    "segmenter": {
        "sam2": "autolabel.segment.sam2_image:Sam2Image",
        "sam3": "autolabel.ground.sam3:Sam3",
        "edgetam": "autolabel.segment.edgetam:EdgeTam",
        "none": "autolabel.segment:NoMasks",
    },
    "tracker": {
        "sam2": "autolabel.track.loading:load_tracker",
        "sam3": "autolabel.track.hf_video:Sam3Tracker",
        "edgetam": "autolabel.track.hf_video:EdgeTamTracker",
    },
}
"""Name -> "module:Class", imported when asked for. A tracker loads the weights of the segmenter
that has its name."""


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
    "sam3": Preset(
        "sam3:facebook/sam3",
        "sam3:facebook/sam3",
        "boxes, masks and tracks by one model; gated weights, a large GPU",
    ),
    "tiny": Preset(
        "grounding-dino:tiny",
        "sam2:tiny",
        "bundled, no download: drawn coloured shapes only, for trying and for tests",
    ),
}


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
    names = [*ADAPTERS[kind], *plug_ins(kind)]
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
    """Return what follows objects through videos: a tracker's spec, or that of a segmenter.

    Arguments and errors are those of ``load_grounder``.

    Raises:
        UsageError: If this segmenter can't follow objects.
    """
    kind: Kind = "tracker" if _is_tracker(str(spec)) else "segmenter"
    parsed = _spec(spec, kind)
    if kind == "segmenter":
        able = ", ".join([*ADAPTERS["tracker"], *plug_ins("tracker")])
        raise UsageError(
            f"--segmenter {spec} can't follow objects through videos; these can: {able} (also "
            "as --tracker NAME beside another segmenter). Or extract the frames and label them "
            "as pictures."
        )
    made = _load(parsed, "tracker", device, dtype)
    missing = [name for name in ("prepare", "session", "restore") if not hasattr(made, name)]
    if missing:
        raise SpecError(f"--tracker {spec}: it lacks {', '.join(missing)} of a Tracker")
    return cast("Tracker", made)


def kind_of(spec: str) -> Kind | None:
    """Return what an adapter is, by its name or by its methods; None if it is nothing known.

    A name that stands for several kinds is the first of them: grounder, segmenter, tracker.
    """
    path = _CLASS_PATH.fullmatch(spec)
    if path is None:
        name = spec.partition(":")[0]
        known = (kind for kind in ADAPTERS if name in (*ADAPTERS[kind], *plug_ins(kind)))
        return next(known, None)
    found = _plug_in(ModelSpec(path["name"]), "grounder")
    methods: dict[Kind, str] = {"grounder": "ground", "segmenter": "segment", "tracker": "session"}
    return next((kind for kind, method in methods.items() if hasattr(found, method)), None)


def load(spec: str, kind: Kind, device: str = "auto") -> Any:
    """Return an adapter of a kind, loaded; see ``load_grounder``."""
    if kind == "tracker":
        return load_tracker(spec, device)
    if kind == "grounder":
        return load_grounder(spec, device)
    found = load_segmenter(spec, device)
    if found is None:
        raise SpecError(f"{spec}: there is nothing to load: it stands for no segmenter")
    return found


def card_of(name: str, kind: Kind) -> Card:
    """Return an adapter's card; for a plug-in or a class path what its class states.

    Raises:
        SpecError: If the card is malformed.
    """
    point = plug_ins(kind).get(name)
    if kind == "tracker" and name in ADAPTERS["segmenter"]:
        return card_of(name, "segmenter")  # its weights are the segmenter's
    return read_card(ADAPTERS[kind].get(name) or (point.value if point else name))


def list_models() -> list[Row]:
    """Return what there is: presets, then adapters and plug-ins with their known weights."""
    from autolabel.models import catalogue  # late: it imports this

    return catalogue.list_models()


def _is_tracker(spec: str) -> bool:
    """Return whether a spec names a tracker rather than a segmenter."""
    path = _CLASS_PATH.fullmatch(spec)
    if path is None:
        name = spec.partition(":")[0]
        return name in ADAPTERS["tracker"] or name in plug_ins("tracker")
    return hasattr(_plug_in(ModelSpec(path["name"]), "tracker"), "session")


def _spec(spec: str | ModelSpec, kind: Kind) -> ModelSpec:
    return parse_spec(spec, kind) if isinstance(spec, str) else spec


def _load(spec: ModelSpec, kind: Kind, device: str, dtype: str) -> object:
    """Return the adapter's object; every text about devices is made definite first."""
    device = resolve_device(device)
    dtype = resolve_dtype(dtype, device)
    target = ADAPTERS[kind].get(spec.name)
    if target is None:
        return _plug_in(spec, kind)(spec.weights, device=device, dtype=dtype)
    card = card_of(spec.name, kind)
    if card.env and not os.environ.get(card.env):
        raise UsageError(
            f"--{kind} {spec}: it needs the environment variable {card.env}. {card.needs}"
        )
    where = _find(spec, kind, card)
    if card.notice:
        LOG.warning("%s", card.notice)
    return _import(target, card)(where, device=device, dtype=dtype)


def _find(spec: ModelSpec, kind: Kind, card: Card) -> Path | str:
    """Return where the weights are, after a download if need be."""
    ref = spec.weights or (card.checkpoints[0].ref if card.checkpoints else "")
    if not ref:
        raise SpecError(f"--{kind} {spec}: it has no default; write {spec.name}:/path/to/model.pt")
    if card.bundled and ref == "tiny":
        return bundled(card.bundled)
    if card.hub_files is None:
        return ref
    return weights.resolve(ref, files=card.hub_files, kind=kind)


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


def _import(target: str, card: Card) -> Callable[..., object]:
    """Return the class "module:Class"; a missing extra package is named with its extra."""
    module, _, name = target.partition(":")
    try:
        found: Callable[..., object] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if card.package and (error.name or "").split(".")[0] == card.package:
            raise MissingExtra(card.package, card.extra) from error
        raise
    return found


def _plug_in(spec: ModelSpec, kind: Kind) -> Callable[..., object]:
    """Return the class of another package: an entry point's, or "package.module:Class".

    Importing somebody's module can raise anything, and all of it is told in one line.
    """
    point = plug_ins(kind).get(spec.name)
    try:
        if point is not None:
            loaded: Callable[..., object] = point.load()
            return loaded
        return _import(spec.name, Card())
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SpecError(f"--{kind} {spec}: can't import it: {reason}") from error


def plug_ins(kind: Kind) -> dict[str, importlib.metadata.EntryPoint]:
    """Return other packages' adapters of a kind, by name; none is imported."""
    found = importlib.metadata.entry_points(group=f"autolabel.{kind}s")
    return {point.name: point for point in found}


def _suggest(name: str, names: Any) -> str:
    """Return near names and all names, as two sentences."""
    near = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
    did_you = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{did_you}There are: {', '.join(names)}."
