"""Pictures and objects as the DeepDataSpace API writes them."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image as Pillow

from autolabel.errors import InputError
from autolabel.ground.spans import normalise
from autolabel.types import Image

LONGEST = 1536
"""Pixels of the longer side that is sent; the API's own client shrinks to this, too."""


def encoded(image: Image) -> tuple[str, float, float]:
    """Return the picture as a data URL, and what its pixels measure across and down."""
    picture = Pillow.fromarray(image)
    height, width = image.shape[:2]
    picture.thumbnail((LONGEST, LONGEST), Pillow.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95, subsampling=0)
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/jpeg;base64,{text}", width / picture.width, height / picture.height


def object_of(found: Any) -> tuple[list[float], float, str]:
    """Return the box, score and prompt of one object of an answer.

    Raises:
        InputError: If it is none.
    """
    try:
        if not isinstance(found, Mapping):
            raise TypeError(f"found {type(found).__name__}")
        box = [float(value) for value in found["bbox"]]
        score, name = float(found["score"]), normalise(str(found["category"]))
        if len(box) != 4 or not all(map(math.isfinite, [*box, score])) or not 0 <= score <= 1:
            raise ValueError(f"bbox {box}, score {score}")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the API's result has a wrong object: {error}") from error
    return box, score, name
