"""What to look for: text prompts, the classes they mean, and when a box becomes a label."""

from autolabel.ontology.load import ClassSpec, Ontology, load_ontology, parse_ontology, to_yaml

__all__ = ["ClassSpec", "Ontology", "load_ontology", "parse_ontology", "to_yaml"]
