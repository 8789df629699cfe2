"""What a run does: its models and settings, and what makes two runs the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from autolabel.errors import UsageError

DEFAULT_PRESET = "base"
DEFAULT_FLOOR = 0.1
"""Candidates scoring less than this are not kept: no later threshold can go below it."""
ENGINES = ("local", "ray")


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
    threads: int = 0
    engine: str = "local"
    ray_address: str | None = None
    workers: int = 0
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        if not 0.0 < self.floor < 1.0:
            raise UsageError(f"floor: expected a number between 0 and 1, found {self.floor}")
        for name, least in (("batch_size", 1), ("readers", 1), ("threads", 0), ("workers", 0)):
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


PROMPT_TYPES = ("mask", "box", "point")


@dataclass(frozen=True, slots=True)
class VideoConfig:
    """How videos are labelled.

    Attributes:
        keyframe_every: Frames from one detection to the next.
        prompt_type: What a new object is shown to the tracker as: "mask", "box" or "point".
        stride: Label every stride-th frame.
        start: First frame (int) or second (float); None: the beginning.
        end: Where to stop, exclusive; None: the end.
    """

    keyframe_every: int = 10
    prompt_type: str = "mask"
    stride: int = 1
    start: int | float | None = None
    end: int | float | None = None

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        for name in ("keyframe_every", "stride"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected 1 or more, found {getattr(self, name)}")
        if self.prompt_type not in PROMPT_TYPES:
            raise UsageError(
                f"prompt_type: expected {', '.join(PROMPT_TYPES)}, found {self.prompt_type!r}"
            )

    def text(self) -> str:
        """Return it as the store keeps it: JSON."""
        return json.dumps(asdict(self))

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
    """

    grounder: str
    grounder_weights: str
    segmenter: str
    segmenter_weights: str
    prompts: tuple[str, ...]
    floor: float
    masked: str

    def as_meta(self) -> dict[str, str]:
        """Return it as the store keeps it: text by key."""
        return {
            "grounder": self.grounder,
            "grounder_weights": self.grounder_weights,
            "segmenter": self.segmenter,
            "segmenter_weights": self.segmenter_weights,
            "prompts": "\n".join(self.prompts),
            "floor": repr(self.floor),
            "masked": self.masked,
        }

    def changes(self, meta: Mapping[str, str]) -> list[str]:
        """Return one line for each point in which a project made as ``meta`` says differs."""
        if "grounder" not in meta:
            return []
        lines = self._model_changes(meta, "grounder") + self._model_changes(meta, "segmenter")
        prompts = _prompt_changes(meta["prompts"].split("\n"), self.prompts)
        lines += prompts
        if self.masked != meta["masked"] and not prompts and self.segmenter != "none":
            lines.append(
                "duplicate_iou, or which prompts share a class: other candidates need masks now"
            )
        if float(meta["floor"]) != self.floor:
            lines.append(f"floor: was {meta['floor']}, is now {self.floor}")
        return lines

    def _model_changes(self, meta: Mapping[str, str], kind: str) -> list[str]:
        """Return how a model differs; the same weights under another name are the same."""
        spec, weights = getattr(self, kind), getattr(self, f"{kind}_weights")
        if weights and weights == meta[f"{kind}_weights"]:
            return []
        if spec != meta[kind]:
            return [f"{kind}: was {meta[kind]}, is now {spec}"]
        if weights:
            return [f"{kind}: {spec} has other weights, another dtype or another version now"]
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
