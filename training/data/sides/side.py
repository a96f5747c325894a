"""What the join and the batches ask of the image side, whichever it is."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from annotations.image_ids import Ids
from detectors.records import RegionFeatures
from stores.images.sources import ImageSource
from stores.sentence_reading import SentenceStore
from training.batch import SideFields


class Side(Protocol):
    """Images by position, counted from 0; may be carried over a fork."""

    @property
    def noun(self) -> str:
        """What a person calls its images: regions, grids or images."""
        ...

    @property
    def recorded_as(self) -> str:
        """The name under which a recipe's data has the fingerprint."""
        ...

    @property
    def joins_freely(self) -> bool:
        """Sentences aligned with something else join by the images' ids, and those without an image are left out."""
        ...

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of cells, the same of all images; None: each image has a number of regions of its own."""
        ...

    @property
    def has_attention(self) -> bool:
        """Attention among cells is stored, or made by the encoder's trunk, so that it may choose what is hidden."""
        ...

    @property
    def image_ids(self) -> Sequence[str]:
        """The images' ids by position."""
        ...

    @property
    def ids(self) -> Ids | None:
        """Whose the numbers among the ids are; None: nothing says it."""
        ...

    @property
    def location(self) -> str:
        """Where the images are, for messages."""
        ...

    @property
    def configuration(self) -> dict[str, Any]:
        """How regions or grids were made; empty of files."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with the settings of a store, or with the set of files."""
        ...

    @property
    def content(self) -> str:
        """Changes with the bytes of the images."""
        ...

    @property
    def feature_dim(self) -> int:
        """Numbers that a region or cell has, as the encoder takes it."""
        ...

    def holds(self, content: str) -> bool:
        """Return whether everything is there that there was when `content` was recorded."""
        ...

    def require_aligned(self, sentences: SentenceStore) -> None:
        """The sentences may be joined with these images.

        Raises:
            StoreError: they were aligned with other regions.
        """
        ...

    def counts(self, recorded: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return how many regions or cells images have, of whose regions the sentences recorded so many."""
        ...

    def size(self, image: int) -> tuple[int, int]:
        """Return width and height of an image."""
        ...

    def regions(self, image: int) -> RegionFeatures:
        """Return an image's regions; of a grid its cells, of a file cells without features."""
        ...

    def source(self, image_id: str) -> ImageSource | None:
        """Return where the image itself is; None: nothing says it."""
        ...

    def fields(self, images: Sequence[int], num_regions: Sequence[int]) -> SideFields:
        """Return what a batch has of these images, one a pair, each with the expected number of regions.

        Raises:
            StoreError: an image has another number of regions, or is a file that cannot be decoded.
        """
        ...

    def close(self) -> None:
        """No file is open any more."""
        ...
