"""Reads JSON files a record at a time, gzipped or not, and checks the fields that are used."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import IO, Any

import ijson

from annotations.datasets.standard_json import StandardJson
from annotations.guards.drops import DataError, Drops
from annotations.guards.plain_json import ShallowJson, parse_json
from annotations.guards.shown import shown

Record = dict[str, Any]

MAX_SIDE = 1_000_000
"""Pixels; an image that is said to be larger is a mistake, and stores keep sides as int32."""

MAX_ID = 1000
"""Characters; stores know images by their ids, and Python reads no number of more than 4300 digits."""

_NOT_WHOLE_GZIP = (OSError, EOFError, zlib.error)
"""What reading a damaged gzip file raises."""


class FieldError(Exception):
    """A record's field is missing, or of another type than its format says."""

    def __init__(self, reason: str, found: str) -> None:
        super().__init__(f"{reason}: {found}")
        self.reason = reason
        """The same words for every record that fails in this way, to count by."""
        self.found = found


def read_records(path: Path, field: str | None = None) -> Iterator[Record]:
    """Yield the objects of the array that the file holds; only one of them is in memory at a time.

    Args:
        field: the file is one object, and this field of it is the array; None: the file is the array.

    Raises:
        DataError: the file is missing or damaged, holds no such array, or an element is not an object.
    """
    for number, record in enumerate(read_elements(path, field)):
        if not isinstance(record, dict):
            raise DataError(f"{path}: record {number} is {shown(record)}, expected an object")
        yield record


def read_elements(path: Path, field: str | None = None) -> Iterator[Any]:
    """Yield the elements of the array that the file holds, whatever they are; likewise.

    Of numbers that JSON does not have, NaN and Infinity, there is null; a byte-order mark is passed over.

    Raises:
        DataError: the file is missing or damaged, or holds no such array.
    """
    what = "a JSON array of records" if field is None else f"a JSON object with an array {field!r}"
    with _opened(path, what, b"[" if field is None else b"{") as file:
        prefix = "item" if field is None else f"{field}.item"
        num_records = 0
        for record in _parsed(ijson.items(file, prefix, use_float=True), path, what):
            yield record
            num_records += 1
    if field is not None and not num_records and not _has_array(path, field):
        raise DataError(f"{path}: no array {field!r} in it, expected {what}; check that this is the right file")


def read_members(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield name and value of every member of the one object that the file holds, one at a time.

    Raises:
        DataError: the file is missing or damaged, holds no object, or a member's value is not an object.
    """
    what = "a JSON object of records"
    with _opened(path, what, b"{") as file:
        for name, record in _parsed(ijson.kvitems(file, "", use_float=True), path, what):
            if not isinstance(record, dict):
                raise DataError(f"{path}: record {name!r} is {shown(record)}, expected an object")
            yield name, record


def read_field(path: Path, field: str) -> Any:
    """Return one scalar of the object that the file holds, wherever it lies there; None if it does not."""
    what = "a JSON object"
    with _opened(path, what, b"{") as file:
        for prefix, event, value in _parsed(ijson.parse(file, use_float=True), path, what):
            if prefix == field and event in ("string", "number", "boolean"):
                return value
    return None


def read_json_lines(path: Path, *, drops: Drops) -> Iterator[tuple[int, Record]]:
    """Yield line number, from 1, and the object on each line; a line that is none is counted in `drops`.

    Raises:
        DataError: there is no such file, or none of its first ten lines is an object.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected one JSON object a line; check the path given")
    num_good = num_bad = 0
    with _unzipped(path) as file:
        for number, line in enumerate(_lines(file, path), start=1):
            if not line.strip():
                continue
            try:
                record = parse_json(line)
            except ValueError:
                record = None
            if isinstance(record, dict):
                num_good += 1
                yield number, record
                continue
            num_bad += 1
            if num_bad == 10 and not num_good:
                raise DataError(f"{path}: lines begin with {line[:16]!r}, expected one JSON object a line")
            drops.add("line: no JSON object", f"{path}, line {number}: found {shown(line[:40])}")
    if not num_good:
        raise DataError(f"{path}: no line is a JSON object, expected one on each")


def _lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    try:
        yield from file
    except _NOT_WHOLE_GZIP as error:
        raise DataError(f"{path}: not a whole gzip file ({error}), expected JSON lines; fetch it again") from error


def _has_array(path: Path, field: str) -> bool:
    what = f"a JSON object with an array {field!r}"
    with _opened(path, what, b"{") as file:
        events = _parsed(ijson.parse(file, use_float=True), path, what)
        return any(prefix == field and event == "start_array" for prefix, event, _ in events)


@contextmanager
def _opened(path: Path, what: str, opening: bytes) -> Iterator[ShallowJson]:
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected {what}; check the folder given")
    with _unzipped(path) as file:
        try:
            start = StandardJson(file).read(64).lstrip()
        except _NOT_WHOLE_GZIP as error:
            raise DataError(f"{path}: not a whole gzip file ({error}), expected {what}; fetch it again") from error
        if not start.startswith(opening):
            raise DataError(f"{path}: begins with {start[:16]!r}, expected {opening.decode()!r}, the start of {what}")
        file.seek(0)
        yield ShallowJson(StandardJson(file))


def _unzipped(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if is_zipped else path.open("rb")  # type: ignore[return-value]


def _parsed(events: Iterator[Any], path: Path, what: str) -> Iterator[Any]:
    num_read = 0
    try:
        for event in events:
            num_read += 1
            yield event
    except (ijson.JSONError, UnicodeDecodeError, *_NOT_WHOLE_GZIP) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path}: not valid JSON after {num_read} records ({cause}), expected {what} to its closing bracket; "
            "the file is damaged or cut short, fetch it again"
        ) from error


def take_id(record: Record, field: str) -> str:
    """Return an id as a string, as the source writes it."""
    value = _take(record, field)
    if not _is_id(value):
        raise FieldError(f"{field} is not an id", shown(value))
    return str(value)


def take_ids(record: Record, field: str) -> tuple[str, ...]:
    """Return a list of ids as strings."""
    value = take_list(record, field)
    if not all(_is_id(each) for each in value):
        raise FieldError(f"{field} is not a list of ids", shown(value))
    return tuple(str(each) for each in value)


def take_number(record: Record, field: str) -> float:
    """Return a finite number."""
    value = _take(record, field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise FieldError(f"{field} is not a number", shown(value))
    return float(value)


def take_size(record: Record) -> tuple[int, int]:
    """Return an image's `width` and `height` in whole pixels."""
    width, height = take_number(record, "width"), take_number(record, "height")
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise FieldError("size is not that of an image", f"{width:g} x {height:g}")
    return int(width), int(height)


def take_text(record: Record, field: str) -> str:
    """Return a string that is not blank, without space around it."""
    value = _take(record, field)
    if not isinstance(value, str) or not value.strip():
        raise FieldError(f"{field} is not a text", shown(value))
    return value.strip()


def take_object(record: Record, field: str) -> Record:
    """Return an object."""
    value = _take(record, field)
    if not isinstance(value, dict):
        raise FieldError(f"{field} is not an object", shown(value))
    return value


def take_box(record: Record, field: str) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 of a list of x, y, width, height."""
    value = take_list(record, field)
    numbers = [
        each for each in value if isinstance(each, int | float) and not isinstance(each, bool) and isfinite(each)
    ]
    if len(value) != 4 or len(numbers) != 4:
        raise FieldError(f"{field} is not four numbers", shown(value))
    x, y, width, height = map(float, numbers)
    return x, y, x + width, y + height


def take_list(record: Record, field: str) -> list[Any]:
    """Return a list of anything."""
    value = _take(record, field)
    if not isinstance(value, list):
        raise FieldError(f"{field} is not a list", shown(value))
    return value


def take_objects(record: Record, field: str) -> list[Record]:
    """Return a list of objects."""
    value = take_list(record, field)
    if not all(isinstance(each, dict) for each in value):
        raise FieldError(f"{field} is not a list of objects", shown(value))
    return value


def take_words(record: Record, field: str) -> tuple[str, ...]:
    """Return a list of strings in lower case, stripped, without empty ones and repetitions."""
    value = take_list(record, field)
    if not all(isinstance(each, str) for each in value):
        raise FieldError(f"{field} is not a list of strings", shown(value))
    stripped = (each.strip().lower() for each in value)
    return tuple(dict.fromkeys(each for each in stripped if each))


def _take(record: Record, field: str) -> Any:
    if field not in record:
        raise FieldError(f"{field} is missing", f"fields are {', '.join(record)}")
    return record[field]


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID
    return isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 64
