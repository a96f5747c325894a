"""A row of the table of readers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One row."""

    make: Callable[[Path], object]
    """Fills a folder."""
    read: Callable[[Path], object]
    """Reads what is in the folder."""
    damage: Callable[[str], bool] = lambda name: True
    """Which of the files are foreign."""


def write_all(**contents):
    def make(folder):
        for name, content in contents.items():
            path = folder / name.replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    return make
