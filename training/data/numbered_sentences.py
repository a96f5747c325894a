"""Sentences of a store by number: which there are, of which image, split and source, and which go together.

Axes: S sentences, I images of all sentences one after another.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotations.records import Split
from stores.errors import StoreError
from stores.sentence_reading import SentenceStore

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
    """[I]; numbers of the images, -1 where there is none."""
    num_regions: NDArray[np.int32]
    """[I]; of these images."""


class NumberedSentences:
    """Sentences by number, counted from 0 in the order of their store."""

    def __init__(self, sentences: SentenceStore, find_image: Callable[[str], int]) -> None:
        """Read the numbers of all sentences; `find_image` maps an image's id to its number, -1 where there is none.

        Raises:
            StoreError: the store has no sentence.
        """
        self.sentences = sentences
        self.lost_images: tuple[str, ...] = ()
        """The ids of images that were not found."""
        self._source_names: list[str] = []
        self._table = self._read_table(find_image)
        self._image_offsets = np.concatenate([[0], np.cumsum(self._table.num_images, dtype=np.int64)])
        self._is_whole = self._find_whole()
        self._siblings: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._table.rows)

    @property
    def num_left_out(self) -> int:
        """Sentences one of whose images is not there."""
        return int(np.count_nonzero(~self._is_whole))

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
        fitting = self._is_whole & (table.num_images == num_images)
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

    def place(self, number: int) -> tuple[int, int]:
        """Return the shard and row of one sentence, for what a batch does not take of it."""
        return int(self._table.shards[number]), int(self._table.rows[number])

    def split_of(self, number: int) -> Split:
        """Return the split that one sentence is of."""
        return _SPLITS[self._table.splits[number]]

    def images_of(self, number: int) -> NDArray[np.int32]:
        """Return the numbers of a sentence's images."""
        return self._table.images[self._images_from_to(number)]

    def siblings_of(self, number: int) -> NDArray[np.int64]:
        """Return the sentences of the same image, source and split, itself among them; it is about one image."""
        by_kind, starts, group_of = self._grouped()
        group = group_of[number]
        return by_kind[starts[group] : starts[group + 1]]

    def one_of_each(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return of these sentences one for each image, and source and split."""
        _, first = np.unique(self._grouped()[2][numbers], return_index=True)
        return numbers[np.sort(first)]

    def images_of_each(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the number of the image of each of these sentences, which are about one image."""
        return self._table.images[self._image_offsets[numbers]]

    def num_regions_of(self, number: int) -> NDArray[np.int32]:
        """Return how many regions each of a sentence's images had when it was aligned; 0 where it had none."""
        return self._table.num_regions[self._images_from_to(number)]

    def _images_from_to(self, number: int) -> slice:
        return slice(self._image_offsets[number], self._image_offsets[number + 1])

    def _read_table(self, find_image: Callable[[str], int]) -> _Table:
        """Return the numbers of all sentences; a shard at a time, since their names take ten times the room."""
        if not len(self.sentences):
            raise StoreError(f"{self.sentences.folder} holds no sentence, expected at least one; see vinculum align")
        lost: set[str] = set()
        parts = [self._read_shard(shard, find_image, lost) for shard in range(len(self.sentences.manifest.shards))]
        self.lost_images = tuple(sorted(lost))
        return _Table(
            **{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(_Table)}
        )

    def _grouped(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the sentences by first image, source and split; see `_group`. Made when it is first asked for."""
        if self._siblings is None:
            images = self._table.images[self._image_offsets[:-1]].astype(np.int64)
            kinds = (images * len(self._source_names) + self._table.sources) * len(_SPLITS) + self._table.splits
            self._siblings = _group(kinds)
        return self._siblings

    def _find_whole(self) -> NDArray[np.bool_]:
        """Return which sentences have all of their images, bool [S]."""
        number = np.repeat(np.arange(len(self)), self._table.num_images)
        return np.bincount(number[self._table.images < 0], minlength=len(self)) == 0

    def _read_shard(self, shard: int, find_image: Callable[[str], int], lost: set[str]) -> _Table:
        """Return the numbers of one shard's sentences; adds to `lost` the images that were not found."""
        index = self.sentences.index(shard)
        images = np.fromiter(map(find_image, index.image_ids), np.int32)
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


def _group(kinds: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers sorted by kind, where each kind begins and ends among them, and the kind of each number."""
    _, group_of, sizes = np.unique(kinds, return_inverse=True, return_counts=True)
    return np.argsort(group_of, kind="stable"), np.concatenate([[0], np.cumsum(sizes)]), group_of
