"""The bundled tiny pair: generated scenes, training, and the shipped weights."""
