"""Regions pooled from a grid at given boxes: a backbone's features for whatever boxes annotations or a detector have.

Axes: H W grid cells, R boxes, D feature_dim, S bins a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import roi_align

from detectors.records import DecodedImage, GridFeatures, PreparedImage, RegionFeatures

BINS = 7


class GridDetector(Protocol):
    """Turns images into grids."""

    def describe(self) -> dict[str, Any]: ...

    def prepare(self, image: DecodedImage) -> PreparedImage: ...

    def detect(self, images: Sequence[PreparedImage]) -> Sequence[GridFeatures]: ...


@dataclass(frozen=True, kw_only=True)
class GridRegions:
    """A detector of grids as one of regions: RoIAlign of the boxes on the grid, and the mean of their bins."""

    grid: GridDetector

    def describe(self) -> dict[str, Any]:
        """Return everything that decides the output, in JSON types."""
        described = self.grid.describe()
        pooled = {"regions": f"RoIAlign of {BINS} x {BINS} bins of the grid, their mean", "attention": "none"}
        return described | {
            "conventions": described["conventions"] | pooled,
            "vocabulary": {"classes": [], "attributes": []},
            "box_order": "as given",
        }

    def prepare(self, image: DecodedImage) -> PreparedImage:
        """Return what the grid's detector wants, with the boxes."""
        return replace(self.grid.prepare(image), given_boxes_xyxy=image.given_boxes_xyxy)

    def detect(self, images: Sequence[PreparedImage]) -> list[RegionFeatures]:
        """Return each image's given boxes with their features, in order; classes and attributes are not told."""
        return [_regions(image, grid) for image, grid in zip(images, self.grid.detect(images), strict=True)]


def _regions(image: PreparedImage, grid: GridFeatures) -> RegionFeatures:
    if image.given_boxes_xyxy is None:
        raise ValueError(f"image {image.image_id!r}: no boxes are given, and a grid finds none")
    boxes = image.given_boxes_xyxy
    unknown, no_score = np.full(len(boxes), -1, np.int32), np.zeros(len(boxes), np.float32)
    return RegionFeatures(
        image_id=image.image_id,
        image_width=image.image_width,
        image_height=image.image_height,
        boxes_xyxy=boxes,
        features=pooled(grid, boxes),
        class_ids=unknown,
        class_scores=no_score,
        attribute_ids=unknown,
        attribute_scores=no_score,
        selection="given",
    )


def pooled(grid: GridFeatures, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return float16 [R, D]; boxes are pixels of the image, which the grid covers whole."""
    height, width, _ = grid.features.shape
    cells = np.array([width / grid.image_width, height / grid.image_height] * 2, np.float32)
    map_1DHW = torch.from_numpy(grid.features.astype(np.float32)).permute(2, 0, 1)[None]
    bins_RDSS = roi_align(map_1DHW, [torch.from_numpy(boxes_xyxy * cells)], BINS, aligned=True)
    features: NDArray[np.float16] = bins_RDSS.mean(dim=(2, 3)).numpy().astype(np.float16)
    return features
