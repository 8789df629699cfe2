"""The app's data sets with their fields, colours, label schema and saved views: FiftyOne's part.

Runs in a process of its own, ``python -m autolabel.review.datasets`` with what to make as JSON on
standard input: FiftyOne reads its settings from the environment when it is imported. Answers with
one line of JSON: the collections that ``autolabel.review.load`` fills.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F

ATTRIBUTES: dict[str, type] = {
    "review": fo.StringField,
    "source": fo.StringField,
    "prompt": fo.StringField,
    "runner_up": fo.StringField,
    "runner_up_score": fo.FloatField,
    "margin": fo.FloatField,
    "above": fo.FloatField,
    "mask_score": fo.FloatField,
    "doubt": fo.StringField,
    "probability": fo.FloatField,
    "odd_size": fo.BooleanField,
    "track_break": fo.BooleanField,
}
SHOWN = (
    "review",
    "runner_up",
    "prompt",
    "margin",
    "above",
    "mask_score",
    "doubt",
    "probability",
    "source",
)
STATUSES = ["pending", "accepted", "rejected"]
SMALL_MARGIN, NEAR, LOW_MASK = 0.1, 0.05, 0.7
FIELDS_MADE = "autolabel_fields"
RADIO = 5
"""Up to so many classes are buttons, more are a list."""


def make(order: dict[str, Any]) -> dict[str, Any]:
    """Return the collections of the data sets asked for, made where they don't exist.

    Args:
        order: ``datasets`` (name by kind, "image" and "video"), ``classes`` (name and colour),
            ``crowded`` (labels that make a crowd), ``suggested`` (names of pictures, best
            first), ``doubts`` and ``failures`` (whether there are any).
    """
    made: dict[str, Any] = {}
    for kind, name in order["datasets"].items():
        fresh = not fo.dataset_exists(name)
        dataset = fo.Dataset(name, persistent=True) if fresh else fo.load_dataset(name)
        if FIELDS_MADE not in dataset.info:  # new, or its making was killed
            _fields(dataset, kind)
        _colours(dataset, kind, order["classes"])
        if kind == "image":
            _label_schema(dataset, [label for label, _ in order["classes"]])
        _views(dataset, kind, order)
        made[kind] = {
            "name": name,
            "id": str(dataset._doc.id),
            "samples": dataset._sample_collection_name,
            "frames": dataset._frame_collection_name if kind == "video" else None,
            "fresh": fresh,
        }
    return made


def _fields(dataset: Any, kind: str) -> None:
    """Declare every field that is loaded."""
    if dataset.media_type != kind:
        dataset.media_type = kind
    dataset.add_sample_field("name", fo.StringField)
    dataset.add_sample_field("loaded", fo.IntField)
    dataset.add_sample_field("failure", fo.StringField)
    add = dataset.add_frame_field if kind == "video" else dataset.add_sample_field
    add("labels", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    for name, field in ATTRIBUTES.items():
        add(f"labels.detections.{name}", field)
    dataset.info[FIELDS_MADE] = True
    dataset.save()


def _path(kind: str) -> str:
    """Return where labels are: a video's are its frames'."""
    return "frames.labels" if kind == "video" else "labels"


def _colours(dataset: Any, kind: str, classes: list[list[str]]) -> None:
    """Give every class the ontology's colour, and show class and track."""
    path = _path(kind)
    dataset.app_config.color_scheme = fo.ColorScheme(
        color_by="value",
        color_pool=[color for _, color in classes] or None,
        fields=[
            {
                "path": path,
                "colorByAttribute": "label",
                "valueColors": [{"value": name, "color": color} for name, color in classes],
            }
        ],
    )
    dataset.app_config.active_fields = fo.ActiveFields(paths=[path])
    dataset.save()


def _label_schema(dataset: Any, classes: list[str]) -> None:
    """Let the app's Annotate tab edit labels: class, box, mask, and the review."""
    attributes: list[dict[str, Any]] = [
        {"name": "review", "type": "str", "component": "radio", "values": STATUSES}
    ]
    attributes += [
        {
            "name": name,
            "type": "str" if ATTRIBUTES[name] is fo.StringField else "float",
            "component": "text",
            "read_only": True,
        }
        for name in SHOWN[1:]
    ]
    schema = {
        "type": "detections",
        "component": "radio" if len(classes) <= RADIO else "dropdown",
        "classes": classes,
        "attributes": attributes,
    }
    dataset.set_label_schemas({"labels": schema})
    dataset.activate_label_schemas("labels")


def _views(dataset: Any, kind: str, order: dict[str, Any]) -> None:
    """Save the views in the order in which a reviewer gains most; the reviewer's own stay."""
    path = _path(kind)
    wanted: dict[str, Any] = {}
    pending = F("review") == "pending"

    def labels(condition: Any) -> Any:
        return dataset.filter_labels(path, condition)

    if kind == "image" and order["suggested"]:
        named = dataset.match(F("name").is_in(order["suggested"]))
        wanted["0 suggested"] = named
    if order["doubts"]:
        wanted["0 in doubt"] = labels(pending & F("doubt").exists())
    wanted["1 ambiguous"] = labels(pending & (F("margin") < SMALL_MARGIN))
    wanted["2 near the threshold"] = labels(pending & (F("above") < NEAR))
    wanted["3 low mask score"] = labels(pending & (F("mask_score") < LOW_MASK))
    if kind == "image":
        size = F("labels.detections").length()
        wanted["4 crowded"] = dataset.match(size >= order["crowded"]).sort_by(size, reverse=True)
        empty = dataset.match(~F("failure").exists())
        wanted["5 empty pictures"] = empty.match(F("labels.detections").length() == 0)
    wanted["6 odd sizes"] = labels(F("odd_size") == True)  # noqa: E712 - builds an expression
    if kind == "video":
        wanted["7 track breaks"] = labels(F("track_break") == True)  # noqa: E712
    wanted["8 pending"] = labels(pending)
    wanted["8 accepted"] = labels(F("review") == "accepted")
    wanted["8 rejected"] = labels(F("review") == "rejected")
    if kind == "image":
        wanted["8 patches pending"] = labels(pending).to_patches("labels")
    if order["failures"]:
        wanted["9 failed inputs"] = dataset.match(F("failure").exists())
    for name, _ in order["classes"]:
        wanted[f"class {name}"] = labels(F("label") == name)
    _save(dataset, wanted)


def _save(dataset: Any, wanted: dict[str, Any]) -> None:
    """Save views under their names, in place of what an earlier review saved there."""
    ours = set(dataset.info.get("autolabel_views", []))
    for name in dataset.list_saved_views():
        if name in ours or name in wanted:
            dataset.delete_saved_view(name)
    for name, view in wanted.items():
        dataset.save_view(name, view)
    dataset.info["autolabel_views"] = list(wanted)
    dataset.save()


def main() -> None:
    """Make what standard input asks for; say what there is."""
    sys.stdout.write(json.dumps(make(json.load(sys.stdin))) + "\n")


if __name__ == "__main__":
    main()
