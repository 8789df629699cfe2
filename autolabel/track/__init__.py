"""Objects followed through a video: propagation by SAM 2, and who is who.

- ``sam2_video``: a streaming, batched tracker on ``SAM2Base`` (``sam2_memory``: what it
  remembers; ``sam2_forward``: its arithmetic). The only files here that import torch and sam2.
- ``identity``: which track a detection belongs to; pure numpy and scipy.
- ``cues``: scene cuts.
- ``video``: the labeler that composes them, window by window.
"""
