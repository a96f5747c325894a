"""Region shards and sentence shards, joined by image id: what a run is trained on.

Axes: S sentences, I images of all sentences one after another.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from annotations.records import Split
from detectors.records import RegionFeatures
from stores.errors import StoreError
from stores.manifest import fingerprint
from stores.reading import open_store
from stores.sentence_reading import open_sentences
from stores.training_rows import TrainingSentence

_SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """A few numbers for each sentence of the store; 10 million take some 0.3 GB."""

    shards: NDArray[np.int32]
    rows: NDArray[np.int32]
    """Within its shard."""
    num_bytes: NDArray[np.int32]
    num_words: NDArray[np.int32]
    num_answers: NDArray[np.int32]
    sources: NDArray[np.int16]
    splits: NDArray[np.int8]
    image_offsets: NDArray[np.int64]
    """[S + 1]."""
    images: NDArray[np.int32]
    """[I]; numbers of the region store's images."""
    num_regions: NDArray[np.int32]
    """[I]; of these images."""


class JoinedShards:
    """Sentences by number, counted from 0 in the order of the sentence store, and the regions of their images.

    May be carried over a fork. Each thread should open its own.
    """

    def __init__(self, regions: Path, sentences: Path) -> None:
        """Open both stores.

        Raises:
            StoreError: a store of something else, an empty one, sentences that were aligned with other regions, or
                sentences whose images have no regions here.
            DamagedFileError: a shard is missing or not whole.
        """
        self.regions = open_store(regions)
        self.sentences = open_sentences(sentences)
        if self.regions.manifest.content != "regions":
            raise StoreError(f"{regions} is a store of {self.regions.manifest.content}, expected one of regions")
        self._require_same_regions()
        self._image_ids = self.regions.image_ids
        self._source_names: list[str] = []
        self._table = self._read_table()

    def __len__(self) -> int:
        return len(self._table.rows)

    @property
    def sources(self) -> tuple[str, ...]:
        """The data sets that the sentences are of."""
        return tuple(self._source_names)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """int32 [S]; bytes of each text, by which sentences of like length find each other."""
        return self._table.num_bytes

    def select(
        self,
        *,
        splits: Collection[str] = _SPLITS,
        sources: Collection[str] | None = None,
        num_images: int = 1,
        answered: bool = False,
    ) -> NDArray[np.int64]:
        """Return the numbers of the sentences of these splits and sources that are about so many images.

        Raises:
            StoreError: there are none, or a source that the store does not have.
        """
        if sources is not None and (unknown := set(sources) - set(self._source_names)):
            raise StoreError(
                f"{self.sentences.folder} has no sentences of {', '.join(sorted(unknown))}; "
                f"expected some of {', '.join(self._source_names)}"
            )
        table = self._table
        chosen = np.isin(table.splits, [_SPLITS.index(split) for split in splits])
        chosen &= np.diff(table.image_offsets) == num_images
        if sources is not None:
            chosen &= np.isin(table.sources, [self._source_names.index(source) for source in sources])
        if answered:
            chosen &= table.num_answers > 0
        if not chosen.any():
            of = "" if sources is None else f" of {', '.join(sources)}"
            raise StoreError(
                f"{self.sentences.folder} has no sentence{of} for {' or '.join(splits)} with {num_images} "
                f"image{'s' * (num_images > 1)}{' and an answer' * answered}; expected at least one of its {len(self)}"
            )
        return np.flatnonzero(chosen)

    def read(self, number: int) -> TrainingSentence:
        """Return one sentence."""
        return self.sentences.read_for_training(int(self._table.shards[number]), int(self._table.rows[number]))

    def place(self, number: int) -> tuple[int, int]:
        """Return the shard and row of one sentence, for what a batch does not take of it."""
        return int(self._table.shards[number]), int(self._table.rows[number])

    def images_of(self, number: int) -> NDArray[np.int32]:
        """Return the numbers of a sentence's images."""
        return self._table.images[self._images_from_to(number)]

    def num_regions_of(self, number: int) -> NDArray[np.int32]:
        """Return how many regions each of a sentence's images has."""
        return self._table.num_regions[self._images_from_to(number)]

    def read_regions(self, image: int) -> RegionFeatures:
        """Return the regions of an image by its number."""
        record = self.regions.get(self._image_ids[image])
        if not isinstance(record, RegionFeatures):
            raise StoreError(f"image {record.image_id!r} has no regions in {self.regions.folder}")
        return record

    def image_id(self, image: int) -> str:
        """Return the id of an image by its number."""
        return self._image_ids[image]

    def close(self) -> None:
        """No shard is open any more."""
        self.regions.close()
        self.sentences.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _images_from_to(self, number: int) -> slice:
        offsets = self._table.image_offsets
        return slice(offsets[number], offsets[number + 1])

    def _require_same_regions(self) -> None:
        found = fingerprint(self.regions.manifest.configuration)
        expected = self.sentences.manifest.configuration.get("regions", {}).get("fingerprint")
        if found != expected:
            raise StoreError(
                f"{self.regions.folder} has fingerprint {found}, but {self.sentences.folder} was aligned with regions "
                f"of fingerprint {expected}; their words point at other boxes. Use those regions, or align again"
            )

    def _read_table(self) -> _Table:
        indexes = [self.sentences.index(shard) for shard in range(len(self.sentences.manifest.shards))]
        if not sum(map(len, indexes)):
            raise StoreError(f"{self.sentences.folder} holds no sentence, expected at least one; see vinculum align")
        numbers = {image_id: number for number, image_id in enumerate(self._image_ids)}
        images = np.fromiter((numbers.get(image_id, -1) for index in indexes for image_id in index.image_ids), np.int32)
        if (images < 0).any():
            every = dict.fromkeys(image_id for index in indexes for image_id in index.image_ids)
            lost = [image_id for image_id in every if image_id not in numbers]
            raise StoreError(
                f"{self.sentences.folder}: of the {len(every)} images of its sentences, {len(lost)} have no regions in "
                f"{self.regions.folder} (the first: {', '.join(map(repr, lost[:3]))}); expected all; run vinculum "
                "extract for them, or align again"
            )
        self._source_names = list(dict.fromkeys(source for index in indexes for source in index.sources))
        source_numbers = {source: number for number, source in enumerate(self._source_names)}
        split_numbers: dict[str, int] = {split: number for number, split in enumerate(_SPLITS)}
        return _Table(
            shards=np.repeat(np.arange(len(indexes), dtype=np.int32), [len(index) for index in indexes]),
            rows=np.concatenate([np.arange(len(index), dtype=np.int32) for index in indexes]),
            num_bytes=np.concatenate([index.num_bytes for index in indexes]),
            num_words=np.concatenate([index.num_words for index in indexes]),
            num_answers=np.concatenate([index.num_answers for index in indexes]),
            sources=np.fromiter((source_numbers[each] for index in indexes for each in index.sources), np.int16),
            splits=np.fromiter((split_numbers[each] for index in indexes for each in index.splits), np.int8),
            image_offsets=np.concatenate([[0], *(index.num_images for index in indexes)]).cumsum(dtype=np.int64),
            images=images,
            num_regions=np.concatenate([index.num_regions for index in indexes]),
        )
