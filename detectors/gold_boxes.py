"""What annotators outlined, as rows of a detector's vocabulary: millions of boxes in a few flat arrays.

Axes: I images, G gold boxes of all of them, or of one.
"""

from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class GoldBoxesError(ValueError):
    """A file of gold boxes is missing or damaged; the message names it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldImage:
    """The boxes of one image; its pixels are elsewhere."""

    image_id: str
    image_width: int
    image_height: int
    boxes_xyxy: NDArray[np.float32]
    """float32 [G, 4]; pixels of the copy that was annotated."""
    class_rows: NDArray[np.int32]
    """int32 [G]; class_id + 1, for row 0 is background."""
    attribute_rows: tuple[tuple[int, ...], ...]
    """For each box its attribute_id + 1, none or several."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldBoxes:
    """The annotated images of a data set; 100,000 of them with 3,000,000 boxes are about 100 MB."""

    image_ids: NDArray[np.str_]
    """str [I]."""
    sides: NDArray[np.int32]
    """int32 [I, 2]; width and height in pixels."""
    is_val: NDArray[np.bool_]
    """bool [I]; for evaluation, not to learn from."""
    first_box: NDArray[np.int64]
    """int64 [I + 1]; image i has the boxes from first_box[i] on, before first_box[i + 1]."""
    boxes_xyxy: NDArray[np.float32]
    """float32 [G, 4]; pixels."""
    class_rows: NDArray[np.int32]
    """int32 [G]; class_id + 1."""
    first_attribute: NDArray[np.int64]
    """int64 [G + 1]; the same for a box and its attributes."""
    attribute_rows: NDArray[np.int32]
    """int32; attribute_id + 1."""

    def __post_init__(self) -> None:
        num_images, num_boxes = len(self.image_ids), len(self.boxes_xyxy)
        expected = {
            "sides": (num_images, 2),
            "is_val": (num_images,),
            "first_box": (num_images + 1,),
            "boxes_xyxy": (num_boxes, 4),
            "class_rows": (num_boxes,),
            "first_attribute": (num_boxes + 1,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} of gold boxes has shape {getattr(self, name).shape}, expected {shape}")
        if (self.first_box[-1], self.first_attribute[-1]) != (num_boxes, len(self.attribute_rows)):
            raise ValueError(f"gold boxes end at {self.first_box[-1]}, expected {num_boxes}")

    def __len__(self) -> int:
        return len(self.image_ids)

    def image(self, number: int) -> GoldImage:
        """Return one image."""
        start, end = (int(each) for each in self.first_box[number : number + 2])
        edges = self.first_attribute[start : end + 1].tolist()
        return GoldImage(
            image_id=str(self.image_ids[number]),
            image_width=int(self.sides[number, 0]),
            image_height=int(self.sides[number, 1]),
            boxes_xyxy=self.boxes_xyxy[start:end],
            class_rows=self.class_rows[start:end],
            attribute_rows=tuple(tuple(self.attribute_rows[first:last].tolist()) for first, last in pairwise(edges)),
        )

    def save(self, path: Path) -> None:
        """`path` holds the arrays, as NumPy writes them."""
        with path.open("wb") as file:
            np.savez(file, **{each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return what `save` wrote.

        Raises:
            GoldBoxesError: it is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays: dict[str, Any] = {each.name: file[each.name] for each in fields(cls)}
            return cls(**arrays)
        except FileNotFoundError as error:
            raise GoldBoxesError(f"{path}: no such file, expected the gold boxes of a detector's run") from error
        except Exception as error:  # zipfile and numpy say of damage whatever their parts say
            cause = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise GoldBoxesError(f"{path}: not the gold boxes of a detector's run ({cause})") from error
