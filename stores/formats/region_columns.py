"""What a shard holds: a description of how it was made, and one row per image or sentence, ascending by its id.

Sentences' columns are in `stores/formats/sentence_columns.py`.

Arrow columns; every array is flat and row-major, its shape is in the int32 columns beside it:

    regions                                    grid
    image_id          string                   image_id      string
    image_width       int32                    image_width   int32
    image_height      int32                    image_height  int32
    num_boxes         int32                    grid_height   int32
    feature_dim       int32                    grid_width    int32
    boxes_xyxy        float32 [num_boxes * 4]  feature_dim   int32
    features          float16 [num_boxes * feature_dim]
    class_ids         int32   [num_boxes]      features      float16 [grid_height * grid_width * feature_dim]
    class_scores      float32 [num_boxes]      num_heads     int32; 0 without attention
    attribute_ids     int32   [num_boxes]      attention     float16 [num_heads * cells * cells] or null,
    attribute_scores  float32 [num_boxes]                    cells = grid_height * grid_width
    selection         string                       image_sha256  32 bytes or null
    image_sha256      32 bytes or null; of the     checksum      uint64
                      file that was decoded
    checksum          uint64; of the row, see `stores/formats/row_checksums.py`

Shards of schema version 1 have neither of the last two.

Flat, because then a cell is one contiguous array in pyarrow, pandas and datasets alike (nested lists become arrays of
objects), an image without boxes keeps its feature_dim, and every shard has the same schema, the empty one too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.alignment.sentences import ImageRegions
from annotations.guards.plain_json import parse_json
from detectors.records import Features, GridFeatures, RecordError, RegionFeatures
from stores.errors import DamagedFileError, StoreError
from stores.formats.row_checksums import CHECKSUM, with_checksums
from stores.formats.sentence_columns import MAX_ID_BYTES, POINTER_POSITION, SENTENCE_COLUMNS
from stores.manifest import SCHEMA_VERSIONS, Content, canonical_json, fingerprint, require_known_version

DESCRIPTION_KEY = "vinculum"
"""Under this name a shard keeps its description, as JSON."""

_RECORDS: dict[Content, type[Features]] = {"regions": RegionFeatures, "grid": GridFeatures}

ROW_ID: dict[Content, str] = {"regions": "image_id", "grid": "image_id", "sentences": "sentence_id"}
"""The column that names a row."""

_DIGEST = "image_sha256"
CHECKED_VERSION = 2
"""From this schema version on, rows have checksums."""

_ADDED: dict[str, int] = {_DIGEST: CHECKED_VERSION, CHECKSUM: CHECKED_VERSION, POINTER_POSITION: 3}
"""The schema version since which shards have a column, of those that the first ones lack."""

_COLUMNS: dict[Content, pa.Schema] = {
    "regions": pa.schema(
        {
            "image_id": pa.string(),
            "image_width": pa.int32(),
            "image_height": pa.int32(),
            "num_boxes": pa.int32(),
            "feature_dim": pa.int32(),
            "boxes_xyxy": pa.list_(pa.float32()),
            "features": pa.list_(pa.float16()),
            "class_ids": pa.list_(pa.int32()),
            "class_scores": pa.list_(pa.float32()),
            "attribute_ids": pa.list_(pa.int32()),
            "attribute_scores": pa.list_(pa.float32()),
            "selection": pa.string(),
            _DIGEST: pa.binary(32),
            CHECKSUM: pa.uint64(),
        }
    ),
    "grid": pa.schema(
        {
            "image_id": pa.string(),
            "image_width": pa.int32(),
            "image_height": pa.int32(),
            "grid_height": pa.int32(),
            "grid_width": pa.int32(),
            "feature_dim": pa.int32(),
            "features": pa.list_(pa.float16()),
            "num_heads": pa.int32(),
            "attention": pa.list_(pa.float16()),
            _DIGEST: pa.binary(32),
            CHECKSUM: pa.uint64(),
        }
    ),
    "sentences": SENTENCE_COLUMNS,
}

_REGION_ARRAYS = [field.name for field in _COLUMNS["regions"] if pa.types.is_list(field.type)]


@dataclass(frozen=True, kw_only=True)
class ShardDescription:
    """How a shard was made; inside every shard, so that one file alone tells."""

    content: Content
    configuration: dict[str, Any]
    schema_version: int

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.configuration)


def write_description(content: Content, configuration: Mapping[str, Any]) -> bytes:
    """Return the JSON that describes a shard: schema_version, content, configuration, fingerprint, checksum."""
    fields = {
        "schema_version": SCHEMA_VERSIONS[content],
        "content": content,
        "configuration": configuration,
        "fingerprint": fingerprint(configuration),
    }
    return canonical_json(fields | {"checksum": fingerprint(fields)})


def read_description(text: bytes, path: Path) -> ShardDescription:
    """Return what the shard at `path` says of itself in `text`.

    Raises:
        DamagedFileError: it says nothing, or contradicts itself.
        StoreError: a newer version of this program wrote it.
    """
    if not text:
        raise DamagedFileError(
            path, found=f"no {DESCRIPTION_KEY!r} description", expected="a shard that vinculum wrote"
        )
    try:
        described = _parse_description(text)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(path, found=f"an unreadable description ({error})", expected="JSON") from error
    description = described.description
    if described.recorded != described.computed:
        raise DamagedFileError(
            path, found=f"checksum {described.recorded}", expected=f"{described.computed}, that of its description"
        )
    require_known_version(path, description.schema_version, description.content)
    if description.content not in _COLUMNS:
        raise DamagedFileError(path, found=f"content {description.content!r}", expected=f"one of {', '.join(_COLUMNS)}")
    return description


def check_image_id(image_id: str) -> None:
    """Every store can hold a row of this name.

    Raises:
        RecordError: it is empty, too long, not Unicode, or starts with NUL.
    """
    try:
        size = len(image_id.encode())
    except UnicodeEncodeError as error:
        raise RecordError(f"image {image_id!r}: its id is not Unicode text, expected UTF-8; rename the file") from error
    if not 1 <= size <= MAX_ID_BYTES:
        raise RecordError(
            f"image {image_id!r}: its id has {size} UTF-8 bytes, expected 1 to {MAX_ID_BYTES}; shorten it"
        )
    if image_id.startswith("\0"):
        raise RecordError(f"image {image_id!r}: its id starts with NUL, which is kept for the store's own entries")


def in_batches(records: Iterable[Features], content: Content, batch_bytes: int) -> Iterator[list[Features]]:
    """Yield all records in lists of about `batch_bytes`, having checked that one shard may hold them.

    Raises:
        RecordError: an image id that no store can hold.
        StoreError: a record of another content or feature_dim, or one out of order.
    """
    batch: list[Features] = []
    size = 0
    last: Features | None = None
    for record in records:
        _check_fits(record, last, content)
        last = record
        batch.append(record)
        size += num_bytes(record)
        if size >= batch_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def num_bytes(record: Features) -> int:
    """Return the bytes of the record's arrays that matter; the rest is small."""
    attention = record.attention if isinstance(record, GridFeatures) else None
    return record.features.nbytes + (0 if attention is None else attention.nbytes)


def arrow_schema(content: Content, configuration: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of `content`, with the description in the schema's metadata."""
    return _COLUMNS[content].with_metadata({DESCRIPTION_KEY: write_description(content, configuration)})


def to_columns(records: Sequence[Features], schema: pa.Schema) -> pa.RecordBatch:
    """Return `records`, all of one content, as rows of `schema`."""
    rows = [_row(record) for record in records]
    written = [field for field in schema if field.name != CHECKSUM]
    return with_checksums((_column([row[field.name] for row in rows], field.type) for field in written), schema)


def columns_of(description: ShardDescription) -> pa.Schema:
    """Return the columns that an Arrow shard of this description has."""
    columns, version = _COLUMNS[description.content], description.schema_version
    return pa.schema([field for field in columns if _ADDED.get(field.name, 1) <= version])


class RegionColumns:
    """Rows of one Arrow batch of regions: each column is looked up once, then only sliced."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._image_ids, self._selections = batch.column("image_id"), batch.column("selection")
        self._digests = _digests(batch)
        sizes = ("image_width", "image_height", "num_boxes", "feature_dim")
        self._sizes = list(zip(*(batch.column(name).to_numpy().tolist() for name in sizes), strict=True))
        self._lists = {name: (batch.column(name).offsets.to_numpy(), _values(batch, name)) for name in _REGION_ARRAYS}

    def read(self, row: int) -> RegionFeatures:
        """Return the record in `row`; its arrays are read-only views of the batch's memory."""
        width, height, num_boxes, feature_dim = self._sizes[row]
        arrays = {name: values[offsets[row] : offsets[row + 1]] for name, (offsets, values) in self._lists.items()}
        return RegionFeatures(
            image_id=self._image_ids[row].as_py(),
            image_width=width,
            image_height=height,
            boxes_xyxy=arrays["boxes_xyxy"].reshape(num_boxes, 4),
            features=arrays["features"].reshape(num_boxes, feature_dim),
            class_ids=arrays["class_ids"],
            class_scores=arrays["class_scores"],
            attribute_ids=arrays["attribute_ids"],
            attribute_scores=arrays["attribute_scores"],
            selection=self._selections[row].as_py(),
            image_sha256=self._digests[row].as_py() if self._digests is not None else None,
        )


def read_grid(batch: pa.RecordBatch, row: int) -> GridFeatures:
    """Return the record in `row`; its arrays are read-only views of the batch's memory."""
    height, width, feature_dim, num_heads = (
        _scalar(batch, name, row) for name in ("grid_height", "grid_width", "feature_dim", "num_heads")
    )
    cells = height * width
    digests = _digests(batch)
    return GridFeatures(
        image_id=_scalar(batch, "image_id", row),
        image_width=_scalar(batch, "image_width", row),
        image_height=_scalar(batch, "image_height", row),
        features=_array(batch, "features", row).reshape(height, width, feature_dim),
        attention=_array(batch, "attention", row).reshape(num_heads, cells, cells) if num_heads else None,
        image_sha256=None if digests is None else digests[row].as_py(),
    )


LAYOUT_COLUMNS = ("image_id", "image_width", "image_height", "num_boxes", "boxes_xyxy", "class_ids", "attribute_ids")
"""What `read_layouts` reads."""


def read_layouts(batch: pa.RecordBatch) -> list[ImageRegions]:
    """Return the boxes and names of every row of regions, without features; copies."""
    ends = np.cumsum(batch.column("num_boxes").to_numpy(zero_copy_only=False))
    return [
        ImageRegions(
            image_id=image_id, width=width, height=height, boxes_xyxy=boxes, class_ids=classes, attribute_ids=attributes
        )
        for image_id, width, height, boxes, classes, attributes in zip(
            batch.column("image_id").to_pylist(),
            batch.column("image_width").to_pylist(),
            batch.column("image_height").to_pylist(),
            np.split(_whole(batch, "boxes_xyxy").reshape(-1, 4), ends[:-1]),
            np.split(_whole(batch, "class_ids"), ends[:-1]),
            np.split(_whole(batch, "attribute_ids"), ends[:-1]),
            strict=True,
        )
    ]


@dataclass(frozen=True, kw_only=True)
class _Described:
    description: ShardDescription
    recorded: str
    """The checksum in the description; before there was one, the fingerprint."""
    computed: str


@lru_cache(maxsize=4)  # the shards of a store all say the same, two vocabularies included
def _parse_description(text: bytes) -> _Described:
    fields = parse_json(text)
    version = int(fields["schema_version"])
    description = ShardDescription(
        content=fields["content"], configuration=fields["configuration"], schema_version=version
    )
    if version < CHECKED_VERSION:
        return _Described(description=description, recorded=fields["fingerprint"], computed=description.fingerprint)
    recorded = fields.pop("checksum")
    return _Described(description=description, recorded=recorded, computed=fingerprint(fields))


def _check_fits(record: Features, last: Features | None, content: Content) -> None:
    check_image_id(record.image_id)
    if not isinstance(record, _RECORDS[content]):
        raise StoreError(
            f"image {record.image_id!r}: got {type(record).__name__}, "
            f"expected {_RECORDS[content].__name__} in a store of {content}"
        )
    if last is None:
        return
    if record.image_id.encode() <= last.image_id.encode():
        raise StoreError(
            f"image {record.image_id!r} came after {last.image_id!r}, expected ids that ascend by their UTF-8 bytes"
        )
    if record.features.shape[-1] != last.features.shape[-1]:
        raise StoreError(
            f"image {record.image_id!r}: feature_dim is {record.features.shape[-1]}, "
            f"expected {last.features.shape[-1]} as in {last.image_id!r}"
        )


def _row(record: Features) -> dict[str, Any]:
    if isinstance(record, RegionFeatures):
        return {name: getattr(record, name) for name in _COLUMNS["regions"].names if name != CHECKSUM}
    grid_height, grid_width, feature_dim = record.features.shape
    return {
        "image_id": record.image_id,
        "image_width": record.image_width,
        "image_height": record.image_height,
        "grid_height": grid_height,
        "grid_width": grid_width,
        "feature_dim": feature_dim,
        "features": record.features,
        "num_heads": 0 if record.attention is None else len(record.attention),
        "attention": record.attention,
        _DIGEST: record.image_sha256,
    }


def _column(values: Sequence[Any], column_type: pa.DataType) -> pa.Array:
    if not pa.types.is_list(column_type):
        return pa.array(values, column_type)
    absent = [value is None for value in values]
    flat = [np.empty(0) if value is None else value.ravel() for value in values]
    offsets = np.cumsum([0, *(len(each) for each in flat)], dtype=np.int32)
    contents = np.concatenate(flat, dtype=column_type.value_type.to_pandas_dtype(), casting="unsafe")
    return pa.ListArray.from_arrays(offsets, pa.array(contents), mask=pa.array(absent) if any(absent) else None)


def _digests(batch: pa.RecordBatch) -> pa.Array | None:
    """Return the column of the files' digests, which a shard of schema version 1 does not have."""
    return batch.column(_DIGEST) if _DIGEST in batch.schema.names else None


def _scalar(batch: pa.RecordBatch, name: str, row: int) -> Any:
    return batch.column(name)[row].as_py()


def _whole(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """Return a copy of all rows of a list column, one after another."""
    return batch.column(name).flatten().to_numpy().copy()


def _values(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """Return a view of all rows of a list column, one after another."""
    return batch.column(name).values.to_numpy()


def _array(batch: pa.RecordBatch, name: str, row: int) -> NDArray[Any]:
    return batch.column(name)[row].values.to_numpy()
