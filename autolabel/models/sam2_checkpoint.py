"""SAM 2 models from checkpoint files: the architecture follows from the tensors.

A file's name says nothing reliable about what is in it, so the size is read off the shapes
of the tensors and looked up among the four that the ``sam2`` package ships configurations
for. Number of heads, windows, global attention and picture size leave no trace in the
tensors: a model of any other size needs a ``config.json`` beside its weights.

Checkpoints are untrusted: they are read as tensors only, and no code in them ever runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sam2
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from autolabel.errors import WeightsError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Number formats by the name that the command takes."""

Layout = tuple[int, tuple[int, ...]]
"""Channels after the patch embedding, and blocks in each stage, of the Hiera trunk."""

KNOWN: Mapping[Layout, str] = {
    (96, (1, 2, 7, 2)): "t",
    (96, (1, 2, 11, 2)): "s",
    (112, (2, 3, 16, 3)): "b+",
    (144, (2, 6, 36, 4)): "l",
}
"""The sizes that Meta released, with the ending of their configuration's name."""

_TRUNK = "image_encoder.trunk."
_ONLY_2_1 = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight")
_MEMORY = re.compile(
    r"(memory_attention|memory_encoder|obj_ptr_proj|obj_ptr_tpos_proj|mask_downsample"
    r"|sam_mask_decoder\.pred_obj_score_head)\..*"
    r"|maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial"
)
# What Meta's build_sam2 adds for inference: a single mask that is not stable under a small
# change of threshold gives way to the best of the three.
_INFERENCE = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}


@dataclass(frozen=True, slots=True)
class Sam2Info:
    """What a checkpoint turned out to be.

    Attributes:
        path: The file with the weights.
        sha256: Of that file's bytes, and of its config.json where one was used, in hex.
        name: "sam2_hiera_t", "sam2.1_hiera_l", ..., or "config.json".
        image_size: Side of the square that pictures are scaled to.
        has_memory: Whether the parts that videos need are in the file.
    """

    path: Path
    sha256: str
    name: str
    image_size: int
    has_memory: bool


def load_sam2(path: str | Path, device: str = "cpu") -> tuple[SAM2Base, Sam2Info]:
    """Return the model in a checkpoint, in float32 and eval mode, and what it is.

    Args:
        path: A .pt, .pth or .safetensors file of SAM 2 or 2.1, or a folder that has one.
            A ``config.json`` of this project's kind in the same folder gives the sizes.
        device: Where the model goes, such as "cpu" or "cuda:0".

    Raises:
        WeightsError: If there is no such file, it is damaged, holds code, is of another
            architecture, or lacks tensors other than those that only videos need.
    """
    file, config = _find(Path(path))
    tensors = read_tensors(file)
    layout = trunk_layout(tensors, file)
    if config is not None:
        model, name = _build(_described(config, file), file), "config.json"
    else:
        name = _known_name(layout, tensors, file)
        model = _build(_released(name), file)
    missing = _fill(model, tensors, file)
    digest = _digest(file, config is not None)
    info = Sam2Info(file, digest, name, int(model.image_size), not missing)
    return model.to(device).eval(), info


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors in a file by name, on the CPU; nothing in the file is executed.

    Raises:
        WeightsError: If the file can't be read or holds anything but tensors.
    """
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for damaged files
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise WeightsError(
            f"{file}: can't be read as weights: damaged, not a checkpoint, or it holds code, "
            f"which is never run ({type(error).__name__}: {first[:200]})"
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not found:
        raise WeightsError(f"{file}: expected tensors by name, found {type(found).__name__}")
    odd = [str(key) for key, value in found.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(f"{file}: expected tensors only, but not so: {_some(odd)}")
    return {str(key): value for key, value in found.items()}


def trunk_layout(tensors: Mapping[str, Tensor], file: Path) -> Layout:
    """Return the size of the Hiera trunk, read off the tensors.

    Raises:
        WeightsError: If these are not the tensors of a SAM 2.
    """
    needed = (f"{_TRUNK}pos_embed", f"{_TRUNK}pos_embed_window", "no_mem_embed")
    decoder = any(name.startswith("sam_mask_decoder.") for name in tensors)
    if not decoder or any(name not in tensors for name in needed):
        raise WeightsError(
            f"{file}: expected a SAM 2 or 2.1 in Meta's layout ({needed[0]}, "
            f"sam_mask_decoder...), found {_what(tensors)}"
        )
    block = re.compile(re.escape(_TRUNK) + r"blocks\.(\d+)\.(.*)")
    matches = [match for name in tensors if (match := block.fullmatch(name))]
    depth = 1 + max((int(match[1]) for match in matches), default=-1)
    # The first block of a stage, and no other, projects its input to more channels.
    starts = sorted({int(match[1]) for match in matches if match[2] == "proj.weight"} | {0})
    ends = [*starts[1:], depth]
    stages = tuple(end - start for start, end in zip(starts, ends, strict=True))
    return int(tensors[needed[0]].shape[1]), stages


def _find(path: Path) -> tuple[Path, dict[str, Any] | None]:
    """Return the weights' file, and the sizes in the config.json beside it, if any."""
    folder = path if path.is_dir() else path.parent
    config = _read_config(folder / "config.json")
    if path.is_file():
        return path, config
    if not path.is_dir():
        raise WeightsError(f"{path}: no such file or folder with SAM 2 weights")
    # A hub's folder may have Meta's .pt beside a .safetensors in transformers' own layout.
    patterns = ("*.pt", "*.pth", "*.safetensors")
    for pattern in reversed(patterns) if config else patterns:
        files = sorted(path.glob(pattern))
        if len(files) == 1:
            return files[0], config
        if files:
            names = ", ".join(file.name for file in files)
            raise WeightsError(f"{path}: more than one checkpoint, name one of {names}")
    raise WeightsError(f"{path}: no checkpoint ({', '.join(patterns)}) in this folder")


def _read_config(file: Path) -> dict[str, Any] | None:
    """Return a config.json of this project's kind; None for transformers' or none at all."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: can't be read: {error}") from error
    return config if isinstance(config, dict) and "trunk" in config else None


def _known_name(layout: Layout, tensors: Mapping[str, Tensor], file: Path) -> str:
    """Return the name of Meta's configuration for these tensors."""
    if layout not in KNOWN:
        sizes = ", ".join(f"{dim} channels, stages {list(stages)}" for dim, stages in KNOWN)
        raise WeightsError(
            f"{file}: a SAM 2 with {layout[0]} channels and stages {list(layout[1])}, which is "
            f"none of the released sizes ({sizes}); a config.json beside it must give its sizes"
        )
    version = "2.1" if any(name in tensors for name in _ONLY_2_1) else "2"
    return f"sam{version}_hiera_{KNOWN[layout]}"


def _released(name: str) -> dict[str, Any]:
    """Return the constructor's tree of a released size, from the sam2 package."""
    folder = Path(sam2.__path__[0]) / "configs" / name.split("_")[0]
    tree = OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yaml"), resolve=True)
    assert isinstance(tree, dict)
    model: dict[str, Any] = tree["model"]
    return model | {"sam_mask_decoder_extra_args": dict(_INFERENCE)}


def _described(config: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return the constructor's tree for a config.json: a released one with other sizes."""
    where = file.with_name("config.json")
    if odd := _odd(config):
        raise WeightsError(f"{where}: only plain sizes are allowed, found {odd!r}")
    try:
        tree = _released("sam2_hiera_t")
        neck, attention, memory = (
            config["neck"],
            config["memory_attention"],
            config["memory_encoder"],
        )
        width, side = neck["d_model"], config["image_size"] // 16
        encoder = tree["image_encoder"]
        encoder["trunk"] |= config["trunk"]
        encoder["neck"] |= neck
        encoder["neck"]["position_encoding"]["num_pos_feats"] = width
        _describe_attention(tree["memory_attention"], attention, width, side, memory["out_dim"])
        _describe_memory(tree["memory_encoder"], memory, width)
        parts = ("_target_", "image_encoder", "memory_attention", "memory_encoder")
        described: dict[str, Any] = {part: tree[part] for part in parts} | config["base"]
        return described | {"image_size": config["image_size"]}
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{where}: a size is missing or not a number: {error}") from error


def _describe_attention(
    tree: dict[str, Any], sizes: dict[str, Any], width: int, side: int, memory_width: int
) -> None:
    """Put a config.json's sizes into the tree of the memory attention."""
    layer = tree["layer"]
    tree |= {"d_model": width, "num_layers": sizes["num_layers"]}
    layer |= {"d_model": width, "dim_feedforward": sizes["dim_feedforward"]}
    for part in (layer["self_attention"], layer["cross_attention"]):
        part |= {"embedding_dim": width, "feat_sizes": [side, side]}
    layer["cross_attention"]["kv_in_dim"] = memory_width


def _describe_memory(tree: dict[str, Any], sizes: dict[str, Any], width: int) -> None:
    """Put a config.json's sizes into the tree of the memory encoder."""
    tree |= {"out_dim": sizes["out_dim"], "in_dim": width}
    tree["position_encoding"]["num_pos_feats"] = sizes["out_dim"]
    tree["mask_downsampler"]["embed_dim"] = width
    tree["fuser"]["num_layers"] = sizes["fuser_layers"]
    tree["fuser"]["layer"]["dim"] = width


def _odd(value: object) -> object:
    """Return what in a config.json could make hydra import, call or look up something."""
    if isinstance(value, dict):
        odd = [key for key in value if str(key).startswith("_")]
        return odd[0] if odd else next(filter(None, map(_odd, value.values())), None)
    if isinstance(value, list):
        return next(filter(None, map(_odd, value)), None)
    return value if isinstance(value, str) and "$" in value else None


def _build(tree: dict[str, Any], file: Path) -> SAM2Base:
    """Return the model of a constructor's tree, with weights still to come."""
    try:
        model: SAM2Base = instantiate(tree, _convert_="all")
    except Exception as error:  # hydra wraps whatever the constructors raise
        raise WeightsError(f"{file}: no model can be built with these sizes: {error}") from error
    return model


def _fill(model: SAM2Base, tensors: Mapping[str, Tensor], file: Path) -> list[str]:
    """Put the tensors into the model; return the names of the memory's that are missing."""
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in tensors]
    lost = [name for name in missing if not _MEMORY.fullmatch(name)]
    extra = [name for name in tensors if name not in wanted]
    wrong = [
        f"{name} {tuple(tensor.shape)} for {tuple(wanted[name].shape)}"
        for name, tensor in tensors.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    for problem, names in (("missing", lost), ("unexpected", extra), ("of other shapes", wrong)):
        if names:
            raise WeightsError(
                f"{file}: not a whole SAM 2: {len(names)} tensors {problem}: {_some(names)}"
            )
    model.load_state_dict(dict(tensors), strict=False)
    return missing


def _digest(file: Path, with_config: bool) -> str:
    """Return the SHA-256 that stands for the model: its weights, and its sizes if given."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    if with_config:
        digest.update(file.with_name("config.json").read_bytes())
    return digest.hexdigest()


def _what(tensors: Mapping[str, Tensor]) -> str:
    """Return what a file that is no SAM 2 seems to be."""
    if any(name.startswith("image_encoder.blocks.") for name in tensors):
        return "the first SAM (segment-anything), another architecture"
    if any(name.startswith("vision_encoder.") for name in tensors):
        return "the layout of transformers; take the .pt file of the same model"
    return f"{len(tensors)} tensors of another architecture: {_some(list(tensors))}"


def _some(names: list[str], most: int = 5) -> str:
    """Return the first few names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
