"""Stored regions: sentences were aligned with these very regions, or with these and fewer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.records import RegionFeatures
from stores.errors import StoreError
from stores.sentence_reading import SentenceStore
from training.batch import SideFields
from training.data.sides.stored import StoredSide, stack_regions


class RegionSide(StoredSide):
    """The regions that a detector found."""

    noun = "regions"
    joins_freely = False
    grid = None
    has_attention = False

    @property
    def feature_dim(self) -> int:
        return self.regions(0).feature_dim

    def counts(self, recorded: NDArray[np.int32]) -> NDArray[np.int32]:
        return recorded

    def regions(self, image: int) -> RegionFeatures:
        record = self.store.at(image)
        assert isinstance(record, RegionFeatures)  # as the manifest says
        return record

    def fields(self, images: Sequence[int], num_regions: Sequence[int]) -> SideFields:
        return stack_regions(map(self.regions, images), num_regions)

    def require_aligned(self, sentences: SentenceStore) -> None:
        """The regions are those that the sentences were aligned with, or these and more."""
        recorded = sentences.manifest.configuration.get("regions", {})
        settings, content = recorded.get("fingerprint"), recorded.get("sha256")
        if settings is None:
            raise StoreError(
                f"{sentences.folder} is about images without regions, expected sentences that were aligned with "
                f"those in {self.location}; give --images instead, or align with --regions"
            )
        if settings != self.fingerprint:
            raise StoreError(
                f"{self.location} has fingerprint {self.fingerprint}, but {sentences.folder} was aligned "
                f"with regions of fingerprint {settings}; their words point at other boxes. Use those "
                "regions, or align again"
            )
        if content is not None and not self.holds(content):
            raise StoreError(
                f"{self.location} has content {self.content}, but {sentences.folder} was aligned with regions of "
                f"content {content}, of the same settings: of other images, or made again since; their words point at "
                "other boxes. Use those regions, or align again"
            )
