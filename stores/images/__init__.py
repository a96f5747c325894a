"""Images as inputs: listed, located, read."""
