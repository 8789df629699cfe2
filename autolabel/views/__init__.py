"""More than one look at a picture: tiles, mirrored, a second grounder, and how looks are merged."""
