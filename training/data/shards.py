"""Images and sentence shards, joined by image id: what a run is trained on.

Of images there are stored regions, stored grids, or the files themselves. Of a word only regions know which of them it
means, and only those that its sentences were aligned with; cells of other stores and of files join by the image alone.

Axes: S sentences, I images of all sentences one after another, R regions or cells.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from annotations.boxes import has_other_proportions
from annotations.image_ids import is_number
from annotations.records import Split
from detectors.records import GridFeatures, RegionFeatures
from stores.errors import StoreError
from stores.formats.training_rows import TrainingSentence
from stores.manifest import fingerprint
from stores.numbering import ImageRows, Numbering, noted_numbering
from stores.reading import FeatureStore, open_store
from stores.sentence_reading import open_sentences
from stores.store_content import content_sha256, shards_since
from training.data.pictures import BrokenImageError, Pictures, cell_boxes
from training.models.catalog import EncoderShape
from training.models.visual_parser import VisualParserShape

NUM_COMPARED = 16
"""Sentences whose images' shapes are looked at, where numbers alone join them."""

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


class JoinedShards:
    """Sentences by number, counted from 0 in the order of the sentence store, and what there is of their images.

    May be carried over a fork. Each thread should open its own.
    """

    def __init__(self, images: Path | Pictures, sentences: Path) -> None:
        """Open both: a store of regions or grids, or the files of images, and the sentences.

        Sentences one of whose images is not there are left out, unless they were aligned with these regions.

        Raises:
            StoreError: a store of something else, an empty one, sentences that were aligned with other regions, or
                sentences whose images have no regions here.
            DamagedFileError: a shard is missing or not whole.
        """
        self.pictures = images if isinstance(images, Pictures) else None
        self._store = open_store(images) if isinstance(images, Path) else None
        self.sentences = open_sentences(sentences)
        self.content = "images" if self._store is None else self._store.manifest.content
        if self.content == "sentences":
            raise StoreError(f"{images} is a store of sentences, expected one of regions or grids")
        self.is_aligned = self.fingerprint == self._aligned_with("fingerprint")
        if self.content == "regions":
            self._require_same_regions()
        self._image_ids = self.regions.image_ids if self.pictures is None else self.pictures.image_ids
        self._image_rows = self._find_image_rows()
        self.grid = self._find_grid()
        self._source_names: list[str] = []
        self.lost_images: tuple[str, ...] = ()
        self._table = self._read_table()
        self._image_offsets = np.concatenate([[0], np.cumsum(self._table.num_images, dtype=np.int64)])
        self._is_whole = self._find_whole()
        self._siblings: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._table.rows)

    @property
    def regions(self) -> FeatureStore:
        """The store of regions or grids.

        Raises:
            StoreError: the images are files.
        """
        if self._store is None:
            raise StoreError("images as files have no stored regions, expected a store that vinculum extract wrote")
        return self._store

    @property
    def configuration(self) -> dict[str, Any]:
        """How stored regions or grids were made; empty of files."""
        return {} if self._store is None else self._store.manifest.configuration

    @property
    def fingerprint(self) -> str:
        """What tells these regions, grids or files from others."""
        return fingerprint(self.configuration) if self.pictures is None else self.pictures.fingerprint

    @property
    def aligned_content(self) -> str | None:
        """The content of the regions that the sentences were aligned with; None: they do not record it."""
        return self._aligned_with("sha256")

    @property
    def images_place(self) -> str:
        """Where the regions, grids or files are, for messages."""
        return " ".join(self.pictures.places) if self.pictures is not None else str(self.regions.folder)

    @property
    def feature_dim(self) -> int:
        """Return the number of features of a region or cell."""
        return self.read_regions(0).feature_dim if self.pictures is None else self.pictures.trunk.feature_dim

    @property
    def has_attention(self) -> bool:
        """Whether grids are stored with the attention among their cells."""
        return self.content == "grid" and self.read_attention(0) is not None

    @property
    def silent_images(self) -> tuple[str, ...]:
        """Images of which no sentence speaks."""
        spoken = np.zeros(len(self._image_ids) + 1, bool)
        spoken[self._table.images] = True
        return tuple(self._image_ids[number] for number in np.flatnonzero(~spoken[:-1]).tolist())

    @cached_property
    def doubtful_images(self) -> tuple[str, ...]:
        """Images that have another shape than their sentences know, of a few that nothing but a number names.

        None where it is known whose the numbers are, on both sides.
        """
        if self.content == "regions" or self._image_rows.is_known:
            return ()
        doubtful = []
        for number in np.unique(np.linspace(0, len(self) - 1, NUM_COMPARED).astype(int)).tolist():
            known = self.sentences.read(*self.place(number)).sentence.images
            for image, there in zip(known, self.images_of(number).tolist(), strict=True):
                with suppress(BrokenImageError):
                    if (
                        there >= 0
                        and is_number(image.image_id)
                        and has_other_proportions((image.width, image.height), self._size(there))
                    ):
                        doubtful.append(image.image_id)
        return tuple(dict.fromkeys(doubtful))

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

    def read(self, number: int) -> TrainingSentence:
        """Return one sentence; if it was not aligned with these regions, without its pointed words and phrases."""
        sentence = self.sentences.read_for_training(int(self._table.shards[number]), int(self._table.rows[number]))
        return sentence if self.is_aligned else _without_words(sentence)

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

    def are_about(self, numbers: NDArray[np.int64], image_id: str) -> NDArray[np.bool_]:
        """Return which of these sentences are about an image, be it one of several, bool [S]."""
        about = ({self._image_ids[image] for image in self.images_of(int(number))} for number in numbers)
        return np.array([image_id in images for images in about], bool)

    def num_regions_of(self, number: int) -> NDArray[np.int32]:
        """Return how many regions or cells each of a sentence's images has."""
        num_regions = self._table.num_regions[self._images_from_to(number)]
        return num_regions if self.grid is None else np.full_like(num_regions, math.prod(self.grid))

    def read_regions(self, image: int) -> RegionFeatures:
        """Return the regions of an image by its number; of a grid its cells, of a file cells without features."""
        image_id = self._image_ids[image]
        if self.pictures is not None:
            width, height = self.pictures.size(image_id)
            return _cells(image_id, width, height, self.pictures.cells, np.empty((len(self.pictures.cells), 0)))
        record = self.regions.get(image_id)
        return record if isinstance(record, RegionFeatures) else cells_of(record)

    def read_attention(self, image: int) -> NDArray[np.float32] | None:
        """Return how much each cell of a grid attended to each, mean over heads, float32 [R, R]; None: not kept."""
        record = self.regions.get(self._image_ids[image])
        if not isinstance(record, GridFeatures) or record.attention is None:
            return None
        attention_RR: NDArray[np.float32] = record.attention.mean(0, dtype=np.float32)
        return attention_RR

    def image_id(self, image: int) -> str:
        """Return the id of an image by its number."""
        return self._image_ids[image]

    def close(self) -> None:
        """No shard is open any more."""
        if self._store is not None:
            self._store.close()
        self.sentences.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _images_from_to(self, number: int) -> slice:
        return slice(self._image_offsets[number], self._image_offsets[number + 1])

    def _aligned_with(self, name: str) -> str | None:
        """Return `fingerprint` or `sha256` of the regions that the sentences were aligned with."""
        recorded: str | None = self.sentences.manifest.configuration.get("regions", {}).get(name)
        return recorded

    def _require_same_regions(self) -> None:
        """The regions are those that the sentences were aligned with, or these and more."""
        settings = self._aligned_with("fingerprint")
        if settings is None:
            raise StoreError(
                f"{self.sentences.folder} is about images without regions, expected sentences that were aligned with "
                f"those in {self.regions.folder}; give --images instead, or align with --regions"
            )
        if not self.is_aligned:
            raise StoreError(
                f"{self.regions.folder} has fingerprint {self.fingerprint}, but {self.sentences.folder} was aligned "
                f"with regions of fingerprint {settings}; their words point at other boxes. Use those "
                "regions, or align again"
            )
        content = self.aligned_content
        if content is not None and shards_since(self.regions.manifest, content) is None:
            raise StoreError(
                f"{self.regions.folder} has content {content_sha256(self.regions.manifest)}, but "
                f"{self.sentences.folder} was aligned with regions of content {content}, of the same settings: of "
                "other images, or made again since; their words point at other boxes. Use those regions, or align again"
            )

    def _read_table(self) -> _Table:
        """Return the numbers of all sentences; a shard at a time, since their names take ten times the room."""
        if not len(self.sentences):
            raise StoreError(f"{self.sentences.folder} holds no sentence, expected at least one; see vinculum align")
        lost: set[str] = set()
        parts = [self._read_shard(shard, lost) for shard in range(len(self.sentences.manifest.shards))]
        if lost and self.content == "regions":
            raise StoreError(
                f"{self.sentences.folder}: {len(lost)} images of its sentences have no regions in "
                f"{self.regions.folder} (such as {', '.join(map(repr, sorted(lost)[:3]))}); expected all; run vinculum "
                "extract for them, or align again"
            )
        self.lost_images = tuple(sorted(lost))
        return _Table(
            **{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(_Table)}
        )

    def _find_image_rows(self) -> ImageRows:
        """Return where each image of the sentences is; those of the regions that they were aligned with have one id."""
        sentences = noted_numbering(self.sentences.manifest.notes) or Numbering()
        if self.content == "regions":
            return ImageRows(self._image_ids, None, ())
        ids = self.pictures.ids if self.pictures is not None else self.regions.ids
        return ImageRows(self._image_ids, ids, sentences.ids)

    def _size(self, image: int) -> tuple[int, int]:
        image_id = self._image_ids[image]
        if self.pictures is not None:
            return self.pictures.size(image_id)
        record = self.regions.get(image_id)
        return record.image_width, record.image_height

    def _find_grid(self) -> tuple[int, int] | None:
        """Return rows and columns of cells, the same of all images; None of regions, of which each has its number."""
        if self.content == "regions":
            return None
        if self.pictures is not None:
            return self.pictures.trunk.side, self.pictures.trunk.side
        rows, columns, _ = self.regions.get(self._image_ids[0]).features.shape
        return rows, columns

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

    def _read_shard(self, shard: int, lost: set[str]) -> _Table:
        """Return the numbers of one shard's sentences; adds to `lost` the images that have no regions."""
        index = self.sentences.index(shard)
        images = np.fromiter(map(self._image_rows.get, index.image_ids), np.int32)
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


def open_shards(
    shape: EncoderShape, *, regions: Path | None, sentences: Path, images: Sequence[str] = ()
) -> JoinedShards:
    """Return the sentences joined with regions, grids or files of images, as an encoder of this shape takes them.

    Raises:
        StoreError, DamagedFileError: see `JoinedShards`.
        ValueError: the encoder takes the other, or both or neither are given.
    """
    trunk = shape.trunk if isinstance(shape, VisualParserShape) else None
    if (regions is None) == (not images):
        raise ValueError("expected either --regions, a store that vinculum extract wrote, or --images, the files")
    if regions is not None and trunk is not None:
        raise ValueError(f"--regions {regions}: the encoder takes pixels, expected --images with the files")
    if regions is not None:
        return JoinedShards(regions, sentences)
    if trunk is None:
        raise ValueError(f"--images {' '.join(images)}: the encoder takes what is stored, expected --regions")
    return JoinedShards(Pictures(images, trunk), sentences)


def cells_of(grid: GridFeatures) -> RegionFeatures:
    """Return the cells of a grid as regions, row by row; of classes and attributes nothing is known."""
    height, width = grid.features.shape[:2]
    return _cells(
        grid.image_id,
        grid.image_width,
        grid.image_height,
        cell_boxes(height, width),
        grid.features.reshape(height * width, -1),
    )


def _cells(
    image_id: str, width: int, height: int, boxes_R4: NDArray[np.float32], features_RD: NDArray[Any]
) -> RegionFeatures:
    unknown, no_score = np.full(len(boxes_R4), -1, np.int32), np.zeros(len(boxes_R4), np.float32)
    return RegionFeatures(
        image_id=image_id,
        image_width=width,
        image_height=height,
        boxes_xyxy=boxes_R4 * np.array([width, height] * 2, np.float32),
        features=features_RD.astype(np.float16, copy=False),
        class_ids=unknown,
        class_scores=no_score,
        attribute_ids=unknown,
        attribute_scores=no_score,
        selection="cells",
    )


def _without_words(sentence: TrainingSentence) -> TrainingSentence:
    names = ("word_starts", "word_ends", "word_images", "word_in_answer", "position", "semantic")
    phrases = None if sentence.phrases is None else sentence.phrases[:0]
    return replace(sentence, phrases=phrases, **{name: getattr(sentence, name)[:0] for name in names})


def _group(kinds: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers sorted by kind, where each kind begins and ends among them, and the kind of each number."""
    _, group_of, sizes = np.unique(kinds, return_inverse=True, return_counts=True)
    return np.argsort(group_of, kind="stable"), np.concatenate([[0], np.cumsum(sizes)]), group_of
