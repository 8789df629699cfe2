"""Objects followed by the SAM-like video models of transformers: EdgeTAM and SAM 3's tracker.

transformers' own inference session holds a clip and cannot forget an object. Here every object
has a session of its own, which sees one frame at a time; all share the picture's features, and
what the model no longer attends to is dropped, so that memory doesn't grow with the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from transformers import (
    EdgeTamVideoInferenceSession,
    EdgeTamVideoModel,
    Sam2ImageProcessor,
    Sam3ImageProcessor,
    Sam3TrackerVideoInferenceSession,
    Sam3TrackerVideoModel,
)

from autolabel.errors import InputError, UsageError
from autolabel.models.box_prompts import pixels_of
from autolabel.models.device import autocast
from autolabel.models.pretrained import load_pretrained, model_files
from autolabel.track.hf_memory import forget, from_bytes, to_bytes, to_device
from autolabel.track.values import Prepared, Prompt, Tracked
from autolabel.types import Image

CORNERS = (2, 3)
"""The prompt encoder's labels of a box's two corners."""


class HfTracker:
    """Follows objects with a model of this family; holds settings only."""

    FAMILIES: tuple[str, ...] = ()
    MODEL: Any = None
    PROCESSOR: Any = None
    SESSION: Any = None

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        """Load the model from a folder in transformers' format.

        Raises:
            WeightsError: If the folder holds another architecture, or pictures' weights only.
        """
        files, parts = model_files(folder, self.FAMILIES), (self.MODEL, self.PROCESSOR)
        self.prepare_pixels, self.model = load_pretrained(folder, files, device, *parts)
        self.device, self.dtype = device, dtype
        self.side = int(self.model.prompt_encoder.image_embedding_size[0]) * int(
            self.model.config.prompt_encoder_config.patch_size
        )

    def prepare(self, image: Image) -> Prepared:
        """Return the frame at the model's size."""
        size = (self.side, self.side)
        small = Pillow.fromarray(image).resize(size, Pillow.Resampling.BILINEAR)
        return Prepared(np.asarray(small, np.uint8), image.shape[0], image.shape[1])

    def session(self) -> HfSession:
        """Return a new video, no objects in it yet."""
        return HfSession(self)

    def restore(self, state: bytes) -> HfSession:
        """Return the session whose ``state()`` this is.

        Raises:
            ValueError: If the bytes are no such state.
        """
        session = HfSession(self)
        session.load(state)
        return session


class EdgeTamTracker(HfTracker):
    """EdgeTAM."""

    FAMILIES = ("edgetam_video",)
    MODEL = EdgeTamVideoModel
    PROCESSOR = Sam2ImageProcessor
    SESSION = EdgeTamVideoInferenceSession


class Sam3Tracker(HfTracker):
    """The tracker in SAM 3's weights."""

    FAMILIES = ("sam3_video",)
    MODEL = Sam3TrackerVideoModel
    PROCESSOR = Sam3ImageProcessor
    SESSION = Sam3TrackerVideoInferenceSession


class HfSession:
    """One video on its way through a tracker; see ``autolabel.track.values.Session``."""

    def __init__(self, tracker: HfTracker) -> None:
        self._tracker = tracker
        self._objects: dict[int, Any] = {}
        self._clock = -1
        self._size = (0, 0)
        self._frame: torch.Tensor | None = None
        self._features: Any = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects followed, in the order in which they joined."""
        return tuple(self._objects)

    def step(self, frame: Image | Prepared) -> Tracked:
        """Return where every object is in the next frame.

        Raises:
            InputError: If the frame's size isn't that of the frames before.
        """
        prepared = frame if isinstance(frame, Prepared) else self._tracker.prepare(frame)
        before, self._size = self._size, (prepared.height, prepared.width)
        if self._clock >= 0 and before != self._size:
            raise InputError(f"frame of {self._size} after frames of {before} (rows, columns)")
        self._clock += 1
        self._frame = pixels_of(self._tracker.prepare_pixels, prepared.pixels, "cpu")
        self._features = None
        return self._report(list(self._objects))

    def add(self, ids: Sequence[int], prompts: Sequence[Prompt]) -> Tracked:
        """Return where the prompted objects are in the current frame, in the order given.

        Raises:
            UsageError: If no frame was given yet, or ids are repeated or not one a prompt.
        """
        if self._frame is None:
            raise UsageError("add() needs a current frame: call step() first")
        if len(ids) != len(prompts) or len(set(ids)) != len(ids):
            raise UsageError(f"add(): {len(ids)} ids for {len(prompts)} prompts, or one id twice")
        for object_id, prompt in zip(ids, prompts, strict=True):
            session = self._objects.setdefault(object_id, self._new(object_id))
            # A frame with a prompt is one to go by, whatever was tracked in it before.
            session.frames_tracked_per_obj[0].pop(self._clock, None)
            session.output_dict_per_obj[0]["non_cond_frame_outputs"].pop(self._clock, None)
            self._show(session, prompt)
            session.obj_with_new_inputs = [object_id]
        return self._report(list(ids))

    def remove(self, ids: Sequence[int]) -> None:
        """Stop following these objects; unknown ids are ignored."""
        for object_id in ids:
            self._objects.pop(object_id, None)

    def forget(self, ids: Sequence[int]) -> None:
        """Drop what was tracked of these objects since their prompts, which stay."""
        for object_id in set(ids) & set(self._objects):
            self._objects[object_id].output_dict_per_obj[0]["non_cond_frame_outputs"].clear()

    def state(self) -> bytes:
        """Return what ``restore`` needs to go on with the next frame."""
        return to_bytes(self._clock, self._size, self._objects)

    def load(self, state: bytes) -> None:
        """Take the place of the session whose ``state()`` this is."""
        self._clock, self._size, memories = from_bytes(state)
        to_device(memories, self._tracker.device)
        for object_id, memory in memories.items():
            session = self._new(object_id)
            session.output_dict_per_obj[0] = memory
            self._objects[object_id] = session

    def _new(self, object_id: int) -> Any:
        """Return a session for one object, on the tracker's device."""
        session = self._tracker.SESSION(
            video_height=self._size[0],
            video_width=self._size[1],
            inference_device=self._tracker.device,
            inference_state_device=self._tracker.device,
            video_storage_device=self._tracker.device,
            dtype=torch.float32,
        )
        session.obj_id_to_idx(object_id)
        return session

    def _show(self, session: Any, prompt: Prompt) -> None:
        """Give a prompt, at the model's scale, to an object's session."""
        session.remove_mask_inputs(0, self._clock)
        session.remove_point_inputs(0, self._clock)
        side = self._tracker.side
        if prompt.mask is not None:
            mask = torch.from_numpy(prompt.mask.copy()).float()[None, None]
            fitted = F.interpolate(mask, (side, side), mode="bilinear", antialias=True)
            session.add_mask_inputs(0, self._clock, (fitted >= 0.5).float())
            return
        corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
        scale = torch.tensor([side / self._size[1], side / self._size[0]])
        points = torch.tensor([*corners, *prompt.points], dtype=torch.float32) * scale
        told = torch.tensor([*(CORNERS if corners else ()), *prompt.labels], dtype=torch.int32)
        inputs = {"point_coords": points[None, None], "point_labels": told[None, None]}
        session.add_point_inputs(0, self._clock, inputs)

    @torch.inference_mode()
    def _report(self, ids: Sequence[int]) -> Tracked:
        """Run objects on the current frame, and return their masks at its size."""
        height, width = self._size
        masks = np.zeros((len(ids), height, width), np.bool_)
        scores = np.zeros(len(ids), np.float32)
        for row, object_id in enumerate(ids):
            session = self._objects[object_id]
            if self._features is not None:
                session.cache = self._features  # seen already, for another object
            with autocast(self._tracker.device, self._tracker.dtype):
                out = self._tracker.model(session, frame_idx=self._clock, frame=self._frame)
            self._features = session.cache
            forget(session, self._clock)
            logits = F.interpolate(
                out.pred_masks.float(), (height, width), mode="bilinear", align_corners=False
            )
            masks[row] = (logits[0, 0] > 0).cpu().numpy()
            scores[row] = float(out.object_score_logits.float().sigmoid().reshape(-1)[0])
        return Tracked(tuple(ids), masks, scores)
