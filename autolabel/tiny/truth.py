"""Writes generated pictures and clips with their exact truth, in COCO's layout.

    OUT/truth.json
    OUT/images/scene_000000.png
    OUT/clips/clip_000.mp4

Every frame of a clip is an entry of `images` with `video_id` and `frame_index`, named
``clips/clip_000/000012.jpg``; `videos` lists the clips. Annotations of clips carry `track_id`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from autolabel.tiny.scenes import CLASSES, Scene, SceneObject, make_clip, make_scene

Row: TypeAlias = dict[str, object]
_FRAME_RATE = 12


class _Truth:
    """The growing truth: rows of images, annotations and videos, ids from 1."""

    def __init__(self) -> None:
        self.images: list[Row] = []
        self.annotations: list[Row] = []
        self.videos: list[Row] = []

    def add(self, scene: Scene, name: str, **extra: object) -> None:
        """Adds one picture or frame; `extra` goes into its row."""
        height, width, _ = scene.image.shape
        image_id = len(self.images) + 1
        row: Row = {"id": image_id, "file_name": name, "width": width, "height": height}
        self.images.append(row | extra)
        for thing in scene.objects:
            found = _annotation(thing, len(self.annotations) + 1, image_id)
            if "video_id" in extra:
                found["track_id"] = thing.track_id
            self.annotations.append(found)

    def write(self, path: Path) -> None:
        """Writes it as one COCO file."""
        categories = [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)]
        document: dict[str, object] = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }
        if self.videos:
            document["videos"] = self.videos
        path.write_text(json.dumps(document))


def _annotation(thing: SceneObject, number: int, image_id: int) -> Row:
    """Gives one object as COCO has it: tight box, pixel count, compressed RLE as text."""
    rle = coco_mask.encode(np.asfortranarray(thing.mask, dtype=np.uint8))
    return {
        "id": number,
        "image_id": image_id,
        "category_id": CLASSES.index(thing.name) + 1,
        "bbox": [float(value) for value in coco_mask.toBbox(rle)],
        "area": int(coco_mask.area(rle)),
        "iscrowd": 0,
        "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")},
    }


def write_dataset(
    out: Path,
    *,
    count: int,
    clips: int,
    frames: int,
    seed: int,
    height: int,
    width: int,
    hard: bool,
    sizes: tuple[float, float] | None = None,
) -> None:
    """Writes `count` pictures and `clips` clips of `frames` frames with their truth.

    Pictures have the seeds ``seed, seed + 1, ...``, and so have clips. Everything is written into
    a folder beside `out` that takes its place at the end, so that `out` is whole or not there.

    Args:
        out: the folder to make; it may exist if it is empty.
        count: of pictures; 0 makes clips only.
        clips: of video clips (H.264).
        frames: of each clip.
        seed: of the first picture and of the first clip.
        height: of every picture and frame, in pixels.
        width: likewise.
        hard: smaller objects, more of them, more trouble.
        sizes: least and greatest extent of an object of a picture in pixels; clips keep theirs.

    Raises:
        FileExistsError: `out` exists and is not an empty folder.
        ValueError: clips of an odd size were asked for, which H.264 (yuv420p) cannot hold.
    """
    if clips and (height % 2 or width % 2):
        raise ValueError(f"clips need an even width and height, found {width}x{height}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        truth = _Truth()
        if count:
            (partial / "images").mkdir()
        for number in range(count):
            scene = make_scene(seed + number, height=height, width=width, hard=hard, sizes=sizes)
            name = f"images/scene_{seed + number:06d}.png"
            Image.fromarray(scene.image).save(partial / name, compress_level=4)
            truth.add(scene, name)
        if clips:
            (partial / "clips").mkdir()
        for number in range(clips):
            made = make_clip(seed + number, frames=frames, height=height, width=width, hard=hard)
            _write_clip(partial, f"clips/clip_{seed + number:03d}", made, truth, height, width)
        truth.write(partial / "truth.json")
        if out.exists():
            out.rmdir()
        partial.chmod(0o755)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_clip(
    folder: Path, stem: str, scenes: Iterable[Scene], truth: _Truth, height: int, width: int
) -> None:
    """Writes one clip as good H.264 that any player takes, and its frames into the truth."""
    video_id = len(truth.videos) + 1
    length = 0
    with av.open(str(folder / f"{stem}.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(_FRAME_RATE))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "14", "preset": "medium"}
        for index, scene in enumerate(scenes):
            frame = av.VideoFrame.from_ndarray(scene.image, format="rgb24")
            container.mux(stream.encode(frame))
            name = f"{stem}/{index:06d}.jpg"
            truth.add(scene, name, video_id=video_id, frame_index=index)
            length += 1
        container.mux(stream.encode())
    row: Row = {"id": video_id, "file_name": f"{stem}.mp4", "width": width, "height": height}
    truth.videos.append(row | {"length": length})
