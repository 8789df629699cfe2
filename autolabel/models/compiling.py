"""Parts of models compiled by PyTorch, or a clear word why they can't be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from autolabel.errors import UsageError


def compile_module(module: nn.Module, call: Callable[[], object]) -> None:
    """Let a module run compiled from now on; it is compiled at once.

    Args:
        module: Changed in place; left as it was where compiling fails.
        call: Calls it once, as it will be called.

    Raises:
        UsageError: If PyTorch can't: on a CPU it needs a C++ compiler.
    """
    eager = module.forward
    module.forward = torch.compile(eager)
    try:
        device = next(module.parameters()).device
        torch.compile(torch.neg)(torch.zeros(8, device=device))  # quick to tell: no compiler
        call()
    except Exception as error:  # whatever its compilers raise
        module.forward = eager
        said = str(error).strip().splitlines() or [""]
        raise UsageError(
            f"--compile: PyTorch can't compile the model here ({type(error).__name__}: "
            f"{said[0][:200]}). On a CPU it needs a C++ compiler (Debian: apt-get install g++); "
            "or run without --compile"
        ) from error
