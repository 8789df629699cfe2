"""Pictures beside labels: their names in an export, and the files, linked, copied or extracted.

Originals are never encoded again: they are linked or copied as they are. Only frames of a
video, which are no files yet, are written anew (JPEG, quality 95, full colour).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter
from pathlib import Path, PurePosixPath

from autolabel.errors import InputError
from autolabel.formats.base import ExportOptions, Tally
from autolabel.types import Instance, MediaRecord

NAME_MAP = "name_map.json"
FRAME_QUALITY = 95
FRAME_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of an export: an input, or a frame of a video.

    Attributes:
        name: Its name in the export, unique without its extension as well.
        media: The input.
        frame_index: Which frame, 0 for a picture.
    """

    name: str
    media: MediaRecord
    frame_index: int = 0

    @property
    def stem(self) -> str:
        """The name without its extension, forward slashes."""
        return str(PurePosixPath(self.name).with_suffix(""))


class Names:
    """Gives out names that don't collide without their extension, and keeps what it changed.

    Args:
        taken: Says whether a stem is in use, where the files written show it: then memory
            doesn't grow. Without it the stems' hashes are kept (8 bytes each).
        reserved: Folder names that mean something in the format.
    """

    def __init__(
        self, taken: Callable[[str], bool] | None = None, reserved: Iterable[str] = ()
    ) -> None:
        self.changed: dict[str, str] = {}
        self._hashes: set[int] = set()
        self._taken = taken or self._seen
        self._reserved = frozenset(reserved)

    def claim(self, name: str) -> str:
        """Return the name to use in the export for an input's name."""
        path = PurePosixPath(name)
        parts = [self._part(part) for part in path.parts if part != "/"]
        stem, suffix = os.path.splitext(parts[-1])
        folder = "/".join([*parts[:-1], ""])
        chosen, number = stem, 1
        while self._taken(folder + chosen):
            number += 1
            kind = suffix[1:] or "file"
            chosen = f"{stem}_{kind}" if number == 2 else f"{stem}_{kind}_{number - 1}"
        self._keep(folder + chosen)
        result = f"{folder}{chosen}{suffix}"
        if result != name:
            self.changed[name] = result
        return result

    def write(self, out: Path, tally: Tally, folder: str = "") -> None:
        """Write what was renamed to ``name_map.json`` in a folder of ``out``, if anything was."""
        if self.changed:
            text = json.dumps(self.changed, ensure_ascii=False, indent=0)
            (out / folder).mkdir(exist_ok=True)
            (out / folder / NAME_MAP).write_text(text + "\n", encoding="utf-8")
            tally.affected[f"pictures renamed, see {NAME_MAP}"] += len(self.changed)

    def _part(self, part: str) -> str:
        """Return one part of a path so that it stays inside the folder and means nothing."""
        clean = "".join("_" if ord(char) < 32 or char == "\\" else char for char in part)
        if clean in ("..", ".") or clean in self._reserved:
            return clean.replace(".", "_") + "_"
        return clean

    def _hash(self, stem: str) -> int:
        return int.from_bytes(blake2b(stem.encode(), digest_size=8).digest(), "little")

    def _seen(self, stem: str) -> bool:
        """Return whether a stem was given out."""
        return self._hash(stem) in self._hashes

    def _keep(self, stem: str) -> None:
        """Remember a stem, where nothing else shows it."""
        if self._taken == self._seen:
            self._hashes.add(self._hash(stem))


def pictures(
    media: MediaRecord, instances: Iterable[Instance], names: Names
) -> Iterator[tuple[Picture, list[Instance]]]:
    """Yield an input as pictures with their labels: itself, or a video's labelled frames.

    A video's frames are named ``VIDEO/000123.jpg`` by the video without its extension; those of
    a folder of frames keep their own.
    """
    if media.kind == "image":
        yield Picture(names.claim(media.name), media), list(instances)
        return
    folder = PurePosixPath(names.claim(media.name)).with_suffix("").as_posix()
    suffix = frame_suffix(media)
    for index, frame in groupby(instances, key=attrgetter("frame_index")):
        name = f"{folder}/{index:0{FRAME_DIGITS}d}{suffix}"
        yield Picture(name, media, index), list(frame)


class FrameFolders:
    """Gives each video of an export a folder of its own for its frames."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, name: str) -> str:
        """Return the folder of a video's frames: its name without extension, unless taken."""
        stem = str(PurePosixPath(name).with_suffix(""))
        folder = name if stem in self._taken else stem
        self._taken.add(folder)
        return folder


class Placer:
    """Puts pictures beside the labels, as the user asked.

    Args:
        folder: Where pictures go, under their names in the export.
        options: What the user chose.
        tally: Where to count pictures that are not there any more.
    """

    def __init__(self, folder: Path, options: ExportOptions, tally: Tally) -> None:
        self._folder = folder
        self._how = options.images
        self._tally = tally
        self._video: tuple[MediaRecord, dict[int, Path]] | None = None

    def place(self, picture: Picture, folder: Path | None = None) -> None:
        """Put one picture there; a video's frames wait until ``finish`` or the next video."""
        if self._how == "none":
            return
        target = (folder or self._folder) / picture.name
        if picture.media.kind == "image":
            self._file(Path(picture.media.path), target)
            return
        if self._video is None or self._video[0] != picture.media:
            self.finish()
            self._video = (picture.media, {})
        self._video[1][picture.frame_index] = target

    def finish(self) -> None:
        """Extract the frames that wait."""
        if self._video is None:
            return
        media, wanted = self._video
        self._video = None
        try:
            if media.kind == "frames":
                self._frame_files(media, wanted)
            else:
                self._extract(media, wanted)
        except InputError:
            self._tally.affected["videos that can't be read any more: frames missing"] += 1

    def _file(self, source: Path, target: Path) -> None:
        """Link or copy one file."""
        if not source.is_file():
            self._tally.affected["pictures no longer where they were: labels only"] += 1
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._how == "link":
            target.symlink_to(source)
        else:
            shutil.copyfile(source, target)

    def _frame_files(self, media: MediaRecord, wanted: dict[int, Path]) -> None:
        """Link or copy frames that are files, with their own extension."""
        from autolabel.media.video import frame_files

        files = frame_files(media.path)
        for index, target in wanted.items():
            self._file(files[index], target.with_suffix(files[index].suffix))

    def _extract(self, media: MediaRecord, wanted: dict[int, Path]) -> None:
        """Write frames of a video as pictures."""
        from PIL import Image

        from autolabel.media.video import read_frames

        if not wanted:
            return
        for frame in read_frames(media.path, start=min(wanted), end=max(wanted) + 1):
            target = wanted.get(frame.index)
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(frame.image).save(target, quality=FRAME_QUALITY, subsampling=0)


class PictureWriter:
    """What writers share that have an entry a picture: its labels, then the picture beside them."""

    _names: Names
    _placer: Placer

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write a picture, or the labelled frames of a video as pictures."""
        for picture, found in pictures(media, instances, self._names):
            self._write(picture, found)
            self._placer.place(picture, self._beside())
        self._placer.finish()

    def _beside(self) -> Path | None:
        """Return the folder for the pictures at hand; None for the placer's own."""
        return None

    def _write(self, picture: Picture, found: list[Instance]) -> None:
        """Write one picture's labels."""
        raise NotImplementedError


def frame_suffix(media: MediaRecord) -> str:
    """Return the extension of a video's frames in an export: a frame folder's keep their own."""
    return PurePosixPath(frame_name(media, 0)).suffix


def frame_name(media: MediaRecord, index: int) -> str:
    """Return the file name of a frame in an export: a frame folder's keep their extension."""
    if media.kind == "frames":
        with suppress(InputError, IndexError):
            from autolabel.media.video import frame_files

            return frame_files(media.path)[index].name
    return f"{index:0{FRAME_DIGITS}d}.jpg"
