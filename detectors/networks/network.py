"""What the detector asks of a network: regions from maps, and what is told of each.

Axes: B images, H W pixels of the model's input, R proposals or regions, D feature_dim, C classes with background in
row 0, A attributes with "none" in row 0.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class RegionNetwork(Protocol):
    """What a detector asks of a network; the map may be several maps, whatever the network pools from."""

    feature_dim: int

    @property
    def trunk_dtype(self) -> torch.dtype: ...

    def describe(self) -> dict[str, Any]:
        """Return what decides the tensors, in JSON types."""
        ...

    def feature_map(self, images_B3HW: Tensor) -> Any: ...

    def propose(self, images_B3HW: Tensor, map_BCHW: Any, scales: Sequence[float], at_least: int) -> list[Tensor]:
        """Return each image's proposals, float32 [R, 4] in pixels of the input.

        Args:
            scales: pixels of the input per pixel of the image.
            at_least: what the caller needs; a network whose code is another's may find fewer.
        """
        ...

    def region_features(self, map_BCHW: Any, boxes: list[Tensor]) -> Tensor:
        """Return float32 [all R, D] for the boxes of each image, image after image."""
        ...

    def classify(self, features_RD: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits [R, C] with background in row 0, and box deltas [R, C * 4]."""
        ...

    def refine(self, boxes_R4: Tensor, deltas_R4: Tensor) -> Tensor: ...

    def attributes(self, features_RD: Tensor, class_rows_R: Tensor) -> Tensor | None:
        """Return attribute logits [R, A], given each region's class row; None where the weights tell no attributes."""
        ...

    def optimise(self, dtype: torch.dtype, device: torch.device) -> None:
        """The network is on the device for inference alone, what costs time in `dtype`."""
        ...
