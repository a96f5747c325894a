"""The kinds of store. A new one is a module like `stores/formats/arrow.py` and a line in `STORES`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from annotations.alignment.sentences import AlignedSentence, AlignedSentences, ImageRegions
from annotations.tables import Table
from detectors.records import Features
from stores.errors import StoreError
from stores.formats.region_columns import ShardDescription
from stores.formats.training_rows import SentenceIndex, TrainingSentence
from stores.manifest import Content, Manifest


class ShardReader(Protocol):
    """One shard's rows by number, counted from 0 and ascending by the UTF-8 bytes of their ids."""

    description: ShardDescription
    seal: str
    """The digest that the file carries, see `stores/seal.py`; unchecked."""

    @property
    def row_ids(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def read(self, row: int) -> Features: ...

    def read_sentence(self, row: int) -> AlignedSentence: ...

    def read_for_training(self, row: int) -> TrainingSentence:
        """Return what a training batch takes of a sentence."""
        ...

    def read_index(self) -> SentenceIndex:
        """Return what an order of reading needs to know of all sentences of a shard."""
        ...

    def read_sentence_images(self) -> set[str]:
        """Return the ids of all images that a shard's sentences are about."""
        ...

    def copy_sentences(self, path: Path, *, configuration: Mapping[str, Any]) -> int:
        """The shard at `path`, this one's or another, has these sentences, each checked, made as `configuration` says.

        Its bytes are those that `write_sentences` writes, given batches of `BATCH_SENTENCES`; a shard of an older
        schema version has none.
        """
        ...

    def read_layouts(self) -> list[ImageRegions]:
        """Return the boxes and names of every row of a shard of regions, without features."""
        ...

    def release_memory(self) -> None:
        """What reading has mapped is no longer in memory; records that were read stay good."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class Store(Protocol):
    """One file per shard; a module is enough."""

    suffix: str

    def write_shard(
        self, path: Path, records: Iterable[Features], *, content: Content, configuration: Mapping[str, Any]
    ) -> int: ...

    def write_sentences(
        self, path: Path, batches: Iterable[AlignedSentences], *, configuration: Mapping[str, Any]
    ) -> int: ...

    def open_shard(self, path: Path) -> ShardReader: ...


STORES: Table[Store] = Table(
    {
        "arrow": "stores.formats.arrow",
        "lmdb": "stores.formats.lmdb",
    }
)

if TYPE_CHECKING:
    StoreName = str
else:
    StoreName = Literal[tuple(STORES)]


def find_store(manifest: Manifest, folder: Path) -> Store:
    """Return the kind of the store in `folder`.

    Raises:
        StoreError: there is none of this name; a newer program may have written it.
    """
    if manifest.store not in STORES:
        raise StoreError(
            f"{folder}: its shards are of the kind {manifest.store!r}, expected one of {', '.join(STORES)}; read it "
            "with the vinculum that wrote it"
        )
    return STORES[manifest.store]
