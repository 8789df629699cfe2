"""Does an adapter keep its promises? Checks that any author can run on grounders and others.

``autolabel check-plugin NAME`` runs them, and so do this project's own tests on every adapter
that is bundled. Each check is a function that returns None, or raises ``Broken`` and says what
was found and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autolabel.conformance.cases import Broken, Case
from autolabel.conformance.formats import FORMAT_CHECKS
from autolabel.conformance.grounders import GROUNDER_CHECKS
from autolabel.conformance.segmenters import SEGMENTER_CHECKS
from autolabel.conformance.trackers import TRACKER_CHECKS

__all__ = ["CHECKS", "PROMPTS", "Broken", "Case", "Finding", "check"]

PROMPTS = ("cat", "traffic light", "red circle")
"""What is asked where the author names nothing else."""
CHECKS: dict[str, tuple[Callable[[Case], None], ...]] = {
    "grounder": GROUNDER_CHECKS,
    "segmenter": SEGMENTER_CHECKS,
    "tracker": TRACKER_CHECKS,
    "format": FORMAT_CHECKS,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        name: The check.
        passed: Whether the promise is kept.
        detail: What was found and what was expected, where it is not; else what was checked.
    """

    name: str
    passed: bool
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def check(
    kind: str, adapter: Any, prompts: Sequence[str] = PROMPTS, *, scores: bool = True
) -> Iterator[Finding]:
    """Yield what each check of this kind found, as it is done.

    Args:
        kind: "grounder", "segmenter", "tracker" or "format".
        adapter: The loaded adapter; for a format its class.
        prompts: What a grounder is asked; at least two.
        scores: Whether the adapter says that it gives scores.
    """
    case = Case(adapter, tuple(prompts), scores)
    for one in CHECKS[kind]:
        name = one.__name__.replace("_", " ")
        said = (one.__doc__ or "").strip().splitlines()[0]
        try:
            one(case)
        except Broken as error:
            yield Finding(name, False, str(error))
        except Exception as error:  # an adapter may raise anything, and that is a finding
            yield Finding(name, False, f"raised {type(error).__name__}: {error}")
        else:
            yield Finding(name, True, said)
