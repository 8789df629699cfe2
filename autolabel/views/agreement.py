"""Where two grounders disagree about a label, in words that tell a human why to look."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.ontology import Ontology

WHO = ("first", "second")


def doubt(opinion: NDArray[np.float32], class_id: int, ontology: Ontology) -> str:
    """Return why a label should be looked at, or "" where both grounders gave it its class.

    Args:
        opinion: float32 (2, P): each grounder's scores for ``ontology.prompts``, 0 below the
            run's floor.
        class_id: The label's class.
        ontology: What the prompts mean.
    """
    reasons = []
    for who, scores in zip(WHO, opinion, strict=True):
        best = int(scores.argmax())
        if scores[best] <= 0:
            reasons.append(f"{who} grounder: nothing here")
        elif ontology.prompt_classes[best] != class_id:
            reasons.append(f"{who} grounder: {ontology.prompts[best]} {scores[best]:.2f}")
    return "; ".join(reasons)
