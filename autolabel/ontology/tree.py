"""Ontology text to a tree that knows its lines: only plain YAML, and nothing that can hurt.

The tree is built here from ruamel.yaml's event stream rather than by its loader, because
events carry the place of every single value, never construct an object, and let depth,
anchors and tags be refused before anything is built from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from autolabel.errors import OntologyError

T = TypeVar("T")

MAX_BYTES = 1_000_000
MAX_DEPTH = 8  # an ontology needs four

# YAML 1.2's core schema: `yes`, `no`, `on` and `off` are ordinary words.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
# What YAML allows in a file: ruamel refuses the rest too, but without saying the line.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Node:
    """One value of the file, and where it is.

    Attributes:
        kind: "text", "number", "bool", "null", "list" or "map".
        path: The file, for errors.
        line: 1-based line.
        column: 0-based column.
        start: Index of its first character in the text.
        end: Index after its last character.
        raw: What a scalar says, quotes removed.
        flow: Whether a list or map is written with brackets.
        items: The values of a list.
        pairs: The keys and values of a map, in file order.
    """

    kind: str
    path: str | None
    line: int
    column: int
    start: int
    end: int
    raw: str = ""
    flow: bool = False
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)

    def error(self, message: str) -> OntologyError:
        """Return an error that points at this value."""
        return OntologyError(message, self.path, self.line)

    def describe(self) -> str:
        """Return what was found here, for error messages."""
        if self.kind in ("text", "number", "bool"):
            shown = self.raw if len(self.raw) <= 60 else self.raw[:57] + "..."
            return {"text": f"{shown!r}", "number": f"the number {shown}"}.get(
                self.kind, f"the truth value {shown}"
            )
        return {"null": "nothing", "list": "a list", "map": "a mapping"}[self.kind]

    def text(self, what: str) -> str:
        """Return this value as text; numbers, truth values and nothing are refused."""
        if self.kind in ("number", "bool"):
            raise self.error(
                f"{what}: found {self.describe()}, expected text; put it in quotes: '{self.raw}'"
            )
        if self.kind != "text":
            raise self.error(f"{what}: found {self.describe()}, expected text")
        return self.raw

    def number(self, what: str) -> float:
        """Return this value as a number."""
        if self.kind != "number":
            raise self.error(f"{what}: found {self.describe()}, expected a number")
        try:
            return float(self.raw.replace("_", ""))
        except ValueError:
            raise self.error(f"{what}: found {self.raw}, expected a decimal number") from None

    def several(self, what: str) -> list[Node]:
        """Return the items of a list, or this one text as a list of one."""
        if self.kind == "list":
            return self.items
        if self.kind == "map":
            raise self.error(f"{what}: found a mapping, expected a text or a list of texts")
        return [self]

    def fields(self, what: str, allowed: Iterable[str] | None = None) -> dict[str, Node]:
        """Return the values of a map by key; repeated and unknown keys are refused."""
        if self.kind != "map":
            raise self.error(f"{what}: found {self.describe()}, expected a mapping")
        found: dict[str, Node] = {}
        known = None if allowed is None else list(allowed)
        for key, value in self.pairs:
            name = key.text(f"a key of {what}")
            if name in found:
                raise key.error(f"{what}: the key {name!r} appears twice")
            if known is not None and name not in known:
                raise key.error(f"{what}: unknown key {name!r}{suggest(name, known)}")
            found[name] = value
        return found

    def checked(self, check: Callable[[Any], T], value: object) -> T:
        """Return ``check(value)``, its ValueError turned into an error that points here."""
        try:
            return check(value)
        except ValueError as error:
            raise self.error(str(error)) from None


def suggest(name: str, known: list[str]) -> str:
    """Return the end of an error message: the nearest known name and all of them."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} allowed: {', '.join(known)}"


def read_text(data: bytes, path: str | None) -> str:
    """Return the file's text without its byte order mark.

    Raises:
        OntologyError: If it is too large, not UTF-8, or has control characters.
    """
    if len(data) > MAX_BYTES:
        raise OntologyError(
            f"found {len(data):,} bytes, allowed are {MAX_BYTES:,}; is this an ontology?", path
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise OntologyError(
            f"found the byte 0x{data[error.start]:02x}, which is not UTF-8; save the file as UTF-8",
            path,
            line,
        ) from None
    return text


def read_tree(text: str, path: str | None) -> Node | None:
    """Return the file's only document as a tree, or None when there is nothing in it.

    Raises:
        OntologyError: For anything that is not plain YAML: syntax errors, anchors, aliases,
            tags, a second document, nesting deeper than 8, control characters.
    """
    if len(text) > MAX_BYTES:
        raise OntologyError(f"found {len(text):,} characters, allowed are {MAX_BYTES:,}", path)
    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        raise OntologyError(f"found the control character {bad[0]!r}; remove it", path, line)
    try:
        return _build(YAML(typ="rt", pure=True).parse(text), path)
    except YAMLError as error:
        raise _syntax_error(error, path) from None
    except (ValueError, OverflowError) as error:  # "\UFFFFFFFF" and the like
        raise OntologyError(f"not valid YAML: {error}", path) from None


def _syntax_error(error: YAMLError, path: str | None) -> OntologyError:
    """Return ruamel's complaint as one line with a place."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    hint = ""
    if "'\\t'" in problem:
        hint = "; YAML allows no tabs between or before values: use spaces"
    elif "mapping values are not allowed" in problem:
        hint = "; a text with ': ' in it needs quotes, and keys of a mapping the same indent"
    return OntologyError(
        f"not valid YAML: {problem}{hint}", path, None if mark is None else mark.line + 1
    )


def _build(events: Iterator[Any], path: str | None) -> Node | None:
    """Return the tree that the events of one document spell."""
    root: Node | None = None
    documents = 0
    open_nodes: list[Node] = []
    waiting: list[Node | None] = []  # for each open map, the key that awaits its value
    for event in events:
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                line = event.start_mark.line + 1
                raise OntologyError("found a second document ('---'), allowed: one", path, line)
        if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            open_nodes.pop().end = event.end_mark.index
            waiting.pop()
        if not isinstance(event, NodeEvent):
            continue
        node = _node(event, path)
        if not open_nodes:
            root = node
        elif open_nodes[-1].kind == "list":
            open_nodes[-1].items.append(node)
        elif waiting[-1] is None:
            waiting[-1] = node
        else:
            if node.kind == "null" and node.start == node.end:
                node.line = waiting[-1].line  # the parser says where the next thing begins
            open_nodes[-1].pairs.append((waiting[-1], node))
            waiting[-1] = None
        if node.kind in ("list", "map"):
            if len(open_nodes) >= MAX_DEPTH:
                raise node.error(f"nested deeper than {MAX_DEPTH} levels")
            open_nodes.append(node)
            waiting.append(None)
    return None if root is not None and root.kind == "null" else root


def _node(event: Any, path: str | None) -> Node:
    """Return one event as a node without its children."""
    start, end = event.start_mark, event.end_mark
    node = Node("text", path, start.line + 1, start.column, start.index, end.index)
    if isinstance(event, AliasEvent) or event.anchor is not None:
        sign = "*" if isinstance(event, AliasEvent) else "&"
        raise node.error(
            f"found {sign}{event.anchor}; anchors and aliases are not allowed, write it out "
            "(or put the text in quotes)"
        )
    if getattr(event, "ctag", None) is not None:
        raise node.error(f"found the tag {event.ctag}; tags are not allowed (quote the text)")
    if isinstance(event, MappingStartEvent):
        node.kind, node.flow = "map", bool(event.flow_style)
    elif isinstance(event, SequenceStartEvent):
        node.kind, node.flow = "list", bool(event.flow_style)
    elif isinstance(event, ScalarEvent):
        if _SURROGATE.search(event.value):  # from an escape; no file or terminal can hold it
            raise node.error("found half a character (\\ud800 to \\udfff), expected text")
        node.raw = event.value
        if not event.style:
            node.kind = _plain_kind(event.value)
    return node


def _plain_kind(raw: str) -> str:
    """Return what an unquoted scalar is."""
    for kind, pattern in (("null", _NULL), ("bool", _BOOL), ("number", _NUMBER)):
        if pattern.fullmatch(raw):
            return kind
    return "text"


def is_plain_text(text: str) -> bool:
    """Return whether an unquoted word is text, and not a number, truth value or nothing."""
    return _plain_kind(text) == "text"
