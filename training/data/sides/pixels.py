"""Files of images: their pixels, and the cells that a trunk will make of them.

Axes: B pairs, I images, R cells.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotations.image_ids import Ids
from detectors.records import RegionFeatures
from stores.images.sources import ImageSource
from stores.sentence_reading import SentenceStore
from training.batch import SideFields
from training.data.pictures import Augmentation, Pictures
from training.data.sides.cells import cells_as_regions


class PixelSide:
    """Images that are decoded when a batch is made."""

    noun = "images"
    recorded_as = "images"
    joins_freely = True
    has_attention = True  # the trunk's

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures
        self.grid = pictures.trunk.side, pictures.trunk.side
        self._image_ids = pictures.image_ids

    @property
    def image_ids(self) -> Sequence[str]:
        return self._image_ids

    @property
    def ids(self) -> Ids | None:
        return self.pictures.ids

    @property
    def location(self) -> str:
        return " ".join(self.pictures.places)

    @property
    def configuration(self) -> dict[str, Any]:
        return {}

    @property
    def fingerprint(self) -> str:
        return self.pictures.fingerprint

    @property
    def content(self) -> str:
        return self.pictures.content

    @property
    def feature_dim(self) -> int:
        return self.pictures.trunk.feature_dim

    def holds(self, content: str) -> bool:
        """Return whether the files are those of this content."""
        return self.content == content

    def require_aligned(self, sentences: SentenceStore) -> None:
        """Any sentences do: words point at cells of no file."""

    def counts(self, recorded: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.full_like(recorded, len(self.pictures.cells))

    def size(self, image: int) -> tuple[int, int]:
        return self.pictures.size(self._image_ids[image])

    def regions(self, image: int) -> RegionFeatures:
        """Return the cells, without features.

        Raises:
            BrokenImageError: the file cannot be decoded, which tells the image's size.
        """
        cells = self.pictures.cells
        return cells_as_regions(self._image_ids[image], self.size(image), cells, np.empty((len(cells), 0)))

    def source(self, image_id: str) -> ImageSource | None:
        return self.pictures.source(image_id)

    def fields(self, images: Sequence[int], num_regions: Sequence[int]) -> SideFields:
        """Return the pixels of each image once, and which of them each pair has."""
        shown, rows = np.unique(images, return_inverse=True)
        pixels = [self.pictures.read(self._image_ids[image]) for image in shown.tolist()]
        return self._with_cells(torch.stack(pixels), rows.tolist())

    def views(
        self,
        images: Sequence[int],
        keys: Sequence[Hashable],
        augmentation: Augmentation,
        draw: Callable[[int], np.random.Generator],
    ) -> SideFields:
        """Return the fields with images that look otherwise each time.

        Args:
            keys: pairs of one key see one view of their image.
            draw: from the row of the first such pair to what the view is drawn from.
        """
        views: dict[Hashable, Tensor] = {}
        for row, (image, key) in enumerate(zip(images, keys, strict=True)):
            if key not in views:
                views[key] = self.pictures.read(self._image_ids[image], augmentation, draw(row))
        places = {key: place for place, key in enumerate(views)}
        return self._with_cells(torch.stack(list(views.values())), [places[key] for key in keys])

    def close(self) -> None:
        """Nothing stays open."""

    def _with_cells(self, pixels_I3HW: Tensor, rows: Sequence[int]) -> SideFields:
        size, num_cells = len(rows), len(self.pictures.cells)
        return SideFields(
            pixels=pixels_I3HW,
            image_rows=torch.tensor(rows),
            features=torch.empty(size, num_cells, 0, dtype=torch.float16),
            boxes=torch.from_numpy(self.pictures.cells).repeat(size, 1, 1),
            region_mask=torch.ones(size, num_cells, dtype=torch.bool),
            **{name: torch.full((size, num_cells), -1) for name in ("class_ids", "attribute_ids")},
            **{name: torch.zeros(size, num_cells) for name in ("class_scores", "attribute_scores")},
        )
