"""Boxes a user wants features for: a JSON object of image id to a list of x1, y1, x2, y2 in pixels."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class GivenBoxesError(ValueError):
    """The boxes file is not what it should be; the message names the file and the image."""


def read_given_boxes(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return float32 [R, 4] for each image id of the file; R may be 0."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GivenBoxesError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise GivenBoxesError(f"{path} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise GivenBoxesError(f"{path} holds a JSON {type(content).__name__}, expected an object of id to boxes")
    return {image_id: _boxes(path, image_id, rows) for image_id, rows in content.items()}


def _boxes(path: Path, image_id: str, rows: object) -> NDArray[np.float32]:
    try:
        boxes = np.array(rows, np.float32)
    except (TypeError, ValueError) as error:
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
