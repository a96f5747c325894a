"""The checksums of an Arrow shard: one of each row, in the row, and one of each column, beside its batch.

A row's `checksum` is XXH3 (64 bits) of these bytes: an int32 for each column in the order of the schema (the number
itself, the length of a list or text, -1 for null, 1 for a digest); then, again by column, the little-endian bytes of
each list, text and digest. Flags are one byte each; before the bytes of a list of texts come their lengths as int32.

A reader of one row checks the row's. A reader of a column of many rows would have to read all other columns for that,
features included; it checks the column's, XXH3 of the column's buffers, which stand in the metadata of the batch.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from stores.errors import DamagedFileError

CHECKSUM = "checksum"
"""The column that holds a row's checksum; the last."""

_COLUMNS_KEY = b"vinculum-columns"
_DIGITS = 16
EXPECTED = "the bytes that were written"


class RowChecksums:
    """The checksums of the rows of one batch; what all rows share is looked up once.

    The batch has passed `validate(full=True)`, so that no offset leads outside of it.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._parts: list[tuple[list[int], memoryview]] = []
        names = [name for name in batch.schema.names if name != CHECKSUM]
        numbers = [self._add(batch.column(name)) for name in names] if batch.num_rows else []
        self._row_bytes = 4 * len(numbers)
        self._numbers = memoryview(b"")
        if numbers:
            self._numbers = np.stack(numbers, axis=1, dtype=np.int32).data.cast("B")

    def of(self, row: int) -> int:
        """Return the checksum that the row has by its bytes."""
        start = row * self._row_bytes
        digest = xxhash.xxh3_64(self._numbers[start : start + self._row_bytes])
        for starts, data in self._parts:
            digest.update(data[starts[row] : starts[row + 1]])
        return digest.intdigest()

    def _add(self, column: pa.Array) -> NDArray[np.int32]:
        """Take the bytes of a column; return its number in each row."""
        buffers, kind = column.buffers(), column.type
        if pa.types.is_int32(kind):
            return column.to_numpy()
        if pa.types.is_fixed_size_binary(kind):
            offsets = np.arange(len(column) + 1, dtype=np.int64) * kind.byte_width
            self._parts.append((offsets.tolist(), memoryview(buffers[1])))
            lengths = np.ones(len(column), np.int32)
        elif pa.types.is_string(kind):
            offsets = _offsets(column)
            self._parts.append((offsets.tolist(), _bytes(buffers[2])))
            lengths = np.diff(offsets).astype(np.int32)
        else:
            offsets = column.offsets.to_numpy().astype(np.int64)
            self._add_values(column.values, offsets)
            lengths = np.diff(offsets).astype(np.int32)
        if column.null_count:
            lengths[column.is_null().to_numpy(zero_copy_only=False)] = -1
        return lengths

    def _add_values(self, values: pa.Array, offsets: NDArray[np.int64]) -> None:
        """Take the bytes of a list column; those of a row lie between two of its offsets."""
        if pa.types.is_string(values.type):
            of_texts = _offsets(values)
            lengths = np.diff(of_texts).astype(np.int32)
            self._parts.append(((offsets * 4).tolist(), lengths.data.cast("B")))
            self._parts.append((of_texts[offsets].tolist(), _bytes(values.buffers()[2])))
        elif pa.types.is_boolean(values.type):
            flags = values.to_numpy(zero_copy_only=False).view(np.uint8)
            self._parts.append((offsets.tolist(), flags.data))
        else:
            self._parts.append(((offsets * values.type.byte_width).tolist(), _bytes(values.buffers()[1])))


def with_checksums(columns: Iterable[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch of `schema`, whose last column are the checksums of the rows that the other columns make."""
    batch = pa.record_batch(list(columns), schema=schema.remove(len(schema) - 1))
    checksums = RowChecksums(batch)
    values = np.fromiter(map(checksums.of, range(batch.num_rows)), np.uint64, batch.num_rows)
    return batch.append_column(schema.field(CHECKSUM), pa.array(values)).replace_schema_metadata(schema.metadata)


def as_written(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[bytes, bytes]]:
    """Return the batch with the very buffers that a reader of the file finds, and the metadata of their checksums."""
    written = pa.ipc.read_record_batch(batch.serialize(), batch.schema)
    return written, {_COLUMNS_KEY: "".join(map(_digest, written.columns)).encode()}


def check_columns(
    path: Path, batch: pa.RecordBatch, metadata: Mapping[bytes, bytes] | None, names: Iterable[str]
) -> None:
    """These columns of the batch are as they were written.

    Raises:
        DamagedFileError: one is not; names it.
    """
    recorded = (metadata or {}).get(_COLUMNS_KEY, b"").decode(errors="replace")
    for name in names:
        number = batch.schema.get_field_index(name)
        if recorded[number * _DIGITS : (number + 1) * _DIGITS] != _digest(batch.column(number)):
            raise DamagedFileError(path, found=f"another checksum of its column {name!r}", expected=EXPECTED)


def _digest(column: pa.Array) -> str:
    digest = xxhash.xxh3_64()
    for buffer in filter(None, column.buffers()):
        digest.update(buffer)
    return digest.hexdigest()


def _offsets(texts: pa.Array) -> NDArray[np.int64]:
    """Return where each text begins, and where the last ends."""
    if not len(texts):
        return np.zeros(1, np.int64)
    return np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1).astype(np.int64)


def _bytes(buffer: Any) -> memoryview:
    return memoryview(b"" if buffer is None else buffer)
