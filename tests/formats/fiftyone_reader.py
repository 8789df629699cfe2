"""What FiftyOne's own importers read from exports, as JSON; run in a process of its own.

    python -m tests.formats.fiftyone_reader FORMAT=FOLDER ...

FiftyOne reads its settings and connects to its database when it is imported: the caller sets
them in the environment. Masks are told as COCO's run lengths of the whole picture.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np

from autolabel import masks

FIELD = "ground_truth"
TYPES = {
    "coco": (fo.types.COCODetectionDataset, "images", "annotations.json"),
    "yolo": (fo.types.YOLOv5Dataset, None, None),
    "voc": (fo.types.VOCDetectionDataset, "JPEGImages", "Annotations"),
    "cvat-images": (fo.types.CVATImageDataset, "images", "annotations.xml"),
}


def load(name: str, folder: Path) -> Any:
    kind, data, labels = TYPES[name]
    options: dict[str, Any] = {"dataset_type": kind, "label_field": FIELD, "progress": False}
    if name == "coco":
        options |= {"label_types": "segmentations", "include_id": True}
    if name == "yolo":
        options |= {"yaml_path": str(folder / "data.yaml"), "split": "train"}
        return fo.Dataset.from_dir(dataset_dir=str(folder), **options)
    paths = {"data_path": str(folder / str(data)), "labels_path": str(folder / str(labels))}
    return fo.Dataset.from_dir(**paths, **options)


def found(label: Any, height: int, width: int) -> dict[str, Any]:
    x, y, across, down = label.bounding_box
    box = [x * width, y * height, (x + across) * width, (y + down) * height]
    told: dict[str, Any] = {"label": label.label, "box": [round(value, 2) for value in box]}
    if label.mask is not None:
        full = np.zeros((height, width), bool)
        top, left = round(box[1]), round(box[0])
        rows, columns = label.mask.shape
        full[top : top + rows, left : left + columns] = label.mask
        told["counts"] = masks.encode(full).counts
    return told


def read(name: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    dataset = load(name, folder)
    dataset.compute_metadata(progress=False)
    by_name = {}
    for sample in dataset:
        objects = []
        for field in dataset.get_field_schema(embedded_doc_type=fo.Detections):
            labels = sample[field]
            size = sample.metadata.height, sample.metadata.width
            objects += [found(one, *size) for one in (labels.detections if labels else ())]
        parts = Path(sample.filepath).parts
        start = max(index for index, part in enumerate(parts) if part in ("images", "JPEGImages"))
        by_name["/".join(parts[start + 1 :])] = objects
    return by_name


if __name__ == "__main__":
    pairs = [one.split("=", 1) for one in sys.argv[1:]]
    print(json.dumps({name: read(name, Path(folder)) for name, folder in pairs}))
