"""Boxes as annotations give them, and how much two of them share."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def xyxy_from_xywh(boxes_xywh: ArrayLike) -> NDArray[np.float64]:
    """Return float64 [N, 4]; x, y, width, height turned into x1, y1, x2, y2."""
    boxes = _boxes("boxes_xywh", boxes_xywh)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def pairwise_iou(boxes_xyxy: ArrayLike, other_boxes_xyxy: ArrayLike, *, plus_one: bool = False) -> NDArray[np.float64]:
    """Return float64 [N, M]; intersection over union of N boxes with M others, 0 where both are empty.

    Args:
        plus_one: x2 and y2 are the last pixels inside, so that width is x2 - x1 + 1; the convention of
            detectors before 2019. It means nothing for normalised boxes.
    """
    boxes = _boxes("boxes_xyxy", boxes_xyxy)[:, None]  # [N, 1, 4]
    others = _boxes("other_boxes_xyxy", other_boxes_xyxy)[None]  # [1, M, 4]
    last = 1.0 if plus_one else 0.0
    upper_left = np.maximum(boxes[..., :2], others[..., :2])  # [N, M, 2]
    lower_right = np.minimum(boxes[..., 2:], others[..., 2:])  # [N, M, 2]
    shared = _area(upper_left, lower_right, last)  # [N, M]
    union = _area(boxes[..., :2], boxes[..., 2:], last) + _area(others[..., :2], others[..., 2:], last) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _area(upper_left: NDArray[np.float64], lower_right: NDArray[np.float64], last: float) -> NDArray[np.float64]:
    return np.prod(np.maximum(lower_right - upper_left + last, 0), axis=-1)


def _boxes(name: str, given: ArrayLike) -> NDArray[np.float64]:
    # float64: in float32 the areas of boxes in 4000-pixel images no longer are exact integers.
    boxes = np.asarray(given, np.float64)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} has shape {list(boxes.shape)}, expected [number of boxes, 4]")
    return boxes
