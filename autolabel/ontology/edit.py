"""Write new thresholds into an ontology file and leave everything else as its author wrote it.

The file is edited as text, at the places the tree knows: comments, order, quoting and blank
lines stay. Only the short form has no place for a threshold; it is rewritten as the long form,
its comments kept. What was written is parsed again and compared before the file is replaced.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from autolabel.errors import OntologyError, StorageError, UsageError
from autolabel.ontology.load import Ontology, parse_ontology, plain_number, quoted_text
from autolabel.ontology.tree import Node, read_text, read_tree, suggest

_Edit = tuple[int, int, str]  # replace text[start:end]


def set_thresholds(path: str | os.PathLike[str], thresholds: Mapping[str, float]) -> Ontology:
    """Return the ontology with these thresholds, after writing them into its file.

    Args:
        path: The YAML file; replaced in one step.
        thresholds: New threshold by class name, each in [0, 1].

    Raises:
        OntologyError: If the file is wrong.
        UsageError: If a name is no class of it, or a threshold is outside [0, 1].
        StorageError: If the file can't be written.
    """
    target = Path(os.path.realpath(path))
    try:
        data = target.read_bytes()
    except OSError as error:
        raise OntologyError(f"can't be read: {error.strerror}", os.fspath(path)) from None
    text = read_text(data, os.fspath(path))
    before = parse_ontology(text, os.fspath(path))
    for name in thresholds:
        if name not in before.class_names:
            hint = suggest(name, list(before.class_names))
            raise UsageError(f"{os.fspath(path)}: no class {name!r}{hint}")
    wanted = replace(
        before,
        classes=tuple(
            replace(spec, threshold=thresholds.get(spec.name, spec.threshold))
            for spec in before.classes
        ),
    )
    changed = edit_thresholds(text, thresholds)
    after = parse_ontology(changed, os.fspath(path))
    if after.selection_fingerprint() != wanted.selection_fingerprint():
        raise OntologyError(
            "is written in a way that can't be edited; set them by hand", after.path
        )
    _write(target, (b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""), changed)
    return after


def edit_thresholds(text: str, thresholds: Mapping[str, float]) -> str:
    """Return a valid ontology's text with the thresholds of these classes written into it."""
    root = read_tree(text, None)
    assert root is not None
    tops = {key.raw: (key, value) for key, value in root.pairs}
    newline = "\r\n" if "\r\n" in text else "\n"
    if "classes" not in tops:
        kept, block = _long_form(text, root.pairs, len(text), thresholds, newline)
        return text[: root.start] + kept + "classes:" + newline + block
    key, classes = tops["classes"]
    if classes.kind == "map":
        _, block = _long_form(text, classes.pairs, classes.end, thresholds, newline)
        return text[: key.start] + "classes:" + newline + block + text[classes.end :].lstrip("\r\n")
    edits = [
        edit
        for item in classes.items
        for edit in _item_edits(text, item, classes.flow, thresholds, newline)
    ]
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _item_edits(
    text: str, item: Node, in_flow: bool, thresholds: Mapping[str, float], newline: str
) -> list[_Edit]:
    """Return the edits that give one item of the `classes` list its threshold."""
    keys = {key.raw: (key, value) for key, value in item.pairs}
    name_key, name = keys["name"] if item.kind == "map" else (item, item)
    value = thresholds.get(name.raw.strip())
    if value is None:
        return []
    setting = f"threshold: {plain_number(value)}"
    if "threshold" in keys:
        old = keys["threshold"][1]
        return [(old.start, old.end, plain_number(value))]
    if item.kind == "map" and item.flow:
        return [(name.end, name.end, f", {setting}")]
    if item.kind != "map" and (in_flow or "\n" in text[item.start : item.end]):
        return [(item.start, item.end, f"{{name: {quoted_text(item.raw)}, {setting}}}")]
    line_end = re.compile(r"\r?\n|\Z").search(text, name.end)
    assert line_end is not None
    below = f"{newline}{' ' * name_key.column}{setting}"
    edits = [(line_end.start(), line_end.start(), below)]
    return edits if item.kind == "map" else [(item.start, item.start, "name: "), *edits]


def _long_form(
    text: str,
    pairs: list[tuple[Node, Node]],
    end: int,
    thresholds: Mapping[str, float],
    newline: str,
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
        if name in thresholds:
            out.append(f"    threshold: {plain_number(thresholds[name])}")
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
