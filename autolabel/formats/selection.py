"""Which labels an export takes: by score, class, status, and whether pictures without any."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from autolabel.errors import UsageError
from autolabel.formats.base import LabelSource, Tally
from autolabel.probability import Probabilities
from autolabel.types import Instance, MediaRecord

STATUSES = {
    "all": ("accepted", "pending"),
    "accepted": ("accepted",),
    "pending": ("pending",),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a user wants exported.

    Attributes:
        min_score: Leave out a model's labels with a lower score; a human's have none and stay.
        classes: Names of the classes to keep, in the project's order; () for all. Class ids
            in the export count the kept ones only.
        status: "all" (accepted and pending), "accepted" or "pending".
        exclude_empty: Leave out inputs without labels.
        min_precision: Leave out labels that are less likely than this to be right, by the
            probabilities that ``autolabel calibrate`` fitted.
    """

    min_score: float = 0.0
    classes: tuple[str, ...] = ()
    status: str = "all"
    exclude_empty: bool = False
    min_precision: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"min score: expected 0 to 1, found {self.min_score:g}")
        if not 0 <= self.min_precision <= 1:
            raise UsageError(f"min precision: expected 0 to 1, found {self.min_precision:g}")
        if self.status not in STATUSES:
            raise UsageError(f"status: expected {', '.join(STATUSES)}, found {self.status!r}")


class Selected:
    """A project's labels, as far as they are wanted.

    Args:
        source: All labels.
        selection: What is wanted.
        tally: Where to count what isn't.

    Raises:
        UsageError: If a class doesn't exist, or probabilities are needed and not there.
    """

    def __init__(self, source: LabelSource, selection: Selection, tally: Tally) -> None:
        self._source, self._selection = source, selection
        all_classes = source.classes()
        names = [name for name, _ in all_classes]
        self._names = names
        self._sure = None
        if selection.min_precision:
            self._sure = Probabilities.needed(source.meta(), "this project")
        for wanted in selection.classes:
            if wanted not in names:
                near = difflib.get_close_matches(wanted, names, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise UsageError(f"classes: the project has no class {wanted!r}{hint}")
        kept = [i for i, name in enumerate(names) if name in (selection.classes or names)]
        self._class_of = {old: new for new, old in enumerate(kept)}
        self._classes = [all_classes[index] for index in kept]

    def classes(self) -> list[tuple[str, str]]:
        """Return the wanted classes."""
        return self._classes

    def meta(self) -> dict[str, str]:
        """Return the project's record."""
        return self._source.meta()

    def labelled(self) -> Iterator[tuple[MediaRecord, Iterator[Instance]]]:
        """Yield every input with its wanted labels, streaming."""
        statuses: Sequence[str] = STATUSES[self._selection.status]
        for media, instances in self._source.labelled(statuses):
            wanted = self._wanted(instances)
            if self._selection.exclude_empty:
                first = next(wanted, None)
                if first is None:
                    continue
                wanted = chain([first], wanted)
            yield media, wanted

    def _wanted(self, instances: Iterator[Instance]) -> Iterator[Instance]:
        """Yield the wanted labels with their class's id in the export."""
        for one in instances:
            class_id = self._class_of.get(one.class_id)
            low = one.score is not None and one.score < self._selection.min_score
            if class_id is None or low or self._doubtful(one):
                continue
            yield one if class_id == one.class_id else replace(one, class_id=class_id)

    def _doubtful(self, one: Instance) -> bool:
        """Return whether a label is less likely to be right than is wanted."""
        if self._sure is None:
            return False
        return self._sure.of_label(one, self._names) < self._selection.min_precision
