"""The boxes that proposals start from: a table for one cell of the map, laid over all its cells."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

Anchors = tuple[tuple[float, float, float, float], ...]
"""x1, y1, x2, y2 of each, in pixels of the model's input, relative to the cell; row a belongs to channel a."""

RATIOS = (0.5, 1.0, 2.0)
"""Height over width."""


def rounded_anchors(sizes: Sequence[int], ratios: Sequence[float] = RATIOS) -> Anchors:
    """Return torchvision's table: ratio after ratio, sides rounded to whole pixels."""
    table_A4 = AnchorGenerator.generate_anchors(None, list(sizes), list(ratios))
    return tuple(map(tuple, table_A4.tolist()))


def exact_anchors(sizes: Sequence[int], ratios: Sequence[float] = RATIOS) -> Anchors:
    """Return detectron2's table: size after size, sides as they come."""
    table: list[tuple[float, float, float, float]] = []
    for size in sizes:
        for ratio in ratios:
            width = math.sqrt(size**2 / ratio)
            height = ratio * width
            table.append((-width / 2, -height / 2, width / 2, height / 2))
    return tuple(table)


def caffe_anchors(scales: Sequence[int], ratios: Sequence[float] = RATIOS, side: int = 16) -> Anchors:
    """Return the table of Caffe's Faster R-CNN, whose boxes end on their last pixel.

    Ratio after ratio, around the middle of a cell of 16 pixels; sides are rounded before they are scaled.
    """
    middle = (side - 1) / 2
    table: list[tuple[float, float, float, float]] = []
    for ratio in ratios:
        width = round(math.sqrt(side * side / ratio))
        height = round(width * ratio)
        for scale in scales:
            half_width, half_height = (width * scale - 1) / 2, (height * scale - 1) / 2
            table.append((middle - half_width, middle - half_height, middle + half_width, middle + half_height))
    return tuple(table)


class AnchorGrid(nn.Module):
    """What torchvision's proposal network asks for anchors: one table, one map."""

    def __init__(self, anchors: Anchors, stride: Literal["exact", "floored"], pixels_per_cell: int) -> None:
        super().__init__()
        self.anchors, self.stride, self.pixels_per_cell = anchors, stride, pixels_per_cell

    def forward(self, images: ImageList, maps: list[Tensor]) -> list[Tensor]:
        """Return float32 [H * W * A, 4] for every image, row of cells after row; the maps are one map."""
        height, width = maps[0].shape[-2:]
        device = maps[0].device
        step_y = step_x = self.pixels_per_cell
        if self.stride == "floored":
            step_y, step_x = images.tensors.shape[-2] // height, images.tensors.shape[-1] // width
        y, x = torch.meshgrid(
            torch.arange(height, device=device) * step_y, torch.arange(width, device=device) * step_x, indexing="ij"
        )
        corners_HW14 = torch.stack([x, y, x, y], dim=-1)[:, :, None].float()
        grid = (corners_HW14 + torch.tensor(self.anchors, device=device)).view(-1, 4)
        return [grid] * len(images.image_sizes)
