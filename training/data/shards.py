"""Sentences joined with the images that they are about: what a run is trained on.

Axes: S sentences, R regions or cells.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from annotations.boxes import has_other_proportions
from annotations.image_ids import is_number
from stores.errors import StoreError
from stores.formats.training_rows import TrainingSentence
from stores.numbering import ImageRows, Numbering, noted_numbering
from stores.sentence_reading import open_sentences
from training.data.numbered_sentences import NumberedSentences
from training.data.pictures import BrokenImageError, Pictures
from training.data.sides.opening import open_side
from training.data.sides.side import Side
from training.models.catalog import EncoderShape
from training.models.visual_parser import VisualParserShape

NUM_COMPARED = 16
"""Sentences whose images' shapes are looked at, where numbers alone join them."""


class JoinedShards(NumberedSentences):
    """Sentences by number, and the side that their images are on, where an image's number is its position.

    May be carried over a fork. Each thread should open its own.
    """

    def __init__(self, side: Side, sentences: Path) -> None:
        """Open the sentences; those one of whose images is not there are left out, where the side joins freely.

        Raises:
            StoreError: an empty store, sentences that were aligned with other regions, or sentences whose images have
                no regions here.
            DamagedFileError: a shard is missing or not whole.
        """
        self.side = side
        store = open_sentences(sentences)
        self._recorded = store.manifest.configuration.get("regions", {})
        side.require_aligned(store)
        self._numbering = noted_numbering(store.manifest.notes) or Numbering()
        rows = self._image_rows()
        self._is_known = rows.is_known
        super().__init__(store, rows.get)
        if self.lost_images and not side.joins_freely:
            raise StoreError(
                f"{store.folder}: {len(self.lost_images)} images of its sentences have no regions in {side.location} "
                f"(such as {', '.join(map(repr, self.lost_images[:3]))}); expected all; run vinculum extract for them, "
                "or align again"
            )

    @cached_property
    def is_aligned(self) -> bool:
        """Whether the sentences were aligned with these regions, so that their words point at them."""
        return self.side.fingerprint == self._recorded.get("fingerprint")

    @property
    def aligned_content(self) -> str | None:
        """The content of the regions that the sentences were aligned with; None: they do not record it."""
        recorded: str | None = self._recorded.get("sha256")
        return recorded

    @property
    def silent_images(self) -> tuple[str, ...]:
        """Images of which no sentence speaks."""
        spoken = np.zeros(len(self.side.image_ids) + 1, bool)
        spoken[self._table.images] = True
        return tuple(self.side.image_ids[number] for number in np.flatnonzero(~spoken[:-1]).tolist())

    @cached_property
    def doubtful_images(self) -> tuple[str, ...]:
        """Images that have another shape than their sentences know, of a few that nothing but a number names.

        None where it is known whose the numbers are, on both sides.
        """
        if not self.side.joins_freely or self._is_known:
            return ()
        doubtful = []
        for number in np.unique(np.linspace(0, len(self) - 1, NUM_COMPARED).astype(int)).tolist():
            known = self.sentences.read(*self.place(number)).sentence.images
            for image, there in zip(known, self.images_of(number).tolist(), strict=True):
                with suppress(BrokenImageError):
                    if (
                        there >= 0
                        and is_number(image.image_id)
                        and has_other_proportions((image.width, image.height), self.side.size(there))
                    ):
                        doubtful.append(image.image_id)
        return tuple(dict.fromkeys(doubtful))

    def read(self, number: int) -> TrainingSentence:
        """Return one sentence; if it was not aligned with these regions, without its pointed words."""
        sentence = self.sentences.read_for_training(int(self._table.shards[number]), int(self._table.rows[number]))
        return sentence if self.is_aligned else _without_words(sentence)

    def num_regions_of(self, number: int) -> NDArray[np.int32]:
        """Return how many regions or cells each of a sentence's images has."""
        return self.side.counts(super().num_regions_of(number))

    def are_about(self, numbers: NDArray[np.int64], image_id: str) -> NDArray[np.bool_]:
        """Return which of these sentences are about an image, be it one of several, bool [S]."""
        about = ({self.side.image_ids[image] for image in self.images_of(int(number))} for number in numbers)
        return np.array([image_id in images for images in about], bool)

    def close(self) -> None:
        """No shard is open any more."""
        self.side.close()
        self.sentences.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _image_rows(self) -> ImageRows:
        """Return where each image of the sentences is; regions that they were aligned with have the very ids."""
        if not self.side.joins_freely:
            return ImageRows(self.side.image_ids, None, ())
        return ImageRows(self.side.image_ids, self.side.ids, self._numbering.ids)


def join(images: Path | Pictures, sentences: Path) -> JoinedShards:
    """Return sentences joined with a store of regions or grids, or with files of images; see `JoinedShards`."""
    return JoinedShards(open_side(images), sentences)


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
        return join(regions, sentences)
    if trunk is None:
        raise ValueError(f"--images {' '.join(images)}: the encoder takes what is stored, expected --regions")
    return join(Pictures(images, trunk), sentences)


def _without_words(sentence: TrainingSentence) -> TrainingSentence:
    names = ("word_starts", "word_ends", "word_images", "word_in_answer", "position", "semantic")
    phrases = None if sentence.phrases is None else sentence.phrases[:0]
    return replace(sentence, phrases=phrases, **{name: getattr(sentence, name)[:0] for name in names})
