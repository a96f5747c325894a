"""Tables of things by name, each written in a file of its own that is imported when the thing is asked for."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")


class Table(Mapping[str, T]):
    """Things by name; a thing is listed as itself, or as the module, or `module:NAME`, that has it.

    The names, which are the choices of a command line, are known without an import.
    """

    def __init__(self, entries: Mapping[str, T | str]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> T:
        entry = self._entries[name]
        if not isinstance(entry, str):
            return entry
        found: T = _imported(entry)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)


def _imported(entry: str) -> Any:
    module, _, name = entry.partition(":")
    found = import_module(module)
    return getattr(found, name) if name else found
