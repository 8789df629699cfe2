"""Pictures as prompts: an example of a class, named by its content."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.errors import UsageError

if TYPE_CHECKING:
    from autolabel.types import Image

MAX_FILE = 64 << 20
"""Bytes of an example's file."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Example:
    """One picture of a class, or a part of one.

    Attributes:
        path: The file, absolute.
        box: x1, y1, x2, y2 in pixels of the picture as displayed; None for all of it.
        digest: The first 12 hex digits of the SHA-256 of the file's content.
    """

    path: str
    box: Box | None
    digest: str

    @classmethod
    def of(cls, path: str, box: Box | None = None) -> Example:
        """Return the example in a file, as it is now.

        Raises:
            ValueError: If the file can't be read or is too large, or the box is none.
        """
        check_box(box)
        return cls(os.path.abspath(path), box, _digest(path))

    @property
    def prompt(self) -> str:
        """The text that stands for it among the prompts; other content has another one."""
        name = re.sub(r"[^\w-]+", " ", Path(self.path).stem, flags=re.ASCII).strip()[:40]
        place = "" if self.box is None else " at " + " ".join(f"{v:g}" for v in self.box)
        return f"[picture {name or 'example'} {self.digest}{place}]"

    def pixels(self) -> Image:
        """Return the picture, cut to the box: uint8 (H, W, 3) RGB.

        Raises:
            UsageError: If the file is gone, has changed, is no picture, or ends before the box.
        """
        from autolabel.errors import InputError
        from autolabel.media.pictures import read_image

        try:
            if _digest(self.path) != self.digest:
                raise ValueError(f"{self.path} has changed since the ontology was read")
            image: Image = read_image(self.path)[0].image
        except (ValueError, InputError) as error:
            raise UsageError(f"example: {error}") from error
        if self.box is None:
            return image
        x1, y1, x2, y2 = self.box
        height, width = image.shape[:2]
        part: Image = image[round(y1) : round(y2), round(x1) : round(x2)]
        if x2 > width or y2 > height or not part.size:
            raise UsageError(
                f"example: {self.path} has {width} x {height} pixels, expected box "
                f"{list(self.box)} to lie in it and hold some"
            )
        return part.copy()


def check_box(box: Box | None) -> None:
    """Raise ValueError unless the box has an area and no negative place."""
    if box is None:
        return
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 < float("inf") and 0 <= y1 < y2 < float("inf")):
        raise ValueError(f"box: found {list(box)}, expected [x1, y1, x2, y2] in pixels")


def _digest(path: str) -> str:
    """Return what names a file's content.

    Raises:
        ValueError: If it can't be read, or is larger than ``MAX_FILE``.
    """
    try:
        if not os.path.isfile(path):
            raise ValueError(f"{path}: there is no such file")
        if os.path.getsize(path) > MAX_FILE:
            raise ValueError(f"{path}: is larger than {MAX_FILE >> 20} MiB; cut the example out")
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror}") from None
