"""A model and its processor from a folder in transformers' format, checked before use."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
from transformers.utils import logging as transformers_logging

from autolabel.errors import WeightsError
from autolabel.models.weights import sha256_of

LOG = logging.getLogger(__name__)
FEW = 0.01
"""A larger share of missing tensors is an error; a smaller one (an unused buffer) a warning."""


def model_files(folder: Path, families: Sequence[str]) -> list[Path]:
    """Return the files that make the results, weights first.

    Args:
        folder: Where config.json is.
        families: The ``model_type`` values that the adapter understands.

    Raises:
        WeightsError: If the folder holds another architecture, or no weights.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        found = config.get("model_type", "(no model_type)")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{folder}: no readable config.json of a detector ({error})") from error
    if found not in families:
        expected = " or ".join(families)
        raise WeightsError(f"{folder}: found a '{found}' model, expected {expected}")
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights:
        raise WeightsError(f"{folder}: no *.safetensors or *.bin file with weights")
    return weights + sorted([*folder.glob("*.json"), *folder.glob("*.txt")])


def load_pretrained(
    folder: Path,
    files: Sequence[Path],
    device: str,
    model_class: Any = AutoModelForZeroShotObjectDetection,
    processor_class: Any = AutoProcessor,
    renamed: Mapping[str, str] | None = None,
) -> tuple[Any, Any]:
    """Return the processor and the fp32 model, ready for inference, on ``device``.

    Args:
        folder: What to load; nothing is looked up anywhere else.
        files: What ``model_files`` returned.
        device: "cpu" or "cuda:N".
        model_class: What reads the model.
        processor_class: What reads the processor.
        renamed: Patterns of tensors' names in the file, and what the model calls them.

    Raises:
        WeightsError: If a file is damaged, tensors are missing, or a weight is not finite.
    """
    transformers_logging.disable_progress_bar()  # a bar of its own would tear the run's bar
    try:
        processor: Any = processor_class.from_pretrained(folder, local_files_only=True)
        model, report = model_class.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=files[0].suffix == ".safetensors",
            output_loading_info=True,
            dtype=torch.float32,
            **({"key_mapping": dict(renamed)} if renamed else {}),
        )
    except Exception as error:  # transformers raises anything from OSError to its backends' own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{folder}: can't be loaded: {reason}") from error
    _check_complete(folder, sorted(report["missing_keys"]), len(model.state_dict()))
    for name, tensor in model.named_parameters():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{folder}: the weights are damaged: {name} has NaN or infinity")
    return processor, model.eval().to(device)


def _check_complete(folder: Path, missing: Sequence[str], tensors: int) -> None:
    """Raise, or warn where it is little, that tensors were not in the file."""
    if not missing:
        return
    text = f"{folder}: {len(missing)} of {tensors} tensors are missing ({', '.join(missing[:3])})"
    if len(missing) > FEW * tensors:
        raise WeightsError(text)
    LOG.warning("%s; they hold random numbers", text)


def fingerprint_of(name: str, dtype: str, files: Sequence[Path]) -> str:
    """Return the SHA-256 of weights, settings and vocabulary, and the number format."""
    return f"{name} {dtype} {' '.join(f'{path.name}:{sha256_of(path)}' for path in files)}"
