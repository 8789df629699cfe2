"""Where a review keeps its things: everything is in ``PROJECT/review``, which may be deleted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PLUGINS = Path(__file__).parent / "plugins"


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of one project's review."""

    project: Path

    @property
    def root(self) -> Path:
        """The review's own folder."""
        return self.project / "review"

    @property
    def database(self) -> Path:
        """The folder of mongod's files."""
        return self.root / "mongo"

    @property
    def home(self) -> Path:
        """What the app sees as the home folder: its settings are read from there alone."""
        return self.root / "home"

    @property
    def media(self) -> Path:
        """Copies of what browsers don't play or show."""
        return self.root / "media"

    @property
    def snapshot(self) -> Path:
        """What was loaded, to tell later what a human changed."""
        return self.root / "snapshot.db"

    @property
    def session(self) -> Path:
        """Who serves the app, on which port."""
        return self.root / "session.json"

    @property
    def lock(self) -> Path:
        """Held by who starts, loads or pulls."""
        return self.root / "lock"

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.root / f"{name}.log"

    def make(self) -> None:
        """Create the folders."""
        for folder in (self.root, self.database, self.home, self.media):
            folder.mkdir(parents=True, exist_ok=True)

    def environ(self, mongo_port: int) -> dict[str, str]:
        """Return the environment of the app's processes: own database, no tracking, our plug-in."""
        package = str(Path(__file__).parents[2])
        path = os.environ.get("PYTHONPATH")
        return {
            **os.environ,
            "HOME": str(self.home),
            "PYTHONPATH": f"{package}{os.pathsep}{path}" if path else package,
            "FIFTYONE_DATABASE_URI": f"mongodb://127.0.0.1:{mongo_port}",
            "FIFTYONE_DATABASE_NAME": "fiftyone",
            "FIFTYONE_DATABASE_VALIDATION": "false",
            "FIFTYONE_DO_NOT_TRACK": "true",
            "FIFTYONE_SHOW_PROGRESS_BARS": "false",
            "FIFTYONE_PLUGINS_DIR": str(PLUGINS),
            "FIFTYONE_PLUGINS_CACHE_ENABLED": "false",
            "FIFTYONE_DEFAULT_DATASET_DIR": str(self.home / "datasets"),
            "AUTOLABEL_PROJECT": str(self.project),
        }
