"""Where images are, as columns: of ten million they take 1 GB, as objects they would take 4."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stores.locations import local_path, shown

# Binary, because names of files need not be UTF-8; what is not has surrogates in Python.
COLUMNS = pa.schema(
    {
        "image_id": pa.large_binary(),
        "url": pa.large_binary(),
        "offset": pa.int64(),
        "size": pa.int64(),
        "member": pa.large_binary(),
        "version": pa.int64(),
    }
)

_AT_ONCE = 1 << 16
"""Rows that are Python objects at one time."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where one image's bytes are."""

    image_id: str
    url: str
    """A path or URL; for images inside an archive the archive's."""
    offset: int | None = None
    """Bytes from the archive's start; None: the whole file is the image."""
    size: int | None = None
    """Bytes from `offset` on, or of the whole file; None: not known."""
    member: str | None = None
    """The image's name inside the archive."""
    version: int | None = None
    """Another number where the file was written anew, see `stores/images/versions.py`; None: not known."""

    @property
    def location(self) -> str:
        """Return what a person looks for: the url without secrets, or `archive.tar::member`."""
        url = shown(self.url)
        return url if self.member is None else f"{url}::{self.member}"

    def is_same_file_as(self, other: "ImageSource") -> bool:
        """Return whether both are one file, or one member of an archive, by whichever spellings of its path."""
        if (self.offset, self.member) != (other.offset, other.member):
            return False
        here, there = local_path(self.url), local_path(other.url)
        if here is None or there is None:
            return self.url == other.url
        return here == there or _is_same_path(here, there)


def _is_same_path(here: Path, there: Path) -> bool:
    try:
        return here.samefile(there)
    except OSError:  # one is absent, or may not be looked at
        return os.path.realpath(here) == os.path.realpath(there)


class ClaimedTwiceError(ValueError):
    """Two sources have one id."""

    def __init__(self, first: ImageSource, second: ImageSource) -> None:
        self.first, self.second = first, second
        super().__init__(f"image id {first.image_id!r} is claimed by {first.location!r} and by {second.location!r}")


class ImageSources(Sequence[ImageSource]):
    """A sequence of image sources; an element is an object while somebody looks at it."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, sources: Iterable[ImageSource]) -> "ImageSources":
        """Return the sources as columns."""
        remaining = iter(sources)
        parts = iter(lambda: list(islice(remaining, _AT_ONCE)), [])
        return cls(pa.Table.from_batches(map(_to_columns, parts), COLUMNS))

    @classmethod
    def joined(cls, parts: Sequence["ImageSources"]) -> "ImageSources":
        """Return the sources of all parts, one after another."""
        return cls(pa.concat_tables([COLUMNS.empty_table(), *(part.table for part in parts)]))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[ImageSource]:
        for batch in self.table.to_batches(max_chunksize=_AT_ONCE):
            yield from _from_columns(batch)

    @overload
    def __getitem__(self, place: int) -> ImageSource: ...
    @overload
    def __getitem__(self, place: slice) -> "ImageSources": ...
    def __getitem__(self, place: int | slice) -> "ImageSource | ImageSources":
        if isinstance(place, slice):
            rows = range(len(self))[place]
            return ImageSources(self.table.slice(rows.start, len(rows))) if rows.step == 1 else self.take(list(rows))
        return next(iter(self[range(len(self))[place] :][:1]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageSources) and bool(self.table.equals(other.table))

    __hash__ = None  # type: ignore[assignment]

    def image_ids(self) -> list[str]:
        """Return the ids, in order."""
        return [_text(each) for each in self.table["image_id"].to_pylist()]

    def find(self, image_id: str) -> ImageSource | None:
        """Return the first source of this id; looks at all before it."""
        row = pc.index(self.table["image_id"], pa.scalar(_bytes(image_id), pa.large_binary())).as_py()
        return None if row < 0 else self[row]

    def is_ascending(self) -> bool:
        """Return whether each id is larger, by its bytes, than the one before it; then no id is there twice."""
        ids = self.table["image_id"]
        return len(self) < 2 or bool(pc.all(pc.less(ids[:-1], ids[1:])).as_py())

    def num_distinct(self) -> int:
        """Return how many ids there are, each counted once."""
        return len(self) if self.is_ascending() else int(pc.count_distinct(self.table["image_id"]).as_py())

    def in_order(self) -> "ImageSources":
        """Return the sources ascending by the bytes of their ids, each file once.

        Raises:
            ClaimedTwiceError: two files have one id.
        """
        if self.is_ascending():
            return self
        ordered = self.take(pc.sort_indices(self.table, [("image_id", "ascending"), ("url", "ascending")]))
        ids = ordered.table["image_id"]
        repeats = np.flatnonzero(pc.equal(ids[:-1], ids[1:]).to_numpy()) + 1
        for row in repeats.tolist():
            if not ordered[row].is_same_file_as(ordered[row - 1]):
                raise ClaimedTwiceError(ordered[row - 1], ordered[row])
        kept = np.ones(len(ordered), bool)
        kept[repeats] = False
        return ordered.take(np.flatnonzero(kept))

    def take(self, rows: Any) -> "ImageSources":
        """Return the sources in these rows, int64 [rows]."""
        return ImageSources(self.table.take(pa.array(rows)))

    def rows_of(self, others: "ImageSources") -> NDArray[np.int64]:
        """Return in which row each other's id is here, int64 [others]; -1 where it is in none."""
        rows = pc.index_in(others.table["image_id"], value_set=self.table["image_id"].combine_chunks())
        return pc.fill_null(rows, -1).to_numpy().astype(np.int64)

    def differs(self, others: "ImageSources", *columns: str) -> NDArray[np.bool_]:
        """Return in which rows the others, as many, are not what is here in these columns, or in any, bool [rows]."""
        differs = np.zeros(len(self), bool)
        for name in columns or COLUMNS.names:
            here, there = self.table[name], others.table[name]
            is_same = pc.or_kleene(pc.equal(here, there), pc.and_(pc.is_null(here), pc.is_null(there)))
            differs |= ~pc.fill_null(is_same, False).to_numpy()
        return differs

    def lacks(self, column: str) -> NDArray[np.bool_]:
        """Return in which rows a column is not known, bool [rows]."""
        return pc.is_null(self.table[column]).to_numpy()

    def with_versions_of(self, others: "ImageSources", where: NDArray[np.bool_]) -> "ImageSources":
        """Return the sources with sizes and versions of the others, as many, in these rows, bool [rows]."""
        table = self.table
        for name in ("size", "version"):
            column = pc.if_else(pa.array(where), others.table[name], table[name])
            table = table.set_column(table.schema.get_field_index(name), name, column)
        return ImageSources(table)

    def as_stored(self) -> "ImageSources":
        """Return the sources as a store keeps them: their URLs without user information and query."""
        urls = self.table["url"]
        if not pc.any(pc.match_substring(urls, "://")).as_py():
            return self
        rows = np.flatnonzero(pc.match_substring_regex(urls, "(?s)://([^/]*@|.*[?#])").to_numpy())
        whole = urls.take(pa.array(rows)).to_pylist()
        hidden = pa.array([_bytes(shown(_text(each))) for each in whole], pa.large_binary())
        mask = np.zeros(len(self), bool)
        mask[rows] = True
        url = pc.replace_with_mask(urls.combine_chunks(), pa.array(mask), hidden)
        return ImageSources(self.table.set_column(self.table.schema.get_field_index("url"), "url", url))

    def replaced(self, rows: NDArray[np.int64], others: "ImageSources") -> "ImageSources":
        """Return the sources with those in these rows exchanged for the others."""
        order = np.arange(len(self))
        order[rows] = len(self) + np.arange(len(others))
        return ImageSources.joined([self, others]).take(order)


def _to_columns(sources: Sequence[ImageSource]) -> pa.RecordBatch:
    columns = [
        [_bytes(each.image_id) for each in sources],
        [_bytes(each.url) for each in sources],
        [each.offset for each in sources],
        [each.size for each in sources],
        [None if each.member is None else _bytes(each.member) for each in sources],
        [each.version for each in sources],
    ]
    return pa.record_batch([pa.array(each, kind) for each, kind in zip(columns, COLUMNS.types, strict=True)], COLUMNS)


def _from_columns(batch: pa.RecordBatch) -> Iterator[ImageSource]:
    for image_id, url, offset, size, member, version in zip(*(each.to_pylist() for each in batch.columns), strict=True):
        yield ImageSource(_text(image_id), _text(url), offset, size, None if member is None else _text(member), version)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _text(data: bytes) -> str:
    return data.decode(errors="surrogatepass")
