"""Another project as the truth, or a project's own pictures that a human has been through."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from autolabel import masks
from autolabel.config import VideoConfig
from autolabel.errors import FormatError, UsageError
from autolabel.evaluate.truth import Entry, Truth, load_truth
from autolabel.store import EXPORTED, Project
from autolabel.types import Instance, MediaRecord

NO_REVIEW = "no picture of it was gone through in review"


def read_truth(path: str | Path) -> Truth:
    """Return the truth in a COCO file, or in a project folder.

    Raises:
        FormatError: If the file is wrong, or the project has nothing that is done.
        ProjectError: If the folder is no project.
    """
    path = Path(path)
    if not path.is_dir():
        return load_truth(path)
    with Project.open(path, readonly=True) as project:
        return project_truth(project)


def project_truth(project: Project, only: Collection[str] | None = None) -> Truth:
    """Return a project's labels as a truth: accepted and pending ones, rejected ones not.

    Args:
        project: Its inputs that are done.
        only: Names of the inputs to take; None for all.

    Raises:
        FormatError: If there is none.
    """
    builder = _Builder(project)
    for media, labels in project.labelled(EXPORTED):
        if only is None or media.name in only:
            builder.add(media, list(labels))
    if not builder.data["images"]:
        raise FormatError(f"{project.folder}: has no inputs that are done: nothing can be measured")
    return Truth(project.folder, builder.data)


class _Builder:
    """Puts inputs and labels into COCO's form, as ``load_truth`` leaves it."""

    def __init__(self, project: Project) -> None:
        self._chosen = VideoConfig.from_text(project.meta().get("video", ""))
        self.data: dict[str, Any] = {
            "images": [],
            "annotations": [],
            "videos": [],
            "categories": [
                {"id": index, "name": name} for index, name in enumerate(project.class_names(), 1)
            ],
        }

    def add(self, media: MediaRecord, labels: list[Instance]) -> None:
        """Add one input with its labels."""
        if media.kind == "image":
            image = self._image(media, media.name, None)
            self._labels(image, labels)
            return
        video_id = len(self.data["videos"]) + 1
        self.data["videos"].append({"id": video_id, "file_name": media.name})
        by_frame: dict[int, list[Instance]] = {}
        for one in labels:
            by_frame.setdefault(one.frame_index, []).append(one)
        frames = {index for index in range(media.frames) if self._chosen.takes(index)}
        for index in sorted(frames | set(by_frame)):
            image = self._image(media, f"{media.name}/{index:06d}", video_id)
            image["frame_index"] = index
            self._labels(image, by_frame.get(index, []))

    def _image(self, media: MediaRecord, name: str, video_id: int | None) -> Entry:
        """Add and return one picture or frame."""
        image: Entry = {
            "id": len(self.data["images"]) + 1,
            "file_name": name,
            "height": media.height,
            "width": media.width,
            "video_id": video_id,
        }
        self.data["images"].append(image)
        return image

    def _labels(self, image: Entry, labels: list[Instance]) -> None:
        """Add the annotations of one picture or frame."""
        for one in labels:
            if one.mask is not None and not masks.area(one.mask):
                continue  # nothing is there, and exports leave it out
            x1, y1, x2, y2 = one.box
            entry: Entry = {
                "id": len(self.data["annotations"]) + 1,
                "image_id": image["id"],
                "category_id": one.class_id + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "track_id": one.track_id,
            }
            if one.mask is not None:
                size = [one.mask.height, one.mask.width]
                entry["segmentation"] = {"size": size, "counts": one.mask.counts}
                entry["area"] = masks.area(one.mask)
            self.data["annotations"].append(entry)


def reviewed(project: Project) -> frozenset[str]:
    """Return the names of the pictures that a human has been through.

    These are the pictures with labels none of which is pending: each was accepted, rejected,
    changed or drawn by a human.
    """
    names = set()
    for media, labels in project.labelled(("accepted", "pending", "rejected")):
        found = [one.status != "pending" or one.source == "human" for one in labels]
        if media.kind == "image" and found and all(found):
            names.add(media.name)
    return frozenset(names)


def reviewed_truth(project: Project) -> Truth:
    """Return what a human left in the pictures that were gone through, as a truth.

    Raises:
        UsageError: If there is no such picture.
    """
    names = reviewed(project)
    if not names:
        raise UsageError(
            f"{project.folder}: {NO_REVIEW}: accept, correct or reject every label of some "
            "pictures, or give --truth, a COCO file or another project"
        )
    return project_truth(project, names)
