"""Text to boxes: one file per family of detectors, loaded through ``autolabel.registry``."""
