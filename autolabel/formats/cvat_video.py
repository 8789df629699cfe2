"""CVAT for video 1.1: a folder a video, ``VIDEO/annotations.xml`` with polygon or box tracks.

CVAT keeps only the first shape of a track of masks, so masks are polygons (one bridged ring
along pixel edges), every frame a keyframe, since it would interpolate otherwise. Where an
object leaves, its last shape is repeated on the next frame with ``outside="1"``, or CVAT
would show it for ever. Upload the file to a task made of that video.
Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import quoteattr

from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.cvat_images import (
    FILE,
    box_shape,
    head,
    polygon_shape,
    source,
    write_labels,
)
from autolabel.formats.media_files import Names, Picture, Placer, frame_name
from autolabel.formats.shapes import Spool
from autolabel.types import Instance, MediaRecord

UNTRACKED = 1_000_000_000
"""Keys from here on are labels without a track: each becomes a track of one frame."""


class CvatVideoWriter:
    """Writes a file a video; its shapes wait on disk until the tracks are complete."""

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Keep what is needed; write the labels."""
        self._out, self._classes, self._options, self._tally = out, classes, options, tally
        self._names = Names()
        self._placer = Placer(out, options, tally)
        write_labels(out, classes)

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write one video."""
        if media.kind == "image":
            self._tally.skipped["pictures: cvat-video is for videos, use cvat-images"] += 1
            return
        name = PurePosixPath(self._names.claim(media.name)).with_suffix("")
        folder = self._out / name
        folder.mkdir(parents=True, exist_ok=True)
        spool = Spool(folder / "shapes.part")
        tracks = _Tracks(self._options.boxes, spool, media.frames)
        for index, one in enumerate(instances):
            if not tracks.add(one, UNTRACKED + index):
                self._tally.skipped["labels whose mask is empty"] += 1
                continue
            self._tally.instances += 1
        tracks.finish()
        self._tally.pictures += media.frames
        self._write(folder / FILE, media, tracks, spool)
        spool.close()
        self._place(media, folder)

    def close(self) -> None:
        """Write the names that were changed."""
        self._names.write(self._out, self._tally)

    def _write(self, path: Path, media: MediaRecord, tracks: _Tracks, spool: Spool) -> None:
        """Write a video's file, track by track."""
        size = f"<width>{media.width}</width><height>{media.height}</height>"
        more = (
            f"      <size>{media.frames}</size>\n      <start_frame>0</start_frame>\n"
            f"      <stop_frame>{max(0, media.frames - 1)}</stop_frame>\n"
            f"      <original_size>{size}</original_size>\n"
        )
        with path.open("w", encoding="utf-8", newline="\n", buffering=2**16) as file:
            file.write(head(self._classes, "interpolation", more))
            for number, key in enumerate(spool.order()):
                label, made_by = tracks.label(key)
                name = quoteattr(self._classes[label][0])
                # The id is the project's own where it has one, so that an import finds it again.
                track_id = key if key < UNTRACKED else number + UNTRACKED
                file.write(f'  <track id="{track_id}" label={name} source="{made_by}">\n')
                file.writelines(spool.texts(key))
                file.write("  </track>\n")
            file.write("</annotations>\n")
        if tracks.mixed:
            self._tally.affected["tracks of several classes: the most frequent one is kept"] += (
                tracks.mixed
            )

    def _place(self, media: MediaRecord, folder: Path) -> None:
        """Put the video, or its frames, beside its labels."""
        if self._options.images == "none":
            return
        if media.kind == "video":
            name = PurePosixPath(media.name).name
            video = MediaRecord(name, media.path, "image", media.key, media.height, media.width)
            Placer(folder, self._options, self._tally).place(Picture(name, video))
            return
        for index in range(media.frames):
            self._placer.place(Picture(frame_name(media, index), media, index), folder / "images")
        self._placer.finish()


class _Tracks:
    """Turns a video's labels into the lines of its tracks."""

    def __init__(self, boxes: bool, spool: Spool, frames: int) -> None:
        self._boxes = boxes
        self._spool = spool
        self._frames = frames
        self._last: dict[int, tuple[int, str]] = {}
        self._labels: dict[int, Counter[int]] = {}
        self._sources: dict[int, str] = {}

    @property
    def mixed(self) -> int:
        """How many tracks have several classes."""
        return sum(len(found) > 1 for found in self._labels.values())

    def label(self, key: int) -> tuple[int, str]:
        """Return a track's class and source."""
        return self._labels[key].most_common(1)[0][0], self._sources[key]

    def add(self, one: Instance, spare: int) -> bool:
        """Add a label to its track, or to ``spare``; return False for an empty mask."""
        boxes = self._boxes or one.mask is None
        shape = box_shape(one.box) if boxes else polygon_shape(one.mask) if one.mask else ""
        if not shape:
            return False
        key = spare if one.track_id is None else one.track_id
        if key in self._last:
            self._leave(key, one.frame_index)
        self._spool.put(key, _line(shape, one.frame_index, 0))
        self._last[key] = one.frame_index, shape
        self._labels.setdefault(key, Counter())[one.class_id] += 1
        self._sources[key] = source(one)
        return True

    def finish(self) -> None:
        """End the tracks that end before the video."""
        for key in list(self._last):
            self._leave(key, self._frames)

    def _leave(self, key: int, until: int) -> None:
        """Hide a track after its last frame if it isn't there again at once."""
        index, shape = self._last[key]
        if index + 1 < until:
            self._spool.put(key, _line(shape, index + 1, 1))


def _line(shape: str, frame: int, outside: int) -> str:
    """Return one shape of a track."""
    return (
        f'    {shape} frame="{frame}" keyframe="1" outside="{outside}" occluded="0" z_order="0"/>\n'
    )
