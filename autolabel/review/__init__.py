"""A project's labels in the FiftyOne app, and a human's corrections back into the project."""
