"""Word vectors, and the files they come in."""
