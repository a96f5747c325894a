"""A store's `index.arrow`: in which shard and row an image is, without opening one shard.

    image_id  string   in the order of the store: shard by shard as the manifest has them, row by row
    crc32     uint32   of the ids' UTF-8, ascending
    position  uint32   where the id of that checksum stands in the first column

The file is mapped; a look-up bisects the checksums and compares the ids that have the one asked for. It belongs to one
manifest, which it names, and can be made anew from plan and manifest at any time.
"""

import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stores.atomic import replacing
from stores.errors import DamagedFileError
from stores.manifest import Manifest, ShardEntry, canonical_json
from stores.open_shards import open_entry
from stores.plan import Plan
from stores.seal import UNSEALED, is_intact, seal

INDEX_NAME = "index.arrow"

_KEY = b"vinculum-manifest"
_SCHEMA = pa.schema({"image_id": pa.large_string(), "crc32": pa.uint32(), "position": pa.uint32()})
_ADVICE = "run vinculum repair"
_AT_ONCE = 1 << 16


class ImageIndex(Sequence[str]):
    """The ids of a store's images in their order, and where each is."""

    def __init__(self, columns: pa.RecordBatch, rows: Sequence[int]) -> None:
        """`rows` are those of each shard."""
        self._columns = columns
        self._ids = columns["image_id"]
        self._crc32 = columns["crc32"].to_numpy()
        self._positions = columns["position"].to_numpy()
        self._starts = np.cumsum([0, *rows]).tolist()

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> list[str]: ...
    def __getitem__(self, position: int | slice) -> "str | list[str]":
        found: str | list[str] = (
            self._ids[position].to_pylist() if isinstance(position, slice) else self._ids[position].as_py()
        )
        return found

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self.find(image_id) is not None

    @property
    def column(self) -> pa.Array:
        """The ids as one column."""
        return self._ids

    def find(self, image_id: str) -> tuple[int, int] | None:
        """Return the image's shard, by its number in the manifest, and row; None where there is no image of this id."""
        crc32 = np.uint32(zlib.crc32(image_id.encode(errors="surrogatepass")))
        place = int(self._crc32.searchsorted(crc32))
        while place < len(self._crc32) and self._crc32[place] == crc32:
            position = int(self._positions[place])
            if self._ids[position].as_py() == image_id:
                return self.place(position)
            place += 1
        return None

    def place(self, position: int) -> tuple[int, int]:
        """Return the shard, by its number in the manifest, and row of the image at this position."""
        shard = bisect_right(self._starts, position) - 1
        return shard, position - self._starts[shard]

    def is_of(self, plan: Plan, manifest: Manifest) -> bool:
        """Return whether these are the ids that the plan tells of the manifest's shards, if it tells them."""
        ids = _planned_ids(plan, manifest)
        return ids is None or bool(self._ids.equals(ids))

    def write(self, folder: Path, manifest: Manifest) -> None:
        """`folder` has this index of the images in `manifest`, whole and on disk."""
        schema = _SCHEMA.with_metadata({_KEY: _key(manifest)})
        with replacing(folder / INDEX_NAME) as temporary:
            with (
                pa.OSFile(str(temporary), "wb") as sink,
                pa.ipc.new_file(sink, schema, metadata={"seal": UNSEALED}) as writer,
            ):
                writer.write_batch(self._columns.replace_schema_metadata(schema.metadata))
            seal(temporary)


def index_of_ids(ids: Iterable[Sequence[str]]) -> ImageIndex:
    """Return the index of shards whose rows have these ids."""
    parts, rows = [pa.array([], pa.large_string())], []
    for each in ids:
        parts.append(pa.array(each, pa.large_string()))
        rows.append(len(each))
    return _index(pa.concat_arrays(parts), rows)


def index_of_plan(plan: Plan, manifest: Manifest) -> ImageIndex | None:
    """Return the index of the manifest's shards, whose rows are the planned images that are not in quarantine.

    None where the plan is not the one that a shard was made by; its rows are then what only the shard itself can tell.
    """
    ids = _planned_ids(plan, manifest)
    return None if ids is None else _index(ids, [entry.rows for entry in manifest.shards])


def require_index(folder: Path, plan: Plan, manifest: Manifest) -> bool:
    """`folder` has the index of the manifest's images, as far as the plan tells it; returns whether it was lacking."""
    with suppress(DamagedFileError):
        if read_index(folder, manifest) is not None:
            return False
    index = index_of_plan(plan, manifest)
    if index is not None:
        index.write(folder, manifest)
    return index is not None


def open_index(folder: Path, manifest: Manifest) -> ImageIndex:
    """Return the index of the images in `manifest`: the one in `folder` or, of a growing store, one made of its shards.

    Raises:
        DamagedFileError: the index is not as it was written, or a shard is missing or not whole.
    """
    index = read_index(folder, manifest)
    if index is None:
        return index_of_ids(_read_ids(folder, manifest, entry) for entry in manifest.shards)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    for entry in manifest.shards:
        if sizes.get(entry.name) != entry.bytes:
            found = f"{sizes[entry.name]} bytes" if entry.name in sizes else "missing"
            raise DamagedFileError(folder / entry.name, found=found, expected=f"{entry.bytes} bytes")
    return index


def read_index(folder: Path, manifest: Manifest) -> ImageIndex | None:
    """Return the index in `folder`; None where there is none, or one of an older manifest.

    Raises:
        DamagedFileError: it is not as it was written.
    """
    path = folder / INDEX_NAME
    if not path.exists():
        return None
    if not is_intact(path):
        raise DamagedFileError(
            path, found="cut short or edited", expected="the bytes that were written", advice=_ADVICE
        )
    with pa.memory_map(str(path)) as file:
        columns = pa.ipc.open_file(file).get_batch(0)
    if (columns.schema.metadata or {}).get(_KEY) != _key(manifest):
        return None
    return ImageIndex(columns, [entry.rows for entry in manifest.shards])


def _index(ids: pa.Array, rows: Sequence[int]) -> ImageIndex:
    crc32 = np.fromiter(_checksums(ids), np.uint32, len(ids))
    positions = crc32.argsort(kind="stable").astype(np.uint32)
    columns = [ids, pa.array(crc32[positions]), pa.array(positions)]
    return ImageIndex(pa.record_batch(columns, _SCHEMA), rows)


def _checksums(ids: pa.Array) -> Iterator[int]:
    for start in range(0, len(ids), _AT_ONCE):
        yield from map(zlib.crc32, ids[start : start + _AT_ONCE].cast(pa.large_binary()).to_pylist())


def _planned_ids(plan: Plan, manifest: Manifest) -> pa.Array | None:
    rows = [_planned_rows(plan, entry) for entry in manifest.shards]
    if any(len(each) != entry.rows for each, entry in zip(rows, manifest.shards, strict=True)):
        return None
    in_order = np.concatenate([np.empty(0, np.int64), *rows])
    ids = plan.images.table["image_id"]
    is_whole = np.array_equal(in_order, np.arange(len(ids)))
    return (ids if is_whole else ids.take(pa.array(in_order))).combine_chunks().cast(pa.large_string())


def _planned_rows(plan: Plan, entry: ShardEntry) -> NDArray[np.int64]:
    """Return which of the plan's images should be in a finished shard."""
    number = plan.number_of(Path(entry.name).stem)
    if number is None:
        return np.empty(0, np.int64)
    rows = plan.rows_of(number)
    if not entry.failures:
        return rows
    failed = {failure.image_id for failure in entry.failures}
    return rows[[image_id not in failed for image_id in plan.images_of(number).image_ids()]]


def _read_ids(folder: Path, manifest: Manifest, entry: ShardEntry) -> Sequence[str]:
    with open_entry(folder, manifest, entry) as shard:
        return shard.row_ids


def _key(manifest: Manifest) -> bytes:
    """Return what tells the manifest from others whose images are elsewhere."""
    shards = [[entry.name, entry.rows, entry.sha256] for entry in manifest.shards]
    return hashlib.sha256(canonical_json(shards)).hexdigest().encode()
