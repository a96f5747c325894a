"""A finished or growing store as its consumers see it: records by image id, and all of them in order."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from annotations.image_ids import Ids
from detectors.records import Features
from stores.errors import DamagedFileError, StoreError
from stores.formats.region_columns import num_bytes
from stores.image_index import open_index
from stores.manifest import Manifest, read_manifest
from stores.numbering import known_ids
from stores.open_shards import OpenShards


def open_store(folder: str | Path) -> "FeatureStore":
    """Return a reader of the region or grid store in `folder`; it reads the shards that its manifest names now.

    Every record is checked when it is read: its bytes are those that were written, and its id is the one asked for.
    A shard of schema version 1, whose rows have no checksums, is read whole once when it is first opened. Arrays are
    read-only, since they may be views of a file; `array.copy()` may be written to.

    Raises:
        DamagedFileError: the manifest is not as it was written, or a shard is missing or not whole.
        StoreError: it is a store of sentences.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest.content == "sentences":
        raise StoreError(
            f"{folder} is a store of sentences, expected one of regions or grids; "
            "read it with stores.sentence_reading.open_sentences"
        )
    return FeatureStore(folder, manifest)


class FeatureStore:
    """A store's records; index and features stay on disk, as far as nobody asks for them.

    May be carried over a fork. Each thread should open its own.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._shards = OpenShards(folder, manifest)
        self._index = open_index(folder, manifest)

    @property
    def image_ids(self) -> Sequence[str]:
        """The image ids in the order of iteration: shard by shard, row by row."""
        return self._index

    @property
    def ids(self) -> Ids | None:
        """Whose the numbers among the ids are, as the manifest notes it or else they tell; None: neither does."""
        return known_ids(self.manifest.notes, self._index.column)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._index

    def __iter__(self) -> Iterator[Features]:
        ids = iter(self._index)
        for shard, entry in enumerate(self.manifest.shards):
            for row in range(entry.rows):
                yield self._read(shard, row, next(ids))

    def get(self, image_id: str) -> Features:
        """Return the features of one image.

        Raises:
            KeyError: the store has none; says why, if the image is in quarantine.
            TypeError: the id is no string, as ids are even where they are numbers.
            DamagedFileError: its shard is not as it was written, or is another.
        """
        if not isinstance(image_id, str):
            raise TypeError(
                f"image_id is {image_id!r}, a {type(image_id).__name__}, expected a string such as {str(image_id)!r}"
            )
        place = self._index.find(image_id)
        if place is None:
            raise KeyError(self._why_missing(image_id))
        shard, row = place
        return self._read(shard, row, image_id)

    def at(self, position: int) -> Features:
        """Return the features of the image at this position of `image_ids`; errors are those of `get`."""
        shard, row = self._index.place(position)
        return self._read(shard, row, self._index[position])

    def close(self) -> None:
        """No shard is open any more."""
        self._shards.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read(self, shard: int, row: int, image_id: str) -> Features:
        record = self._shards.get(shard).read(row)
        if record.image_id != image_id:
            path = self.folder / self.manifest.shards[shard].name
            raise DamagedFileError(
                path, found=f"image {record.image_id!r} in row {row}", expected=f"image {image_id!r}"
            )
        self._shards.count_read(shard, num_bytes(record))
        return record

    def _why_missing(self, image_id: str) -> str:
        for failure in (failure for entry in self.manifest.shards for failure in entry.failures):
            if failure.image_id == image_id:
                return f"image {image_id!r} is in quarantine in {self.folder}: {failure.stage}: {failure.reason}"
        example = next(iter(self._index), None)
        return f"image {image_id!r} is not in {self.folder}, which has {len(self)} images such as {example!r}"
