"""The values that flow through autolabel, and every convention, stated once.

- Images: uint8 ``(H, W, 3)`` RGB in displayed orientation (EXIF and rotation applied).
  Sizes are separate ``height`` and ``width``, never a bare pair.
- Boxes: float32 ``(N, 4)`` absolute pixels ``x1, y1, x2, y2``; x2 and y2 exclusive.
- Masks: bool ``(N, H, W)`` while in use; COCO compressed RLE at rest and between processes.
- Scores: float32 in [0, 1]. A model that gives none says NaN for the prompt that found a box:
  it passes every threshold, and the label's score is None.
- Class ids: 0-based into the ontology's classes. Prompt ids: 0-based into
  ``Ontology.prompts`` (positive and negative prompts). Only exporters renumber.
- Frame index: 0-based decode order (0 for pictures). Time: seconds from the first frame.

Arrays in the dataclasses below are checked where they are built; the error says what
was expected and what was found. All dataclasses are frozen; treat their arrays as read-only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""uint8 (H, W, 3), RGB."""
Boxes: TypeAlias = NDArray[np.float32]
"""float32 (N, 4), absolute pixels x1, y1, x2, y2; x2 and y2 exclusive."""
Scores: TypeAlias = NDArray[np.float32]
"""float32 (N,), in [0, 1]."""
PromptScores: TypeAlias = NDArray[np.float32]
"""float32 (N, P): the score of each of P prompts for each of N boxes, in [0, 1]."""
Opinions: TypeAlias = NDArray[np.float32]
"""float32 (N, 2, P): the scores that each of two grounders gave on its own, 0 for nothing."""
Mask: TypeAlias = NDArray[np.bool_]
"""bool (H, W)."""
Masks: TypeAlias = NDArray[np.bool_]
"""bool (N, H, W)."""


def check_array(name: str, array: object, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Raise unless ``array`` has this dtype and shape (None: any length).

    Raises:
        TypeError: If it isn't an array of that dtype.
        ValueError: If its shape differs.
    """
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        found = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"{name}: expected an array of {np.dtype(dtype).name}, found {found}")
    right = len(array.shape) == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not right:
        want_text = ", ".join("N" if want is None else str(want) for want in shape)
        raise ValueError(f"{name}: expected shape ({want_text}), found {array.shape}")


@dataclass(frozen=True, slots=True)
class RLE:
    """One mask as COCO compressed run lengths (column-major, starting with background).

    Attributes:
        height: Rows of the picture.
        width: Columns of the picture.
        counts: COCO's compressed string, ASCII.
    """

    height: int
    width: int
    counts: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, or one frame of a video, decoded.

    Attributes:
        image: uint8 (H, W, 3) RGB, displayed orientation.
        index: Decode order in its video; 0 for a picture.
        time: Seconds from the first frame; None for a picture.
    """

    image: Image
    index: int = 0
    time: float | None = None

    def __post_init__(self) -> None:
        """Check the image's dtype and shape."""
        check_array("Frame.image", self.image, np.uint8, (None, None, 3))

    @property
    def height(self) -> int:
        """Rows of the picture."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Columns of the picture."""
        return int(self.image.shape[1])


@dataclass(frozen=True, slots=True)
class Proposals:
    """What a grounder found in one picture: boxes, each with the score of every prompt.

    A grounder returns all boxes whose best prompt reaches the run's floor, best first;
    which of them become labels is decided later (``autolabel.select``).

    Attributes:
        boxes: float32 (N, 4), clipped to the picture.
        scores: float32 (N, P), P the number of prompts asked, in the order asked; NaN where
            a prompt found the box and the model gives no scores.
        windows: float32 (N, 4), the part of the picture in which each box was found, where
            several were looked at (tiles); None: the whole picture.
        opinions: float32 (N, 2, P), where two grounders were asked; else None.
    """

    boxes: Boxes
    scores: PromptScores
    windows: Boxes | None = None
    opinions: Opinions | None = None

    def __post_init__(self) -> None:
        """Check dtypes and shapes."""
        count = len(self.boxes)
        check_array("Proposals.boxes", self.boxes, np.float32, (None, 4))
        check_array("Proposals.scores", self.scores, np.float32, (count, None))
        if self.windows is not None:
            check_array("Proposals.windows", self.windows, np.float32, (count, 4))
        if self.opinions is not None:
            prompts = self.scores.shape[1]
            check_array("Proposals.opinions", self.opinions, np.float32, (count, 2, prompts))

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.boxes)

    def take(self, rows: NDArray[np.intp]) -> Proposals:
        """Return these rows, in this order."""
        windows = None if self.windows is None else self.windows[rows]
        opinions = None if self.opinions is None else self.opinions[rows]
        return Proposals(self.boxes[rows], self.scores[rows], windows, opinions)

    def unscored(self, row: int) -> bool:
        """Return whether the model found this box without giving it a score."""
        return bool(np.isnan(self.scores[row]).any())

    @classmethod
    def empty(cls, prompts: int) -> Proposals:
        """Return no boxes, for ``prompts`` prompts."""
        return cls(np.zeros((0, 4), np.float32), np.zeros((0, prompts), np.float32))


@dataclass(frozen=True, slots=True)
class Segments:
    """The masks of one picture's boxes, in the order of the boxes.

    Attributes:
        masks: One RLE a box, at the picture's full size. An empty mask is possible.
        scores: float32 (N,), the segmenter's own estimate of each mask's IoU.
    """

    masks: tuple[RLE, ...]
    scores: Scores

    def __post_init__(self) -> None:
        """Check that there is one score a mask."""
        check_array("Segments.scores", self.scores, np.float32, (len(self.masks),))

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.masks)


@dataclass(frozen=True, slots=True)
class Candidates:
    """All that the models said about one frame, from which labels are selected.

    Attributes:
        height: Rows of the picture.
        width: Columns of the picture.
        proposals: The boxes above the floor with every prompt's score.
        masks: One entry a box: its mask, or None where none was made.
        mask_scores: One entry a box: the segmenter's score, or None.
    """

    height: int
    width: int
    proposals: Proposals
    masks: tuple[RLE | None, ...]
    mask_scores: tuple[float | None, ...]

    def __post_init__(self) -> None:
        """Check that there is one mask entry and one mask score entry a box."""
        for name, values in (("masks", self.masks), ("mask_scores", self.mask_scores)):
            if len(values) != len(self.proposals):
                raise ValueError(
                    f"Candidates.{name}: expected {len(self.proposals)} entries, "
                    f"found {len(values)}"
                )


@dataclass(frozen=True, slots=True)
class Selected:
    """One candidate that became a label.

    Attributes:
        candidate: Row of the candidate in its picture's Proposals.
        class_id: 0-based class in the ontology.
        prompt_id: The prompt of that class which scored best (into ``Ontology.prompts``).
        score: That prompt's score; None where the model gives none.
        runner_up_class: The next best class, or None.
        runner_up_score: Its score, 0.0 when there is none.
    """

    candidate: int
    class_id: int
    prompt_id: int
    score: float | None
    runner_up_class: int | None
    runner_up_score: float


@dataclass(frozen=True, slots=True)
class Instance:
    """One label as it is stored, exported and reviewed: one object in one frame.

    Attributes:
        class_id: 0-based class in the ontology.
        box: x1, y1, x2, y2 in pixels, exclusive end: the mask's tight box where there is
            a mask, else the detector's.
        detector_box: The detector's own box, or None (a human's label, a tracked frame).
        mask: RLE at the picture's full size, or None (boxes only).
        score: The detector's score in [0, 1]; None for a human's label, and where the
            detector gives none.
        mask_score: The segmenter's score, or None.
        prompt: The prompt that found it, or None.
        runner_up_class: The next best class, or None.
        runner_up_score: Its score.
        frame_index: 0-based decode order; 0 for pictures.
        track_id: Identity through a video, from 1; None for pictures.
        source: "model" or "human".
        status: "pending", "accepted" or "rejected".
        uid: Row id in the store; None before it is stored.
        doubt: Why a human should look at it: where two grounders disagree, else "".
    """

    class_id: int
    box: tuple[float, float, float, float]
    detector_box: tuple[float, float, float, float] | None = None
    mask: RLE | None = None
    score: float | None = None
    mask_score: float | None = None
    prompt: str | None = None
    runner_up_class: int | None = None
    runner_up_score: float = 0.0
    frame_index: int = 0
    track_id: int | None = None
    source: str = "model"
    status: str = "pending"
    uid: int | None = None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One input of a run: a picture, a video, or a folder of frames.

    Attributes:
        name: Unique in the project: the path relative to the input that was given, with
            forward slashes ("street/001.jpg").
        path: Where the file is, absolute.
        kind: "image", "video" or "frames".
    """

    name: str
    path: str
    kind: str = "image"


@dataclass(frozen=True, slots=True)
class MediaRecord:
    """One input as the store knows it.

    Attributes:
        name: Unique in the project, forward slashes.
        path: Where the file was when it was labelled, absolute.
        kind: "image", "video" or "frames".
        key: SHA-256 of the file's content, hex.
        height: Rows, displayed orientation; 0 when it failed before decoding.
        width: Columns.
        frames: Number of frames; 1 for a picture.
        status: "done" or "failed".
        reason: Why it failed, else "".
    """

    name: str
    path: str
    kind: str
    key: str
    height: int
    width: int
    frames: int = 1
    status: str = "done"
    reason: str = ""
