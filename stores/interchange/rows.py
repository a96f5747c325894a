"""One image of a foreign file: where it lies, and what it holds once that is checked.

What makes a row unusable is a `RowError`: it costs its own image, never the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from annotations.boxes import BoxError, clip_boxes
from annotations.image_ids import Ids
from detectors.records import RecordError, RegionFeatures
from detectors.vocabulary import Vocabulary

SELECTION = "imported"
"""Selection of imported records: their file does not record how the boxes were reached."""

VISUAL_GENOME_CLASSES, VISUAL_GENOME_ATTRIBUTES = 1600, 400
"""Numbers of bottom-up-attention's names, background and "no attribute" removed."""


class RowError(ValueError):
    """One image cannot be used; the message says what was found and what was expected, not where."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a foreign file that was found, not yet read."""

    image_id: str
    """As the source's image files are named; empty where it cannot be known."""
    place: str
    """`line 7`, the file's path in its folder, or the key; with `start` enough to find it again."""
    start: int = 0
    """Bytes before the line."""
    size: int = 0
    """Bytes of the line, line end included."""
    fault: str = ""
    """Why it cannot be read, as far as that shows without reading it."""
    ids: Ids | None = None
    """Whose number the id is, where it is one and the format tells it."""


@dataclass(frozen=True, kw_only=True)
class Supplement:
    """What a foreign file does not tell of itself."""

    vocabulary: Vocabulary
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Image id to width, height in pixels, for formats without them."""
    feature_dim: int | None = None
    """What every row must have; None while the first is read to learn it."""


@dataclass(frozen=True, kw_only=True)
class ImportedRegions:
    """One image's regions, and what they lost on the way."""

    regions: RegionFeatures
    rounding_error: float
    """The largest difference between a feature and its float16."""


def image_size(image_id: str, supplement: Supplement) -> tuple[int, int]:
    """Return width and height of an image whose file does not tell them; raises RowError where nothing does."""
    if image_id not in supplement.sizes:
        raise RowError("no size of this image in the file of sizes; boxes need it")
    return supplement.sizes[image_id]


def checked_regions(
    row: Row,
    supplement: Supplement,
    *,
    size: tuple[int, int],
    boxes: ArrayLike,
    features: ArrayLike,
    class_ids: ArrayLike | None = None,
    class_scores: ArrayLike | None = None,
    attribute_ids: ArrayLike | None = None,
    attribute_scores: ArrayLike | None = None,
) -> ImportedRegions:
    """Return the record, features rounded to float16, boxes clipped; ids that the file does not have are -1, scores 0.

    Args:
        size: width and height in pixels.
        boxes: [num_boxes, 4], x1, y1, x2, y2 in pixels.
        features: [num_boxes, feature_dim].

    Raises:
        RowError: arrays that do not fit together, numbers that are not finite, boxes that are inverted or out of the
            image, ids that the vocabulary does not have, features that are too large for float16.
    """
    if min(size) < 1:
        raise RowError(f"the size is {size[0]} x {size[1]} pixels, expected at least 1 x 1")
    features = np.asarray(features)
    _check_features(features, supplement.feature_dim)
    with np.errstate(over="ignore"):
        rounded = features.astype(np.float16)
    _check_finite("features", rounded, features)
    names = supplement.vocabulary
    try:
        regions = RegionFeatures(
            image_id=row.image_id,
            image_width=size[0],
            image_height=size[1],
            boxes_xyxy=_checked_boxes(np.asarray(boxes), size),
            features=rounded,
            class_ids=_checked_ids("class", class_ids, len(features), names.classes),
            class_scores=_checked_scores("class scores", class_scores, len(features)),
            attribute_ids=_checked_ids("attribute", attribute_ids, len(features), names.attributes),
            attribute_scores=_checked_scores("attribute scores", attribute_scores, len(features)),
            selection=SELECTION,
        )
    except RecordError as error:
        raise RowError(str(error)) from error
    lost = np.abs(features - rounded.astype(features.dtype)).max(initial=0)
    return ImportedRegions(regions=regions, rounding_error=float(lost))


def _check_features(features: NDArray[Any], feature_dim: int | None) -> None:
    if features.ndim != 2 or features.dtype.kind != "f" or features.shape[1] < 1:
        raise RowError(
            f"features are {features.dtype} {list(features.shape)}, expected floats [num_boxes, feature_dim]"
        )
    if feature_dim is not None and features.shape[1] != feature_dim:
        raise RowError(f"feature_dim is {features.shape[1]}, expected {feature_dim} as in the first row")


def _checked_boxes(boxes: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "fiu":
        raise RowError(f"boxes are {boxes.dtype} {list(boxes.shape)}, expected numbers [num_boxes, 4]")
    boxes = boxes.astype(np.float32)
    _check_finite("boxes", boxes, boxes)
    try:
        return clip_boxes(boxes, width=size[0], height=size[1])
    except BoxError as error:
        raise RowError(str(error)) from error


def _checked_ids(kind: str, ids: ArrayLike | None, num_boxes: int, names: Sequence[str]) -> NDArray[np.int32]:
    if ids is None:
        return np.full(num_boxes, -1, np.int32)
    found = np.asarray(ids)
    if found.dtype.kind not in "iu":
        raise RowError(f"{kind} ids are {found.dtype}, expected integers")
    for wrong in found[(found < -1) | (found >= len(names))][:1]:
        raise RowError(f"{kind} id is {wrong}, expected -1 to {len(names) - 1} as in the vocabulary")
    return found.astype(np.int32)


def _checked_scores(name: str, scores: ArrayLike | None, num_boxes: int) -> NDArray[np.float32]:
    found = np.zeros(num_boxes) if scores is None else np.asarray(scores)
    if found.dtype.kind != "f":
        raise RowError(f"{name} are {found.dtype}, expected floats")
    _check_finite(name, found, found)
    return found.astype(np.float32)


def _check_finite(name: str, stored: NDArray[Any], given: NDArray[Any]) -> None:
    is_finite = np.isfinite(stored)
    if not is_finite.all():
        wrong = given[~is_finite][0]
        reason = "finite numbers" if not np.isfinite(wrong) else "at most 65504, float16's largest number"
        raise RowError(f"{name} hold {wrong}, expected {reason}")
