"""Guards against foreign bytes, below all rooms: they import nothing but each other and numpy."""
