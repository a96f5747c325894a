"""What a pickle could do, were it run."""

from pathlib import Path


class Malice:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)
