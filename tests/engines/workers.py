"""Grounders for the tests of engines that have workers."""

from __future__ import annotations

import os
from pathlib import Path

from autolabel.errors import WeightsError
from tests.fakes import Blobs


class Signed(Blobs):
    """Blobs that leave their process id in a folder."""

    def __init__(self, folder: str, *, device: str = "cpu", dtype: str = "fp32") -> None:
        super().__init__(None)
        (Path(folder) / str(os.getpid())).touch()


class Missing(Blobs):
    """Blobs whose weights are not there."""

    def __init__(self, path: Path | None, *, device: str = "cpu", dtype: str = "fp32") -> None:
        raise WeightsError("no weights in /gone")
