"""Clips of smooth noise under a moving camera, as arrays and as the JPEG folder sam2 reads."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

HEIGHT, WIDTH = 96, 120


def jpeg_clip(folder: Path, frames: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Writes 0.jpg, 1.jpg... and gives the frames as a reader decodes them."""
    rng = np.random.default_rng(seed)
    world = gaussian_filter(rng.normal(size=(HEIGHT, WIDTH + 3 * frames, 3)), (6, 6, 0))
    world = ((world - world.min()) / (world.max() - world.min()) * 255).astype(np.uint8)
    decoded = []
    for t in range(frames):
        path = folder / f"{t}.jpg"
        Image.fromarray(world[:, 3 * t : 3 * t + WIDTH]).save(path, quality=95)
        decoded.append(np.asarray(Image.open(path).convert("RGB")))
    return decoded


def block(top: int, left: int, height: int = 20, width: int = 30) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0
