"""The ontology as a value: classes, their limits, and what of it needs which work again."""

from __future__ import annotations

import colorsys
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from autolabel.errors import OntologyError
from autolabel.ontology.examples import Example

Color: TypeAlias = tuple[int, int, int]

DEFAULT_THRESHOLD = 0.3
DEFAULT_DUPLICATE_IOU = 0.7
DEFAULT_CROSS_CLASS_IOU = 0.8
AUTO_COLOR: Color = (-1, -1, -1)
"""Asks for the colour that follows from the class's name."""


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """One class: what to ask for, and what a box must be to become its label.

    Attributes:
        name: The class's name in labels and exports.
        prompts: Texts that mean this class, at least one.
        negatives: Texts that explain away boxes of this class.
        examples: Pictures of it, asked beside the prompts; then there may be no prompts.
        threshold: Lowest score of a label, in [0, 1].
        min_area: Smallest box: up to 1 a share of the picture's area, above 1 square
            pixels. None: no limit.
        max_area: Largest box, likewise.
        not_margin: By how much a box must score above its negatives, in [-1, 1]; below 0
            the negatives must win by so much to drop it.
        weight: How many times its scores count when classes compete for a box, in
            [0.01, 100]; its threshold is of the score itself.
        color: Red, green, blue in 0..255, for drawing.

    Raises:
        OntologyError: If a value is not allowed.
    """

    name: str
    prompts: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    threshold: float = DEFAULT_THRESHOLD
    min_area: float | None = None
    max_area: float | None = None
    color: Color = AUTO_COLOR
    not_margin: float = 0.0
    examples: tuple[Example, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Normalise the texts and check every value."""
        put = object.__setattr__
        if isinstance(self.prompts, str) or isinstance(self.negatives, str):
            raise OntologyError(f"class {self.name!r}: prompts and negatives are tuples of texts")
        try:
            put(self, "name", check_name(self.name))
            put(self, "prompts", _distinct(check_prompt(text) for text in self.prompts))
            put(self, "negatives", _distinct(check_prompt(text) for text in self.negatives))
            distinct = {one.prompt.casefold(): one for one in self.examples}
            put(self, "examples", tuple(distinct.values()))
            put(self, "threshold", check_threshold(self.threshold))
            put(self, "not_margin", check_margin(self.not_margin))
            put(self, "weight", check_weight(self.weight))
            put(
                self,
                "min_area",
                None if self.min_area is None else check_area(self.min_area, "min_area"),
            )
            put(
                self,
                "max_area",
                None if self.max_area is None else check_area(self.max_area, "max_area"),
            )
            if self.color == AUTO_COLOR:
                put(self, "color", distinct_colors([self.name], set())[self.name])
            put(self, "color", check_color(self.color))
            check_areas(self.min_area, self.max_area)
            if not self.asked:
                raise ValueError("found no prompts, expected at least one")
        except ValueError as error:
            raise OntologyError(f"class {self.name!r}: {error}") from None

    @property
    def asked(self) -> tuple[str, ...]:
        """The prompts, then the texts that stand for the examples."""
        return (*self.prompts, *(one.prompt for one in self.examples))


@dataclass(frozen=True)
class Ontology:
    """The classes, and how boxes that overlap are settled.

    Attributes:
        classes: In the order of the file; a class's place is its class id.
        duplicate_iou: Two boxes of one class that overlap this much are one object.
        cross_class_iou: Two boxes of different classes that overlap this much are one
            object: the better one stays.
        path: The file it came from, or None.

    Raises:
        OntologyError: If there are no classes, or two of them contradict each other.
    """

    classes: tuple[ClassSpec, ...]
    duplicate_iou: float = DEFAULT_DUPLICATE_IOU
    cross_class_iou: float = DEFAULT_CROSS_CLASS_IOU
    path: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check the classes against each other."""
        try:
            check_iou(self.duplicate_iou, "duplicate_iou")
            check_iou(self.cross_class_iou, "cross_class_iou")
        except ValueError as error:
            raise OntologyError(str(error), self.path) from None
        if found := conflict(self.classes):
            raise OntologyError(found[2], self.path)

    @classmethod
    def from_prompts(
        cls, prompts: Mapping[str, str], threshold: float = DEFAULT_THRESHOLD
    ) -> Ontology:
        """Return the ontology that maps each prompt to its class, as the short form does."""
        grouped: dict[str, list[str]] = {}
        for prompt, name in prompts.items():
            grouped.setdefault(name, []).append(prompt)
        colors = distinct_colors(grouped, set())
        return cls(
            tuple(
                ClassSpec(name, tuple(texts), threshold=threshold, color=colors[name])
                for name, texts in grouped.items()
            )
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names, by class id."""
        return tuple(spec.name for spec in self.classes)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """All distinct texts to ask a model: the classes' own in class order, then the rest."""
        positives = (text for spec in self.classes for text in spec.asked)
        negatives = (text for spec in self.classes for text in spec.negatives)
        return _distinct([*positives, *negatives])

    @property
    def examples(self) -> dict[str, Example]:
        """The examples of all classes, by the text that stands for each among ``prompts``."""
        return {one.prompt: one for spec in self.classes for one in spec.examples}

    @cached_property
    def prompt_classes(self) -> tuple[int | None, ...]:
        """The class that each of ``prompts`` means; None where it is only a negative."""
        owner = {_key(text): i for i, spec in enumerate(self.classes) for text in spec.asked}
        return tuple(owner.get(_key(text)) for text in self.prompts)

    @cached_property
    def negative_ids(self) -> tuple[tuple[int, ...], ...]:
        """For each class, which of ``prompts`` speak against it."""
        place = {_key(text): i for i, text in enumerate(self.prompts)}
        return tuple(tuple(place[_key(text)] for text in spec.negatives) for spec in self.classes)

    def prompt_fingerprint(self) -> str:
        """Return a SHA-256 over the set of prompts: what needs the grounder again."""
        return _digest(sorted(self.prompts))

    def segment_fingerprint(self) -> str:
        """Return a SHA-256 over what decides which candidates need a mask.

        That is which prompts share a class, and ``duplicate_iou``: see
        ``autolabel.select.to_segment``. Names, order and limits of classes don't matter.
        """
        return _digest([sorted(sorted(spec.asked) for spec in self.classes), self.duplicate_iou])

    def groups_fingerprint(self) -> str:
        """Return a SHA-256 over which prompts share a class: ``segment_fingerprint`` less the IoU.

        With the same groups and a lower ``duplicate_iou``, the masks that are there will do.
        """
        return _digest(sorted(sorted(spec.asked) for spec in self.classes))

    def selection_fingerprint(self) -> str:
        """Return a SHA-256 over everything that selecting uses; colours and path aside."""
        classes = [
            [c.name, c.asked, c.negatives, c.threshold, c.min_area, c.max_area]
            + ([c.not_margin] if c.not_margin else [])
            + ([{"weight": c.weight}] if c.weight != 1 else [])
            for c in self.classes
        ]
        return _digest([classes, self.duplicate_iou, self.cross_class_iou])


# --- checks of single values; each returns the value cleaned, or raises ValueError ----------


def check_name(value: object) -> str:
    """Return a class name without space around it."""
    if not isinstance(value, str):
        raise ValueError(f"class name: found {value!r}, expected text")
    name = unicodedata.normalize("NFC", value).strip(" \t")
    _refuse_control(name, "class name")
    if not name:
        raise ValueError("class name: found an empty text")
    return name


def check_prompt(value: object) -> str:
    """Return a prompt with its white space normalised."""
    if not isinstance(value, str):
        raise ValueError(f"prompt: found {value!r}, expected text")
    prompt = re.sub(r"\s+", " ", unicodedata.normalize("NFC", value)).strip()
    _refuse_control(prompt, "prompt")
    if not prompt:
        raise ValueError("prompt: found an empty text")
    if found := re.search(r"[.?]", prompt):
        raise ValueError(
            f"prompt: found {found[0]!r} in {prompt!r}; Grounding DINO separates prompts with "
            "it, so leave it out (for a class name, give the class other `prompts`)"
        )
    return prompt


def _refuse_control(text: str, what: str) -> None:
    """Raise if the text has characters that break lines, files or encodings."""
    for char in text:
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
            raise ValueError(f"{what}: found {char!r} in {text!r}, expected one line of text")


def check_threshold(value: float, what: str = "threshold") -> float:
    """Return a threshold in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{what}: found {value:g}, allowed: 0 to 1")
    return float(value)


def check_margin(value: float, what: str = "not_margin") -> float:
    """Return a margin of scores in [-1, 1]."""
    if not -1 <= value <= 1:
        raise ValueError(f"{what}: found {value:g}, allowed: -1 to 1")
    return float(value)


def check_weight(value: float, what: str = "weight") -> float:
    """Return a factor on scores in [0.01, 100]."""
    if not 0.01 <= value <= 100:
        raise ValueError(f"{what}: found {value:g}, allowed: 0.01 to 100")
    return float(value)


def check_area(value: float, what: str = "area") -> float:
    """Return an area limit: a share of the picture or square pixels."""
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(
            f"{what}: found {value:g}, allowed: up to 1 (share of the picture) "
            "or more (square pixels)"
        )
    return float(value)


def check_areas(min_area: float | None, max_area: float | None) -> None:
    """Raise if nothing can be between the limits; a share and pixels can't be compared."""
    if min_area is None or max_area is None or (min_area <= 1) != (max_area <= 1):
        return
    if max_area < min_area:
        raise ValueError(f"max_area: found {max_area:g}, less than min_area, {min_area:g}")


def check_iou(value: float, what: str = "IoU") -> float:
    """Return an IoU limit above 0, up to 1."""
    if not 0 < value <= 1:
        raise ValueError(f"{what}: found {value:g}, allowed: above 0, up to 1")
    return float(value)


def check_color(value: object) -> Color:
    """Return '#rrggbb' or three numbers as red, green, blue."""
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    if isinstance(value, (tuple, list)) and len(value) == 3:
        red, green, blue = value
        if all(isinstance(v, (int, float)) and 0 <= v <= 255 and v == int(v) for v in value):
            return int(red), int(green), int(blue)
    raise ValueError(f"color: found {value!r}, allowed: '#rrggbb' in quotes or [r, g, b], 0-255")


def _key(text: str) -> str:
    """Return what two texts have in common when they are the same to a model."""
    return text.casefold()


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts in order, each once, comparing without case."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(_key(text), text)
    return tuple(first.values())


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()


def conflict(classes: tuple[ClassSpec, ...]) -> tuple[int, str | None, str] | None:
    """Return the first contradiction: the class id, the text it is about, and a message."""
    if not classes:
        return 0, None, "found no classes, expected at least one"
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    for i, spec in enumerate(classes):
        if (same := names.setdefault(_key(spec.name), spec.name)) != spec.name or len(names) <= i:
            also = "" if same == spec.name else f" (first written {same!r})"
            return i, None, f"the class {spec.name!r} appears twice{also}"
        for text in spec.asked:
            owner = owners.setdefault(_key(text), spec.name)
            if owner != spec.name:
                found = f"the prompt {text!r} means both {owner!r} and {spec.name!r}"
                return i, text, f"{found}; allowed: one class"
        for text in spec.negatives:
            if owners.get(_key(text)) == spec.name:
                return i, text, f"class {spec.name!r}: {text!r} is both its prompt and its `not`"
    return None


# --- colours ---------------------------------------------------------------------------------


def _rgb(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


_PALETTE = tuple(
    _rgb(hue / 24, saturation, value)
    for saturation, value in ((0.78, 0.93), (0.52, 1.0), (0.9, 0.66))
    for hue in range(24)
)


def distinct_colors(names: Iterable[str], taken: set[Color]) -> dict[str, Color]:
    """Return a colour a name: the one its hash picks, or the nearest free one that differs.

    Names are served in sorted order, so that the order of the file doesn't matter.

    Args:
        names: Class names.
        taken: Colours already in use.
    """
    used = set(taken)
    colors: dict[str, Color] = {}
    for name in sorted(names):
        start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        # 29 is prime to the palette's 72: every colour is tried, each far from the last.
        ranked = [_PALETTE[(start + 29 * step) % len(_PALETTE)] for step in range(len(_PALETTE))]
        colors[name] = ranked[0]
        if len(used) < len(_PALETTE):
            for apart in (110, 70, 40, 1):
                free = [c for c in ranked if all(_distance(c, u) >= apart for u in used)]
                if free:
                    colors[name] = free[0]
                    break
        used.add(colors[name])
    return colors


def _distance(a: Color, b: Color) -> float:
    """Return how different two colours look ("redmean", compuphase.com/cmetric.htm), 0 to 765."""
    red = (a[0] + b[0]) / 2
    dr, dg, db = (x - y for x, y in zip(a, b, strict=True))
    return math.sqrt((2 + red / 256) * dr**2 + 4 * dg**2 + (2 + (255 - red) / 256) * db**2)
