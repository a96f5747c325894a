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
    return write_files({name.replace("__", "."): content for name, content in contents.items()})


def write_files(contents):
    def make(folder):
        for name, content in contents.items():
            is_ready = isinstance(content, bytes | str)
            text = content if is_ready else json.dumps(content)
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    return make
