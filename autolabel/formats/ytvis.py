"""YouTube-VIS: ``annotations.json`` with one annotation a track, a mask or null for each frame.

``videos`` have id, name, width, height, length and ``file_names`` (a video's frames as
``VIDEO/000000.jpg``, where ``--images`` puts them). ``annotations`` have ids from 1, video_id,
category_id from 1, track_id, and the lists ``segmentations`` (compressed RLE), ``bboxes`` and
``areas``, one entry a frame. The score is the mean over the track's frames.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from autolabel import masks
from autolabel.formats.base import ExportOptions, Tally
from autolabel.formats.cvat_video import UNTRACKED
from autolabel.formats.media_files import Names, Picture, Placer, frame_name
from autolabel.formats.shapes import Spool
from autolabel.types import Instance, MediaRecord

FILE = "annotations.json"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class YtvisWriter:
    """Writes one file; annotations wait in a second one until the videos are all there."""

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Start the file with the categories."""
        self._out, self._options, self._tally = out, options, tally
        self._videos = self._tracks = 0
        self._names = Names()
        self._placer = Placer(out / "images", options, tally)
        self._file = (out / FILE).open("w", encoding="utf-8", newline="\n", buffering=2**16)
        self._part = (out / "annotations.part").open("w+", encoding="utf-8", newline="\n")
        categories = [{"id": i, "name": name} for i, (name, _) in enumerate(classes, 1)]
        self._file.write('{"info":{"description":"Labelled by autolabel"},\n"categories":')
        self._file.write(_encode(categories) + ',\n"videos":[')

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write one video and its tracks."""
        if media.kind == "image":
            self._tally.skipped["pictures: ytvis is for videos, use coco"] += 1
            return
        self._videos += 1
        folder = str(PurePosixPath(self._names.claim(media.name)).with_suffix(""))
        files = [f"{folder}/{name}" for name in _frame_names(media)]
        video = {
            "id": self._videos,
            "name": media.name,
            "width": media.width,
            "height": media.height,
            "length": media.frames,
            "file_names": files,
        }
        self._file.write(("\n" if self._videos == 1 else ",\n") + _encode(video))
        self._write_tracks(media, instances)
        self._tally.pictures += media.frames
        for index, name in enumerate(files if self._options.images != "none" else ()):
            self._placer.place(Picture(name, media, index))
        self._placer.finish()

    def close(self) -> None:
        """Join the parts."""
        self._file.write('\n],\n"annotations":[')
        self._part.seek(0)
        shutil.copyfileobj(self._part, self._file, 2**20)
        self._file.write("\n]}\n")
        self._part.close()
        (self._out / "annotations.part").unlink()
        self._file.close()
        self._names.write(self._out, self._tally)

    def _write_tracks(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write a video's tracks, which arrive frame by frame."""
        spool = Spool(self._out / "tracks.part")
        for index, one in enumerate(instances):
            if one.mask is not None and not masks.area(one.mask):
                self._tally.skipped["labels whose mask is empty"] += 1
                continue
            key = UNTRACKED + index if one.track_id is None else one.track_id
            spool.put(key, _encode(_frame(one)))
            self._tally.instances += 1
        for key in spool.order():
            self._tracks += 1
            track = self._track(media, [json.loads(text) for text in spool.texts(key)])
            head = {"id": self._tracks, "video_id": self._videos}
            if key < UNTRACKED:
                head["track_id"] = key
            self._part.write(("\n" if self._tracks == 1 else ",\n") + _encode(head | track))
        spool.close()

    def _track(self, media: MediaRecord, found: list[list[Any]]) -> dict[str, Any]:
        """Return a track's annotation, without ids, from its labels."""
        lists: dict[str, list[Any]] = {
            name: [None] * media.frames for name in ("segmentations", "bboxes", "areas")
        }
        for index, _, _, segmentation, box, area in found:
            lists["segmentations"][index] = segmentation
            lists["bboxes"][index] = box
            lists["areas"][index] = area
        classes = Counter(one[1] for one in found)
        if len(classes) > 1:
            self._tally.affected["tracks of several classes: the most frequent one is kept"] += 1
        scores = [one[2] for one in found if one[2] is not None]
        score = {"score": round(sum(scores) / len(scores), 5)} if scores else {}
        return {
            "category_id": classes.most_common(1)[0][0] + 1,
            "width": media.width,
            "height": media.height,
            "length": media.frames,
            "iscrowd": 0,
            **score,
            **lists,
        }


def _frame(one: Instance) -> list[Any]:
    """Return what a track needs of one label: frame, class, score, mask, box, area."""
    x1, y1, x2, y2 = one.box
    segmentation, area = None, round((x2 - x1) * (y2 - y1), 2)
    if one.mask is not None:
        segmentation = {"size": [one.mask.height, one.mask.width], "counts": one.mask.counts}
        area = masks.area(one.mask)
    box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
    return [one.frame_index, one.class_id, one.score, segmentation, box, area]


def _frame_names(media: MediaRecord) -> Iterator[str]:
    """Yield the names of all frames of a video."""
    if media.kind == "frames":
        from autolabel.errors import InputError
        from autolabel.media.video import frame_files

        try:
            names = [file.name for file in frame_files(media.path)]
        except InputError:
            names = []
        if len(names) == media.frames:
            yield from names
            return
    for index in range(media.frames):
        yield frame_name(MediaRecord("", "", "video", "", 0, 0), index)
