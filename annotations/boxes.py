"""Boxes as annotations give them, and how much two of them share."""

from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from annotations.records import Box

Real = TypeVar("Real", np.float32, np.float64)

BEYOND_PIXELS = 1.0
"""How far a box of a file may reach out of its image, and is clipped: roundings, and boxes whose last pixel is inside.

Farther out, something else is wrong, such as width and height exchanged. What annotators drew by hand is clipped
however far it reaches, see `clip_box`.
"""

MAX_STRETCH = 1.03
"""How much the proportions of an image may differ from those it was annotated at: roundings of a resize."""


class BoxError(ValueError):
    """A box is none, or not in its image; the message has no image's name."""


def pairwise_iou(boxes_xyxy: ArrayLike, other_boxes_xyxy: ArrayLike, *, plus_one: bool = False) -> NDArray[np.float64]:
    """Return float64 [N, M]; intersection over union of N boxes with M others, 0 where both are empty.

    Args:
        plus_one: x2 and y2 are the last pixels inside, so that width is x2 - x1 + 1; the convention of
            detectors before 2019. It means nothing for normalised boxes.
    """
    boxes = _boxes("boxes_xyxy", boxes_xyxy)[:, None]  # [N, 1, 4]
    others = _boxes("other_boxes_xyxy", other_boxes_xyxy)[None]  # [1, M, 4]
    return iou(boxes, others, plus_one=plus_one)


def pairwise_share(boxes_xyxy: ArrayLike, other_boxes_xyxy: ArrayLike) -> NDArray[np.float64]:
    """Return float64 [N, M]; intersection over the smaller of the two, of N boxes with M others, 0 where one is empty.

    A box that lies within the other has 1, whatever the sizes of both.
    """
    boxes = _boxes("boxes_xyxy", boxes_xyxy)[:, None]  # [N, 1, 4]
    others = _boxes("other_boxes_xyxy", other_boxes_xyxy)[None]  # [1, M, 4]
    shared = _overlap(boxes, others, 0, 0.0) * _overlap(boxes, others, 1, 0.0)
    smaller = np.minimum(_area(boxes, 0.0), _area(others, 0.0))
    return np.divide(shared, smaller, out=np.zeros_like(shared), where=smaller > 0)


def iou(boxes: NDArray[Real], others: NDArray[Real], *, plus_one: bool = False) -> NDArray[Real]:
    """Return [...]; intersection over union of boxes [..., 4] with others [..., 4], broadcast, in their precision."""
    last = 1.0 if plus_one else 0.0
    shared = _overlap(boxes, others, 0, last) * _overlap(boxes, others, 1, last)
    union = _area(boxes, last) + _area(others, last) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _overlap(boxes: NDArray[Real], others: NDArray[Real], axis: int, last: float) -> NDArray[Real]:
    nearest = np.minimum(boxes[..., axis + 2], others[..., axis + 2])
    return np.maximum(nearest - np.maximum(boxes[..., axis], others[..., axis]) + last, 0)


def _area(boxes: NDArray[Real], last: float) -> NDArray[Real]:
    widths, heights = boxes[..., 2] - boxes[..., 0] + last, boxes[..., 3] - boxes[..., 1] + last
    return np.maximum(widths, 0) * np.maximum(heights, 0)


def scale_box(box: Box, *, from_size: tuple[int, int], to_size: tuple[int, int]) -> Box:
    """Return the box as it lies in a copy of the image that has another width and height."""
    across, down = to_size[0] / from_size[0], to_size[1] / from_size[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def clip_box(box: Box, *, width: int, height: int) -> Box | None:
    """Return the part of the box inside an image of that size, or None if it has no area; 0 x 0 is an unknown size."""
    x1, y1, x2, y2 = box
    if width and height:
        x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def clip_boxes(boxes_xyxy: NDArray[np.float32], *, width: int, height: int) -> NDArray[np.float32]:
    """Return float32 [N, 4]; the boxes inside an image of that size, those that reach out of it a little clipped.

    Raises:
        BoxError: a box is inverted or not finite, or reaches out by more than `BEYOND_PIXELS`.
    """
    largest = np.array([width, height, width, height], np.float32)
    is_finite = np.isfinite(boxes_xyxy).all(axis=1)
    is_box = (boxes_xyxy[:, 2:] >= boxes_xyxy[:, :2]).all(axis=1)
    is_near = ((boxes_xyxy >= -BEYOND_PIXELS) & (boxes_xyxy <= largest + BEYOND_PIXELS)).all(axis=1)
    for is_good, expected in (
        (is_finite, "finite numbers"),
        (is_box, "x1 <= x2 and y1 <= y2"),
        (
            is_near,
            f"it in the image of {width} x {height} pixels; are width and height swapped? (what is at most "
            f"{BEYOND_PIXELS:g} pixel outside is clipped)",
        ),
    ):
        for number in np.flatnonzero(~is_good)[:1]:
            raise BoxError(f"box {number} is {boxes_xyxy[number].tolist()}, expected {expected}")
    if ((boxes_xyxy >= 0) & (boxes_xyxy <= largest)).all():
        return boxes_xyxy
    return np.clip(boxes_xyxy, 0, largest)


def has_other_proportions(annotated: tuple[int, int], found: tuple[int, int]) -> bool:
    """Return whether boxes drawn in an image of the first width and height are wrong in one of the second.

    They are where the proportions differ by more than a resize rounds, and where width and height are exchanged,
    however near they are to each other: a photograph that was annotated as it lies in its file, and then turned. False
    where either size is not known, 0.
    """
    if annotated == found or not all((*annotated, *found)):
        return False
    (width, height), (other_width, other_height) = annotated, found
    stretch = (width * other_height) / (height * other_width)
    turned = (width * other_width) / (height * other_height)
    return max(stretch, 1 / stretch) > min(MAX_STRETCH, max(turned, 1 / turned))


def _boxes(name: str, given: ArrayLike) -> NDArray[np.float64]:
    # float64: in float32 the areas of boxes in 4000-pixel images no longer are exact integers.
    boxes = np.asarray(given, np.float64)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} has shape {list(boxes.shape)}, expected [number of boxes, 4]")
    return boxes
