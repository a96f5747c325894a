"""A decoded image as the network's input, and how far it was scaled.

Axes: H W pixels of the model's input.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from detectors.conventions import Conventions
from detectors.inputs.images import fit_scale, fit_sides
from detectors.records import DecodedImage


def to_model_input(image: DecodedImage, conventions: Conventions) -> Tensor:
    """Return float32 [3, H, W] with channels ordered, means subtracted, and sides scaled as the weights want it."""
    pixels = image.pixels_rgb if conventions.channel_order == "rgb" else image.pixels_rgb[:, :, ::-1]
    if conventions.resize == "pillow":
        return torch.from_numpy(_normalised(_resized_bytes(pixels, conventions), conventions)).permute(2, 0, 1)
    normalised = _normalised(pixels, conventions)  # before it is scaled, as in Caffe
    height, width = scaled_sides(image.height, image.width, conventions)
    if conventions.resize == "caffe" and min(height, width) > 1:
        factor = _fit_scale(image.height, image.width, conventions)
        resized = cv2.resize(normalised, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    else:
        resized = cv2.resize(normalised, (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(resized).permute(2, 0, 1)


def scaled_sides(height: int, width: int, conventions: Conventions) -> tuple[int, int]:
    """Return the model's input's (height, width) for an image of these, before padding."""
    if conventions.resize in ("half-up", "pillow", "torchvision"):  # the factor is that of the unrounded sides
        factor = min(conventions.short_side / min(height, width), conventions.long_side / max(height, width))
        rounding = 0.0 if conventions.resize == "torchvision" else 0.5
        return max(1, int(height * factor + rounding)), max(1, int(width * factor + rounding))
    return fit_sides(height, width, short_side=conventions.short_side, long_side=conventions.long_side)


def scale_of_boxes(height: int, width: int, conventions: Conventions) -> NDArray[np.float32]:
    """Return what multiplies x1, y1, x2, y2 of an image of these sides to give those of the model's input."""
    if conventions.resize == "caffe":
        return np.full(4, _fit_scale(height, width, conventions), np.float32)
    scaled_height, scaled_width = scaled_sides(height, width, conventions)
    return np.array([scaled_width / width, scaled_height / height] * 2, np.float32)


def _fit_scale(height: int, width: int, conventions: Conventions) -> float:
    return fit_scale(height, width, short_side=conventions.short_side, long_side=conventions.long_side)


def _normalised(pixels: NDArray[np.uint8], conventions: Conventions) -> NDArray[np.float32]:
    normalised = pixels.astype(np.float32) - np.array(conventions.pixel_means, np.float32)
    normalised /= np.array(conventions.pixel_stds, np.float32)
    return normalised


def _resized_bytes(pixels: NDArray[np.uint8], conventions: Conventions) -> NDArray[np.uint8]:
    height, width = scaled_sides(pixels.shape[0], pixels.shape[1], conventions)
    resized = Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)
