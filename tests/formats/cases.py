"""Projects of hard masks on real picture files, and how well labels that were read fit them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from autolabel import masks
from autolabel.media.pictures import file_key, probe_size
from autolabel.store import Project, Result
from autolabel.types import Instance, MediaRecord
from tests.pictures import save

HEIGHT, WIDTH = 40, 60
CLASSES = [("zebra", "#ff0000"), ('it\'s "a" <b> & ü', "#00ff00")]
NAMES = ["a b.jpg", 'it\'s "q".jpg', "sub/ü 漢字 😀.png", "z&<>.jpg", "dots.in.name.jpg"]


def blank() -> np.ndarray:
    return np.zeros((HEIGHT, WIDTH), bool)


def ring() -> np.ndarray:
    mask = blank()
    mask[5:35, 5:45] = True
    mask[10:30, 12:38] = False
    return mask


def island() -> np.ndarray:
    mask = ring()
    mask[15:25, 18:32] = True
    return mask


def parts() -> np.ndarray:
    mask = blank()
    mask[2:20, 2:20] = True
    mask[24:38, 4:25] = True
    mask[5:30, 22:50] = True
    return mask


def pixel(y: int = 20, x: int = 30) -> np.ndarray:
    mask = blank()
    mask[y, x] = True
    return mask


def upright() -> np.ndarray:
    mask = blank()
    mask[3:37, 7] = True
    return mask


def lying() -> np.ndarray:
    mask = blank()
    mask[9, 3:50] = True
    return mask


def border() -> np.ndarray:
    mask = blank()
    mask[30:, 40:] = True
    mask[:12, 50:] = mask[12:30, 55:] = True
    return mask


def diagonal() -> np.ndarray:
    mask = blank()
    for step in range(20):
        mask[10 + step, 20 + step] = True
    return mask


def round_one() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside: np.ndarray = ((x - 30) / 21) ** 2 + ((y - 20) / 14) ** 2 <= 1
    return inside


MASKS = {
    "hole": ring(),
    "island in a hole": island(),
    "several parts": parts(),
    "one pixel": pixel(),
    "pixel in the corner": pixel(HEIGHT - 1, WIDTH - 1),
    "one pixel wide": upright(),
    "one pixel high": lying(),
    "touching the border": border(),
    "full frame": ~blank(),
    "diagonal neighbours": diagonal(),
    "round": round_one(),
}


def label(mask: np.ndarray | None, **changes: Any) -> Instance:
    rle = masks.encode(mask) if mask is not None else None
    box = masks.tight_box(rle) if rle is not None else (1.25, 2.0, 11.5, 12.0)
    assert box is not None
    values: dict[str, Any] = {"class_id": 0, "box": tuple(map(float, box)), "score": 0.5}
    return Instance(**{**values, "mask": rle, **changes})


def picture(folder: Path, name: str, *labels: Instance, **options: Any) -> Result:
    """A picture of its own colour (so that its content differs), with its labels."""
    shade = np.full((HEIGHT, WIDTH, 3), sum(name.encode()) % 256, np.uint8)
    shade[0, : len(name), 0] = list(name.encode())[: min(len(name), WIDTH)][: len(name)]
    path = options.pop("saved", None) or save(folder / name, shade, **options)
    height, width = probe_size(path)
    media = MediaRecord(name, str(path), "image", file_key(path), height, width)
    return Result(media, 1, 2, {}, labels)


def make(folder: Path, results: Iterable[Result]) -> Project:
    project = Project.open(folder, create=True)
    project.set_run({}, CLASSES, ["p"])
    project.commit(list(results))
    return project


def hard(tmp_path: Path) -> Project:
    """A project with every case of MASKS in a picture of its own, odd names, and a negative."""
    images = tmp_path / "images"
    names = [*NAMES, *(f"case {i}.jpg" for i in range(len(MASKS)))]
    results = [
        picture(images, name, label(mask, class_id=index % 2))
        for index, (name, mask) in enumerate(zip(names, MASKS.values(), strict=False))
    ]
    results.append(picture(images, "nothing.jpg"))
    return make(tmp_path / "project", results)


def video(tmp_path: Path, frames: int = 6) -> Project:
    """A project with a video (a folder of frames): one track leaves and comes back."""
    for index in range(frames):
        pixels = np.full((HEIGHT, WIDTH, 3), index * 9, np.uint8)
        save(tmp_path / "images" / "a clip" / f"{index:05d}.png", pixels)

    def one(index: int, track: int) -> Instance:
        mask = blank()
        mask[5 + 12 * track : 15 + 12 * track, 5 + index * 3 : 25 + index * 3] = True
        mask[8 + 12 * track : 11 + 12 * track, 10 + index * 3 : 15 + index * 3] = False
        return label(mask, frame_index=index, track_id=track, class_id=track - 1)

    labels = [one(index, 1) for index in (0, 1, 4, 5)] + [one(index, 2) for index in (1, 2, 3)]
    path = str(tmp_path / "images" / "a clip")
    media = MediaRecord("a clip", path, "frames", "k", HEIGHT, WIDTH, frames)
    return make(tmp_path / "video", [Result(media, 1, 2, {}, labels)])


def overlaps(
    expected: Project, found: Project, names: dict[str, str] | None = None
) -> Iterator[tuple[str, float]]:
    """Yield each label's medium and its IoU with what was read: same class, frame and track."""
    for media, wanted in expected.iter_labelled():
        given = found.instances((names or {}).get(media.name, media.name))
        assert len(given) == len(wanted), media.name
        for one in wanted:
            same = [
                other
                for other in given
                if (other.class_id, other.frame_index) == (one.class_id, one.frame_index)
            ]
            assert same, media.name
            assert one.mask is not None
            fits = [masks.iou([one.mask], [o.mask])[0, 0] for o in same if o.mask is not None]
            yield media.name, float(max(fits, default=0.0))
