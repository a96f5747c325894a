"""Reads JSON files that are one long array, a record at a time, and checks the fields that are used."""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import ijson

from annotations.drops import DataError

Record = dict[str, Any]


class FieldError(Exception):
    """A record's field is missing, or of another type than its format says."""

    def __init__(self, reason: str, found: str) -> None:
        super().__init__(f"{reason}: {found}")
        self.reason = reason
        """The same words for every record that fails in this way, to count by."""
        self.found = found


def read_records(path: Path) -> Iterator[Record]:
    """Yield the objects of the array that the file holds; only one of them is in memory at a time.

    Raises:
        DataError: the file is missing or damaged, holds no array, or an element is not an object.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected a JSON array of records; check the folder given")
    with path.open("rb") as file:
        start = file.read(64).lstrip()
        if not start.startswith(b"["):
            raise DataError(f"{path}: begins with {start[:16]!r}, expected '[', the start of a JSON array of records")
        file.seek(0)
        num_read = 0
        try:
            for record in ijson.items(file, "item", use_float=True):
                if not isinstance(record, dict):
                    raise DataError(f"{path}: record {num_read} is {_shown(record)}, expected an object")
                num_read += 1
                yield record
        except ijson.JSONError as error:
            cause = str(error).splitlines()[0]
            raise DataError(
                f"{path}: not valid JSON after {num_read} records ({cause}), expected an array to its closing ']'; "
                "the file is damaged or cut short, fetch it again"
            ) from error


def take_id(record: Record, field: str) -> str:
    """Return an id as a string, as the source writes it."""
    value = _take(record, field)
    if not _is_id(value):
        raise FieldError(f"{field} is not an id", _shown(value))
    return str(value)


def take_ids(record: Record, field: str) -> tuple[str, ...]:
    """Return a list of ids as strings."""
    value = take_list(record, field)
    if not all(_is_id(each) for each in value):
        raise FieldError(f"{field} is not a list of ids", _shown(value))
    return tuple(str(each) for each in value)


def take_number(record: Record, field: str) -> float:
    """Return a finite number."""
    value = _take(record, field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise FieldError(f"{field} is not a number", _shown(value))
    return float(value)


def take_list(record: Record, field: str) -> list[Any]:
    """Return a list of anything."""
    value = _take(record, field)
    if not isinstance(value, list):
        raise FieldError(f"{field} is not a list", _shown(value))
    return value


def take_objects(record: Record, field: str) -> list[Record]:
    """Return a list of objects."""
    value = take_list(record, field)
    if not all(isinstance(each, dict) for each in value):
        raise FieldError(f"{field} is not a list of objects", _shown(value))
    return value


def take_words(record: Record, field: str) -> tuple[str, ...]:
    """Return a list of strings in lower case, stripped, without empty ones and repetitions."""
    value = take_list(record, field)
    if not all(isinstance(each, str) for each in value):
        raise FieldError(f"{field} is not a list of strings", _shown(value))
    stripped = (each.strip().lower() for each in value)
    return tuple(dict.fromkeys(each for each in stripped if each))


def _take(record: Record, field: str) -> Any:
    if field not in record:
        raise FieldError(f"{field} is missing", f"fields are {', '.join(record)}")
    return record[field]


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
