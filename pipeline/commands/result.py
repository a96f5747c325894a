"""What a command gives back: what it prints, and how it exits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command prints, and how it exits."""

    summary: Mapping[str, Any]
    """The machine-readable line of --json."""
    lines: tuple[str, ...] = ()
    """For people."""
    status: int = 0
