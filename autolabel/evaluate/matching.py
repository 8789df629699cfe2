"""Which label is which truth: the pairs behind mask IoU, confusion and duplicates."""

from __future__ import annotations

MATCH_IOU = 0.5
"""A label is right when it overlaps an unclaimed truth of its class at least so much."""
