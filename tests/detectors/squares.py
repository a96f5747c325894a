"""A tiny network, and pictures with one square each, which it can learn in no time."""

import numpy as np
import torch

from detectors.conventions import Conventions
from detectors.gold_boxes import GoldImage
from detectors.networks.anchors import rounded_anchors
from detectors.networks.faster_rcnn import Architecture
from detectors.records import DecodedImage

TINY = Architecture(
    blocks=(1, 1, 1, 1),
    width_per_group=8,
    num_classes=2,
    num_attributes=2,
    rpn_channels=16,
    anchors=rounded_anchors((16, 32, 64, 128)),
)
CONVENTIONS = Conventions(
    short_side=96, long_side=160, pooling_size=7, rpn_before_nms=200, rpn_after_nms=40, pixel_stds=(58.0, 58.0, 58.0)
)


class Examples:
    """A batch as the network takes it."""

    def __init__(self, examples):
        sizes = [pixels.shape[1:] for pixels, _ in examples]
        height, width = (max(sides) for sides in zip(*sizes, strict=True))
        self.inputs = torch.zeros(len(examples), 3, height, width)
        for row, (pixels, _) in enumerate(examples):
            self.inputs[row, :, : pixels.shape[1], : pixels.shape[2]] = pixels
        self.sizes = [(int(height), int(width)) for height, width in sizes]
        self._targets = [target for _, target in examples]

    def targets(self):
        return [dict(target) for target in self._targets]


def square(number, *, width=128, height=96):
    """A picture with one bright or dark square: class 1 with attribute 2, class 2 without any."""
    pixels = np.full((height, width, 3), 120, np.uint8)
    x, y = (int(value) for value in np.random.default_rng(number).integers(5, 50, 2))
    bright = number % 2 == 0
    pixels[y : y + 40, x : x + 40] = 250 if bright else 5
    gold = GoldImage(
        image_id=str(number),
        image_width=width,
        image_height=height,
        boxes_xyxy=np.array([[x, y, x + 40, y + 40]], np.float32),
        class_rows=np.array([1 if bright else 2], np.int32),
        attribute_rows=((2,),) if bright else ((),),
    )
    return gold, DecodedImage(image_id=str(number), pixels_rgb=pixels)
