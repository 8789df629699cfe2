"""Inputs of a run: which files there are, and pictures read as ``Frame``.

Videos are read by ``autolabel.media.video``; this file imports neither PyAV nor torch.

What a picture becomes (always uint8 RGB, as a person sees it on a screen):

- EXIF orientation is applied. Colour profiles are not.
- Grayscale is repeated in the three channels; palette, CMYK, YCbCr and Lab are converted.
- Transparency is laid over white: what lies under transparent pixels is never seen by a
  person (often it is garbage), so nothing should be labelled there.
- 16-bit grayscale is scaled by the type's full range (value / 257, rounded), so that the
  same value is the same gray in every picture of a set.
- 32-bit integers and floats have no full range that pictures use. Integers within 0..65535
  are taken as 16-bit and floats within 0..1 as a share of white; anything else is stretched
  from the picture's least to its greatest value. NaN is black.
- Of a picture with several frames (TIFF, animated WebP, MPO) the first is read.

Files are untrusted: only the decoders in ``FORMATS`` are tried, and what is larger than the
``MAX_`` constants is refused before it is decoded.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from autolabel.errors import InputError
from autolabel.media.inputs import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, list_inputs
from autolabel.media.remote import is_url, read_bytes
from autolabel.types import Frame
from autolabel.types import Image as Pixels

__all__ = [
    "FORMATS",
    "IMAGE_EXTENSIONS",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "VIDEO_EXTENSIONS",
    "displayed",
    "file_key",
    "list_inputs",
    "open_picture",
    "probe_size",
    "read_image",
]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Pillow's names of the decoders that may see a file. (MPO, as many cameras write it, is JPEG.)"""
MAX_PIXELS = 178_956_970
"""Pictures with more pixels are refused; it is where Pillow itself sees a bomb."""
MAX_SIDE = 65_535
"""Pictures wider or higher than this are refused; it is the limit of JPEG."""
MAX_FILE_BYTES = 2**30
"""Picture files larger than this (1 GiB) are refused unread."""

_FORMATS_TEXT = "JPEG, PNG, WebP, BMP, TIFF"
_CHUNK = 2**20
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns about broken metadata that doesn't matter here, and about sizes checked here.
# Once and for Pillow's modules only: changing filters for each call isn't safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(path: str | Path) -> tuple[Frame, str]:
    """Return the picture in the file or at the address, and the SHA-256 of its bytes in hex.

    The file is read once, so the key is that of the very bytes that were decoded.
    Safe to call from several threads.

    Raises:
        InputError: If the file can't be read, isn't a picture, is damaged or too large;
            the message is ``"PATH: what is wrong"``.
    """
    data = _read_bytes(path)
    try:
        _check_filled(len(data))
        with open_picture(io.BytesIO(data)) as picture:
            _check_size(picture.width, picture.height)
            picture.load()
            pixels = displayed(picture)
    except Exception as error:  # a decoder fed with untrusted bytes can raise anything
        raise InputError(f"{path}: {_reason(error)}") from error
    return Frame(pixels), hashlib.sha256(data).hexdigest()


def open_picture(
    source: str | Path | io.BytesIO, formats: tuple[str, ...] = FORMATS
) -> Image.Image:
    """Return a picture of which the header is read, by Pillow itself.

    Ultralytics, wherever it is imported, puts a function of its own in place of ``Image.open``
    that tries to install a decoder at the first file that is no picture.
    """
    patches = sys.modules.get("ultralytics.utils.patches")
    genuine = getattr(patches, "_image_open", Image.open)
    opened: Image.Image = genuine(source, formats=formats)
    return opened


def displayed(picture: Image.Image) -> Pixels:
    """Return an opened picture as a person sees it: upright, in eight bits, uint8 (H, W, 3)."""
    return _to_rgb(_upright(picture))


def file_key(path: str | Path) -> str:
    """Return the SHA-256 of the file's bytes in hex, reading it piece by piece.

    Raises:
        InputError: If the file can't be read.
    """
    digest = hashlib.sha256()
    try:
        _check_regular(path)
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except (OSError, ValueError, _Refused) as error:
        raise InputError(f"{path}: {_reason(error)}") from error
    return digest.hexdigest()


def probe_size(path: str | Path) -> tuple[int, int]:
    """Return the picture's displayed height and width, from its header where it has them.

    A PNG without an early EXIF chunk is decoded, since the chunk may come last.

    Raises:
        InputError: As ``read_image``, but damage past the header goes unnoticed.
    """
    try:
        _check_filled(_check_regular(path))
        with open_picture(path) as picture:
            _check_size(picture.width, picture.height)
            # Pillow turns TIFFs itself: their size is the displayed one already.
            turned = picture.format != "TIFF" and _orientation(picture) >= 5
            height, width = picture.height, picture.width
    except Exception as error:
        raise InputError(f"{path}: {_reason(error)}") from error
    return (width, height) if turned else (height, width)


class _Refused(Exception):
    """The file is refused for the reason in the message."""


def _read_bytes(path: str | Path) -> bytes:
    """Return the file's bytes, or raise InputError."""
    if is_url(str(path)):
        return read_bytes(str(path), MAX_FILE_BYTES)
    try:
        size = _check_regular(path)
        if size > MAX_FILE_BYTES:
            raise _Refused(f"too large: {size:,} bytes is more than {MAX_FILE_BYTES:,}")
        return Path(path).read_bytes()
    except (OSError, ValueError, _Refused) as error:
        raise InputError(f"{path}: {_reason(error)}") from error


def _check_regular(path: str | Path) -> int:
    """Return the file's size; a folder, pipe or device would fail late or never end."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        os.listdir(path)  # where that is what failed, its own error says more
        raise _Refused("is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise _Refused("is not a regular file")
    return status.st_size


def _check_filled(size: int) -> None:
    """Refuse an empty file."""
    if size == 0:
        raise _Refused("the file is empty (0 bytes)")


def _reason(error: Exception) -> str:
    """Return what was wrong, in words for the person whose file it is."""
    if isinstance(error, _Refused):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file (moved or deleted since it was listed?)"
    if isinstance(error, PermissionError):
        return "can't be read (permission denied)"
    if isinstance(error, UnidentifiedImageError):
        return f"not a picture in a format that is read ({_FORMATS_TEXT}), or damaged"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: more than {MAX_PIXELS:,} pixels"
    if "truncated" in str(error).lower():
        return f"the file is cut off ({error})"
    if isinstance(error, OSError) and error.errno is not None:
        return f"can't be read ({error.strerror})"
    return f"damaged ({type(error).__name__}: {error})"


def _check_size(width: int, height: int) -> None:
    """Refuse sizes that no picture has, before a pixel is decoded."""
    if width < 1 or height < 1:
        raise _Refused(f"has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise _Refused(f"too large: {width} x {height} is more than {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_SIDE:
        raise _Refused(f"too large: a side of {width} x {height} is over {MAX_SIDE:,} pixels")


def _orientation(picture: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; 1 where there is none or it can't be read."""
    # Not ImageOps.exif_transpose: it writes the EXIF block again, which fails when any
    # other tag is broken, and the picture would stay lying on its side.
    with suppress(Exception):
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
        return value if value in _TURNS else 1
    return 1


def _upright(picture: Image.Image) -> Image.Image:
    """Return the picture as displayed; Pillow has turned TIFFs while loading."""
    turn = None if picture.format == "TIFF" else _TURNS.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image) -> Pixels:
    """Return uint8 (H, W, 3) by the rules in this module's docstring."""
    if picture.mode == "I" or picture.mode == "F" or picture.mode.startswith("I;16"):
        gray = _to_uint8(np.asarray(picture))
        return np.repeat(gray[:, :, None], 3, axis=2)
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, over)
    # np.array, not asarray: torch wants memory that may be written
    return np.array(picture.convert("RGB"))


def _to_uint8(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return deep grayscale (H, W) as uint8 by the rules in this module's docstring."""
    white = 1.0 if values.dtype.kind == "f" else 65535.0
    gray = values.astype(np.float64)
    known = gray[np.isfinite(gray)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, white)
    if low >= 0.0 and high <= white:
        low, high = 0.0, white
    gray = np.nan_to_num(gray, nan=low, posinf=high, neginf=low)
    return np.rint((gray - low) / ((high - low) or 1.0) * 255.0).astype(np.uint8)
