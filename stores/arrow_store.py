"""One Arrow IPC file per shard: memory-mapped, zero-copy, and at home in pyarrow, pandas and datasets.

    file = pyarrow.ipc.open_file("shard-00000.arrow")
    json.loads(file.schema.metadata[b"vinculum"])["configuration"]   # how it was made
    rows = file.read_pandas()
    rows.features[0].reshape(rows.num_boxes[0], -1)                  # float16 [num_boxes, feature_dim]

The columns are listed in `stores/schema.py`. The file is uncompressed, so that a row is read where it lies.
"""

import mmap
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Self, TypeVar

import pyarrow as pa

from annotations.aligned import AlignedSentence, AlignedSentences, ImageRegions
from detectors.records import Features
from stores.atomic import replacing
from stores.errors import DamagedFileError
from stores.manifest import Content
from stores.schema import (
    DESCRIPTION_KEY,
    ROW_ID,
    RegionColumns,
    ShardDescription,
    arrow_schema,
    in_batches,
    read_description,
    read_grid,
    read_layouts,
    to_columns,
)
from stores.seal import UNSEALED, seal
from stores.sentence_schema import from_sentence_columns, in_order, to_sentence_columns
from stores.training_rows import SentenceColumns, SentenceIndex, TrainingSentence, index_of_columns

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
    num_rows = 0
    with replacing(path) as temporary:
        with (
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, schema, metadata={"seal": UNSEALED}) as writer,
        ):
            for batch in in_batches(records, content, _BATCH_BYTES):
                writer.write_batch(to_columns(batch, schema))
                num_rows += len(batch)
        seal(temporary)
    return num_rows


def write_sentences(path: Path, batches: Iterable[AlignedSentences], *, configuration: Mapping[str, Any]) -> int:
    """The shard at `path` holds all sentences, whole and on disk; returns their number. Equal batches, equal bytes.

    Raises:
        StoreError: ids that no store can hold, or that do not ascend by their UTF-8 bytes.
        OSError: the disk is full, the directory is read-only ...
    """
    schema = arrow_schema("sentences", configuration)
    num_rows = 0
    with replacing(path) as temporary:
        with (
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, schema, metadata={"seal": UNSEALED}) as writer,
        ):
            for batch in in_order(batches):
                writer.write_batch(to_sentence_columns(batch, schema))
                num_rows += len(batch)
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
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            shard = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._map)))
            self._batches = list(self._sparing_memory(map(shard.get_batch, range(shard.num_record_batches))))
        except FileNotFoundError as error:
            raise DamagedFileError(path, found="missing", expected="a shard") from error
        except (ValueError, pa.ArrowException) as error:
            raise DamagedFileError(path, found=f"unreadable ({error})", expected="a whole Arrow file") from error
        self._starts = list(accumulate((batch.num_rows for batch in self._batches), initial=0))
        self._regions: dict[int, RegionColumns] = {}
        self._sentences: dict[int, SentenceColumns] = {}
        self.description: ShardDescription = read_description(
            (shard.schema.metadata or {}).get(DESCRIPTION_KEY.encode(), b""), path
        )

    @property
    def row_ids(self) -> list[str]:
        """The image ids, or sentence ids, in row order."""
        batches = self._sparing_memory(self._batches)
        return [row_id for batch in batches for row_id in batch.column(ROW_ID[self.description.content]).to_pylist()]

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, row: int) -> Features:
        """Return the record in `row`, counted from 0, without copying its arrays."""
        i, row_in_batch = self._place(row)
        if self.description.content == "grid":
            return read_grid(self._batches[i], row_in_batch)
        if i not in self._regions:
            self._regions[i] = RegionColumns(self._batches[i])
        return self._regions[i].read(row_in_batch)

    def read_sentence(self, row: int) -> AlignedSentence:
        """Return the sentence in `row`, counted from 0, without copying its criteria."""
        i, row_in_batch = self._place(row)
        return from_sentence_columns(self._batches[i], row_in_batch)

    def read_for_training(self, row: int) -> TrainingSentence:
        """Return what training takes of the sentence in `row`, counted from 0, without copying its criteria."""
        i, row_in_batch = self._place(row)
        if i not in self._sentences:
            self._sentences[i] = SentenceColumns(self._batches[i])
        return self._sentences[i].read(row_in_batch)

    def read_index(self) -> SentenceIndex:
        """Return the index of the shard's sentences."""
        return index_of_columns(self._sparing_memory(self._batches))

    def read_sentence_images(self) -> set[str]:
        """Return the ids of all images that the shard's sentences are about."""
        columns = (batch.column("image_ids").flatten().unique() for batch in self._sparing_memory(self._batches))
        return {image_id for column in columns for image_id in column.to_pylist()}

    def read_layouts(self) -> list[ImageRegions]:
        """Return the boxes and names of every row, without features; copies."""
        return [layout for batch in self._sparing_memory(self._batches) for layout in read_layouts(batch)]

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
