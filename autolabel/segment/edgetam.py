"""EdgeTAM through transformers: masks from boxes, for CPUs and small devices.

Zhou et al. 2025, arXiv:2501.07256: SAM 2's design with a RepViT backbone and a memory that is
22 times smaller. ``autolabel.track.hf_video`` follows objects with the same weights.
"""

from __future__ import annotations

from pathlib import Path

from transformers import EdgeTamModel, Sam2ImageProcessor

from autolabel.models.box_prompts import BoxPrompted
from autolabel.models.pretrained import fingerprint_of, load_pretrained, model_files


class EdgeTam(BoxPrompted):
    """A Segmenter: one mask a box, pictures one by one."""

    CARD = {
        "licence": "Apache-2.0",
        "advice": "masks and tracks where there is no GPU, or a small one",
        "supports": ["video", "scores", "masks"],
        "files": "vision",
        "checkpoints": [["yonigozlan/EdgeTAM-hf", "Apache-2.0", "0.1 GB"]],
        "package": "timm",
        "extra": "timm",
    }

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        """Load the model from a folder in transformers' format.

        Raises:
            WeightsError: If the folder holds another architecture or damaged weights.
        """
        self._files = model_files(folder, ("edgetam", "edgetam_video"))
        prepare, model = load_pretrained(
            folder, self._files, device, EdgeTamModel, Sam2ImageProcessor
        )
        super().__init__(model, prepare, device, dtype)

    def fingerprint(self) -> str:
        """Return the SHA-256 of weights and settings, and the number format."""
        return fingerprint_of("edgetam", self._dtype, self._files)
