"""Where models run and in which number format: ``auto`` made definite, or a clear refusal."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext

from autolabel.errors import UsageError

DTYPES = ("auto", "fp32", "bf16", "fp16")


def resolve_device(asked: str) -> str:
    """Return "cpu" or "cuda:N" for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    ``auto`` is the first GPU where PyTorch sees one, else the CPU.

    Raises:
        UsageError: If the text is none of these, or that GPU is not there.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", asked)
    if match is None:
        raise UsageError(f"--device {asked}: expected auto, cpu, cuda or cuda:N")
    if asked == "cpu":
        return "cpu"
    import torch  # here, not above: naming a device must stay cheap for `--help` and `models`

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(match[1] or 0)
    if asked == "auto":
        return "cuda:0" if count else "cpu"
    if number >= count:
        there = f"there are {count} (cuda:0 to cuda:{count - 1})" if count else "PyTorch sees none"
        raise UsageError(f"--device {asked}: no such GPU, {there}. Use --device cpu or auto.")
    return f"cuda:{number}"


def resolve_dtype(asked: str, device: str) -> str:
    """Return "fp32", "bf16" or "fp16" for this device.

    ``auto`` is bf16 on a GPU that computes it natively, else fp32: half precision on a CPU
    saves nothing, and fp16 can overflow.

    Args:
        asked: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: What ``resolve_device`` returned.

    Raises:
        UsageError: If the text is none of these, or the device can't compute it.
    """
    if asked not in DTYPES:
        raise UsageError(f"--dtype {asked}: expected one of {', '.join(DTYPES)}")
    if device == "cpu":
        if asked in ("bf16", "fp16"):
            raise UsageError(f"--dtype {asked} needs a GPU; on the CPU use --dtype fp32 or auto")
        return "fp32"
    if asked == "fp32":
        return asked
    import torch

    with torch.cuda.device(device):
        native = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if asked == "auto":
        return "bf16" if native else "fp32"
    if asked == "bf16" and not native:
        raise UsageError(f"--dtype bf16: {device} has no native bf16; use fp16 or fp32")
    return asked


def cpu_cores() -> int:
    """Return how many CPU cores to use: ``OMP_NUM_THREADS``, else all that this process may."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said):
        return int(said)
    able = getattr(os, "sched_getaffinity", None)
    return len(able(0)) if able else os.cpu_count() or 1


def use_threads(count: int) -> None:
    """Let models use so many CPU threads from now on, in this thread and in new ones."""
    import torch

    torch.set_num_threads(count)


def autocast(device: str, dtype: str) -> AbstractContextManager[object]:
    """Return a context in which models compute in ``dtype`` on ``device``.

    On a GPU it also lets fp32 matrix products use TF32, as convolutions do by default.
    """
    import torch

    if device == "cpu":
        return nullcontext()
    torch.set_float32_matmul_precision("high")
    if dtype == "fp32":
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if dtype == "bf16" else torch.float16)
