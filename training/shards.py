"""Region shards and sentence shards, joined by image id: what a run is trained on.

Axes: S sentences, I images of all sentences one after another.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import repeat
from pathlib import Path
from typing import Any, Self

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
    """A few numbers for each sentence of some shards; 10 million take some 0.3 GB."""

    shards: NDArray[np.int32]
    rows: NDArray[np.int32]
    """Within its shard."""
    num_bytes: NDArray[np.int32]
    num_answers: NDArray[np.int32]
    sources: NDArray[np.int16]
    splits: NDArray[np.int8]
    num_images: NDArray[np.int32]
    images: NDArray[np.int32]
    """[I]; numbers of the region store's images, -1 where it has none."""
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
        self._image_offsets = np.concatenate([[0], np.cumsum(self._table.num_images, dtype=np.int64)])

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
                f"it has those of {', '.join(self._source_names)}"
            )
        table = self._table
        fitting = table.num_images == num_images
        if sources is not None:
            fitting &= np.isin(table.sources, [self._source_names.index(source) for source in sources])
        if answered:
            fitting &= table.num_answers > 0
        chosen = fitting & np.isin(table.splits, [_SPLITS.index(split) for split in splits])
        if not chosen.any():
            of = "" if sources is None else f" of {', '.join(sources)}"
            others = [_SPLITS[split] for split in np.unique(table.splits[fitting]).tolist()]
            raise StoreError(
                f"{self.sentences.folder} has no sentence{of} for {' or '.join(splits)} with {num_images} "
                f"image{'s' * (num_images > 1)}{' and an answer' * answered}; "
                + (f"it has such for {', '.join(others)}" if others else f"expected at least one of its {len(self)}")
            )
        return np.flatnonzero(chosen)

    def read(self, number: int) -> TrainingSentence:
        """Return one sentence."""
        return self.sentences.read_for_training(int(self._table.shards[number]), int(self._table.rows[number]))

    def place(self, number: int) -> tuple[int, int]:
        """Return the shard and row of one sentence, for what a batch does not take of it."""
        return int(self._table.shards[number]), int(self._table.rows[number])

    def split_of(self, number: int) -> Split:
        """Return the split that one sentence is of."""
        return _SPLITS[self._table.splits[number]]

    def images_of(self, number: int) -> NDArray[np.int32]:
        """Return the numbers of a sentence's images."""
        return self._table.images[self._images_from_to(number)]

    def images_of_each(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the number of the image of each of these sentences, which are about one image."""
        return self._table.images[self._image_offsets[numbers]]

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
        return slice(self._image_offsets[number], self._image_offsets[number + 1])

    def _require_same_regions(self) -> None:
        found = fingerprint(self.regions.manifest.configuration)
        expected = self.sentences.manifest.configuration.get("regions", {}).get("fingerprint")
        if found != expected:
            raise StoreError(
                f"{self.regions.folder} has fingerprint {found}, but {self.sentences.folder} was aligned with regions "
                f"of fingerprint {expected}; their words point at other boxes. Use those regions, or align again"
            )

    def _read_table(self) -> _Table:
        """Return the numbers of all sentences; a shard at a time, since their names take ten times the room."""
        if not len(self.sentences):
            raise StoreError(f"{self.sentences.folder} holds no sentence, expected at least one; see vinculum align")
        image_numbers = {image_id: number for number, image_id in enumerate(self._image_ids)}
        lost: set[str] = set()
        parts = [self._read_shard(shard, image_numbers, lost) for shard in range(len(self.sentences.manifest.shards))]
        if lost:
            raise StoreError(
                f"{self.sentences.folder}: {len(lost)} images of its sentences have no regions in "
                f"{self.regions.folder} (such as {', '.join(map(repr, sorted(lost)[:3]))}); expected all; run vinculum "
                "extract for them, or align again"
            )
        return _Table(
            **{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(_Table)}
        )

    def _read_shard(self, shard: int, image_numbers: Mapping[str, int], lost: set[str]) -> _Table:
        """Return the numbers of one shard's sentences; adds to `lost` the images that have no regions."""
        index = self.sentences.index(shard)
        images = np.fromiter(map(image_numbers.get, index.image_ids, repeat(-1)), np.int32)
        lost |= {index.image_ids[place] for place in np.flatnonzero(images < 0).tolist()}
        self._source_names += [name for name in dict.fromkeys(index.sources) if name not in self._source_names]
        return _Table(
            shards=np.full(len(index), shard, np.int32),
            rows=np.arange(len(index), dtype=np.int32),
            num_bytes=index.num_bytes,
            num_answers=index.num_answers,
            sources=_numbers_of(index.sources, self._source_names, np.int16),
            splits=_numbers_of(index.splits, _SPLITS, np.int8),
            num_images=index.num_images,
            images=images,
            num_regions=index.num_regions,
        )


def _numbers_of(names: Iterable[str], table: Sequence[str], dtype: type) -> NDArray[Any]:
    """Return the place of each name in the table."""
    numbers = {name: number for number, name in enumerate(table)}
    return np.fromiter(map(numbers.__getitem__, names), dtype)
