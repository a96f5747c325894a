"""Writes JSON and text files as the official ones are: UTF-8, one value or one entry a line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value; folders are made."""
    _write(path, json.dumps(value))


def write_json_lines(path: Path, records: Iterable[Record]) -> None:
    """Write one JSON object a line; folders are made."""
    write_lines(path, map(json.dumps, records))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write the lines; folders are made."""
    _write(path, "".join(f"{line}\n" for line in lines))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
