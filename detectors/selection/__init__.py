"""Which boxes are kept: exactly, one image at a time, and for a batch on a GPU."""
