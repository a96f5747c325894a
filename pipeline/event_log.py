"""`run.jsonl`, in which a store keeps every event of its runs, and the screen, on which a person reads some."""

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TextIO

from tqdm import tqdm

from pipeline.crew import CrewSize
from stores.locations import is_url, shown, without_secrets
from stores.terminal import printable

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
        line = {"event": event, "time": round(time.time(), 3), **_without_secrets(fields)}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def say(self, text: str) -> None:
        """Show a line, above a bar if there is one."""
        tqdm.write(printable(text), file=self._stream)


def _without_secrets(value: Any) -> Any:
    """Return a JSON value in which no URL has a password or query."""
    match value:
        case str():
            return shown(value) if is_url(value) else without_secrets(value)
        case Mapping():
            return {key: _without_secrets(each) for key, each in value.items()}
        case list() | tuple():
            return [_without_secrets(each) for each in value]
    return value
