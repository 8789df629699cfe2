"""An ontology typed in one line: ``car, person = pedestrian``."""

from __future__ import annotations

import re

from autolabel.errors import OntologyError
from autolabel.ontology.load import Ontology
from autolabel.ontology.model import DEFAULT_THRESHOLD

_HINT = "write prompts with commas between them; `person = pedestrian` names the class"


def parse_quick(text: str, threshold: float = DEFAULT_THRESHOLD) -> Ontology:
    """Return the ontology of a line such as ``car, person = pedestrian``.

    Args:
        text: Prompts with commas, semicolons or line breaks between them; ``prompt = class``
            where the class has another name than the prompt.
        threshold: Lowest score of a label, for every class.

    Raises:
        OntologyError: If there is nothing in it, or a prompt stands twice.
    """
    prompts: dict[str, str] = {}
    known: set[str] = set()
    for part in re.split(r"[,;\n]", text):
        if not part.strip():
            continue
        prompt, equals, name = (piece.strip() for piece in part.partition("="))
        if not prompt or (equals and not name):
            raise OntologyError(f"found {part.strip()!r}; {_HINT}", "what to find")
        if prompt.casefold() in known:
            raise OntologyError(f"the prompt {prompt!r} stands twice", "what to find")
        known.add(prompt.casefold())
        prompts[prompt] = name or prompt
    if not prompts:
        raise OntologyError(f"nothing is asked for; {_HINT}", "what to find")
    return Ontology.from_prompts(prompts, threshold)
