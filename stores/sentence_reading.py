"""A finished or growing store of sentences as its consumers see it: all of them in order, or one by shard and row."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from annotations.alignment.region_names import UNNAMED
from annotations.alignment.sentences import AlignedSentence
from stores.errors import StoreError
from stores.formats.training_rows import SentenceIndex, TrainingSentence
from stores.manifest import Manifest, read_manifest
from stores.numbering import JOIN_RULES, RESIZED, joined_by
from stores.open_shards import OpenShards

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
    """A store's sentences. No index is kept, since there may be ten million rows."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._shards = OpenShards(folder, manifest)

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
        sentence = self._shards.get(shard).read_sentence(row)
        self._shards.count_read(shard, sentence.words.position.nbytes)
        return sentence

    def read_for_training(self, shard: int, row: int) -> TrainingSentence:
        """Return what a batch takes of one sentence: a tenth of the time of reading all of it.

        Raises:
            DamagedFileError: the shard is missing or not whole.
        """
        sentence = self._shards.get(shard).read_for_training(row)
        self._shards.count_read(shard, sentence.position.nbytes)
        return sentence

    def index(self, shard: int) -> SentenceIndex:
        """Return what an order of reading needs to know of a shard's rows."""
        return self._shards.get(shard).read_index()

    def counts(self, shards: Sequence[int]) -> dict[str, int]:
        """Return how much these shards hold, as their makers counted it; images that are in several count once."""
        entries = [self.manifest.shards[number] for number in shards]
        totals = {name: sum(entry.counts.get(name, 0) for entry in entries) for name in COUNTED}
        if len(entries) > 1:
            totals["images"] = len(self.image_ids(shards))
        return totals

    def joins(self, shards: Sequence[int]) -> dict[str, int]:
        """Return how many images of these shards' sentences were found by each rule; older shards do not tell."""
        counts = [self.manifest.shards[number].counts for number in shards]
        names = {joined_by(rule): told for rule, told in JOIN_RULES.items()} | {
            RESIZED: "of another size than annotated"
        }
        totals = {told: sum(each.get(name, 0) for each in counts) for name, told in names.items()}
        return {told: total for told, total in totals.items() if total}

    def unnamed(self, shards: Sequence[int]) -> dict[str, int]:
        """Return how many regions of these shards' images lack which names, under names of `UNNAMED`.

        Images that are in several shards count in each. Older shards do not tell.
        """
        counts = [self.manifest.shards[number].counts for number in shards]
        totals = {name: sum(each.get(name, 0) for each in counts) for name in UNNAMED}
        return totals if totals["regions"] else {}

    def image_ids(self, shards: Iterable[int]) -> set[str]:
        """Return the ids of all images that the sentences of these shards are about."""
        return set().union(*(self._shards.get(number).read_sentence_images() for number in shards))

    def close(self) -> None:
        """No shard is open any more."""
        self._shards.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
