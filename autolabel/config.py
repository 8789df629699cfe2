"""What a run does: its models and settings, and what makes two runs the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from autolabel.errors import UsageError

DEFAULT_PRESET = "base"
DEFAULT_FLOOR = 0.1
"""Candidates scoring less than this are not kept: no later threshold can go below it."""
ENGINES = ("local", "ray")
CPU_BATCH, GPU_BATCH = 4, 16
"""Pictures in a batch, where nobody says how many: on a CPU they go one by one anyway."""


LEAST_TILE = 32
MOST_OVERLAP = 0.9
DEFAULT_OVERLAP = 0.25
TTA = ("none", "flip")
PROMPT_TYPES = ("mask", "box", "point")
PICTURE_PROMPT, VIDEO_PROMPT = "box", "mask"
"""What objects are shown to a segmenter and a tracker as, where nobody says how."""


def check_prompt_type(found: str) -> None:
    """Raise UsageError if objects can't be shown to a segmenter or tracker like that."""
    if found not in PROMPT_TYPES:
        raise UsageError(f"prompt_type: expected {', '.join(PROMPT_TYPES)}, found {found!r}")


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles of a picture that are looked at beside the whole of it.

    Attributes:
        size: Side of a tile in pixels.
        overlap: Share of a tile that its neighbour shows too.
    """

    size: int
    overlap: float = DEFAULT_OVERLAP

    def __str__(self) -> str:
        """Return it as it is written on the command line."""
        return f"{self.size}:{self.overlap:g}"

    @classmethod
    def parse(cls, text: str) -> Tiling:
        """Return what ``SIZE[:OVERLAP]`` means, such as "640" or "640:0.3".

        Raises:
            UsageError: If it is no such text, or no tile could be cut like that.
        """
        match = re.fullmatch(r"\s*(-?\d+)(?::(-?[\d.]+))?\s*", text)
        try:
            size, overlap = int(match[1]), float(match[2] or DEFAULT_OVERLAP)  # type: ignore[index]
        except (TypeError, ValueError):
            raise UsageError(
                f"--tile {text}: expected SIZE[:OVERLAP], pixels and a share of the tile, such as "
                "640 or 640:0.25"
            ) from None
        if size < LEAST_TILE:
            raise UsageError(f"--tile {text}: expected tiles of {LEAST_TILE} pixels or more")
        if not 0 <= overlap <= MOST_OVERLAP:
            hint = f"; {overlap:g} pixels are {size}:{overlap / size:.2g}" if overlap > 1 else ""
            raise UsageError(
                f"--tile {text}: expected an overlap from 0 to {MOST_OVERLAP}, the share of a tile "
                f"that its neighbour shows too, found {overlap:g}{hint}"
            )
        return cls(size, overlap)


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything a run needs beside its inputs and its ontology.

    Attributes:
        grounder: Model spec ``NAME[:HUB-ID-OR-PATH]``.
        segmenter: Model spec, or "none" for boxes only.
        device: "auto", "cpu", "cuda" or "cuda:N".
        dtype: "auto", "fp32", "bf16" or "fp16".
        floor: Candidates whose best prompt scores less are not kept.
        batch_size: Pictures that go through the models together; None: 16 on a GPU, 4 elsewhere.
            Halved where the device's memory is too small.
        readers: Threads that read and decode ahead of the models.
        second_grounder: Model spec of a second grounder whose consent is sought, or "".
        tile: Look at tiles too: "SIZE[:OVERLAP]"; "" for none.
        tta: "flip": look at the mirrored picture too; "none".
        prompt_type: What an object of a picture is shown to the segmenter as: its "box", "point":
            points in the mask made of that, or "mask": that mask. "": there are no pictures.
        max_requests: Most pictures that are sent to a model behind an API.
        compile: Let PyTorch compile the models that can be: a minute, then faster calls.
        threads: CPU threads that one call of a model uses; 0: as many as there are cores.
        engine: Where the work runs: "local" or "ray".
        ray_address: A Ray cluster, "HOST:PORT" or "auto"; None: $RAY_ADDRESS, else a cluster
            of this machine alone, for the length of the run.
        workers: Ray actors that hold the models; 0: one for each GPU, without any one a node.
        gpus_per_worker: GPUs, or the share of one, that each takes; None: 1 where there are any.
    """

    grounder: str
    segmenter: str
    device: str = "auto"
    dtype: str = "auto"
    floor: float = DEFAULT_FLOOR
    batch_size: int | None = None
    readers: int = 2
    second_grounder: str = ""
    tile: str = ""
    tta: str = "none"
    prompt_type: str = PICTURE_PROMPT
    max_requests: int | None = None
    compile: bool = False
    threads: int = 0
    engine: str = "local"
    ray_address: str | None = None
    workers: int = 0
    gpus_per_worker: float | None = None

    def batch(self, on_gpu: bool) -> int:
        """Return how many pictures, or views of them, go through the models together."""
        return self.batch_size or (GPU_BATCH if on_gpu else CPU_BATCH)

    @property
    def tiling(self) -> Tiling | None:
        """The tiles that are looked at."""
        return Tiling.parse(self.tile) if self.tile else None

    @property
    def grounders(self) -> str:
        """The one or two grounders, as a text."""
        return " + ".join(filter(None, (self.grounder, self.second_grounder)))

    def __post_init__(self) -> None:
        """Refuse settings that make no sense; write the tiles in one way."""
        if self.tiling is not None:
            object.__setattr__(self, "tile", str(self.tiling))
        if self.tta not in TTA:
            raise UsageError(f"tta: expected {' or '.join(TTA)}, found {self.tta!r}")
        if self.prompt_type:
            check_prompt_type(self.prompt_type)
        if self.grounder == self.second_grounder:
            raise UsageError(
                f"--grounder {self.grounder}, twice: a consensus needs two different grounders"
            )
        if not 0.0 < self.floor < 1.0:
            raise UsageError(f"floor: expected a number between 0 and 1, found {self.floor}")
        counts = (
            ("batch_size", 1),
            ("readers", 1),
            ("threads", 0),
            ("workers", 0),
            ("max_requests", 1),
        )
        for name, least in counts:
            found = getattr(self, name)
            if found is not None and found < least:
                raise UsageError(f"{name}: expected {least} or more, found {found}")
        if self.engine not in ENGINES:
            raise UsageError(f"engine: expected {' or '.join(ENGINES)}, found {self.engine!r}")
        self._check_ray()

    def _check_ray(self) -> None:
        """Refuse settings of Ray without it, and shares of GPUs that it can't give."""
        share = self.gpus_per_worker
        if self.engine != "ray" and (self.ray_address or self.workers or share is not None):
            raise UsageError("--ray-address, --workers and --gpus-per-worker need --engine ray")
        if share is not None and (share < 0 or (share > 1 and share != int(share))):
            raise UsageError(
                f"gpus_per_worker: expected a share from 0 to 1 or a whole number, found {share:g}"
            )
        if self.engine == "ray" and self.max_requests is not None:
            raise UsageError("--max-requests needs --engine local: each worker would count alone")


@dataclass(frozen=True, slots=True)
class VideoConfig:
    """How videos are labelled.

    Attributes:
        keyframe_every: Frames from one detection to the next.
        prompt_type: What a new object is shown to the tracker as: "mask", "box" or "point".
        stride: Label every stride-th frame.
        start: First frame (int) or second (float); None: the beginning.
        end: Where to stop, exclusive; None: the end.
        tracker: Model spec of what follows objects; "" for the segmenter's own.
    """

    keyframe_every: int = 10
    prompt_type: str = VIDEO_PROMPT
    stride: int = 1
    start: int | float | None = None
    end: int | float | None = None
    tracker: str = ""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        for name in ("keyframe_every", "stride"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected 1 or more, found {getattr(self, name)}")
        check_prompt_type(self.prompt_type)

    def text(self) -> str:
        """Return it as the store keeps it: JSON."""
        stated = asdict(self)
        if not self.tracker:
            del stated["tracker"]  # as projects were written that know of none
        return json.dumps(stated)

    def takes(self, index: int) -> bool:
        """Return whether a run labels this frame; limits in seconds are taken as open."""
        first = self.start if isinstance(self.start, int) else 0
        before_end = not isinstance(self.end, int) or index < self.end
        return index >= first and before_end and (index - first) % self.stride == 0

    @classmethod
    def from_text(cls, text: str) -> VideoConfig:
        """Return what ``text()`` was; the defaults for an empty text."""
        return cls(**json.loads(text)) if text else cls()


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What a project's candidates depend on; runs that agree here can share a project.

    Attributes:
        grounder: Its spec as given.
        grounder_weights: The fingerprint of its weights and settings; "" while not loaded.
        segmenter: Its spec as given.
        segmenter_weights: The fingerprint of its weights and settings.
        prompts: The prompts asked, sorted.
        floor: The lowest score that is kept.
        masked: Fingerprint of what decides which candidates get a mask.
        groups: Fingerprint of that without ``duplicate_iou``.
        duplicate_iou: That IoU; a lower one than before needs no other masks.
        tile: Tiles that were looked at, "" for none.
        tta: Whether mirrored pictures were looked at.
        prompt_type: What objects of pictures are shown to the segmenter as; "": no pictures.
    """

    grounder: str
    grounder_weights: str
    segmenter: str
    segmenter_weights: str
    prompts: tuple[str, ...]
    floor: float
    masked: str
    groups: str = ""
    duplicate_iou: float = 1.0
    tile: str = ""
    tta: str = "none"
    prompt_type: str = PICTURE_PROMPT

    def as_meta(self) -> dict[str, str]:
        """Return it as the store keeps it: text by key."""
        return {
            "grounder": self.grounder,
            "grounder_weights": self.grounder_weights,
            "segmenter": self.segmenter,
            "segmenter_weights": self.segmenter_weights,
            "prompts": "\n".join(self.prompts),
            "floor": repr(self.floor),
            "tile": self.tile,
            "tta": self.tta,
            "prompt_type": self.prompt_type,
            **self.masks_meta(),
        }

    def masks_meta(self) -> dict[str, str]:
        """Return the part of ``as_meta`` about masks; the newest pictures have the fewest."""
        return {
            "masked": self.masked,
            "masked_groups": self.groups,
            "masked_iou": repr(self.duplicate_iou),
        }

    def changes(self, meta: Mapping[str, str]) -> list[str]:
        """Return one line for each point in which a project made as ``meta`` says differs."""
        if "grounder" not in meta:
            return []
        lines = self._view_changes(meta)
        lines += self._model_changes(meta, "grounder", bool(lines))
        lines += self._model_changes(meta, "segmenter", bool(lines))
        prompts = _prompt_changes(meta["prompts"].split("\n"), self.prompts)
        lines += prompts
        if self._other_masks(meta) and not prompts and self.segmenter != "none":
            lines.append(
                "duplicate_iou, or which prompts share a class: other candidates need masks now"
            )
        if float(meta["floor"]) != self.floor:
            lines.append(f"floor: was {meta['floor']}, is now {self.floor}")
        return lines

    def _other_masks(self, meta: Mapping[str, str]) -> bool:
        """Return whether candidates need masks that the project may not have."""
        if self.masked == meta["masked"]:
            return False
        same = bool(self.groups) and self.groups == meta.get("masked_groups")
        return not same or self.duplicate_iou > float(meta.get("masked_iou", "0"))

    def _view_changes(self, meta: Mapping[str, str]) -> list[str]:
        """Return which other views of a picture were looked at."""
        pairs = [
            ("tile", meta.get("tile", "") or "none", self.tile or "none"),
            ("tta", meta.get("tta", "none"), self.tta),
        ]
        shown = meta.get("prompt_type", PICTURE_PROMPT)
        if shown and self.prompt_type:  # else there are no pictures, here or there
            pairs.append(("prompt_type of pictures", shown, self.prompt_type))
        return [f"{name}: was {was}, is now {now}" for name, was, now in pairs if was != now]

    def _model_changes(self, meta: Mapping[str, str], kind: str, views: bool) -> list[str]:
        """Return how a model differs; the same weights under another name are the same.

        Where the ``views`` differ, a fingerprint does in any case.
        """
        spec, weights = getattr(self, kind), getattr(self, f"{kind}_weights")
        if weights and weights == meta[f"{kind}_weights"]:
            return []
        if spec != meta[kind]:
            return [f"{kind}: was {meta[kind]}, is now {spec}"]
        if weights and not views:
            return [
                f"{kind}: {spec} has other weights, another dtype or version, "
                "or another --compile now"
            ]
        return []


def _prompt_changes(was: Sequence[str], now: Sequence[str]) -> list[str]:
    """Return which prompts came and went."""
    lines = []
    for word, texts in (
        ("added", sorted(set(now) - set(was))),
        ("removed", sorted(set(was) - set(now))),
    ):
        if texts:
            more = f" and {len(texts) - 8} more" if len(texts) > 8 else ""
            lines.append(f"prompts {word}: {', '.join(map(repr, texts[:8]))}{more}")
    return lines
