"""Cells of a grid as regions: their boxes, and that nothing else is known of them. Axes: R cells, D feature_dim."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.records import RegionFeatures


def cell_boxes(num_rows: int, num_columns: int) -> NDArray[np.float32]:
    """Return the boxes of a grid's cells over the image's size, float32 [R, 4], row by row."""
    y, x = np.meshgrid(np.arange(num_rows), np.arange(num_columns), indexing="ij")
    corners_R4 = np.stack([x, y, x + 1, y + 1], -1).reshape(-1, 4)
    return (corners_R4 / [num_columns, num_rows, num_columns, num_rows]).astype(np.float32)


def cells_as_regions(
    image_id: str, size: tuple[int, int], boxes_R4: NDArray[np.float32], features_RD: NDArray[Any]
) -> RegionFeatures:
    """Return cells as regions without class and attribute; `size` is width and height, boxes are over it."""
    width, height = size
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
