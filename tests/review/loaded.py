"""A project in the app's database, edited there as the app edits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autolabel import reviewing
from autolabel.review import processes, session
from autolabel.review.documents import LABEL_ID, MEDIA_ID, object_id
from autolabel.review.flags import find_flags
from autolabel.review.load import Loader, LoadReport
from autolabel.review.snapshot import Snapshot
from autolabel.store import Project
from autolabel.types import Instance

CAR, PERSON = 1, 2
"""Row ids of the first picture's labels."""


class App:
    """A project in the app's database, without the app's server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = reviewing.places_of(folder)
        self.places.make()
        self.port = processes.start_mongod(self.places)[1]
        self.made: dict[str, Any] = {}

    def load(self) -> LoadReport:
        """Load as ``autolabel review`` does."""
        with (
            Project.open(self.folder, readonly=True) as project,
            session.mongo(self.port) as db,
        ):
            flags = find_flags(project)
            if not self.made:
                self.made = reviewing.make_datasets(self.places, project, flags, self.port)
            snapshot = Snapshot(self.places)
            loader = Loader(project, db, self.made, snapshot, self.places)
            for _ in loader.run(flags):
                pass
            snapshot.close()
            return loader.report

    def edit(self, change: dict[str, Any], row: int = CAR) -> None:
        """Set fields of one label."""
        values = {f"labels.detections.$.{name}": value for name, value in change.items()}
        key = {"labels.detections._id": object_id(LABEL_ID, row)}
        with session.mongo(self.port) as db:
            assert db[self.made["image"]["samples"]].update_one(key, {"$set": values}).matched_count

    def push(self, detection: dict[str, Any], media: int = 1) -> None:
        """Add a label to a picture."""
        with session.mongo(self.port) as db:
            db[self.made["image"]["samples"]].update_one(
                {"_id": object_id(MEDIA_ID, media)}, {"$push": {"labels.detections": detection}}
            )

    def delete(self, row: int) -> None:
        """Delete a label."""
        with session.mongo(self.port) as db:
            db[self.made["image"]["samples"]].update_many(
                {}, {"$pull": {"labels.detections": {"_id": object_id(LABEL_ID, row)}}}
            )

    def find(self, row: int) -> dict[str, Any]:
        """Return a label as the app has it."""
        with session.mongo(self.port) as db:
            for sample in db[self.made["image"]["samples"]].find({}):
                for one in sample["labels"]["detections"]:
                    if one["_id"] == object_id(LABEL_ID, row):
                        return one
        raise AssertionError(f"no label {row} in the app")


def labels(folder: Path, name: str = "0.png") -> dict[int, Instance]:
    """A picture's labels by row id."""
    with Project.open(folder, readonly=True) as project:
        return {one.uid or 0: one for one in project.instances(name)}
