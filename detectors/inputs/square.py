"""Whole images squeezed to a model's square, as grids want them.

Axes: B images, H W pixels of the square.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detectors.inputs.batch import batch_on
from detectors.records import DecodedImage, PreparedImage


def squeezed(image: DecodedImage, side: int) -> PreparedImage:
    """Return the image resized to the square, uint8 [3, side, side], bicubic and antialiased (Pillow)."""
    resized = Image.fromarray(image.pixels_rgb).resize((side, side), Image.Resampling.BICUBIC)
    return PreparedImage(
        image_id=image.image_id,
        image_width=image.width,
        image_height=image.height,
        model_input=torch.from_numpy(np.array(resized)).permute(2, 0, 1),
        given_boxes_xyxy=image.given_boxes_xyxy,
    )


def normalised(
    images: Sequence[PreparedImage], means: Sequence[float], stds: Sequence[float], device: torch.device
) -> Tensor:
    """Return float32 [B, 3, H, W] on the device: pixels from 0 to 1, less the means, over the deviations."""
    pixels_B3HW = batch_on(device, images).float() / 255
    means_311 = pixels_B3HW.new_tensor(means).view(3, 1, 1)
    stds_311 = pixels_B3HW.new_tensor(stds).view(3, 1, 1)
    return (pixels_B3HW - means_311) / stds_311
