"""Objects followed through a video by SAM 2: streaming, and all objects of a frame as a batch.

``SAM2VideoPredictor`` (sam2 1.1.0) holds the whole clip, keeps every output and runs the
objects one by one. This tracker drives the same ``SAM2Base`` with the same arithmetic on a
stream: a frame is seen once, its features are computed once, memory holds only what the model
still attends to, and objects whose memories have the same shape go through it together. With
the same weights and prompts its masks are the predictor's (``tests/track/test_parity.py``).

Two things differ by design. Conditioning frames are capped (``max_conditioning``), which is
SAM 2's own ``max_cond_frames_in_attn``; an object that is prompted once never meets the cap.
And ``fill_hole_area`` is not applied: it needs sam2's CUDA extension, without which the
predictor skips it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as PILImage
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from autolabel.errors import InputError, UsageError, WeightsError
from autolabel.track.cores import Cores
from autolabel.track.sam2_forward import FrameFeatures, Heads, Sam2Forward
from autolabel.track.sam2_memory import (
    Memory,
    MemoryRules,
    ObjectMemory,
    Recall,
    memory_from_bytes,
    memory_to_bytes,
)
from autolabel.track.values import Prepared, Prompt, Tracked
from autolabel.types import Image, Masks

_T = TypeVar("_T")
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_CHUNK_PIXELS = 1 << 23
"""Logits at the video's size are made for so many pixels at a time (32 MB of float32)."""


class Sam2Tracker:
    """Follows objects with a SAM 2 model; holds settings only, a ``Session`` holds a video.

    Args:
        model: The model, in eval mode, on ``device``.
        device: Where to compute.
        dtype: torch.float32, or a half type to compute in by autocast.
        batch: Most objects that go through the model together; None: 32, on CPUs 4, whose
            activations fit their caches.
        cores: CPU cores that have a batch each at the same time; None: as many as torch uses.
        max_conditioning: Most prompted frames an object attends to (at least 2; 0: SAM 2's
            own setting, which is all of them and grows with every correction).
        corrections_condition: A prompt for an object that is tracked already makes the frame
            a conditioning one (``add_all_frames_to_correct_as_cond``).
        clear_around_corrections: Forget the frames around a prompt
            (``clear_non_cond_mem_around_input``).
        binarize_prompted: Memory of prompted frames is made from the hard mask; None: as the
            model is set. ``build_sam2_video_predictor`` sets it, ``build_sam2`` doesn't.
        non_overlap: In every frame a pixel belongs to one object at most
            (``non_overlap_masks``).
        has_memory: Whether the checkpoint held the memory's tensors.

    Raises:
        WeightsError: If the model has no memory, as image-only checkpoints have none.
        UsageError: If ``max_conditioning`` is 1 or negative.
    """

    def __init__(
        self,
        model: SAM2Base,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        batch: int | None = None,
        cores: int | None = None,
        max_conditioning: int = 4,
        corrections_condition: bool = True,
        clear_around_corrections: bool = False,
        binarize_prompted: bool | None = True,
        non_overlap: bool = False,
        has_memory: bool = True,
    ) -> None:
        if not has_memory or model.num_maskmem == 0:
            raise WeightsError(
                "this SAM 2 checkpoint segments pictures only: it holds no memory_attention and "
                "no memory_encoder, which following objects through a video needs. Use a video "
                "checkpoint (such as sam2.1_hiera_tiny.pt), or label the frames as pictures."
            )
        if max_conditioning < 0 or max_conditioning == 1:
            raise UsageError(f"max_conditioning: expected 0 or from 2, found {max_conditioning}")
        self.model = model.eval()
        self.device = torch.device(device)
        self.dtype = dtype
        on_cpu = self.device.type == "cpu"
        self.batch = batch or (4 if on_cpu else 32)
        self.cores = Cores((cores or torch.get_num_threads()) if on_cpu else 1)
        self.max_conditioning = max_conditioning
        self.corrections_condition = corrections_condition
        self.clear_around_corrections = clear_around_corrections
        self.non_overlap = non_overlap
        binarize = binarize_prompted
        self.forward = Sam2Forward(
            model,
            model.binarize_mask_from_pts_for_mem_enc if binarize is None else binarize,
            dtype,
        )

    def prepare(self, image: Image) -> Prepared:
        """The frame at the model's size, resized as ``sam2.utils.misc.load_video_frames`` does.

        Args:
            image: uint8 (H, W, 3) RGB.
        """
        side = self.model.image_size
        resized = np.asarray(PILImage.fromarray(image).resize((side, side)), np.uint8)
        return Prepared(resized, int(image.shape[0]), int(image.shape[1]))

    def session(self, *, clip_frames: int | None = None) -> Session:
        """A new video, no objects in it yet.

        Args:
            clip_frames: Number of frames where known. SAM 2 attends to fewer pointers in
                clips shorter than 16 frames; None treats every clip as a long one.
        """
        return Session(self, MemoryRules.of(self.model, self.max_conditioning, clip_frames))

    def restore(self, state: bytes, *, clip_frames: int | None = None) -> Session:
        """The session whose ``state()`` this is; it goes on with identical results.

        Raises:
            ValueError: If the bytes are of another version.
        """
        session = self.session(clip_frames=clip_frames)
        session.load(state)
        return session

    @contextmanager
    def computing(self) -> Iterator[None]:
        """No gradients, and autocast where a half type was asked for."""
        half = self.dtype != torch.float32
        # Not inference_mode: sam2 caches position encodings, and training can't use those then.
        with torch.no_grad(), torch.autocast(self.device.type, self.dtype, enabled=half):
            yield


class Session:
    """One video on its way through a tracker.

    Give it each frame once, in order, with ``step``; prompt objects in the frame just given
    with ``add``. To go backwards, give the frames in reverse order to a session of their own:
    SAM 2 sees distances in time only.
    """

    def __init__(self, tracker: Sam2Tracker, rules: MemoryRules) -> None:
        self._tracker = tracker
        self._rules = rules
        self._clock = -1
        self._size: tuple[int, int] | None = None
        self._objects: dict[int, ObjectMemory] = {}
        self._features: FrameFeatures | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects followed, in the order in which they joined."""
        return tuple(self._objects)

    def step(self, frame: Image | Prepared) -> Tracked:
        """Where every object is in the next frame.

        Args:
            frame: uint8 (H, W, 3) RGB, or what ``Sam2Tracker.prepare`` made of it.

        Raises:
            InputError: If the frame's size isn't that of the frames before.
        """
        if not isinstance(frame, Prepared):
            frame = self._tracker.prepare(frame)
        size = (frame.height, frame.width)
        if self._size not in (None, size):
            raise InputError(
                f"frame {self._clock + 1}: expected {self._size} like the frames before, "
                f"found {size} (rows, columns)"
            )
        self._size = size
        self._clock += 1
        with self._tracker.computing():
            # With nobody to follow, features wait until somebody is prompted.
            self._features = FrameFeatures(self._tracker.forward, self._normalise(frame.pixels))
            found = self._propagate()
            return self._report(tuple(self._objects), found)

    def add(self, ids: Sequence[int], prompts: Sequence[Prompt]) -> Tracked:
        """Where the prompted objects are in the current frame, in the order given.

        A new id joins here. An id that is followed already is corrected: from then on the
        prompt outweighs what was tracked.

        Raises:
            UsageError: If no frame was given yet, or ids are repeated or not one a prompt.
        """
        if self._features is None:
            raise UsageError("add() needs a current frame: call step() first")
        if len(ids) != len(prompts) or len(set(ids)) != len(ids):
            raise UsageError(f"add(): {len(ids)} ids for {len(prompts)} prompts, or one id twice")
        for object_id in ids:
            self._objects.setdefault(object_id, ObjectMemory())
        groups: dict[tuple[object, ...], list[int]] = {}
        for i, (object_id, prompt) in enumerate(zip(ids, prompts, strict=True)):
            groups.setdefault((prompt.kind, *self._way(i, object_id, prompt)), []).append(i)
        found: dict[int, tuple[Tensor, Tensor]] = {}
        with self._tracker.computing():
            for members in groups.values():
                for chunk in _chunks(members, self._tracker.batch):
                    some_ids = [ids[i] for i in chunk]
                    heads = self._prompted(some_ids, [prompts[i] for i in chunk])
                    found.update(_split(some_ids, heads))
            return self._report(tuple(ids), found)

    def remove(self, ids: Sequence[int]) -> None:
        """Stop following these objects and forget them; unknown ids are ignored."""
        for object_id in ids:
            self._objects.pop(object_id, None)

    def forget(self, ids: Sequence[int]) -> None:
        """Drop what was tracked of these objects since their prompts, which stay."""
        for object_id in ids:
            if object_id in self._objects:
                self._objects[object_id].recent.clear()

    def state(self) -> bytes:
        """What ``Sam2Tracker.restore`` needs to go on with the next frame."""
        return memory_to_bytes(self._clock, self._size, self._objects)

    def load(self, state: bytes) -> None:
        """Take the place of the session whose ``state()`` this is."""
        self._clock, self._size, self._objects = memory_from_bytes(state, self._tracker.device)
        self._features = None

    def memory_bytes(self) -> int:
        """Bytes held for all objects: constant however many frames have passed."""
        return sum(
            held.nbytes
            for memory in self._objects.values()
            for frames in (memory.conditioning, memory.recent)
            for held in frames.values()
        )

    def _way(self, i: int, object_id: int, prompt: Prompt) -> tuple[bool, int]:
        """Whether the object is tracked already, and what sets its prompt apart from others.

        A correction by points starts from that object's own memory and mask: one at a time.
        A mask that is taken as it is needs neither.
        """
        memory = self._objects[object_id]
        if memory.logits is None:
            return False, -1
        as_it_is = (
            prompt.mask is not None and self._tracker.model.use_mask_input_as_output_without_sam
        )
        return memory.tracked, -1 if as_it_is else i

    def _normalise(self, pixels: Image) -> Tensor:
        """float32 (1, 3, S, S) as the predictor has it, bit for bit."""
        image = torch.from_numpy(pixels / 255.0).permute(2, 0, 1).to(torch.float32)
        image -= torch.tensor(_MEAN)[:, None, None]
        image /= torch.tensor(_STD)[:, None, None]
        return image[None].to(self._tracker.device)

    def _propagate(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Track every object into the current frame, those with like memories together."""
        assert self._features is not None
        groups: dict[tuple[int, int], list[tuple[int, Recall]]] = {}
        for object_id, memory in self._objects.items():
            recall = memory.recall(self._clock, self._rules)
            groups.setdefault(recall.shape, []).append((object_id, recall))
        # Batches don't depend on how many cores there are: neither do the bits of what they give.
        batch = self._tracker.batch
        chunks = [chunk for group in groups.values() for chunk in _chunks(group, batch)]
        if chunks:
            self._features.compute()
        found: dict[int, tuple[Tensor, Tensor]] = {}
        done = self._tracker.cores.map(self._follow, chunks)
        for chunk, (heads, tokens) in zip(chunks, done, strict=True):
            ids = [object_id for object_id, _ in chunk]
            self._store(ids, heads, tokens, conditioning=False)
            found.update(_split(ids, heads))
        for memory in self._objects.values():
            memory.tracked = True
            memory.forget(self._clock, self._rules)
        return found

    def _follow(self, chunk: list[tuple[int, Recall]]) -> tuple[Heads, Tensor]:
        """Where objects with memories of one shape are now, and how that is remembered."""
        assert self._features is not None
        frame, forward = self._features, self._tracker.forward
        with self._tracker.computing():  # it holds for one thread
            recalls = [recall for _, recall in chunk]
            heads = forward.decode(frame, forward.attend(frame, recalls, self._rules.max_pointers))
            return heads, forward.remember(frame, heads.high_res, heads.scores, False)

    def _prompted(self, ids: list[int], prompts: list[Prompt]) -> Heads:
        """Segment prompted objects of one kind in the current frame and remember them."""
        assert self._features is not None
        forward = self._tracker.forward
        known = self._objects[ids[0]]
        tracked = known.tracked
        recalled = self._recalled(ids[0]) if tracked and len(ids) == 1 else None
        if prompts[0].mask is not None:
            masks = np.stack([prompt.mask for prompt in prompts if prompt.mask is not None])
            heads = forward.from_masks(self._features, masks, recalled)
        else:
            coords, labels = self._points(prompts)
            heads = forward.from_points(self._features, coords, labels, recalled, known.logits)
        # As the predictor does before propagating: from the low-resolution mask.
        high_res = forward.upscale(heads.low_res)
        tokens = forward.remember(self._features, high_res, heads.scores, True)
        conditioning = not tracked or self._tracker.corrections_condition
        self._store(ids, heads, tokens, conditioning=conditioning)
        return heads

    def _recalled(self, object_id: int) -> tuple[Recall, int]:
        recall = self._objects[object_id].recall(self._clock, self._rules)
        return recall, self._rules.max_pointers

    def _points(self, prompts: list[Prompt]) -> tuple[Tensor, Tensor]:
        """Points in the model's pixels (N, P, 2) and labels (N, P); 2 and 3: a box's corners."""
        assert self._size is not None
        height, width = self._size
        coords, labels = [], []
        for prompt in prompts:
            corners = [prompt.box[:2], prompt.box[2:]] if prompt.box is not None else []
            coords.append([*corners, *prompt.points])
            labels.append([*([2, 3] if corners else []), *prompt.labels])
        where = torch.tensor(coords, dtype=torch.float32) / torch.tensor([width, height])
        where = where * self._tracker.model.image_size
        device = self._tracker.device
        return where.to(device), torch.tensor(labels, dtype=torch.int32).to(device)

    def _store(self, ids: list[int], heads: Heads, tokens: Tensor, *, conditioning: bool) -> None:
        """Keep what later frames attend to."""
        for i, object_id in enumerate(ids):
            memory = self._objects[object_id]
            held = Memory(tokens[i].clone(), heads.pointers[i].clone())
            if conditioning:
                memory.conditioning[self._clock] = held
                memory.recent.pop(self._clock, None)
            else:
                memory.recent[self._clock] = held
            memory.logits = heads.low_res[i].clone()
            if conditioning and self._tracker.clear_around_corrections:
                memory.recent.clear()

    def _report(self, ids: tuple[int, ...], found: dict[int, tuple[Tensor, Tensor]]) -> Tracked:
        """Masks at the frame's size, and object scores, as arrays."""
        assert self._size is not None
        height, width = self._size
        if not ids:
            return Tracked((), np.zeros((0, height, width), np.bool_), np.zeros(0, np.float32))
        logits = torch.stack([found[i][0] for i in ids])
        scores = torch.stack([found[i][1] for i in ids]).float().sigmoid()
        masks = _full_size(logits, height, width, self._tracker.non_overlap)
        return Tracked(ids, masks, np.asarray(scores.reshape(-1).cpu().numpy(), np.float32))


def _split(ids: list[int], heads: Heads) -> dict[int, tuple[Tensor, Tensor]]:
    """Low-resolution logits (1, h, w) and object score of each object."""
    return {object_id: (heads.low_res[i], heads.scores[i]) for i, object_id in enumerate(ids)}


def _full_size(logits: Tensor, height: int, width: int, non_overlap: bool) -> Masks:
    """Masks at the frame's size from logits (N, 1, h, w), a few at a time."""
    masks = np.empty((len(logits), height, width), np.bool_)
    best: Tensor | None = None
    owner: NDArray[np.int64] = np.zeros((height, width), np.int64)
    step = max(1, _CHUNK_PIXELS // (height * width))
    for start in range(0, len(logits), step):
        large = logits[start : start + step].float()
        if large.shape[-2:] != (height, width):
            large = F.interpolate(large, (height, width), mode="bilinear", align_corners=False)
        masks[start : start + step] = (large[:, 0] > 0).cpu().numpy()
        if non_overlap:
            top, which = large[:, 0].max(dim=0)
            wins = torch.ones_like(top, dtype=torch.bool) if best is None else top > best
            owner = np.where(wins.cpu().numpy(), which.cpu().numpy() + start, owner)
            best = top if best is None else torch.maximum(best, top)
    if non_overlap:
        masks &= owner[None] == np.arange(len(masks))[:, None, None]
    return masks


def _chunks(items: list[_T], size: int) -> Iterator[list[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
