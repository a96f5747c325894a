"""What stored regions and stored grids have in common, and how records become fields of a batch.

Axes: B pairs, R regions or cells, D feature_dim.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from annotations.image_ids import Ids
from detectors.records import RegionFeatures
from stores.errors import StoreError
from stores.images.sources import ImageSource, ImageSources
from stores.manifest import fingerprint
from stores.pages.pictures import planned_sources
from stores.reading import FeatureStore
from stores.store_content import content_sha256, shards_since
from training.batch import SideFields


class StoredSide:
    """Images of a store, by their position in it."""

    recorded_as = "regions"

    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    @property
    def image_ids(self) -> Sequence[str]:
        return self.store.image_ids

    @property
    def ids(self) -> Ids | None:
        return self.store.ids

    @property
    def location(self) -> str:
        return str(self.store.folder)

    @property
    def configuration(self) -> dict[str, Any]:
        return self.store.manifest.configuration

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.configuration)

    @property
    def content(self) -> str:
        return content_sha256(self.store.manifest)

    def holds(self, content: str) -> bool:
        """Return whether the store is the one of this content, or has grown since."""
        return shards_since(self.store.manifest, content) is not None

    def size(self, image: int) -> tuple[int, int]:
        record = self.store.at(image)
        return record.image_width, record.image_height

    def source(self, image_id: str) -> ImageSource | None:
        """Return where the store's plan says that the image is."""
        return self._sources.find(image_id)

    def close(self) -> None:
        self.store.close()

    @cached_property
    def _sources(self) -> ImageSources:
        return planned_sources(self.store.folder)


def stack_regions(records: Iterable[RegionFeatures], num_regions: Sequence[int]) -> SideFields:
    """Return the fields of a batch that regions give, padded to the most regions; boxes over their image's size.

    Records are copied one by one as they come, so that of a mapped file no more is in memory than the batch.

    Raises:
        StoreError: a record has another number of regions than is said.
    """
    shape = len(num_regions), max(num_regions)
    boxes_BR4 = np.zeros((*shape, 4), np.float32)
    names = {name: np.full(shape, -1, np.int64) for name in ("class_ids", "attribute_ids")}
    names |= {name: np.zeros(shape, np.float32) for name in ("class_scores", "attribute_scores")}
    features_BRD = np.empty((*shape, 0), np.float16)
    for row, (each, expected) in enumerate(zip(records, num_regions, strict=True)):
        if each.num_boxes != expected:
            raise StoreError(
                f"image {each.image_id!r} has {each.num_boxes} regions, but its sentence was aligned with {expected}; "
                "align again"
            )
        if not row:
            features_BRD = np.empty((*shape, each.feature_dim), np.float16)
        features_BRD[row, :expected] = each.features
        features_BRD[row, expected:] = 0
        size = (each.image_width, each.image_height) * 2
        boxes_BR4[row, :expected] = each.boxes_xyxy / np.array(size, np.float32)
        for name, array in names.items():
            array[row, :expected] = getattr(each, name)
    return SideFields(
        features=torch.from_numpy(features_BRD),
        boxes=torch.from_numpy(boxes_BR4),
        region_mask=torch.from_numpy(np.arange(shape[1]) < np.array(num_regions)[:, None]),
        **{name: torch.from_numpy(array) for name, array in names.items()},
    )
