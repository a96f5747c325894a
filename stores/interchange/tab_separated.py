"""Files of one image a line, fields between tabs, arrays as base64 of little-endian numbers."""

import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from stores.interchange.rows import Row, RowError

LONGEST_LINE = 1 << 26
"""Bytes; 100 boxes x 2048 features take a megabyte."""

_FIRST_LINES = 16


def list_rows(path: Path, num_fields: int) -> Iterator[Row]:
    """Yield one row a line, blank ones passed over; a line of another number of fields has a fault."""
    start = 0
    with path.open("rb") as file:
        for number, (line, size) in enumerate(_lines(file), start=1):
            if content := line.rstrip(b"\r\n"):
                yield _row(content, f"line {number}", start, size, num_fields, ended=content != line)
            start += size


def read_fields(path: Path, row: Row, names: Sequence[str]) -> dict[str, bytes]:
    """Return the fields of one line by name; raises RowError if they are not as many."""
    with path.open("rb") as file:
        file.seek(row.start)
        fields = file.read(row.size).rstrip(b"\r\n").split(b"\t")
    if len(fields) != len(names):
        raise RowError(f"{len(fields)} fields, expected {len(names)}; the file changed")
    return dict(zip(names, fields, strict=True))


def first_fields(path: Path) -> Iterator[list[bytes]]:
    """Yield the fields of the first lines, by which a format is known."""
    with path.open("rb") as file:
        for _, (line, _) in zip(range(_FIRST_LINES), _lines(file), strict=False):
            yield line.rstrip(b"\r\n").split(b"\t")


def whole_number(fields: Mapping[str, bytes], name: str) -> int:
    """Return a field's number; raises RowError if it is none, or negative."""
    text = fields[name]
    if not text.isdigit() or len(text) > 9:
        raise RowError(f"{name} is {text[:40]!r}, expected a whole number")
    return int(text)


def array(fields: Mapping[str, bytes], name: str, dtype: str, *shape: int) -> NDArray[Any]:
    """Return a field's numbers in this shape; raises RowError if it is not base64 of so many."""
    content = decoded(fields[name], name)
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if len(content) != expected:
        raise RowError(f"{name} has {len(content)} bytes, expected {expected}, {list(shape)} of {np.dtype(dtype)}")
    return np.frombuffer(content, dtype).reshape(shape)


def feature_array(fields: Mapping[str, bytes], num_boxes: int, feature_dim: int | None) -> NDArray[np.float32]:
    """Return the field `features` as float32 [num_boxes, feature_dim]; without boxes `feature_dim` is the one given.

    Raises:
        RowError: it is not base64 of so many rows of one length.
    """
    content = decoded(fields["features"], "features")
    if len(content) % (4 * num_boxes or len(content) + 1):
        raise RowError(f"features has {len(content)} bytes, expected rows of one length for {num_boxes} boxes")
    return np.frombuffer(content, "<f4").reshape(num_boxes, -1 if num_boxes else feature_dim or 0)


def decoded(text: bytes | str, name: str) -> bytes:
    """Return what the base64 stands for; raises RowError if it is none."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise RowError(f"{name} is not base64 ({error})") from error


def encoded(array: NDArray[Any]) -> bytes:
    """Return the array's bytes, row by row, as base64."""
    return binascii.b2a_base64(array.tobytes(), newline=False)


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield every line and its size; of one that is too long to be a row, the beginning."""
    while line := file.readline(LONGEST_LINE):
        size = len(line)
        if size == LONGEST_LINE:
            while (more := file.readline(LONGEST_LINE)) and not more.endswith(b"\n"):
                size += len(more)
            size += len(more)
        yield line, size


def _row(content: bytes, place: str, start: int, size: int, num_fields: int, *, ended: bool) -> Row:
    found = content.count(b"\t") + 1
    name = content[: content.find(b"\t")] if found > 1 else b""
    try:
        image_id, fault = name.decode(), ""
    except UnicodeDecodeError:
        image_id, fault = "", f"image id {name[:40]!r} is not UTF-8"
    if size > LONGEST_LINE:
        fault = f"a line of {size} bytes, expected at most {LONGEST_LINE}"
    elif found != num_fields:
        fault = f"{found} fields, expected {num_fields}"
        if not ended:
            fault += "; the file is cut short here"
    return Row(image_id, place, start, size, fault)
