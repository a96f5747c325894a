"""What detectors take and give: decoded images in, region or grid features out.

Axes: R regions (num_boxes), D feature_dim, H W pixels or grid cells, N attention heads, T grid cells of one window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class RecordError(ValueError):
    """A record was built from arrays that do not fit together; the message names the image and both shapes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedImage:
    """One image in memory, turned as its EXIF says."""

    image_id: str
    """The id as the source writes it."""
    pixels_rgb: NDArray[np.uint8]
    """uint8 [H, W, 3]; red, green, blue."""
    given_boxes_xyxy: NDArray[np.float32] | None = None
    """float32 [R, 4]; boxes the user wants features for, pixels of this image; None lets the detector choose."""

    def __post_init__(self) -> None:
        if self.pixels_rgb.ndim != 3 or self.pixels_rgb.shape[2] != 3 or self.pixels_rgb.dtype != np.uint8:
            raise RecordError(
                f"image {self.image_id!r}: pixels are {self.pixels_rgb.dtype} {list(self.pixels_rgb.shape)}, "
                "expected uint8 [H, W, 3]"
            )
        if self.given_boxes_xyxy is not None:
            _check(self.image_id, "given_boxes_xyxy", self.given_boxes_xyxy, np.float32, (None, 4))

    @property
    def height(self) -> int:
        return self.pixels_rgb.shape[0]

    @property
    def width(self) -> int:
        return self.pixels_rgb.shape[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedImage:
    """One image resized for a model: the part of the work that loader threads do while the model runs."""

    image_id: str
    image_width: int
    image_height: int
    model_input: Any
    """Model-specific tensor [3, H, W]; images whose tensors have one shape may share a batch."""
    given_boxes_xyxy: NDArray[np.float32] | None = None
    """float32 [R, 4]; pixels of the original image; None lets the detector choose."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionFeatures:
    """The regions a detector kept in one image, strongest first."""

    image_id: str
    image_width: int
    """Pixels, after the EXIF turn."""
    image_height: int
    """Pixels, after the EXIF turn."""
    boxes_xyxy: NDArray[np.float32]
    """float32 [R, 4]; x1, y1, x2, y2 in pixels of the EXIF-turned image; width is x2 - x1."""
    features: NDArray[np.float16]
    """float16 [R, D]; mean-pooled RoI features."""
    class_ids: NDArray[np.int32]
    """int32 [R]; row of the class vocabulary, background excluded; -1 where imported features do not tell."""
    class_scores: NDArray[np.float32]
    """float32 [R]; probability of that class."""
    attribute_ids: NDArray[np.int32]
    """int32 [R]; row of the attribute vocabulary, "no attribute" excluded; -1 where imported features do not tell."""
    attribute_scores: NDArray[np.float32]
    """float32 [R]; probability of that attribute."""
    selection: str
    """How the boxes were reached: `confident`, `filled`, `relaxed-0.4` ... `relaxed-1.0`, `given`, or `imported`."""
    image_sha256: bytes | None = None
    """SHA-256 of the file that was decoded, 32 bytes; None where unknown."""

    def __post_init__(self) -> None:
        num_boxes = len(self.boxes_xyxy)
        _check_size(self.image_id, self.image_width, self.image_height)
        _check(self.image_id, "boxes_xyxy", self.boxes_xyxy, np.float32, (num_boxes, 4))
        _check(self.image_id, "features", self.features, np.float16, (num_boxes, None))
        _check(self.image_id, "class_ids", self.class_ids, np.int32, (num_boxes,))
        _check(self.image_id, "class_scores", self.class_scores, np.float32, (num_boxes,))
        _check(self.image_id, "attribute_ids", self.attribute_ids, np.int32, (num_boxes,))
        _check(self.image_id, "attribute_scores", self.attribute_scores, np.float32, (num_boxes,))
        _check_digest(self.image_id, self.image_sha256)

    @property
    def num_boxes(self) -> int:
        return self.features.shape[0]

    @property
    def feature_dim(self) -> int:
        return self.features.shape[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class GridFeatures:
    """The last feature map of a backbone over one image."""

    image_id: str
    image_width: int
    """Pixels, after the EXIF turn."""
    image_height: int
    """Pixels, after the EXIF turn."""
    features: NDArray[np.float16]
    """float16 [H, W, D]; rows from top to bottom."""
    attention: NDArray[np.float16] | None = None
    """float16 [N, T, T] with T = H * W, row-major cells; the last layer's attention probabilities, on request."""
    image_sha256: bytes | None = None
    """SHA-256 of the file that was decoded, 32 bytes; None where unknown."""

    def __post_init__(self) -> None:
        _check_size(self.image_id, self.image_width, self.image_height)
        _check(self.image_id, "features", self.features, np.float16, (None, None, None))
        if self.attention is not None:
            cells = self.features.shape[0] * self.features.shape[1]
            _check(self.image_id, "attention", self.attention, np.float16, (None, cells, cells))
        _check_digest(self.image_id, self.image_sha256)


Features = RegionFeatures | GridFeatures


class Detector(Protocol):
    """Turns images into features; `prepare` may run on loader threads, `detect` runs on the model's device."""

    def prepare(self, image: DecodedImage) -> PreparedImage: ...

    def detect(self, images: Sequence[PreparedImage]) -> Sequence[Features]:
        """Return one record per image, in order; each is what the image alone would give."""
        ...


def as_float16(image_id: str, features: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return the features as they are stored; raises RecordError for those that float16 does not hold."""
    with np.errstate(over="ignore"):  # told below, with the image's name
        half = features.astype(np.float16)
    if not np.isfinite(half).all():
        raise RecordError(
            f"image {image_id!r}: features reach {np.abs(features).max():g}, more than float16 holds (65504); "
            "are these the weights' own channel order and means?"
        )
    return half


def _check_size(image_id: str, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise RecordError(f"image {image_id!r}: size is {width} x {height} pixels, expected at least 1 x 1")


def _check_digest(image_id: str, digest: bytes | None) -> None:
    if digest is not None and len(digest) != 32:
        raise RecordError(f"image {image_id!r}: image_sha256 has {len(digest)} bytes, expected 32")


def _check(image_id: str, name: str, array: NDArray[Any], dtype: type, shape: tuple[int | None, ...]) -> None:
    found = array.shape
    if array.dtype != dtype or len(found) != len(shape) or _differ(found, shape):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise RecordError(
            f"image {image_id!r}: {name} is {array.dtype} {list(array.shape)}, "
            f"expected {np.dtype(dtype).name} [{expected}]"
        )


def _differ(found: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    if found == expected:
        return False  # the usual case; millions of records are read
    return any(want is not None and have != want for have, want in zip(found, expected, strict=True))
