"""One Arrow IPC file per shard: memory-mapped, zero-copy, and at home in pyarrow, pandas and datasets.

    file = pyarrow.ipc.open_file("shard-00000.arrow")
    json.loads(file.schema.metadata[b"vinculum"])["configuration"]   # how it was made
    rows = file.read_pandas()
    rows.features[0].reshape(rows.num_boxes[0], -1)                  # float16 [num_boxes, feature_dim]

The columns are listed in `stores/formats/region_columns.py`. The file is uncompressed, so that a row is read where it
lies. Every read checks what it returns, see `stores/formats/row_checksums.py`; a shard of schema version 1, which has
no checksums of rows, is checked against its seal when it is opened.
"""

import mmap
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, Self, TypeVar

import pyarrow as pa

from annotations.alignment.sentences import AlignedSentence, AlignedSentences, ImageRegions
from detectors.records import Features
from stores.atomic import replacing
from stores.errors import DamagedFileError
from stores.formats.region_columns import (
    CHECKED_VERSION,
    DESCRIPTION_KEY,
    LAYOUT_COLUMNS,
    ROW_ID,
    RegionColumns,
    ShardDescription,
    arrow_schema,
    columns_of,
    in_batches,
    read_description,
    read_grid,
    read_layouts,
    to_columns,
)
from stores.formats.row_checksums import CHECKSUM, EXPECTED, RowChecksums, as_written, check_columns
from stores.formats.sentence_columns import SENTENCE_COLUMNS, from_sentence_columns, in_order, to_sentence_columns
from stores.formats.training_rows import (
    INDEX_COLUMNS,
    SentenceColumns,
    SentenceIndex,
    TrainingSentence,
    index_of_columns,
)
from stores.manifest import Content
from stores.seal import UNSEALED, require_intact, seal, seal_in

T = TypeVar("T")

suffix = ".arrow"

_BATCH_BYTES = 4 << 20  # what a writer holds in memory, and the grain at which other readers load


def write_shard(path: Path, records: Iterable[Features], *, content: Content, configuration: Mapping[str, Any]) -> int:
    """The shard at `path` holds `records`, whole and on disk; returns their number. Equal records, equal bytes.

    Raises:
        RecordError: an image id that no store can hold.
        StoreError: records of several kinds, or not ascending by image id.
        OSError: the disk is full, the directory is read-only ...
    """
    schema = arrow_schema(content, configuration)
    return _write(path, schema, (to_columns(batch, schema) for batch in in_batches(records, content, _BATCH_BYTES)))


def write_sentences(path: Path, batches: Iterable[AlignedSentences], *, configuration: Mapping[str, Any]) -> int:
    """The shard at `path` holds all sentences, whole and on disk; returns their number. Equal batches, equal bytes.

    Raises:
        StoreError: ids that no store can hold, or that do not ascend by their UTF-8 bytes.
        OSError: the disk is full, the directory is read-only ...
    """
    schema = arrow_schema("sentences", configuration)
    return _write(path, schema, (to_sentence_columns(batch, schema) for batch in in_order(batches)))


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """`path` is a whole and sealed file of these rows; returns their number."""
    num_rows = 0
    with replacing(path) as temporary:
        with (
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, schema, metadata={"seal": UNSEALED}) as writer,
        ):
            for batch in batches:
                written, checksums = as_written(batch)
                writer.write_batch(written, custom_metadata=checksums)
                num_rows += batch.num_rows
        seal(temporary)
    return num_rows


def open_shard(path: Path) -> "ArrowShard":
    """Return a reader of the shard at `path`.

    Raises:
        DamagedFileError: it is missing or no whole shard.
    """
    return ArrowShard(path)


class ArrowShard:
    """Rows of one shard by number; arrays are views of the mapped file and stay good after `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _damage_named(path):
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            shard = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._map)))
            schema, footer = shard.schema, shard.metadata
        text = (schema.metadata or {}).get(DESCRIPTION_KEY.encode(), b"")
        self.description: ShardDescription = read_description(text, path)
        self.seal = seal_in(footer.get(b"seal", b""))
        self._is_checked = self.description.schema_version >= CHECKED_VERSION
        if not self._is_checked:
            require_intact(path)
        if not schema.equals(columns_of(self.description)):
            raise DamagedFileError(path, found="other columns", expected=f"those of {self.description.content}")
        with _damage_named(path):
            read = map(shard.get_batch_with_custom_metadata, range(shard.num_record_batches))
            self._batches = list(self._sparing_memory(read))
        self._starts = list(accumulate((batch.num_rows for batch, _ in self._batches), initial=0))
        self._sound: set[int] = set()
        self._checksums: dict[int, tuple[RowChecksums, list[int]]] = {}
        self._regions: dict[int, RegionColumns] = {}
        self._sentences: dict[int, SentenceColumns] = {}

    @property
    def row_ids(self) -> list[str]:
        """The image ids, or sentence ids, in row order."""
        column = ROW_ID[self.description.content]
        return [row_id for batch in self._checked_batches((column,)) for row_id in batch.column(column).to_pylist()]

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, row: int) -> Features:
        """Return the record in `row`, counted from 0, without copying its arrays."""
        i, row_in_batch = self._checked_row(row)
        if self.description.content == "grid":
            return read_grid(self._batch(i), row_in_batch)
        if i not in self._regions:
            self._regions[i] = RegionColumns(self._batch(i))
        return self._regions[i].read(row_in_batch)

    def read_sentence(self, row: int) -> AlignedSentence:
        """Return the sentence in `row`, counted from 0, without copying its criteria."""
        i, row_in_batch = self._checked_row(row)
        return from_sentence_columns(self._batch(i), row_in_batch)

    def read_for_training(self, row: int) -> TrainingSentence:
        """Return what training takes of the sentence in `row`, counted from 0, without copying its criteria."""
        i, row_in_batch = self._checked_row(row)
        if i not in self._sentences:
            self._sentences[i] = SentenceColumns(self._batch(i))
        return self._sentences[i].read(row_in_batch)

    def read_index(self) -> SentenceIndex:
        """Return the index of the shard's sentences."""
        return index_of_columns(self._checked_batches(INDEX_COLUMNS))

    def read_sentence_images(self) -> set[str]:
        """Return the ids of all images that the shard's sentences are about."""
        columns = (batch.column("image_ids").flatten().unique() for batch in self._checked_batches(("image_ids",)))
        return {image_id for column in columns for image_id in column.to_pylist()}

    def copy_sentences(self, path: Path, *, configuration: Mapping[str, Any]) -> int:
        """The shard at `path` has these sentences, as `write_sentences` writes them; returns their number."""
        schema = arrow_schema("sentences", configuration)
        return _write(path, schema, self._checked_batches(SENTENCE_COLUMNS.names))

    def read_layouts(self) -> list[ImageRegions]:
        """Return the boxes and names of every row, without features; copies."""
        return [layout for batch in self._checked_batches(LAYOUT_COLUMNS) for layout in read_layouts(batch)]

    def _batch(self, i: int) -> pa.RecordBatch:
        """Return a batch of which no offset leads outside of it, whatever its bytes are."""
        batch, _ = self._batches[i]
        if i not in self._sound:
            with _damage_named(self._path):
                batch.validate(full=True)
            self._sound.add(i)
        return batch

    def _checked_row(self, row: int) -> tuple[int, int]:
        """Return which batch a row is in, and where in it; its bytes are those that were written."""
        i, row_in_batch = self._place(row)
        if not self._is_checked:
            return i, row_in_batch
        if i not in self._checksums:
            batch = self._batch(i)
            with _damage_named(self._path):
                self._checksums[i] = RowChecksums(batch), batch.column(CHECKSUM).to_numpy().tolist()
        checksums, recorded = self._checksums[i]
        if checksums.of(row_in_batch) != recorded[row_in_batch]:
            raise DamagedFileError(self._path, found=f"another checksum of row {row}", expected=EXPECTED)
        return i, row_in_batch

    def _checked_batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the batches, whose columns of these names are as they were written."""
        for i in self._sparing_memory(range(len(self._batches))):
            batch = self._batch(i)
            if self._is_checked:
                check_columns(self._path, batch, self._batches[i][1], names)
            yield batch

    def _place(self, row: int) -> tuple[int, int]:
        """Return which batch a row is in, and where in it."""
        if not 0 <= row < len(self):
            raise IndexError(f"{self._path} has {len(self)} rows, asked for row {row}")
        i = bisect_right(self._starts, row) - 1
        return i, row - self._starts[i]

    def release_memory(self) -> None:
        """No page of the file counts as this process's memory; a view that is still in use maps its pages again."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """The file is unmapped as soon as no record views it any more."""
        self._batches, self._regions, self._sentences, self._starts = [], {}, {}, [0]
        self._checksums, self._sound = {}, set()
        del self._map

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _sparing_memory(self, parts: Iterable[T]) -> Iterator[T]:
        # One byte of each batch is touched, but Linux may map 2 MB around each, see `stores/reading.py`.
        for number, part in enumerate(parts):
            if number % 16 == 0:
                self.release_memory()
            yield part
        self.release_memory()


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """What pyarrow says of bytes that it cannot read is said of the file at `path`."""
    try:
        yield
    except FileNotFoundError as error:
        raise DamagedFileError(path, found="missing", expected="a shard") from error
    except PermissionError:
        raise
    except (ValueError, OSError, MemoryError, pa.ArrowException) as error:
        raise DamagedFileError(path, found=f"unreadable ({error})", expected="a whole Arrow file") from error
