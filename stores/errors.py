"""What a store says when it cannot be trusted or must not be touched."""

from pathlib import Path


class StoreError(Exception):
    """A store, not the program, is at fault; the message says what was found, what was expected and what to do."""


class DamagedFileError(StoreError):
    """A file of a store is missing or is not what its writer wrote."""

    def __init__(self, path: Path, *, found: str, expected: str, advice: str = "run vinculum repair") -> None:
        super().__init__(f"{path}: {found}, expected {expected}; {advice}")
        self.path = path
        self.found = found
        self.expected = expected
