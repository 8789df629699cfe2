"""Whether an Ultralytics model can be given new class names, asked before it would fetch things.

Imported by ``autolabel.ground.ultralytics`` alone, which sets what Ultralytics must find first.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from ultralytics.nn.tasks import WorldModel, YOLOEModel
from ultralytics.utils import WEIGHTS_DIR


def obstacle_of(model: Any) -> str | None:
    """Return why the model can't be given new class names here, or None.

    Looked at before Ultralytics is asked, because it would fetch what is missing.
    """
    if not isinstance(model, WorldModel | YOLOEModel) or hasattr(model.model[-1], "lrpc"):
        return "Its names are fixed."
    if importlib.util.find_spec("clip") is None:
        return "New names need Ultralytics' CLIP package, which is not installed."
    variant = str(getattr(model, "text_model", "clip:ViT-B/32"))
    files = {"mobileclip:blt": "mobileclip_blt.ts", "mobileclip2:b": "mobileclip2_b.ts"}
    encoder = WEIGHTS_DIR / files.get(variant, "clip/ViT-B-32.pt")
    if not encoder.exists() and not Path(encoder.name).exists():
        return f"New names need the text encoder {encoder}, which is not there."
    return None
