"""A project folder: what ``Project`` is made of. Everyone else needs these names alone."""

from autolabel.store.project import EXPORTED, Project, Result, Stats

__all__ = ["EXPORTED", "Project", "Result", "Stats"]
