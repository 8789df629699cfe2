"""What a run puts around its models: mirrored views, a second opinion, tiles.

Whatever adapters there are gain these, for they are grounders and segmenters themselves. From
the inside out: each grounder sees the picture and its mirror image, two grounders agree on a
view, and tiles are views like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

from autolabel.config import RunConfig
from autolabel.ground.consensus import Consensus
from autolabel.ground.flip import Flipped
from autolabel.ground.tiles import TiledGrounder
from autolabel.models.device import resolve_device
from autolabel.segment.tiles import TiledSegmenter
from autolabel.stages import Grounder, Segmenter


def widened_grounder(loaded: Sequence[Grounder], config: RunConfig) -> Grounder:
    """Return one grounder made of one or two and the run's settings.

    Raises:
        UsageError: If two grounders have the same weights.
    """
    if config.tta == "flip":
        loaded = [Flipped(one) for one in loaded]
    names = (config.grounder, config.second_grounder)
    grounder = loaded[0] if len(loaded) == 1 else Consensus(loaded[0], loaded[1], names)
    if config.tiling is None:
        return grounder
    return TiledGrounder(grounder, config.tiling, _batch(config))


def widened_segmenter(loaded: Segmenter | None, config: RunConfig) -> Segmenter | None:
    """Return a segmenter that looks at the same tiles."""
    if loaded is None or config.tiling is None:
        return loaded
    return TiledSegmenter(loaded, config.tiling, _batch(config))


def _batch(config: RunConfig) -> int:
    """Return how many views go through a model together."""
    return config.batch(resolve_device(config.device) != "cpu")
