"""One LMDB file per shard, for tools that want key-value access; no pickle, readable with any LMDB binding.

Keys are image ids in UTF-8; LMDB keeps them in the order of their bytes. The key `\\0vinculum`, which no image id can
be, holds the shard's description as JSON. After LMDB's last page come bytes that LMDB ignores: checksums of the pages
that lead to the values, see `stores/formats/lmdb_pages.py`, and the seal, see `stores/seal.py`.

Values are little-endian and without gaps, so that every array is one `numpy.frombuffer` away. Each begins with a
checksum, XXH3 (64 bits) of its key and of all that follows it. R boxes, D feature_dim:

    regions                                          grid, H x W cells, N heads (0 without attention)
    offset        type                               offset       type
    0             uint64   checksum                  0            uint64   checksum
    8             32 bytes image_sha256              8            32 bytes image_sha256, zeros where unknown
    40            int32    image_width               40           int32    image_width
    44            int32    image_height              44           int32    image_height
    48            int32    num_boxes R               48           int32    grid_height H
    52            int32    feature_dim D             52           int32    grid_width W
    56            float32  boxes_xyxy [R, 4]         56           int32    feature_dim D
    56 + 16R      int32    class_ids [R]             60           int32    num_heads N
    56 + 20R      float32  class_scores [R]          64           float16  features [H, W, D]
    56 + 24R      int32    attribute_ids [R]         64 + 2HWD    float16  attention [N, HW, HW]
    56 + 28R      float32  attribute_scores [R]
    56 + 32R      float16  features [R, D]
    56 + 32R+2RD  UTF-8    selection, to the end

A sentence is keyed by its id; W pointed words, F pointers that have boxes, R regions, J bytes of JSON, padded with
spaces to a multiple of 4:

    0             uint64   checksum
    8             int32    W, R, J, and flags: 1 if targets are baked, 2 if the pointers' IoU is there, 3 if both
    24            UTF-8    a JSON object: the columns of `stores/formats/sentence_columns.py` before those of words
    24 + J        int32    word_starts [W], word_ends [W], word_images [W]
    then          float16  position [W, R], semantic [W, R], if there pointer_position [F, R], if baked targets [W, R]
    then          bool     word_in_answer [W], word_oov [W], if baked supervised [W]; one byte each

Shards of schema version 1 have neither checksum nor image_sha256: their values begin where these end. Those of
versions 1 and 2 never have pointer_position.
"""

import errno
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import lmdb

from annotations.alignment.sentences import AlignedSentence, AlignedSentences, ImageRegions
from annotations.guards.plain_json import parse_json
from detectors.records import Features, RegionFeatures
from stores.atomic import replacing
from stores.errors import DamagedFileError
from stores.formats.lmdb_pages import check_pages, page_checksums
from stores.formats.lmdb_records import (
    CHECKSUM,
    NO_DIGEST,
    SENTENCE_HEADER,
    checked,
    checksum_of,
    decode_grid,
    decode_regions,
    decode_sentence,
    encode,
    encode_sentence,
)
from stores.formats.region_columns import (
    CHECKED_VERSION,
    DESCRIPTION_KEY,
    ShardDescription,
    in_batches,
    read_description,
    write_description,
)
from stores.formats.sentence_columns import BATCH_SENTENCES, in_order
from stores.formats.training_rows import SentenceIndex, TrainingSentence, brief, index_of
from stores.manifest import Content
from stores.seal import UNSEALED, read_seal, require_intact, seal

suffix = ".lmdb"

_DESCRIPTION = b"\0" + DESCRIPTION_KEY.encode()
_COMMIT_BYTES = 8 << 20
_FIRST_MAP_BYTES = 16 << 20
_ROWS_AT_ONCE = 250

# A process may have an LMDB file open only once, and no open one may be carried over a fork. So a read opens the file,
# copies one value out and closes it again (some 60 us), one read at a time, and a fork waits for the read to end.
# Nothing stays mapped between reads: memory does not grow with what was read.
_reading = threading.Lock()
os.register_at_fork(before=_reading.acquire, after_in_parent=_reading.release, after_in_child=_reading.release)


def write_shard(path: Path, records: Iterable[Features], *, content: Content, configuration: Mapping[str, Any]) -> int:
    """The shard at `path` holds `records`, whole and on disk; returns their number. Equal records, equal bytes.

    Raises:
        RecordError: an image id that no store can hold.
        StoreError: records of several kinds, or not ascending by image id.
        OSError: the disk is full, the directory is read-only ...
    """
    batches = in_batches(records, content, _COMMIT_BYTES)
    rows = ([checked(record.image_id, encode(record)) for record in batch] for batch in batches)
    return _write(path, rows, write_description(content, configuration))


def _write(path: Path, batches: Iterable[list[tuple[bytes, bytes]]], description: bytes) -> int:
    """`path` is a whole and sealed file of the description and the rows; returns the number of rows."""
    num_rows = 0
    with replacing(path) as temporary:
        # Synced once at the end, by `replacing`; no lock file, since nobody else knows the temporary name.
        environment = lmdb.open(
            str(temporary), subdir=False, lock=False, sync=False, metasync=False, map_size=_FIRST_MAP_BYTES
        )
        with environment, _disk_errors(temporary):
            _commit(environment, [(_DESCRIPTION, description)])
            for batch in batches:
                _commit(environment, batch)
                num_rows += len(batch)
            pages_bytes, page_bytes = _pages_bytes(environment), environment.stat()["psize"]
        with temporary.open("r+b") as file:
            file.truncate(pages_bytes)
            checksums = page_checksums(file, page_bytes)
            file.seek(pages_bytes)
            file.write(checksums + UNSEALED)
        seal(temporary)
    return num_rows


def write_sentences(path: Path, batches: Iterable[AlignedSentences], *, configuration: Mapping[str, Any]) -> int:
    """The shard at `path` holds all sentences, whole and on disk; returns their number. Equal batches, equal bytes.

    Raises:
        StoreError: ids that no store can hold, or that do not ascend by their UTF-8 bytes.
        OSError: the disk is full, the directory is read-only ...
    """
    rows = (
        [checked(each.sentence.sentence_id, encode_sentence(each)) for each in batch] for batch in in_order(batches)
    )
    return _write(path, rows, write_description("sentences", configuration))


def open_shard(path: Path) -> "LmdbShard":
    """Return a reader of the shard at `path`.

    Raises:
        DamagedFileError: it is missing or no whole shard.
    """
    return LmdbShard(path)


class LmdbShard:
    """Rows of one shard by number; arrays are copies. Holds no open file, so it may be carried over a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _missing_named(path):
            if not check_pages(path):
                require_intact(path)  # before LMDB, which a damaged page can make end the process
            self.seal = read_seal(path)
        with _transaction(path) as transaction:
            description = bytes(transaction.get(_DESCRIPTION, default=b""))
        self._keys = list(_image_keys(path))
        self.description: ShardDescription = read_description(description, path)
        self._is_checked = self.description.schema_version >= CHECKED_VERSION

    @property
    def row_ids(self) -> list[str]:
        """The image ids, or sentence ids, in row order."""
        return [key.decode() for key in self._keys]

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, row: int) -> Features:
        """Return the record in `row`, counted from 0."""
        decode = decode_regions if self.description.content == "regions" else decode_grid
        image_id, value = self._entry(row)
        return decode(image_id, value, *self._digest(value))

    def read_sentence(self, row: int) -> AlignedSentence:
        """Return the sentence in `row`, counted from 0."""
        return decode_sentence(self._entry(row)[1], self._start())

    def read_for_training(self, row: int) -> TrainingSentence:
        """Return what training takes of the sentence in `row`, counted from 0."""
        return brief(self.read_sentence(row))

    def read_index(self) -> SentenceIndex:
        """Return the index of the shard's sentences; reads every row."""
        return index_of(self._sentence_fields())

    def read_sentence_images(self) -> set[str]:
        """Return the ids of all images that the shard's sentences are about; reads every row."""
        return {image_id for fields in self._sentence_fields() for image_id in fields["image_ids"]}

    def copy_sentences(self, path: Path, *, configuration: Mapping[str, Any]) -> int:
        """The shard at `path` has these sentences, as `write_sentences` writes them; returns their number."""
        batches = (range(len(self))[start : start + BATCH_SENTENCES] for start in range(0, len(self), BATCH_SENTENCES))
        rows = ([(key.encode(), value) for key, value in self._entries(batch)] for batch in batches)
        return _write(path, rows, write_description("sentences", configuration))

    def read_layouts(self) -> list[ImageRegions]:
        """Return the boxes and names of every row, without features; copies."""
        records = map(self.read, range(len(self)))
        return [
            ImageRegions(
                image_id=record.image_id,
                width=record.image_width,
                height=record.image_height,
                boxes_xyxy=record.boxes_xyxy.copy(),
                class_ids=record.class_ids.copy(),
                attribute_ids=record.attribute_ids.copy(),
            )
            for record in records
            if isinstance(record, RegionFeatures)
        ]

    def _sentence_fields(self) -> Iterator[dict[str, Any]]:
        """Yield all but the words of every sentence."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            for _, value in self._entries(range(start, min(start + _ROWS_AT_ONCE, len(self)))):
                _, _, num_bytes, _ = SENTENCE_HEADER.unpack_from(value, self._start())
                fields_start = self._start() + SENTENCE_HEADER.size
                yield parse_json(value[fields_start : fields_start + num_bytes])

    def _start(self) -> int:
        """Return where a value's content begins."""
        return CHECKSUM.size if self._is_checked else 0

    def _digest(self, value: bytes) -> tuple[bytes | None, int]:
        """Return the digest of the image's file, if it is known, and where a record's own columns begin."""
        if not self._is_checked:
            return None, 0
        end = CHECKSUM.size + len(NO_DIGEST)
        digest = value[CHECKSUM.size : end]
        return (None if digest == NO_DIGEST else digest), end

    def _entry(self, row: int) -> tuple[str, bytes]:
        if not 0 <= row < len(self):
            raise IndexError(f"{self._path} has {len(self)} rows, asked for row {row}")
        return self._entries([row])[0]

    def _entries(self, rows: Iterable[int]) -> list[tuple[str, bytes]]:
        keys = [self._keys[row] for row in rows]
        with _transaction(self._path) as transaction:
            values = [transaction.get(key) for key in keys]
        entries = []
        for key, value in zip(keys, values, strict=True):
            if value is None:  # the file was replaced after its keys were read
                raise DamagedFileError(
                    self._path, found=f"no row {key.decode()!r}", expected="it as when it was opened"
                )
            self._require_checksum(key, value)
            entries.append((key.decode(), bytes(value)))
        return entries

    def _require_checksum(self, key: bytes, value: bytes | memoryview) -> None:
        if self._is_checked and value[: CHECKSUM.size] != checksum_of(key, memoryview(value)[CHECKSUM.size :]):
            found = f"another checksum of row {key.decode(errors='replace')!r}"
            raise DamagedFileError(self._path, found=found, expected="the bytes that were written")

    def release_memory(self) -> None:
        """Nothing is mapped between reads."""

    def close(self) -> None:
        """Nothing is open between reads."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def _missing_named(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DamagedFileError(path, found="missing", expected="a shard") from error


def _commit(environment: lmdb.Environment, items: list[tuple[bytes, bytes]]) -> None:
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in items:
                    transaction.put(key, value, append=True)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        # LMDB calls a short write an input/output error and gives no number. A further write tells the true reason.
        with path.open("ab") as file:
            file.write(bytes(_COMMIT_BYTES))
        raise OSError(errno.EIO, f"{os.strerror(errno.EIO)} ({error})", str(path)) from error


@contextmanager
def _transaction(path: Path) -> Iterator[lmdb.Transaction]:
    with _reading, _missing_named(path):
        try:
            size = path.stat().st_size
            with lmdb.open(
                str(path), subdir=False, lock=False, readonly=True, create=False, max_spare_txns=0
            ) as environment:
                whole = _pages_bytes(environment) + len(UNSEALED)  # and what checksums of pages there are
                if size < whole:  # reading on would end the process with SIGBUS
                    raise DamagedFileError(path, found=f"{size} bytes", expected=f"{whole} bytes")
                with environment.begin() as transaction:
                    yield transaction
        except lmdb.Error as error:
            raise DamagedFileError(path, found=f"unreadable ({error})", expected="a whole LMDB file") from error


def _image_keys(path: Path) -> Iterator[bytes]:
    # A part at a time: keys lie all over the file, and Linux may map 2 MB around each page of them.
    last = _DESCRIPTION
    while True:
        with _transaction(path) as transaction:
            cursor = transaction.cursor()
            if not cursor.set_range(last + b"\0"):  # the smallest key above the last
                return  # iterating now would begin anew
            keys = [bytes(key) for key in itertools.islice(cursor.iternext(values=False), _ROWS_AT_ONCE)]
        yield from keys
        last = keys[-1]


def _pages_bytes(environment: lmdb.Environment) -> int:
    return int((environment.info()["last_pgno"] + 1) * environment.stat()["psize"])
