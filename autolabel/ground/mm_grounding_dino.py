"""MM-Grounding-DINO through transformers: Grounding DINO, trained on more data."""

from __future__ import annotations

from autolabel.ground.grounding_dino import GroundingDino


class MMGroundingDino(GroundingDino):
    """The same architecture with weights that were trained on more data."""

    CARD = {
        "licence": "Apache-2.0",
        "advice": "free text, trained on more data than grounding-dino; good on rare classes",
        "supports": ["text", "scores"],
        "files": "transformers",
        "checkpoints": [
            [
                "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
                "Apache-2.0",
                "0.7 GB",
            ],
        ],
    }
