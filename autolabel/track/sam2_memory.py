"""What SAM 2 remembers of one object: which frames it attends to, and which it may forget.

The rules are those of ``SAM2Base._prepare_memory_conditioned_features`` (sam2 1.1.0), seen
from a stream: the future is never there, so what the model can no longer reach is dropped and
the memory of an object stays constant however long the video is.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import select_closest_cond_frames
from torch import Tensor

STATE_VERSION = 1


@dataclass(slots=True)
class Memory:
    """One object in one frame, as later frames attend to it.

    Attributes:
        tokens: bfloat16 (h * w, C_mem), the memory encoder's output, row-major. SAM 2 keeps
            it in bfloat16 whatever the model's dtype; parity needs the same rounding.
        pointer: (C,), the object pointer.
        keys: float32 (layers, h * w, C), what attention makes of the tokens; None until it is
            needed, and not part of a saved state.
    """

    tokens: Tensor
    pointer: Tensor
    keys: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.nbytes for t in (self.tokens, self.pointer, self.keys) if t is not None)


@dataclass(frozen=True, slots=True)
class MemoryRules:
    """The model's own settings of what is attended to; see ``SAM2Base.__init__``.

    Attributes:
        num_maskmem: Spatial memories: one conditioning slot and the frames before this one.
        stride: Distance of the frames before the last one.
        max_conditioning: Conditioning frames attended to; -1 means all.
        max_pointers: Object pointers, that of this frame's own prompt not counted.
        clip_frames: Number of frames of the clip where known: SAM 2 shortens the list of
            pointers (and scales their time) for clips shorter than ``max_pointers``.
    """

    num_maskmem: int
    stride: int
    max_conditioning: int
    max_pointers: int
    clip_frames: int | None = None

    @classmethod
    def of(cls, model: SAM2Base, max_conditioning: int, clip_frames: int | None) -> MemoryRules:
        """The rules of ``model``, its conditioning frames capped at ``max_conditioning``."""
        caps = [cap for cap in (model.max_cond_frames_in_attn, max_conditioning) if cap > 0]
        pointers = model.max_obj_ptrs_in_encoder if model.use_obj_ptrs_in_encoder else 0
        if clip_frames is not None:
            pointers = min(pointers, clip_frames)
        return cls(
            num_maskmem=model.num_maskmem,
            stride=model.memory_temporal_stride_for_eval,
            max_conditioning=min(caps) if caps else -1,
            max_pointers=pointers,
            clip_frames=clip_frames,
        )

    @property
    def reach(self) -> int:
        """How many frames back anything but a conditioning frame is attended to."""
        return max(self.stride * (self.num_maskmem - 1), self.max_pointers - 1, 1)

    def slots(self, now: int) -> list[tuple[int, int]]:
        """The (slot, frame) pairs of the frames before ``now``, the farthest first."""
        pairs = []
        for slot in range(1, self.num_maskmem):
            back = self.num_maskmem - slot
            if back == 1:  # the last frame, whatever the stride
                frame = now - 1
            else:
                frame = ((now - 2) // self.stride) * self.stride - (back - 2) * self.stride
            pairs.append((slot, frame))
        return pairs


@dataclass(frozen=True, slots=True)
class Recall:
    """What one object attends to in one frame, in the model's order.

    Attributes:
        slots: Temporal slot of each spatial memory; 0 for conditioning frames.
        memories: The spatial memories.
        ages: Frames since each pointer was made.
        pointers: The object pointers.
    """

    slots: tuple[int, ...]
    memories: tuple[Memory, ...]
    ages: tuple[int, ...]
    pointers: tuple[Tensor, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Objects of the same shape can go through the model as one batch."""
        return len(self.memories), len(self.pointers)


@dataclass(slots=True)
class ObjectMemory:
    """All that is remembered of one object.

    Attributes:
        conditioning: Frame -> memory, frames where the object was prompted.
        recent: Frame -> memory, tracked frames within the model's reach.
        logits: Low-resolution logits in the current frame (1, h, w); a correcting prompt
            starts from them. None where the frame hasn't been seen.
        tracked: Whether the current frame was reached by tracking (else by its first prompt).
    """

    conditioning: dict[int, Memory] = field(default_factory=dict)
    recent: dict[int, Memory] = field(default_factory=dict)
    logits: Tensor | None = None
    tracked: bool = False

    def recall(self, now: int, rules: MemoryRules) -> Recall:
        """What is attended to in frame ``now``."""
        past = {t: memory for t, memory in self.conditioning.items() if t < now}
        chosen, rest = select_closest_cond_frames(now, past, rules.max_conditioning)
        spatial = [(0, memory) for memory in chosen.values()]
        for slot, frame in rules.slots(now):
            memory = self.recent.get(frame, rest.get(frame))
            if memory is not None:
                spatial.append((slot, memory))
        pointers = [(now - t, m.pointer) for t, m in chosen.items()] if rules.max_pointers else []
        for age in range(1, rules.max_pointers):
            memory = self.recent.get(now - age, rest.get(now - age))
            if memory is not None:
                pointers.append((age, memory.pointer))
        return Recall(
            slots=tuple(slot for slot, _ in spatial),
            memories=tuple(memory for _, memory in spatial),
            ages=tuple(age for age, _ in pointers),
            pointers=tuple(pointer for _, pointer in pointers),
        )

    def forget(self, now: int, rules: MemoryRules) -> None:
        """Drop what no frame after ``now`` can attend to."""
        oldest = now + 1 - rules.reach
        for frame in [t for t in self.recent if t < oldest]:
            del self.recent[frame]
        attended = {frame for _, frame in rules.slots(now + 1)}
        for frame, memory in self.recent.items():
            if frame not in attended:
                memory.keys = None
        if rules.max_conditioning > 0:
            kept = sorted(self.conditioning)[-rules.max_conditioning :]
            for frame in [t for t in self.conditioning if t < oldest and t not in kept]:
                del self.conditioning[frame]


def memory_to_bytes(
    clock: int, size: tuple[int, int] | None, objects: dict[int, ObjectMemory]
) -> bytes:
    """The memories as one ``.npz`` (no pickle): the same memories give the same bytes."""
    arrays: dict[str, Any] = {}
    index: list[tuple[int, str, int, str]] = []
    for object_id, memory in objects.items():
        for kind, frames in (("c", memory.conditioning), ("r", memory.recent)):
            for frame, held in frames.items():
                key = f"{len(index):06d}"
                index.append((object_id, kind, frame, str(held.pointer.dtype)))
                # NumPy has no bfloat16: its bits travel as int16.
                arrays["t" + key] = held.tokens.cpu().view(torch.int16).numpy()
                arrays["p" + key] = held.pointer.float().cpu().numpy()
    head = {
        "version": STATE_VERSION,
        "clock": clock,
        "size": size,
        "ids": list(objects),
        "index": index,
    }
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def memory_from_bytes(
    data: bytes, device: torch.device
) -> tuple[int, tuple[int, int] | None, dict[int, ObjectMemory]]:
    """Clock, frame size and memories that ``memory_to_bytes`` wrote.

    Raises:
        ValueError: If the bytes are of another version.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        head = json.loads(arrays["head"].tobytes())
        if head["version"] != STATE_VERSION:
            raise ValueError(f"tracker state: expected version {STATE_VERSION}, found {head}")
        objects = {object_id: ObjectMemory() for object_id in head["ids"]}
        for i, (object_id, kind, frame, dtype) in enumerate(head["index"]):
            tokens = torch.from_numpy(arrays[f"t{i:06d}"].copy()).view(torch.bfloat16)
            pointer = torch.from_numpy(arrays[f"p{i:06d}"].copy())
            pointer = pointer.to(device, getattr(torch, dtype.removeprefix("torch.")))
            memory = objects[object_id]
            target = memory.conditioning if kind == "c" else memory.recent
            target[frame] = Memory(tokens.to(device), pointer)
    size = tuple(head["size"]) if head["size"] else None
    return head["clock"], size, objects
