"""Segmenters: boxes to masks, one file per family of models."""
