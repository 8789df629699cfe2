"""Prompts put to the test: wordings side by side, negatives that earn their keep."""
