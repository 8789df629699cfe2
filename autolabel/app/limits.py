"""What a visitor may upload, and how that is checked before and while it is worked on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel.errors import InputError
from autolabel.media.inputs import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

EXTENSIONS = {"image": IMAGE_EXTENSIONS, "video": VIDEO_EXTENSIONS}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one job may be.

    Attributes:
        megabytes: Of one uploaded file.
        pictures: Number of pictures.
        seconds: Length of a video.
        frames: Number of frames of a video.
    """

    megabytes: int = 200
    pictures: int = 20
    seconds: float = 60.0
    frames: int = 3600

    @property
    def bytes(self) -> int:
        """The size of one uploaded file."""
        return self.megabytes * 2**20

    def told(self, kind: str) -> str:
        """Return what may be uploaded, as a sentence."""
        many = f"{self.pictures} pictures"
        long = f"{self.seconds:g} seconds and {self.frames} frames"
        return f"Up to {self.megabytes} MB a file, {many if kind == 'image' else long}."

    def refusals(self, kind: str) -> dict[str, Any]:
        """Return what the browser itself refuses, and its words with ``{name}`` and ``{size}``.

        Returns:
            ``bytes``, the largest size, and ``large``, what is said of more; ``taken``, the
            endings of names that are taken, and ``wrong``, what is said of others: by ending,
            and "" for all the rest.
        """
        other = "video" if kind == "image" else "image"
        return {
            "bytes": self.bytes,
            "large": f"{{name}} has {{size}} MB; {self.megabytes} MB at most here. Nothing was "
            "added: make it smaller, or use the command line, which has no limit.",
            "taken": EXTENSIONS[kind],
            "wrong": {ending: _wrong_tab(kind, ending) for ending in ("", *EXTENSIONS[other])},
        }

    def check_names(self, kind: str, names: Sequence[str]) -> None:
        """Raise InputError if these can't be what this kind of job takes, judged by their names."""
        if kind == "image" and len(names) > self.pictures:
            raise InputError(
                f"{len(names)} pictures are too many: {self.pictures} at most here. For more, "
                "use the command line."
            )
        for name in names:
            ending = Path(name).suffix.lower()
            if ending not in EXTENSIONS[kind]:
                raise InputError(_wrong_tab(kind, ending).replace("{name}", name))

    def check_video(self, name: str, frames: int, seconds: float | None) -> None:
        """Raise InputError if a video is too long; 0 frames, None seconds: not known."""
        if seconds is not None and seconds > self.seconds:
            raise InputError(
                f"{name} is {seconds:.0f} seconds long; {self.seconds:g} seconds at most here. "
                "Upload a shorter part of it, or use the command line, which has no limit."
            )
        if frames > self.frames:
            raise InputError(
                f"{name} has {frames} frames; {self.frames} at most here. Upload a shorter part "
                "of it, or use the command line, which has no limit."
            )


def _wrong_tab(kind: str, ending: str) -> str:
    """Return why a file whose name ends like this isn't taken, with ``{name}`` for its name."""
    if kind == "image" and ending in VIDEO_EXTENSIONS:
        return "{name} is a video: upload it in the Video tab."
    if kind == "video" and ending in IMAGE_EXTENSIONS:
        return "{name} is a picture: upload it in the Image tab."
    what = "picture" if kind == "image" else "video"
    return f"{{name}} is not a {what} that is read here: expected {' '.join(EXTENSIONS[kind])}."
