"""A second grounder that sees large things only, for consensus runs."""

from __future__ import annotations

from tests.coloured import Colours


class Blunt(Colours):
    """Finds what takes half of a picture's side."""

    def __init__(self, path: object = None, *, device: str = "cpu", dtype: str = "fp32") -> None:
        super().__init__(path, device=device, dtype=dtype, least=0.5, score=0.6)
