"""What becomes of annotations that cannot be used: they are counted by reason, or end a strict run."""

from collections import Counter


class DataError(ValueError):
    """The data, not the program: the message names the file, the record and the field."""


class Drops:
    """Counts dropped records by reason and keeps the first of each; when strict, the first drop is a `DataError`."""

    def __init__(self, *, strict: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        """For each reason, where it was met first and what was found there."""
        self._strict = strict

    def add(self, reason: str, where: str) -> None:
        """Count one record; `where` names file and record, and says what was found."""
        if self._strict:
            raise DataError(f"{where}: {reason}")
        self.counts[reason] += 1
        self.first.setdefault(reason, where)

    def clear(self) -> None:
        """Count from nothing again; what was counted has been passed on."""
        self.counts.clear()
        self.first.clear()
