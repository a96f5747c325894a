"""Stored grids: their cells are taken for regions, with the attention among them where it is stored.

Axes: R cells.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.records import GridFeatures, RegionFeatures
from stores.reading import FeatureStore
from stores.sentence_reading import SentenceStore
from training.batch import SideFields
from training.data.sides.cells import cell_boxes, cells_as_regions
from training.data.sides.stored import StoredSide, stack_regions


class GridSide(StoredSide):
    """The grids of a backbone, all of one shape."""

    noun = "grids"
    joins_freely = True

    def __init__(self, store: FeatureStore) -> None:
        super().__init__(store)
        rows, columns, self._feature_dim = self._grid(0).features.shape
        self.grid = rows, columns

    @property
    def feature_dim(self) -> int:
        return self._feature_dim

    @cached_property
    def has_attention(self) -> bool:
        return self._grid(0).attention is not None

    def require_aligned(self, sentences: SentenceStore) -> None:
        """Any sentences do: words point at cells of no store."""

    def counts(self, recorded: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.full_like(recorded, math.prod(self.grid))

    def regions(self, image: int) -> RegionFeatures:
        return cells_of(self._grid(image))

    def fields(self, images: Sequence[int], num_regions: Sequence[int]) -> SideFields:
        """Return the cells, and how much each attended to each, mean over heads, where all images have it."""
        grids = [self._grid(image) for image in images]
        fields = stack_regions(map(cells_of, grids), num_regions)
        kept = [each.attention.mean(0, dtype=np.float32) for each in grids if each.attention is not None]
        if len(kept) < len(grids):
            return fields
        return replace(fields, visual_attention=torch.from_numpy(np.stack(kept)))

    def _grid(self, image: int) -> GridFeatures:
        record = self.store.at(image)
        assert isinstance(record, GridFeatures)  # as the manifest says
        return record


def cells_of(grid: GridFeatures) -> RegionFeatures:
    """Return the cells of a grid as regions, row by row."""
    height, width = grid.features.shape[:2]
    size = grid.image_width, grid.image_height
    return cells_as_regions(grid.image_id, size, cell_boxes(height, width), grid.features.reshape(height * width, -1))
