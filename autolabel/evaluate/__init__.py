"""How good the labels are, measured against a truth."""
