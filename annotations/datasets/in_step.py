"""Walks a second file alongside a first that lists the same things in about the same order."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class InStep(Generic[T]):
    """Values by key from a stream of both; what comes before it is asked for waits in memory.

    Official files list their images in one order, so that hardly anything waits. Where a file lacks an image that the
    other has, looking for it would read all the rest into memory: `keys` tells that it is not there.
    """

    def __init__(self, pairs: Iterator[tuple[str, T]], *, keys: Callable[[], Iterable[str]] | None = None) -> None:
        """Walk the stream.

        Args:
            keys: reads all keys of the stream once more; called at the first key that is not the next, and only then.
                Without it a key that the stream lacks is looked for to its end.
        """
        self._pairs = pairs
        self._read_keys = keys
        self._keys: frozenset[str] | None = None
        self._waiting: dict[str, T] = {}

    def take(self, key: str) -> T | None:
        """Return the value of a key, once; None if the stream has none."""
        if key in self._waiting:
            return self._waiting.pop(key)
        while self._may_come(key) and (pair := next(self._pairs, None)):
            found, value = pair
            if found == key:
                return value
            self._waiting[found] = value
        return None

    def rest(self) -> Iterator[tuple[str, T]]:
        """Yield all that nobody asked for."""
        yield from self._waiting.items()
        yield from self._pairs

    def _may_come(self, key: str) -> bool:
        """Return whether to read on; as long as nothing waits, the next is likely the one."""
        if self._read_keys is None or (self._keys is None and not self._waiting):
            return True
        if self._keys is None:
            self._keys = frozenset(self._read_keys())
        return key in self._keys
