"""A project folder: what ``Project`` is made of. Everyone else needs these names alone."""

from autolabel.store.human import Edit, HistoryRow, ReviewLabel, ReviewMedia
from autolabel.store.project import EXPORTED, Project, Result, Stats

__all__ = [
    "EXPORTED",
    "Edit",
    "HistoryRow",
    "Project",
    "Result",
    "ReviewLabel",
    "ReviewMedia",
    "Stats",
]
