"""`run.jsonl`, in which a store keeps every event of its runs, and the screen, on which a person reads some."""

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TextIO

from tqdm import tqdm

from pipeline.cluster.crew_size import CrewSize
from stores.errors import about
from stores.locations import is_url, shown, without_secrets
from stores.programs.terminal import printable
from stores.programs.volume import is_quiet

RUN_LOG_NAME = "run.jsonl"
SILENCE_SECONDS = 60.0
"""Seconds of silence without a terminal, before a run reports how far it is."""


class EventLog:
    """Appends to a store's `run.jsonl`; a context manager."""

    def __init__(self, out: Path, stream: TextIO) -> None:
        self._path = out / RUN_LOG_NAME
        self._stream = stream
        self._said = time.monotonic()

    @property
    def is_silent(self) -> bool:
        """Whether nothing was said for a minute."""
        return time.monotonic() - self._said >= SILENCE_SECONDS

    def __enter__(self) -> Self:
        self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # every line was flushed, or what kept it from the disk was raised
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
        with about(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def say(self, text: str) -> None:
        """Show a line, above a bar if there is one; nothing with --quiet."""
        self._said = time.monotonic()
        if is_quiet():
            return
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
