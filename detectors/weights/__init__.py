"""Weight files, ours and published, recognized by their keys."""
