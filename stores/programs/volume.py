"""How much a command prints while it works: `--quiet` and `--verbose`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, kw_only=True)
class Volume:
    """What a command prints beside errors and its summary."""

    quiet: bool = False
    """Print no progress: only errors and the summary. Logs on disk have everything."""
    verbose: bool = False
    """Print a line for each step of the work, on a terminal too, instead of a bar."""

    def __post_init__(self) -> None:
        if self.quiet and self.verbose:
            raise ValueError("--quiet and --verbose: expected one of the two")

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The body prints as much, in all threads of this process."""
        global _current
        before, _current = _current, self
        try:
            yield
        finally:
            _current = before


_current = Volume()


def is_quiet() -> bool:
    """Return whether progress is not printed."""
    return _current.quiet


def shows_bar(stream: TextIO) -> bool:
    """Return whether progress is a bar, as on a terminal; else it is lines, or nothing."""
    return stream.isatty() and not (_current.quiet or _current.verbose)
