"""Reads back the exports that have a file a picture or video, and CVAT's pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from autolabel import masks
from autolabel.errors import FormatError
from autolabel.formats.back import AnyPictures, FileBack, Record, StreamBack, folder_of
from autolabel.formats.cvat_read import CvatImagesReader, CvatVideoReader
from autolabel.formats.labelme_read import LabelmeReader
from autolabel.formats.media_files import Picture
from autolabel.formats.reading import Problems, ReadObject, load_json
from autolabel.formats.voc_read import VocReader
from autolabel.formats.yolo_read import YoloReader

NOMINAL = 1000
"""Height and width of pictures where nothing says them and only the lines are checked."""


class YoloBack(FileBack):
    """Reads a text file a picture."""

    def read_classes(self) -> list[str]:
        """Return the classes of ``data.yaml``."""
        self._reader = YoloReader(self.folder, AnyPictures(), self.problems)
        return [name for name, _ in self._reader.classes]

    def read(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a picture's labels."""
        path = self.folder / "labels" / part / f"{picture.stem}.txt"
        if not path.is_file():
            return ()
        return list(self._reader.objects(path, picture.media.height, picture.media.width))

    def everything(self) -> Iterator[Sequence[ReadObject]]:
        """Yield every file's labels, as of pictures of some size."""
        for path in (self.folder / "labels").rglob("*.txt"):
            yield list(self._reader.objects(path, NOMINAL, NOMINAL))


class LabelmeBack(FileBack):
    """Reads a JSON file a picture."""

    def read_classes(self) -> list[str]:
        """Return the classes of ``labels.txt``."""
        try:
            lines = (self.folder / "labels.txt").read_text("utf-8").split("\n")
        except OSError as error:
            raise FormatError(f"{self.folder}: has no labels.txt") from error
        return [line for line in lines[2:] if line]

    def read(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a picture's labels."""
        path = self.folder / f"{picture.stem}.json"
        return self._file(path) if path.is_file() else ()

    def everything(self) -> Iterator[Sequence[ReadObject]]:
        """Yield every file's labels."""
        for path in self.folder.rglob("*.json"):
            if path.name != "name_map.json":
                yield self._file(path)

    def _file(self, path: Path) -> list[ReadObject]:
        """Return a file's labels, by this export's classes."""
        reader = LabelmeReader(path, AnyPictures(), self.problems)
        class_of = {name: index for index, name in enumerate(self.classes)}
        return [
            replace(one, class_id=class_of.get(reader.classes[one.class_id][0], -1))
            for media in reader.media()
            for one in media.objects
        ]


class VocBack(FileBack):
    """Reads an XML file and a PNG a picture."""

    def read_classes(self) -> list[str]:
        """Return the classes of the label map."""
        self._reader = VocReader(self.folder, AnyPictures(), self.problems)
        return [name for name, _ in self._reader.classes]

    def read(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a picture's labels."""
        path = self.folder / "Annotations" / f"{picture.stem}.xml"
        return self._file(path) if path.is_file() else ()

    def everything(self) -> Iterator[Sequence[ReadObject]]:
        """Yield every file's labels."""
        for path in (self.folder / "Annotations").rglob("*.xml"):
            yield self._file(path)

    def _file(self, path: Path) -> Sequence[ReadObject]:
        return [one for media in self._reader.read(path) for one in media.objects]


class CvatImagesBack(StreamBack):
    """Reads the images of one XML file."""

    def read_classes(self) -> list[str]:
        """Return the classes that the file declares."""
        path = self.folder / "annotations.xml"
        self._reader = CvatImagesReader(path, AnyPictures(), self.problems)
        return [name for name, _ in self._reader.classes]

    def records(self, part: str) -> Iterator[Record]:
        """Yield each image."""
        for media in self._reader.media():
            yield Record(media.item.name, None, media.objects)


class _VideoBack(FileBack):
    """Reads a file a video, and holds one video's labels by frame."""

    def __init__(self, folder: Path, problems: Problems) -> None:
        self._folder = ""
        self._frames: dict[int, list[ReadObject]] = {}
        super().__init__(folder, problems)

    def objects(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a frame's labels; the first frame's reads the video's."""
        self._asked = True
        if folder_of(picture) != self._folder:
            self._folder, self._frames = folder_of(picture), defaultdict(list)
            for one in self.read(picture, part):
                self._frames[one.frame_index].append(one)
                self.count += 1
        return self._frames.get(picture.frame_index, ())


class CvatVideoBack(_VideoBack):
    """Reads an XML file a video."""

    def read_classes(self) -> list[str]:
        """Return the classes of ``labels.json``."""
        return [str(one["name"]) for one in load_json(self.folder / "labels.json")]

    def read(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a video's labels."""
        path = self.folder / folder_of(picture) / "annotations.xml"
        return self._file(path) if path.is_file() else ()

    def everything(self) -> Iterator[Sequence[ReadObject]]:
        """Yield every video's labels."""
        for path in self.folder.rglob("annotations.xml"):
            yield self._file(path)

    def _file(self, path: Path) -> Sequence[ReadObject]:
        reader = CvatVideoReader(path, AnyPictures(), self.problems)
        return [one for media in reader.media() for one in media.objects]


class DavisBack(FileBack):
    """Reads a PNG a frame: each number in it is an object of ``tracks.json``."""

    masks = "Annotations/Full-Resolution"
    digits = 5

    def read_classes(self) -> list[str]:
        """Return the classes that occur."""
        self._tracks = load_json(self.folder / "tracks.json")
        return sorted({one["class"] for found in self._tracks.values() for one in found})

    def read(self, picture: Picture, part: str) -> Sequence[ReadObject]:
        """Return a frame's labels."""
        folder, name = folder_of(picture), f"{picture.frame_index:0{self.digits}d}.png"
        path = self.folder / self.masks / folder / name
        return self._file(path, folder) if path.is_file() else ()

    def everything(self) -> Iterator[Sequence[ReadObject]]:
        """Yield every frame's labels."""
        root = self.folder / self.masks
        for path in root.rglob("*.png"):
            yield self._file(path, path.parent.relative_to(root).as_posix())

    def _file(self, path: Path, folder: str) -> list[ReadObject]:
        from autolabel.media.pictures import open_picture

        found: list[ReadObject] = []
        with self.problems.guard(f"{path}", "PNGs that can't be read back"):
            with open_picture(path, formats=("PNG",)) as picture:
                pixels = np.array(picture)
            for value in np.unique(pixels[pixels > 0]).tolist():
                track = next(one for one in self._tracks[folder] if self._is(one, value))
                found.append(
                    ReadObject(
                        self.classes.index(track["class"]),
                        mask=masks.encode(pixels == value),
                        track_id=track["track_id"],
                    )
                )
        return found

    def _is(self, track: dict[str, object], value: int) -> bool:
        """Return whether a pixel's value is this track's."""
        return track["number"] == value


class MotsBack(DavisBack):
    """Reads MOTS: class x 1000 + number."""

    masks = "instances"
    digits = 6

    def read_classes(self) -> list[str]:
        """Return the classes of ``labels.txt``."""
        super().read_classes()
        text = (self.folder / self.masks / "labels.txt").read_text("utf-8")
        return [name for name in text.split("\n") if name]

    def _is(self, track: dict[str, object], value: int) -> bool:
        """Return whether a pixel's value is this track's."""
        same = track["class"] == self.classes[value // 1000 - 1]
        return same and track["number"] == value % 1000
