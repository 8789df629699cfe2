"""What to look for: text prompts, the classes they mean, and when a box becomes a label."""

from autolabel.ontology.load import ClassSpec, Ontology, load_ontology, parse_ontology, to_yaml
from autolabel.ontology.quick import parse_quick

__all__ = [
    "ClassSpec",
    "Ontology",
    "load_ontology",
    "parse_ontology",
    "parse_quick",
    "to_yaml",
]
