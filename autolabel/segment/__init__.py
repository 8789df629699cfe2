"""Segmenters: boxes to masks, one file per family of models."""


class NoMasks:
    """The segmenter ``none``: its card alone, for where there is none nothing is called."""

    CARD = {
        "licence": "Apache-2.0",
        "advice": "boxes only, no masks; the fastest, where masks aren't needed",
    }
