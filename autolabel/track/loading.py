"""The tracker on a SAM 2 checkpoint."""

from __future__ import annotations

from pathlib import Path

from autolabel.models.device import cpu_cores
from autolabel.models.sam2_checkpoint import DTYPES, load_sam2
from autolabel.track.sam2_video import Sam2Tracker


def load_tracker(path: Path, *, device: str, dtype: str) -> Sam2Tracker:
    """Return what follows objects through videos with the weights in ``path``.

    Args:
        path: A checkpoint, as ``autolabel.models.sam2_checkpoint.load_sam2`` takes it.
        device: "cpu" or "cuda:N".
        dtype: "fp32", "bf16" or "fp16".

    Raises:
        WeightsError: If it isn't a SAM 2 checkpoint, or one without the memory's tensors.
    """
    model, info = load_sam2(path, device)
    return Sam2Tracker(
        model,
        device=device,
        dtype=DTYPES[dtype],
        cores=cpu_cores(),
        has_memory=info.has_memory,
    )
