"""What transformers' video models remember of an object: what may be forgotten, and as bytes."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load, save

ATTENDED = 8
"""Frames back that memory attention looks at, and one to spare (num_maskmem is 7)."""
POINTED = 17
"""Frames back whose object pointers are used, and one to spare."""
PROMPTED = 4
"""Frames with prompts that are kept: the first and the last ones."""
_LARGE = ("maskmem_features", "maskmem_pos_enc", "pred_masks")


def forget(session: Any, clock: int) -> None:
    """Drop what the model won't look at again after the frame ``clock``."""
    memory = session.output_dict_per_obj[0]
    prompted, tracked = memory["cond_frame_outputs"], memory["non_cond_frame_outputs"]
    for index in sorted(prompted)[1 : max(1, len(prompted) - PROMPTED + 1)]:
        del prompted[index]
    for index in [index for index in tracked if index <= clock - POINTED]:
        del tracked[index]
    for index, kept in tracked.items():
        if index <= clock - ATTENDED:
            for name in _LARGE:
                kept.pop(name, None)
    for outputs in (prompted, tracked):
        for index, kept in outputs.items():
            if index != clock:
                kept.pop("pred_masks", None)
    session.frames_tracked_per_obj[0] = {clock: {"reverse": False}}
    for inputs in (session.point_inputs_per_obj[0], session.mask_inputs_per_obj[0]):
        inputs.clear()
    session.processed_frames = {}


def to_bytes(clock: int, size: tuple[int, int], objects: dict[int, Any]) -> bytes:
    """Return a session's objects as safetensors, which hold no code."""
    tensors: dict[str, torch.Tensor] = {}
    for object_id, session in objects.items():
        for kind, outputs in session.output_dict_per_obj[0].items():
            for index, kept in outputs.items():
                for name, value in kept.items():
                    if isinstance(value, torch.Tensor) and name != "pred_masks":
                        key = f"{object_id}/{kind}/{index}/{name}"
                        tensors[key] = value.detach().cpu().clone().contiguous()
                    elif isinstance(value, list):
                        for place, one in enumerate(value):
                            key = f"{object_id}/{kind}/{index}/{name}/{place}"
                            tensors[key] = one.detach().cpu().clone().contiguous()
    head = {"version": 1, "clock": clock, "size": list(size), "ids": list(objects)}
    return bytes(save(tensors, {"head": json.dumps(head)}))


def from_bytes(state: bytes) -> tuple[int, tuple[int, int], dict[int, Any]]:
    """Return the clock, the frame's size, and each object's memory.

    Raises:
        ValueError: If the bytes are no such state, or of another version.
    """
    try:
        length = int.from_bytes(state[:8], "little")
        told = json.loads(state[8 : 8 + length])["__metadata__"]["head"]
        head = json.loads(told)
        tensors = load(state)
    except Exception as error:  # safetensors has errors of its own
        raise ValueError(f"video state: can't be read: {error}") from error
    if head["version"] != 1:
        raise ValueError(f"video state: expected version 1, found {head['version']}")
    memories: dict[int, Any] = {
        object_id: {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        for object_id in head["ids"]
    }
    for key in sorted(tensors):
        object_id, kind, index, name, *place = key.split("/")
        kept = memories[int(object_id)][kind].setdefault(int(index), {})
        if place:
            kept.setdefault(name, []).append(tensors[key])
        else:
            kept[name] = tensors[key]
    # In the order of time, in which the model reads them.
    for memory in memories.values():
        for kind, outputs in memory.items():
            memory[kind] = dict(sorted(outputs.items()))
    return head["clock"], (head["size"][0], head["size"][1]), memories


def to_device(memories: dict[int, Any], device: str) -> None:
    """Move all tensors to a device, in place."""
    for memory in memories.values():
        for outputs in memory.values():
            for kept in outputs.values():
                for name, value in kept.items():
                    many = isinstance(value, list)
                    kept[name] = [v.to(device) for v in value] if many else value.to(device)
