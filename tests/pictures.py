"""Pictures and videos made in a test's own folder."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def quadrants(height: int = 40, width: int = 60) -> np.ndarray:
    """uint8 (H, W, 3): red top left, green top right, blue bottom left, white bottom right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return pixels


def save(path: Path, pixels: np.ndarray | None = None, **options: object) -> Path:
    """The path, with the picture (``quadrants`` by default) written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(quadrants() if pixels is None else pixels).save(path, **options)
    return path


def png_claiming(path: Path, width: int, height: int) -> Path:
    """A tiny PNG whose header claims this size: decoding it would fill the memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    return path


def write_video(path: Path, frames: list[np.ndarray], codec: str = "libx264", **settings) -> Path:
    """The path, with a video of these frames written there.

    Args:
        path: The extension chooses the container.
        frames: uint8 (H, W, 3) each.
        codec: FFmpeg's name of the encoder.
        settings: pix_fmt; rate; times (in thousandths of a second, one a frame);
            rotation and hflip for the display matrix; options for the encoder.
    """
    with av.open(str(path), "w", options=settings.get("container", {})) as container:
        stream = container.add_stream(codec, rate=settings.get("rate", 10))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = settings.get("pix_fmt", "yuv420p")
        stream.options = settings.get("options", {})
        if "times" in settings:
            stream.codec_context.time_base = Fraction(1, 1000)
        if "rotation" in settings:
            stream.set_display_rotation(settings["rotation"], hflip=settings.get("hflip", False))
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if "times" in settings:
                frame.pts, frame.time_base = settings["times"][number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def gray_steps(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Up to 20 frames of one gray each, 12 apart: their brightness tells which one it is."""
    return [np.full((height, width, 3), 12 * i, np.uint8) for i in range(count)]
