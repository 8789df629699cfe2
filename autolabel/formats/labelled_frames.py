"""The labelled frames of videos as pictures of their own, beside any export: ``--frames``.

They have the names that the COCO export gives them, ``VIDEO/000123.jpg``, whatever the format.
Frames of a video are written as JPEG (quality 95, full colour), those of a folder of frames
are copied as they are. Each video is decoded once, a frame at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath

from autolabel.errors import UsageError
from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.folder import complete_folder
from autolabel.formats.media_files import FrameFolders, Picture, Placer, frame_suffix
from autolabel.formats.selection import Selected
from autolabel.types import Instance, MediaRecord


class LabelledFrames:
    """Labels on their way to a writer; writes the frames that have some as they go by.

    Args:
        source: The labels.
        folder: Where the frames go.
        tally: Where to count what could not be written.

    Attributes:
        count: Frames written.
    """

    def __init__(self, source: Selected, folder: Path, tally: Tally) -> None:
        self.count = 0
        self._source = source
        self._folder = folder
        self._tally = tally
        self._placer = Placer(folder, ExportOptions(images="copy"), tally)
        self._folders = FrameFolders()

    def labelled(self) -> Iterator[tuple[MediaRecord, Iterator[Instance]]]:
        """Yield every input with its labels; a video's frames are there before the next one."""
        for media, instances in self._source.labelled():
            if media.kind == "image":
                yield media, instances
                continue
            seen: dict[int, None] = {}
            yield media, _noting(instances, seen)
            self._write(media, seen)

    def _write(self, media: MediaRecord, indices: dict[int, None]) -> None:
        """Write these frames of a video."""
        folder = self._folders.claim(media.name)
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
            self._tally.skipped["the video's name leaves the folder: frames not written"] += 1
            return
        suffix = frame_suffix(media)
        for index in indices:
            self._placer.place(Picture(f"{folder}/{index:06d}{suffix}", media, index))
        self._placer.finish()
        self.count += sum((self._folder / folder / f"{i:06d}{suffix}").is_file() for i in indices)


def _noting(instances: Iterator[Instance], seen: dict[int, None]) -> Iterator[Instance]:
    """Yield labels and note the frames that they are in."""
    for one in instances:
        seen[one.frame_index] = None
        yield one


def frames_folder(
    frames: Path, out: Path, work: Path, overwrite: bool
) -> AbstractContextManager[Path]:
    """Give the folder to write frames to, which appears as complete as the export itself.

    Args:
        frames: Where they are to be; may be inside ``out``.
        out: Where the export is to be.
        work: Where it is made.
        overwrite: Replace earlier ones.

    Raises:
        UsageError: If they would be where the export is, or around it.
    """
    frames, out = frames.resolve(), out.resolve()
    if out.is_relative_to(frames):
        raise UsageError(f"--frames {frames}: the export itself goes to {out}: choose another one")
    if frames.is_relative_to(out):
        return _inside(work / frames.relative_to(out))
    return complete_folder(frames, {"format": "frames"}, overwrite)


@contextmanager
def _inside(folder: Path) -> Iterator[Path]:
    """Give a folder that is part of the export."""
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
