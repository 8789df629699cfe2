"""What a run tells the page while it works: counts, and pictures as they are labelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from PIL import Image as Pillow

from autolabel.app.limits import Limits
from autolabel.draw import draw
from autolabel.errors import AutolabelError
from autolabel.media.inputs import VIDEO_EXTENSIONS
from autolabel.media.pictures import read_image
from autolabel.media.video import open_video, read_frames
from autolabel.progress import Advance
from autolabel.store import Project
from autolabel.types import Frame, Image, Instance

PREVIEW_SIDE = 480
PREVIEW_EVERY = 0.7
"""Seconds between previews, so that drawing them doesn't slow the run down."""


class Watching:
    """A run's progress, told to the page. Checks the inputs' limits before and on the way.

    Args:
        tell: Sends a message to the page.
        inputs: The files of the run: pictures, or one video.
        project: Where the labels go.
        folder: Where to write previews.
        limits: What is allowed.

    Raises:
        InputError: If a video can't be read or is too long.
    """

    def __init__(
        self,
        tell: Callable[..., None],
        inputs: Sequence[str],
        project: Path,
        folder: Path,
        limits: Limits,
    ) -> None:
        self._tell, self._project, self._folder, self._limits = tell, project, folder, limits
        self._video = inputs[0] if Path(inputs[0]).suffix.lower() in VIDEO_EXTENSIONS else None
        self._total = len(inputs)
        if self._video is not None:
            info = open_video(self._video)
            limits.check_video(Path(self._video).name, info.frames, info.duration)
            self._total = info.frames
        self._frames: Iterator[Frame] | None = None
        self._shown: set[str] = set()
        self._objects = self._previews = self._next = 0
        self._last = 0.0
        self.seen = 0

    def start(self, total: int, done: int) -> None:
        """The models are loaded."""
        self._tell(stage="label", done=0, total=self._total)

    def advance(self, step: Advance) -> None:
        """One more batch or window is committed."""
        self.seen += step.pictures + (step.failures if self._video is None else 0)
        self._objects += step.objects
        self._tell(done=self.seen, objects=self._objects)
        if self._video is not None:
            # What the container says of its length is no proof.
            self._limits.check_video(Path(self._video).name, self.seen, None)
        if time.monotonic() - self._last >= PREVIEW_EVERY:
            self._preview()
            self._last = time.monotonic()

    def note(self, text: str) -> None:
        """Something that the visitor should know."""
        if "need --redo" not in text:
            self._tell(note=text)

    def finish(self) -> None:
        """The run is over."""

    def close(self) -> None:
        """Let go of the video."""
        self._frames = None

    def _preview(self) -> None:
        """Show what was labelled last; what can't be shown is no reason to stop."""
        try:
            with closing(Project.open(self._project, readonly=True)) as project:
                for image, labels in self._fresh(project):
                    self._show(project, image, labels)
        except (AutolabelError, OSError):
            return

    def _fresh(self, project: Project) -> Iterator[tuple[Image, list[Instance]]]:
        """Yield the pictures labelled since the last preview, or a video's last frame."""
        for media in project.media():
            if media.kind == "image":
                if media.status == "done" and media.name not in self._shown:
                    self._shown.add(media.name)
                    yield read_image(media.path)[0].image, project.instances(media.name)
            elif labels := project.instances(media.name, self._next):
                last = labels[-1].frame_index
                self._next = last + 1
                if (frame := self._frame(media.path, last)) is not None:
                    yield frame.image, [one for one in labels if one.frame_index == last]

    def _frame(self, path: str, index: int) -> Frame | None:
        """Return one of the frames to come; the video is read once more for these."""
        if self._frames is None:
            self._frames = read_frames(path)
        return next((one for one in self._frames if one.index >= index), None)

    def _show(self, project: Project, image: Image, labels: list[Instance]) -> None:
        """Draw one picture small, and tell the page."""
        drawn = Pillow.fromarray(draw(image, labels, project.class_names(), colors(project)))
        drawn.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        self._previews += 1
        path = self._folder / f"preview{self._previews}.jpg"
        drawn.save(path, quality=85)
        self._tell(preview=path.name)


def colors(project: Project) -> list[tuple[int, int, int]]:
    """Return the classes' colours as numbers, by class id."""
    return [
        (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))
        for _, text in project.classes()
    ]
