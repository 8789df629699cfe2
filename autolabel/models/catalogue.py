"""The list of models: what there is, its licence and size, what it can do, whether it is here."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from autolabel import registry
from autolabel.errors import SpecError
from autolabel.models import weights
from autolabel.models.cards import Card, read_card
from autolabel.registry import Kind


@dataclass(frozen=True, slots=True)
class Row:
    """One line of ``autolabel models``.

    Attributes:
        name: As it is written on the command line.
        kind: "preset", "grounder", "segmenter" or "tracker".
        weights: Where they come from; "" where none are known.
        licence: Of the code.
        weights_licence: Of the weights; "" where there are none.
        size: Of the download.
        needs: What it takes to run it, beside autolabel.
        here: Whether it would run without a download.
        text: Whether it takes free text.
        examples: Whether it takes pictures as prompts.
        video: Whether it follows objects through videos.
        scores: Whether its boxes have scores.
        masks: Whether it makes masks.
        advice: When to take it.
    """

    name: str
    kind: str
    weights: str
    licence: str
    weights_licence: str
    size: str
    needs: str
    here: bool
    text: bool
    examples: bool
    video: bool
    scores: bool
    masks: bool
    advice: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def list_models() -> list[Row]:
    """Return a row for each preset, adapter and plug-in, and for each of its known weights."""
    rows = [_preset_row(name) for name in registry.PRESETS]
    for kind in registry.ADAPTERS:
        names = registry.ADAPTERS[kind] if kind != "tracker" else {}  # segmenters say "video"
        for name in names:
            rows += _rows(name, kind, registry.card_of(name, kind))
        for name, point in registry.plug_ins(kind).items():
            rows += _plug_in_rows(name, kind, point)
    return rows


def _preset_row(name: str) -> Row:
    found = registry.PRESETS[name]
    kinds: tuple[Kind, Kind] = ("grounder", "segmenter")
    specs = [registry.parse_spec(getattr(found, kind), kind) for kind in kinds]
    cards = [registry.card_of(spec.name, kind) for spec, kind in zip(specs, kinds, strict=True)]
    here = all(_is_here(card, spec.weights or "") for card, spec in zip(cards, specs, strict=True))
    able = {one for card in cards for one in card.supports} | {"video"}
    both = f"{found.grounder} + {found.segmenter}"
    known = {one.ref: one.licence for card in cards for one in card.checkpoints}
    licences = {known[spec.weights] for spec in specs if spec.weights in known}
    return _row(
        name,
        "preset",
        both,
        cards[0],
        f"--models {name}",
        here,
        able,
        found.advice,
        ", ".join(sorted(licences)) or "Apache-2.0",
    )


def _rows(name: str, kind: Kind, card: Card) -> list[Row]:
    """Return a row for each of the adapter's known weights, or one without."""
    able = {*card.supports} | ({"video"} if name in registry.ADAPTERS["tracker"] else set())
    needs = f"pip install 'autolabel[{card.extra}]'" if card.extra else ""
    needs = "; ".join(part for part in (needs, card.needs) if part)
    ready = card.installed and (not card.env or bool(os.environ.get(card.env)))
    if not card.checkpoints:
        return [_row(name, kind, "", card, needs, ready, able, card.advice)]
    return [
        _row(
            name,
            kind,
            known.ref,
            card,
            needs,
            ready and _is_here(card, known.ref),
            able,
            card.advice,
            known.licence,
            known.size,
        )
        for known in card.checkpoints
    ]


def _plug_in_rows(name: str, kind: Kind, point: importlib.metadata.EntryPoint) -> list[Row]:
    """Return the rows of another package's adapter; its card may be wrong or missing."""
    try:
        card = read_card(point.value)
    except SpecError as error:
        return [_row(name, kind, "", Card(), "", True, set(), f"plug-in {point.value}: {error}")]
    rows = _rows(name, kind, card)
    said = f"plug-in {point.value}" + (f": {card.advice}" if card.advice else "")
    return [replace(row, advice=said) for row in rows]


def _row(
    name: str,
    kind: str,
    ref: str,
    card: Card,
    needs: str,
    here: bool,
    able: Iterable[str],
    advice: str,
    weights_licence: str = "",
    size: str = "",
) -> Row:
    able = set(able)
    flags = ("text", "examples", "video", "scores", "masks")
    supported = {flag: flag in able for flag in flags}
    return Row(
        name,
        kind,
        ref,
        card.licence,
        weights_licence,
        size,
        needs,
        here,
        advice=advice,
        **supported,
    )


def _is_here(card: Card, ref: str) -> bool:
    if card.bundled and ref == "tiny":
        return (registry.BUNDLED / card.bundled / "config.json").is_file()
    return card.hub_files is None or weights.is_here(ref, files=card.hub_files)
