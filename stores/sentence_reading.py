"""A finished or growing store of sentences as its consumers see it: all of them in order, or one by shard and row."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from annotations.aligned import AlignedSentence
from stores.catalog import STORES, ShardReader
from stores.errors import DamagedFileError, StoreError
from stores.manifest import Manifest, read_manifest

COUNTED = ("images", "sentences", "pointers", "boxed_pointers", "objects", "pointed_words")
"""What a sentence shard's `counts` tell, in the order in which one reads it; `objects` only within the shard."""


def open_sentences(folder: Path) -> "SentenceStore":
    """Return a reader of the sentence store in `folder`; it sees the shards that its manifest names now.

    Raises:
        DamagedFileError: the manifest is not as it was written.
        StoreError: it is a store of something else.
    """
    manifest = read_manifest(folder)
    if manifest.content != "sentences":
        raise StoreError(f"{folder} is a store of {manifest.content}, expected one of sentences; see vinculum align")
    return SentenceStore(folder, manifest)


class SentenceStore:
    """A store's sentences. One shard is open at a time; no index is kept, since there may be ten million rows."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._open: tuple[int, ShardReader] | None = None

    def __len__(self) -> int:
        return sum(entry.rows for entry in self.manifest.shards)

    def __iter__(self) -> Iterator[AlignedSentence]:
        for shard, entry in enumerate(self.manifest.shards):
            yield from (self.read(shard, row) for row in range(entry.rows))

    def read(self, shard: int, row: int) -> AlignedSentence:
        """Return one sentence: row `row` of the manifest's shard `shard`, both counted from 0.

        Raises:
            DamagedFileError: the shard is missing or not whole.
        """
        return self._shard(shard).read_sentence(row)

    def counts(self, shards: Sequence[int]) -> dict[str, int]:
        """Return how much these shards hold, as their makers counted it; images that are in several count once."""
        entries = [self.manifest.shards[number] for number in shards]
        totals = {name: sum(entry.counts.get(name, 0) for entry in entries) for name in COUNTED}
        if len(entries) > 1:
            totals["images"] = len(self.image_ids(shards))
        return totals

    def image_ids(self, shards: Iterable[int]) -> set[str]:
        """Return the ids of all images that the sentences of these shards are about."""
        return set().union(*(self._shard(number).read_sentence_images() for number in shards))

    def close(self) -> None:
        """No shard is open any more."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _shard(self, number: int) -> ShardReader:
        if self._open is None or self._open[0] != number:
            self.close()
            entry = self.manifest.shards[number]
            reader = STORES[self.manifest.store].open_shard(self.folder / entry.name)
            if len(reader) != entry.rows:
                raise DamagedFileError(
                    self.folder / entry.name, found=f"{len(reader)} rows", expected=f"{entry.rows} rows"
                )
            self._open = number, reader
        return self._open[1]
