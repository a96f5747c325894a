"""`run.jsonl`, in which a store keeps every event of its runs, and the screen, on which a person reads some."""

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TextIO

from tqdm import tqdm

from pipeline.crew import CrewSize

RUN_LOG_NAME = "run.jsonl"


class EventLog:
    """Appends to a store's `run.jsonl`; a context manager."""

    def __init__(self, out: Path, stream: TextIO) -> None:
        self._path = out / RUN_LOG_NAME
        self._stream = stream

    def __enter__(self) -> Self:
        self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def start(self, size: CrewSize, packages: Iterable[str], **fields: Any) -> None:
        """Write how a run began, with the versions of what decides its numbers."""
        self.write(
            "start",
            crew=asdict(size),
            **fields,
            command=sys.argv,
            host=platform.node(),
            versions={name: importlib.metadata.version(name) for name in packages},
        )

    def write(self, event: str, **fields: Any) -> None:
        """`run.jsonl` has one line more, on disk as far as this process can tell."""
        self._file.write(json.dumps({"event": event, "time": round(time.time(), 3), **fields}) + "\n")
        self._file.flush()

    def say(self, text: str) -> None:
        """Show a line, above a bar if there is one."""
        tqdm.write(text.encode(errors="backslashreplace").decode(), file=self._stream)
