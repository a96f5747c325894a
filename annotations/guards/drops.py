"""What becomes of annotations that cannot be used: they are counted by reason, or end a strict run."""

from collections import Counter

MAX_MESSAGE = 900
"""Characters; what a file holds may be of any length, what is said of it is read by a person."""


class DataError(ValueError):
    """The data, not the program: the message, of one line, names the file, the record and the field."""

    def __init__(self, message: str) -> None:
        super().__init__(_line(message))


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
        if reason not in self.first:
            self.first[reason] = _line(where)

    def clear(self) -> None:
        """Count from nothing again; what was counted has been passed on."""
        self.counts.clear()
        self.first.clear()


def _line(text: str) -> str:
    """Return the text in one line, without its middle where it is too long."""
    line = " ".join(text.splitlines())
    return line if len(line) <= MAX_MESSAGE else f"{line[:600]} ... {line[-290:]}"
