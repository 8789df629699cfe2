"""What to look for: text prompts, the classes they mean, and when a box becomes a label.

An ontology is a YAML file, in one of two forms. Short, one ``prompt: class`` a line::

    car: vehicle
    truck: vehicle
    person: person

Long, with what each class needs (only ``name`` is required, and a plain text will do)::

    defaults: {threshold: 0.3}
    classes:
      - person
      - name: vehicle
        prompts: [car, truck]
        not: toy car          # a box that this explains better is dropped
        threshold: 0.4
        min_area: 0.001       # up to 1: share of the picture; above 1: square pixels
        color: '#3377cc'

A class may have ``examples:``, pictures of it for models that take them: file names relative to
the ontology's own folder, or ``{image: street.jpg, box: [x1, y1, x2, y2]}`` for a part of one.
``classes:`` may also hold the short form. A default `not` adds to a class's own, except for
the class that has the text as its prompt; the other defaults give way to the class's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autolabel.errors import OntologyError
from autolabel.ontology.examples import Box, Example, check_box
from autolabel.ontology.model import (
    DEFAULT_CROSS_CLASS_IOU,
    DEFAULT_DUPLICATE_IOU,
    DEFAULT_THRESHOLD,
    ClassSpec,
    Color,
    Ontology,
    check_area,
    check_areas,
    check_color,
    check_iou,
    check_margin,
    check_name,
    check_prompt,
    check_threshold,
    check_weight,
    conflict,
    distinct_colors,
)
from autolabel.ontology.tree import MAX_BYTES, Node, is_plain_text, read_text, read_tree, suggest

__all__ = [
    "ClassSpec",
    "Ontology",
    "load_ontology",
    "parse_ontology",
    "to_yaml",
]

_TOP_KEYS = ["classes", "defaults"]
_CLASS_KEYS = [
    "name",
    "prompts",
    "examples",
    "threshold",
    "not",
    "not_margin",
    "weight",
    "min_area",
    "max_area",
    "color",
]
_EXAMPLE_KEYS = ["image", "box", "digest"]
_DEFAULT_KEYS = [
    "threshold",
    "not",
    "not_margin",
    "min_area",
    "max_area",
    "duplicate_iou",
    "cross_class_iou",
]
_FORMS = (
    "allowed: lines of `prompt: class`, or `classes:` with a list of texts or of mappings "
    f"with the keys {', '.join(_CLASS_KEYS)}"
)


def load_ontology(path: str | os.PathLike[str]) -> Ontology:
    """Return the ontology in a YAML file.

    Raises:
        OntologyError: If the file can't be read or is wrong (file, line, found, allowed).
    """
    name = os.fspath(path)
    return parse_ontology(_read(name), name)


def parse_ontology(text: str, path: str | None = None) -> Ontology:
    """Return the ontology that a YAML text spells.

    Args:
        text: The YAML.
        path: The file it came from, for error messages.

    Raises:
        OntologyError: If it is wrong (file, line, found, allowed).
    """
    root = read_tree(text, path)
    if root is None:
        raise OntologyError(f"found nothing; {_FORMS}", path)
    if root.kind != "map":
        raise root.error(f"found {root.describe()} at the top; {_FORMS}")
    defaults_node, drafts = _drafts(root)
    if not drafts:
        raise root.error(f"found no classes; {_FORMS}")
    defaults = _defaults(defaults_node)
    given = {draft.color for draft in drafts if draft.color}
    colors = distinct_colors([draft.name for draft in drafts if not draft.color], given)
    specs = tuple(_spec(d, defaults, d.color or colors[d.name]) for d in drafts)
    if found := conflict(specs):
        index, about, message = found
        raise drafts[index].place(about).error(message)
    return Ontology(specs, defaults.duplicate_iou, defaults.cross_class_iou, path)


def _read(path: str) -> str:
    """Return the file's text."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OntologyError(f"can't be read: {error.strerror}", path) from None
    return read_text(data, path)


# --- from the tree to classes ------------------------------------------------------------------


@dataclass(slots=True)
class _Draft:
    """A class as the file states it, and where; what isn't stated is None or empty."""

    at: Node
    name: str
    prompts: list[tuple[str, Node]] = field(default_factory=list)
    negatives: list[tuple[str, Node]] = field(default_factory=list)
    threshold: float | None = None
    not_margin: float | None = None
    weight: float | None = None
    min_area: float | None = None
    max_area: float | None = None
    color: Color | None = None
    examples: list[Example] = field(default_factory=list)

    def place(self, text: str | None) -> Node:
        """Return where this text stands, or where the class begins."""
        wanted = None if text is None else text.casefold()
        for written, node in (*self.negatives, *self.prompts):
            if written.casefold() == wanted:
                return node
        return self.at


@dataclass(slots=True)
class _Defaults:
    """What holds for every class that doesn't say otherwise."""

    threshold: float = DEFAULT_THRESHOLD
    not_margin: float = 0.0
    negatives: list[tuple[str, Node]] = field(default_factory=list)
    min_area: float | None = None
    max_area: float | None = None
    duplicate_iou: float = DEFAULT_DUPLICATE_IOU
    cross_class_iou: float = DEFAULT_CROSS_CLASS_IOU


def _drafts(root: Node) -> tuple[Node | None, list[_Draft]]:
    """Return the node of the defaults and the classes of either form."""
    keys = {key.raw: value for key, value in root.pairs if key.kind == "text"}
    if "classes" not in keys:
        defaults = keys.get("defaults")
        if defaults is not None and defaults.kind != "map":
            raise defaults.error(f"defaults: found {defaults.describe()}, expected a mapping")
        return defaults, _short(root, at_top=True)
    top = root.fields("the ontology", _TOP_KEYS)
    classes = top["classes"]
    if classes.kind == "map":
        return top.get("defaults"), _short(classes, at_top=False)
    if classes.kind != "list":
        raise classes.error(f"classes: found {classes.describe()}; {_FORMS}")
    return top.get("defaults"), [_item(item) for item in classes.items]


def _short(node: Node, at_top: bool) -> list[_Draft]:
    """Return the classes of `prompt: class` lines; lines of one class merge."""
    drafts: dict[str, _Draft] = {}
    node.fields("the ontology" if at_top else "classes")  # refuses repeated and odd keys
    for key, value in node.pairs:
        if at_top and key.raw == "defaults":
            continue
        if value.kind in ("list", "map"):
            hint = suggest(key.raw, _TOP_KEYS) if at_top else f"; {_FORMS}"
            raise key.error(f"{key.raw!r}: found {value.describe()}, expected a class name{hint}")
        if value.kind == "null":
            raise key.error(f"{key.raw!r}: found no class name, expected `{key.raw}: class`")
        name = value.checked(check_name, value.text(f"the class of {key.raw!r}"))
        draft = drafts.setdefault(name, _Draft(key, name))
        draft.prompts.append((key.checked(check_prompt, key.raw), key))
    return list(drafts.values())


def _item(node: Node) -> _Draft:
    """Return the class of one item of the `classes` list."""
    if node.kind != "map":
        name = node.checked(check_name, node.text("class"))
        return _Draft(node, name, [(node.checked(check_prompt, name), node)])
    if len(node.pairs) == 1 and node.pairs[0][0].raw not in _CLASS_KEYS:
        key, value = node.pairs[0]
        raise node.error(
            f"class: found `{key.raw}: {value.raw}`; in a list write "
            f"`- {{name: {value.raw or 'class'}, prompts: [{key.raw}]}}`, or leave out the dashes"
        )
    fields = node.fields("class", _CLASS_KEYS)
    if "name" not in fields:
        raise node.error("class: found no `name`, expected one")
    at = fields["name"]
    draft = _Draft(node, at.checked(check_name, at.text("name")))
    if "prompts" in fields:
        draft.prompts = _texts(fields["prompts"], "prompts")
    elif "examples" not in fields:
        draft.prompts = [(at.checked(check_prompt, draft.name), at)]
    if "not" in fields:
        draft.negatives = _texts(fields["not"], "not")
    draft.threshold = _number(fields, "threshold", check_threshold)
    draft.not_margin = _number(fields, "not_margin", check_margin)
    draft.weight = _number(fields, "weight", check_weight)
    draft.min_area = _number(fields, "min_area", check_area)
    draft.max_area = _number(fields, "max_area", check_area)
    if "color" in fields:
        draft.color = _color(fields["color"])
    if "examples" in fields:
        draft.examples = _examples(fields["examples"])
    return draft


def _defaults(node: Node | None) -> _Defaults:
    """Return the defaults, with their own where the file says nothing."""
    if node is None:
        return _Defaults()
    fields = node.fields("defaults", _DEFAULT_KEYS)
    numbers = {
        key: _number(fields, key, check)
        for key, check in (
            ("threshold", check_threshold),
            ("not_margin", check_margin),
            ("min_area", check_area),
            ("max_area", check_area),
            ("duplicate_iou", check_iou),
            ("cross_class_iou", check_iou),
        )
    }
    negatives = _texts(fields["not"], "not") if "not" in fields else []
    stated = {key: value for key, value in numbers.items() if value is not None}
    return _Defaults(negatives=negatives, **stated)


def _spec(draft: _Draft, defaults: _Defaults, color: Color) -> ClassSpec:
    """Return the class with the defaults filled in."""
    own = {text.casefold() for text, _ in draft.prompts}
    negatives = [text for text, _ in draft.negatives]
    negatives += [text for text, _ in defaults.negatives if text.casefold() not in own]
    low = defaults.min_area if draft.min_area is None else draft.min_area
    high = defaults.max_area if draft.max_area is None else draft.max_area
    draft.at.checked(lambda limits: check_areas(*limits), (low, high))
    return ClassSpec(
        draft.name,
        tuple(text for text, _ in draft.prompts),
        tuple(negatives),
        defaults.threshold if draft.threshold is None else draft.threshold,
        low,
        high,
        color,
        defaults.not_margin if draft.not_margin is None else draft.not_margin,
        tuple(draft.examples),
        1.0 if draft.weight is None else draft.weight,
    )


def _texts(node: Node, what: str) -> list[tuple[str, Node]]:
    """Return the prompts that one text or a list of texts gives, with their places."""
    found = [(item.checked(check_prompt, item.text(what)), item) for item in node.several(what)]
    if not found:
        raise node.error(f"{what}: found an empty list, expected at least one text")
    return found


def _examples(node: Node) -> list[Example]:
    """Return the pictures that one entry or a list of them names."""
    nodes = node.items if node.kind == "list" else [node]
    if not nodes:
        raise node.error("examples: found an empty list, expected at least one picture")
    return [_example(item) for item in nodes]


def _example(node: Node) -> Example:
    """Return one picture: a file name, or a mapping with a box.

    What ``to_yaml`` wrote has a digest and is not read again: its file may be gone by now.
    """
    if node.kind != "map":
        return node.checked(Example.of, _beside(node, node.text("example")))
    fields = node.fields("example", _EXAMPLE_KEYS)
    if "image" not in fields:
        raise node.error("example: found no `image`, expected a file name")
    path = _beside(node, fields["image"].text("image"))
    box: Box | None = None
    if "box" in fields:
        numbers = [item.number("box") for item in fields["box"].several("box")]
        if len(numbers) != 4:
            raise fields["box"].error(f"box: found {len(numbers)} numbers, expected 4")
        box = (numbers[0], numbers[1], numbers[2], numbers[3])
        fields["box"].checked(check_box, box)
    if "digest" in fields:
        return Example(path, box, fields["digest"].text("digest"))
    return node.checked(lambda name: Example.of(name, box), path)


def _beside(node: Node, name: str) -> str:
    """Return a path relative to the ontology's folder as an absolute one."""
    folder = os.path.dirname(node.path) if node.path else ""
    return os.path.abspath(os.path.join(folder, os.path.expanduser(name)))


def _number(
    fields: dict[str, Node], key: str, check: Callable[[float, str], float]
) -> float | None:
    """Return the checked number under this key, or None."""
    if key not in fields:
        return None
    return fields[key].checked(lambda value: check(value, key), fields[key].number(key))


def _color(node: Node) -> Color:
    """Return a colour; unquoted, '#' starts a comment and leaves nothing."""
    if node.kind == "null":
        raise node.error("color: found nothing; put the colour in quotes: '#3377cc'")
    if node.kind == "list":
        return node.checked(check_color, [item.number("color") for item in node.items])
    return node.checked(check_color, node.raw)


# --- and back to text --------------------------------------------------------------------------


def to_yaml(ontology: Ontology) -> str:
    """Return the ontology in the long form; parsing it gives an equal ontology."""
    lines = [
        "defaults:",
        f"  duplicate_iou: {plain_number(ontology.duplicate_iou)}",
        f"  cross_class_iou: {plain_number(ontology.cross_class_iou)}",
        "classes:",
    ]
    for spec in ontology.classes:
        lines.append(f"  - name: {quoted_text(spec.name)}")
        if spec.prompts:
            lines.append(f"    prompts: [{', '.join(map(quoted_text, spec.prompts))}]")
        if spec.negatives:
            lines.append(f"    not: [{', '.join(map(quoted_text, spec.negatives))}]")
        if spec.not_margin:
            lines.append(f"    not_margin: {plain_number(spec.not_margin)}")
        if spec.weight != 1:
            lines.append(f"    weight: {plain_number(spec.weight)}")
        lines.append(f"    threshold: {plain_number(spec.threshold)}")
        if spec.min_area is not None:
            lines.append(f"    min_area: {plain_number(spec.min_area)}")
        if spec.max_area is not None:
            lines.append(f"    max_area: {plain_number(spec.max_area)}")
        lines += _example_lines(spec.examples)
        lines.append("    color: '#{:02x}{:02x}{:02x}'".format(*spec.color))
    return "\n".join(lines) + "\n"


def _example_lines(examples: Sequence[Example]) -> list[str]:
    """Return a class's examples with their digests."""
    lines = ["    examples:"] if examples else []
    for one in examples:
        place = "" if one.box is None else f", box: [{', '.join(map(plain_number, one.box))}]"
        lines.append(f'      - {{image: {quoted_text(one.path)}{place}, digest: "{one.digest}"}}')
    return lines


def plain_number(number: float) -> str:
    """Return a number as YAML reads it back exactly."""
    return repr(int(number)) if number == int(number) else repr(float(number))


def quoted_text(text: str) -> str:
    """Return a text as YAML reads it back, quoted only where needed."""
    if re.fullmatch(r"[^\W\d_][\w /-]*", text) and text == text.strip() and is_plain_text(text):
        return text
    escaped = "".join(
        {'"': '\\"', "\\": "\\\\"}.get(c, c if c.isprintable() else f"\\U{ord(c):08x}")
        for c in text
    )
    return f'"{escaped}"'
