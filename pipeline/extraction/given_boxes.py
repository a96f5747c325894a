"""Boxes a user wants features for: a JSON object of image id to a list of x1, y1, x2, y2 in pixels."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotations.guards.plain_json import parse_json


class GivenBoxesError(ValueError):
    """The boxes file is not what it should be; the message names the file and the image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenBoxes:
    """A boxes file in memory."""

    boxes_of: Mapping[str, NDArray[np.float32]]
    """float32 [R, 4] for each image id; R may be 0."""
    sha256: str
    """Digest of the bytes that were read."""


def read_given_boxes(path: Path) -> GivenBoxes:
    """Return the boxes of a file, which is read once.

    Raises:
        GivenBoxesError: it is no boxes file.
    """
    try:
        data = path.read_bytes()
        content = parse_json(data.decode())
    except OSError as error:
        raise GivenBoxesError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise GivenBoxesError(f"{path} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise GivenBoxesError(f"{path} holds a JSON {type(content).__name__}, expected an object of id to boxes")
    boxes_of = {image_id: _boxes(path, image_id, rows) for image_id, rows in content.items()}
    return GivenBoxes(boxes_of=boxes_of, sha256=hashlib.sha256(data).hexdigest())


def _boxes(path: Path, image_id: str, rows: object) -> NDArray[np.float32]:
    try:
        boxes = np.array(rows, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise GivenBoxesError(f"{path}, image {image_id!r}: expected a list of [x1, y1, x2, y2] ({error})") from error
    if boxes.shape == (0,):
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise GivenBoxesError(
            f"{path}, image {image_id!r}: numbers of shape {list(boxes.shape)}, expected a list of [x1, y1, x2, y2]"
        )
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all()):
        raise GivenBoxesError(
            f"{path}, image {image_id!r}: a box is not finite, or inverted; expected x1 <= x2, y1 <= y2"
        )
    return boxes
