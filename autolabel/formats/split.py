"""Which part of a data set an input goes to, by its content, so that new inputs move none.

An input's place in [0, 1) is the start of SHA-256 over the seed and the content's own hash;
the parts divide [0, 1) by their shares. Copies of one file therefore always share a part. A
video is one input, so all its frames do too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import isclose
from pathlib import Path, PurePosixPath
from typing import Protocol

from autolabel.errors import UsageError
from autolabel.formats.base import ExportOptions, Tally, Writer
from autolabel.types import Instance, MediaRecord

GROUPS = ("none", "folder")


class Labelled(Protocol):
    """What stratifying reads."""

    def labelled(self) -> Iterator[tuple[MediaRecord, Iterator[Instance]]]:
        """Yield every input with its labels."""
        ...


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """How a user wants the inputs divided.

    Attributes:
        shares: Each part's name and share, or a text like "train=0.8,val=0.2".
        seed: Another seed gives another split.
        stratify: Give each class the same shares; see ``Splitter.stratify``.
        group: "folder" keeps the pictures of one folder together.
    """

    shares: dict[str, float] | str
    seed: int = 0
    stratify: bool = False
    group: str = "none"

    def splitter(self, source: Labelled) -> Splitter:
        """Return what says each input's part.

        Raises:
            UsageError: If a name or share makes no sense.
        """
        shares = parse_split(self.shares) if isinstance(self.shares, str) else self.shares
        splitter = Splitter(shares, self.seed, self.group)
        if self.stratify:
            splitter.stratify(source)
        return splitter


class Splitter:
    """Says each input's part.

    Args:
        shares: Each part's name and share; the shares add up to 1.
        seed: Another seed gives another split.
        group: "folder" keeps the pictures of one folder together (frames of one video that
            were saved as pictures).

    Raises:
        UsageError: If a name or share makes no sense.
    """

    def __init__(self, shares: dict[str, float], seed: int = 0, group: str = "none") -> None:
        if group not in GROUPS:
            raise UsageError(f"split group: expected one of {', '.join(GROUPS)}, found {group!r}")
        for name, share in shares.items():
            if not name.replace("-", "").replace("_", "").isalnum() or not 0 < share <= 1:
                raise UsageError(f"split: found {name}={share:g}, expected a name and a share")
        if not isclose(sum(shares.values()), 1, abs_tol=1e-6):
            raise UsageError(f"split: the shares add up to {sum(shares.values()):g}, expected 1")
        self.names = tuple(shares)
        self._shares = shares
        self._seed = seed
        self._group = group
        self._cuts: dict[str, list[float]] = {}
        self._strata: dict[str, str] = {}

    def part(self, media: MediaRecord) -> str:
        """Return the name of an input's part."""
        key = self._key(media)
        cuts = self._cuts.get(self._strata.get(key, "")) or _cumulative(self._shares)
        place = self._place(key)
        return next(
            (n for n, cut in zip(self.names, cuts, strict=True) if place < cut), self.names[-1]
        )

    def stratify(self, source: Labelled) -> None:
        """Give each class the same shares, as far as whole pictures can.

        Inputs are grouped by their rarest class; within a group the parts are cut by rank of
        the hash, so the shares are exact. The price: new inputs can move those at a cut.
        """
        classes: dict[str, set[int]] = defaultdict(set)
        frequency: Counter[int] = Counter()
        for media, instances in source.labelled():
            found = {one.class_id for one in instances}
            frequency.update(found)
            classes[self._key(media)] |= found
        places: dict[str, list[float]] = defaultdict(list)
        for key, found in classes.items():
            rarest = min(found, key=lambda one: (frequency[one], one), default=-1)
            self._strata[key] = str(rarest)
            places[str(rarest)].append(self._place(key))
        self._cuts = {name: self._quantiles(found) for name, found in places.items()}

    def _quantiles(self, places: list[float]) -> list[float]:
        """Return the cuts that divide these places by the shares."""
        ordered = sorted(places)
        cuts = []
        for share in _cumulative(self._shares):
            rank = round(share * len(ordered))
            cuts.append(ordered[rank] if rank < len(ordered) else 1.0)
        return cuts

    def _key(self, media: MediaRecord) -> str:
        """Return what is hashed: the content, or the folder's name."""
        if self._group == "folder" and media.kind == "image":
            return str(PurePosixPath(media.name).parent)
        return media.key

    def _place(self, key: str) -> float:
        """Return a number in [0, 1)."""
        digest = sha256(f"{self._seed}:{key}".encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:7], "big") / 2.0**56


def parse_split(text: str) -> dict[str, float]:
    """Return the parts and shares in a text like "train=0.8,val=0.1,test=0.1".

    Raises:
        UsageError: If it isn't such a text.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise UsageError(
                f"split: found {part!r}, expected shares like train=0.8,val=0.1,test=0.1"
            ) from None
    if len(shares) != len(text.split(",")):
        raise UsageError(f"split: a part is named twice in {text!r}")
    return shares


def _cumulative(shares: dict[str, float]) -> Iterator[float]:
    """Yield where each part ends."""
    total = 0.0
    for share in shares.values():
        total += share
        yield total


class FolderPerPart:
    """Writes a data set a part, each in its own folder, for formats without parts of their own.

    Args:
        make: Returns a new writer of the format.
    """

    def __init__(self, make: Callable[[], Writer]) -> None:
        self._make = make

    def open(
        self, out: Path, classes: Sequence[tuple[str, str]], options: ExportOptions, tally: Tally
    ) -> None:
        """Open a writer in each part's folder."""
        assert options.splitter is not None
        self._splitter = options.splitter
        self._writers = {name: self._make() for name in self._splitter.names}
        for name, writer in self._writers.items():
            (out / name).mkdir()
            writer.open(out / name, classes, replace(options, splitter=None), tally)

    def add(self, media: MediaRecord, instances: Iterable[Instance]) -> None:
        """Write one input where it belongs."""
        self._writers[self._splitter.part(media)].add(media, instances)

    def close(self) -> None:
        """Close all parts."""
        for writer in self._writers.values():
            writer.close()
