"""Write new numbers into an ontology file and leave everything else as its author wrote it.

The file is edited as text, at the places the tree knows: comments, order, quoting and blank
lines stay. Only the short form has no place for a threshold; it is rewritten as the long form,
its comments kept. What was written is parsed again and compared before the file is replaced.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autolabel.errors import OntologyError, StorageError, UsageError
from autolabel.ontology.load import Ontology, parse_ontology, plain_number, quoted_text
from autolabel.ontology.tree import Node, read_text, read_tree, suggest

Settings = Mapping[str, Mapping[str, float]]
"""New values by class name and key."""

_Edit = tuple[int, int, str]  # replace text[start:end]


def set_thresholds(path: str | os.PathLike[str], thresholds: Mapping[str, float]) -> Ontology:
    """Return the ontology with these thresholds by class name: see ``set_values``."""
    return set_values(path, {name: {"threshold": value} for name, value in thresholds.items()})


def set_values(
    path: str | os.PathLike[str], classes: Settings, defaults: Mapping[str, float] | None = None
) -> Ontology:
    """Return the ontology with these numbers, after writing them into its file.

    Args:
        path: The YAML file; replaced in one step.
        classes: By class name, new values of its ``threshold``, ``not_margin`` or ``weight``.
        defaults: New values of ``duplicate_iou`` or ``cross_class_iou``.

    Raises:
        OntologyError: If the file is wrong.
        UsageError: If a name is no class of it, or a value is not allowed.
        StorageError: If the file can't be written.
    """
    target = Path(os.path.realpath(path))
    try:
        data = target.read_bytes()
    except OSError as error:
        raise OntologyError(f"can't be read: {error.strerror}", os.fspath(path)) from None
    text = read_text(data, os.fspath(path))
    wanted = with_values(parse_ontology(text, os.fspath(path)), classes, defaults)
    changed = edit_defaults(edit_classes(text, classes), defaults or {})
    after = parse_ontology(changed, os.fspath(path))
    if after.selection_fingerprint() != wanted.selection_fingerprint():
        raise OntologyError(
            "is written in a way that can't be edited; set them by hand", after.path
        )
    _write(target, (b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""), changed)
    return after


def with_values(
    ontology: Ontology, classes: Settings, defaults: Mapping[str, float] | None = None
) -> Ontology:
    """Return an ontology with these numbers in place of its own; touches no file."""
    for name in classes:
        if name not in ontology.class_names:
            hint = suggest(name, list(ontology.class_names))
            raise UsageError(f"{ontology.path or 'ontology'}: no class {name!r}{hint}")
    specs = []
    for spec in ontology.classes:
        changed: dict[str, Any] = {**classes.get(spec.name, {})}
        specs.append(replace(spec, **changed))
    others: dict[str, Any] = {**(defaults or {})}
    return replace(ontology, classes=tuple(specs), **others)


def edit_classes(text: str, settings: Settings) -> str:
    """Return a valid ontology's text with these values of classes written into it."""
    if not settings:
        return text
    root = read_tree(text, None)
    assert root is not None
    tops = {key.raw: (key, value) for key, value in root.pairs}
    newline = "\r\n" if "\r\n" in text else "\n"
    if "classes" not in tops:
        kept, block = _long_form(text, root.pairs, len(text), settings, newline)
        return text[: root.start] + kept + "classes:" + newline + block
    key, classes = tops["classes"]
    if classes.kind == "map":
        _, block = _long_form(text, classes.pairs, classes.end, settings, newline)
        return text[: key.start] + "classes:" + newline + block + text[classes.end :].lstrip("\r\n")
    edits = [
        edit
        for item in classes.items
        for edit in _item_edits(text, item, classes.flow, settings, newline)
    ]
    return _applied(text, edits)


def edit_defaults(text: str, values: Mapping[str, float]) -> str:
    """Return a valid ontology's text with these values written into its defaults."""
    if not values:
        return text
    root = read_tree(text, None)
    assert root is not None
    newline = "\r\n" if "\r\n" in text else "\n"
    said = [f"{key}: {plain_number(value)}" for key, value in values.items()]
    found = next((value for key, value in root.pairs if key.raw == "defaults"), None)
    if found is None or found.kind != "map":
        fresh = f"defaults: {{{', '.join(said)}}}"
        if root.flow:
            return _applied(text, [(root.start + 1, root.start + 1, f"{fresh}, ")])
        return _applied(text, [(root.pairs[0][0].start,) * 2 + (fresh + newline,)])
    there = {key.raw: value for key, value in found.pairs}
    edits: list[_Edit] = [
        (there[key].start, there[key].end, plain_number(value))
        for key, value in values.items()
        if key in there
    ]
    lacking = [line for key, line in zip(values, said, strict=True) if key not in there]
    if lacking and found.flow:
        last = ", " if found.pairs else ""
        edits.append((found.start + 1, found.start + 1, ", ".join(lacking) + last))
    elif lacking:
        first = found.pairs[0][0]
        above = "".join(f"{line}{newline}{' ' * first.column}" for line in lacking)
        edits.append((first.start, first.start, above))
    return _applied(text, edits)


def _applied(text: str, edits: Sequence[_Edit]) -> str:
    """Return the text with edits made, the last place first."""
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _item_edits(
    text: str, item: Node, in_flow: bool, settings: Settings, newline: str
) -> list[_Edit]:
    """Return the edits that give one item of the `classes` list its values."""
    keys = {key.raw: (key, value) for key, value in item.pairs}
    name_key, name = keys["name"] if item.kind == "map" else (item, item)
    values = settings.get(name.raw.strip())
    if not values:
        return []
    edits: list[_Edit] = [
        (keys[key][1].start, keys[key][1].end, plain_number(value))
        for key, value in values.items()
        if key in keys
    ]
    lines = [f"{key}: {plain_number(value)}" for key, value in values.items() if key not in keys]
    if not lines:
        return edits
    if item.kind == "map" and item.flow:
        return [*edits, (name.end, name.end, "".join(f", {line}" for line in lines))]
    if item.kind != "map" and (in_flow or "\n" in text[item.start : item.end]):
        return [(item.start, item.end, f"{{name: {quoted_text(item.raw)}, {', '.join(lines)}}}")]
    line_end = re.compile(r"\r?\n|\Z").search(text, name.end)
    assert line_end is not None
    below = "".join(f"{newline}{' ' * name_key.column}{line}" for line in lines)
    edits.append((line_end.start(), line_end.start(), below))
    return edits if item.kind == "map" else [(item.start, item.start, "name: "), *edits]


def _long_form(
    text: str, pairs: list[tuple[Node, Node]], end: int, settings: Settings, newline: str
) -> tuple[str, str]:
    """Return `prompt: class` lines as a list of classes, comments above each; defaults apart."""
    prompts: dict[str, list[str]] = {}
    comments: dict[str, list[str]] = {}
    kept = ""
    above: list[str] = []
    for i, (key, value) in enumerate(pairs):
        last = _last_character(value)
        stop = pairs[i + 1][0].start if i + 1 < len(pairs) else end
        same_line, *lines = [re.search(r"#.*", line) for line in text[last:stop].split("\n")]
        beside = same_line[0].rstrip() if same_line else ""
        if value.kind == "map":  # the defaults
            setting = f"{text[key.start : last]}  {beside}".rstrip()
            kept = "".join(line + newline for line in (*above, setting))
        else:
            name = value.raw.strip()
            prompts.setdefault(name, []).append(key.raw)
            comments.setdefault(name, []).extend(above)
            if beside:
                comments[name].append(f"# {key.raw}: {beside.lstrip('# ')}")
        above = [found[0].rstrip() for found in lines if found]
    out: list[str] = []
    for name, texts in prompts.items():
        out += [f"  {comment}" for comment in comments[name]]
        out.append(f"  - name: {quoted_text(name)}")
        if texts != [name]:
            out.append(f"    prompts: [{', '.join(map(quoted_text, texts))}]")
        for what, number in settings.get(name, {}).items():
            out.append(f"    {what}: {plain_number(number)}")
    out += [f"  {comment}" for comment in above]
    return kept, "".join(line + newline for line in out)


def _last_character(node: Node) -> int:
    """Return where a value ends; the parser ends a block where the next thing begins."""
    while node.kind in ("map", "list") and not node.flow:
        node = node.pairs[-1][1] if node.kind == "map" else node.items[-1]
    return node.end


def _write(target: Path, mark: bytes, text: str) -> None:
    """Replace the file in one step, keeping its mode."""
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(mark + text.encode())
            Path(temporary).chmod(target.stat().st_mode & 0o777)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"{target}: can't be written: {error.strerror}") from None
