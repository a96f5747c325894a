"""What annotation readers give: images with their annotated objects."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedObject:
    """One object that annotators outlined."""

    object_id: str
    """The source's id, as it writes it."""
    box_xyxy: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the annotated image; width is x2 - x1."""
    names: tuple[str, ...]
    """Lower-case names, the source's first choice first; never empty."""
    attributes: tuple[str, ...] = ()
    """Lower-case attributes; often empty."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedImage:
    """One image's objects; the pixels are elsewhere."""

    image_id: str
    image_width: int
    image_height: int
    objects: tuple[AnnotatedObject, ...]

    def boxes_xyxy(self) -> NDArray[np.float32]:
        """Return float32 [num_objects, 4] in the order of `objects`; pixels."""
        return np.array([each.box_xyxy for each in self.objects], np.float32).reshape(-1, 4)
