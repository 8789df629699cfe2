"""Input and output of pixels: which files there are, pictures and videos read, MP4s written."""
