"""Where weights come from: a local path, the hub's cache, or a download into that cache.

Downloads go through ``huggingface_hub``, so ``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_CACHE``,
``HF_HUB_OFFLINE`` and ``HF_TOKEN`` mean what they mean everywhere. What the cache holds is
used as it is, without asking the hub for something newer: weights that changed by themselves
in the middle of a project would be worse than old ones. Name a revision to move on.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from autolabel.errors import WeightsError

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_FILE_ENDINGS = (".pt", ".pth", ".safetensors", ".bin", ".onnx")


@dataclass(frozen=True, slots=True)
class Files:
    """Which files of a hub repository a model needs; patterns match names at its top level.

    Attributes:
        weights: Groups of patterns, the preferred one first; the first group of which the
            repository has a file is taken, whole.
        beside: Patterns of small files that are taken with any group.
        needed: Of each inner tuple one file must be there for the model to load.
        single: The group's one file is wanted, not the folder, when it is a ``.pt``.
    """

    weights: tuple[tuple[str, ...], ...]
    beside: tuple[str, ...] = ()
    needed: tuple[tuple[str, ...], ...] = ()
    single: bool = False


TRANSFORMERS = Files(
    weights=(("*.safetensors", "*.safetensors.index.json"), ("*.bin", "*.bin.index.json")),
    beside=("*.json", "*.txt", "*.model"),
    needed=(
        ("config.json",),
        ("preprocessor_config.json", "processor_config.json"),
        ("tokenizer.json", "vocab.txt", "vocab.json", "*.model"),
    ),
)
"""A model and its processor, as transformers saves them."""
VISION = Files(weights=TRANSFORMERS.weights, beside=("*.json",), needed=(("config.json",),))
"""A model that reads no text, as transformers saves it."""
CHECKPOINT = Files(weights=(("*.pt", "*.pth"), ("*.safetensors", "config.json")), single=True)
"""One ``.pt`` file, else a folder with model.safetensors and config.json."""


def resolve(ref: str, *, files: Files, kind: str) -> Path:
    """Return where the weights are on this machine, after a download if need be.

    Args:
        ref: A path, or a hub id ``ORG/NAME[@REVISION]``. A path that exists wins.
        files: What to take from the hub.
        kind: "grounder" or "segmenter", for the messages.

    Raises:
        WeightsError: If they can't be had; the message has the ways out.
    """
    path = Path(ref).expanduser()
    if path.exists():
        return path.absolute()
    hub = _HUB_ID.fullmatch(ref)
    if hub is None or _is_path(ref):
        raise WeightsError(_message(ref, "there is no such file or folder", kind))
    found = _in_cache(hub["repo"], hub["revision"], files)
    return found or _download(hub["repo"], hub["revision"], files, kind)


def is_here(ref: str, *, files: Files) -> bool:
    """Return whether ``resolve`` would need no network."""
    if Path(ref).expanduser().exists():
        return True
    hub = _HUB_ID.fullmatch(ref)
    return hub is not None and _in_cache(hub["repo"], hub["revision"], files) is not None


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file's content; read once per path, size and time."""
    status = path.stat()
    return _sha256(str(path.resolve()), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_path(ref: str) -> bool:
    return ref.startswith((".", "/", "~")) or "\\" in ref or ref.endswith(_FILE_ENDINGS)


def _in_cache(repo: str, revision: str | None, files: Files) -> Path | None:
    """Return the complete weights in the cache, or None; asks nobody."""
    from huggingface_hub import snapshot_download  # late: it costs what `--help` may cost
    from huggingface_hub.errors import HfHubHTTPError

    for group in files.weights:
        try:
            folder = snapshot_download(
                repo,
                revision=revision,
                allow_patterns=[*group, *files.beside],
                ignore_patterns=["*/*"],
                local_files_only=True,
            )
        except (OSError, ValueError, HfHubHTTPError):
            continue  # not there, or there in part
        names = [entry.name for entry in Path(folder).iterdir() if entry.is_file()]
        if _complete(names, group, files.needed):
            return _wanted(Path(folder), group, names, files)
    return None


def _complete(
    names: list[str], group: tuple[str, ...], needed: tuple[tuple[str, ...], ...]
) -> bool:
    """Return whether the names hold weights of this group and all that goes with them."""
    weights = (pattern for pattern in group if not pattern.endswith(".json"))
    return all(_matching(names, patterns) for patterns in (tuple(weights), *needed))


def _matching(names: list[str], patterns: tuple[str, ...]) -> list[str]:
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def _wanted(folder: Path, group: tuple[str, ...], names: list[str], files: Files) -> Path:
    """Return the one file of the group where one is wanted, else the folder."""
    weights = [name for name in _matching(names, group) if name.endswith((".pt", ".pth"))]
    return folder / weights[0] if files.single and len(weights) == 1 else folder


def _download(repo: str, revision: str | None, files: Files, kind: str) -> Path:
    """Return the weights after fetching them into the hub's cache.

    huggingface_hub writes to ``*.incomplete``, checks the length, and renames at the end; a
    broken download leaves nothing that a later run would take for the file.
    """
    from huggingface_hub import HfApi, snapshot_download

    ref = f"{repo}@{revision}" if revision else repo
    with _explained(ref, kind):
        siblings = HfApi().model_info(repo, revision=revision).siblings or []
    names = [file.rfilename for file in siblings if "/" not in file.rfilename]
    group = _choose(ref, names, files, kind)
    with _explained(ref, kind):
        folder = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=[*group, *files.beside],
            ignore_patterns=["*/*"],
        )
    return _wanted(Path(folder), group, names, files)


@contextmanager
def _explained(ref: str, kind: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into one clear WeightsError.

    It raises errors of its own, of the operating system and of its HTTP library, which has
    had three names so far: hence every Exception.
    """
    try:
        yield
    except Exception as error:
        raise WeightsError(_message(ref, _reason(error), kind)) from error


def _choose(ref: str, names: list[str], files: Files, kind: str) -> tuple[str, ...]:
    """Return the group of patterns to fetch, before anything large is fetched."""
    for group in files.weights:
        if not _complete(names, group, files.needed):
            continue
        several = _matching(names, group)
        if files.single and group == files.weights[0] and len(several) > 1:
            reason = (
                f"it has several checkpoints ({', '.join(sorted(several))}); give a path to one"
            )
            raise WeightsError(_message(ref, reason, kind))
        return group
    have = ", ".join(sorted(names)) or "nothing"
    raise WeightsError(_message(ref, f"it doesn't hold such a model; it holds {have}", kind))


def _reason(error: Exception) -> str:
    """Return in one line what went wrong, in words a user can act on."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = getattr(getattr(error, "response", None), "status_code", None)
    endpoint = constants.ENDPOINT
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, OfflineModeIsEnabled):
        return "it is not in the cache and HF_HUB_OFFLINE forbids the network"
    if isinstance(error, GatedRepoError) or status in (401, 403):
        return (
            f"{endpoint} asks for a login ({status}): it is gated, private or misspelt. Accept "
            "its licence on its page and set HF_TOKEN"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{endpoint} has no such revision of it"
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return f"{endpoint} has no such repository; check the spelling"
    if type(error).__name__ in ("ConnectError", "ConnectTimeout"):
        return f"{endpoint} is not reachable ({first_line})"
    return f"the download from {endpoint} failed ({type(error).__name__}: {first_line})"


def _message(ref: str, reason: str, kind: str) -> str:
    from huggingface_hub import constants

    return (
        f"Can't get the {kind} weights '{ref}': {reason}.\n"
        "Ways out:\n"
        f"  - a local path: --{kind} NAME:/path/to/weights\n"
        f"  - the cache folder {constants.HF_HUB_CACHE} (moved with HF_HOME or HF_HUB_CACHE), "
        "filled on a machine that reaches the hub\n"
        "  - the bundled pair: --models tiny"
    )
