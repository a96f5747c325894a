"""A finished or growing store as its consumers see it: records by image id, and all of them in order."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from detectors.records import Features
from stores.image_index import open_index
from stores.manifest import Manifest, read_manifest
from stores.open_shards import OpenShards
from stores.schema import num_bytes


def open_store(folder: Path) -> "FeatureStore":
    """Return a reader of the store in `folder`; it sees the shards that its manifest names now.

    Raises:
        DamagedFileError: the manifest is not as it was written, or a shard is missing or not whole.
    """
    return FeatureStore(folder, read_manifest(folder))


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

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._index

    def __iter__(self) -> Iterator[Features]:
        for shard, entry in enumerate(self.manifest.shards):
            for row in range(entry.rows):
                yield self._read(shard, row)

    def get(self, image_id: str) -> Features:
        """Return the features of one image.

        Raises:
            KeyError: the store has none; says why, if the image is in quarantine.
        """
        place = self._index.find(image_id)
        if place is None:
            raise KeyError(self._why_missing(image_id))
        shard, row = place
        return self._read(shard, row)

    def close(self) -> None:
        """No shard is open any more."""
        self._shards.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read(self, shard: int, row: int) -> Features:
        record = self._shards.get(shard).read(row)
        self._shards.count_read(shard, num_bytes(record))
        return record

    def _why_missing(self, image_id: str) -> str:
        for failure in (failure for entry in self.manifest.shards for failure in entry.failures):
            if failure.image_id == image_id:
                return f"image {image_id!r} is in quarantine in {self.folder}: {failure.stage}: {failure.reason}"
        example = next(iter(self._index), None)
        return f"image {image_id!r} is not in {self.folder}, which has {len(self)} images such as {example!r}"
