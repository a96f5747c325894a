"""Walks a second file alongside a first that lists the same things in about the same order."""

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class InStep(Generic[T]):
    """Values by key from a stream of both; what comes before it is asked for waits in memory.

    Official files list their images in one order, so that hardly anything waits.
    """

    def __init__(self, pairs: Iterator[tuple[str, T]]) -> None:
        self._pairs = pairs
        self._waiting: dict[str, T] = {}

    def take(self, key: str) -> T | None:
        """Return the value of a key, once; None if the stream has none."""
        if key in self._waiting:
            return self._waiting.pop(key)
        for found, value in self._pairs:
            if found == key:
                return value
            self._waiting[found] = value
        return None

    def rest(self) -> Iterator[tuple[str, T]]:
        """Yield all that nobody asked for."""
        yield from self._waiting.items()
        yield from self._pairs
