"""Frames to MP4: H.264, yuv420p, every frame at its own time, playable anywhere."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from autolabel.types import Image

TIME_BASE = Fraction(1, 90_000)
"""The clock of MPEG video: fine enough for any frame rate."""
QUALITY = "20"


class VideoWriter:
    """Writes one MP4, a frame at a time; use it as a context manager.

    Args:
        path: The file to write.
        height: Rows of every frame.
        width: Columns of every frame. Odd sizes get one more row or column: yuv420p has none.
    """

    def __init__(self, path: Path, height: int, width: int) -> None:
        self._file = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        stream = self._file.add_stream("libx264", options={"crf": QUALITY, "preset": "veryfast"})
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        self._stream = stream
        self._last = -1

    def add(self, image: Image, seconds: Fraction) -> None:
        """Write the next frame.

        Args:
            image: uint8 (H, W, 3) RGB.
            seconds: Its time; a time that doesn't grow is moved to just after the last.
        """
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._last = max(round(seconds / TIME_BASE), self._last + 1)
        frame.pts, frame.time_base = self._last, TIME_BASE
        frame.pict_type = PictureType.NONE
        for packet in self._stream.encode(frame):
            self._file.mux(packet)

    def __enter__(self) -> VideoWriter:
        """Return the writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write what the encoder still holds, and close the file."""
        try:
            if kind is None:
                for packet in self._stream.encode(None):
                    self._file.mux(packet)
        finally:
            self._file.close()
