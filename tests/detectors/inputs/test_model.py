"""Images as input: each way of resizing against the library whose way it is."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detectors.conventions import Conventions
from detectors.inputs.model import scale_of_boxes, scaled_sides, to_model_input
from detectors.records import DecodedImage

SMALL = Conventions(short_side=60, long_side=100, pixel_means=(1.0, 2.0, 3.0), pixel_stds=(2.0, 2.0, 2.0))
sides = st.integers(1, 300)


def picture(height, width):
    pixels = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)
    return DecodedImage(image_id="a", pixels_rgb=pixels)


@given(sides, sides, st.sampled_from(["opencv", "caffe", "half-up", "torchvision", "pillow"]))
def test_the_input_has_the_sides_that_are_told(height, width, resize):
    conventions = replace(SMALL, resize=resize)
    told = scaled_sides(height, width, conventions)
    assert tuple(to_model_input(picture(height, width), conventions).shape) == (3, *told)
    assert max(told) <= 101 and min(told) >= 1
    scale = scale_of_boxes(height, width, conventions)
    assert scale.dtype == np.float32 and (scale > 0).all()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (333, 500), (41, 97), (97, 41)])
def test_caffes_resize_is_opencvs_with_one_factor(height, width):
    image = picture(height, width)
    factor = 60 / min(height, width)
    if np.round(factor * max(height, width)) > 100:
        factor = 100 / max(height, width)
    bgr = (image.pixels_rgb[:, :, ::-1].astype(np.float32) - np.float32([1, 2, 3])) / 2
    expected = cv2.resize(bgr, None, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    found = to_model_input(image, replace(SMALL, resize="caffe"))
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), expected)
    assert scale_of_boxes(height, width, replace(SMALL, resize="caffe")).tolist() == [np.float32(factor)] * 4


def test_pillows_resize_smooths_bytes():
    image = picture(480, 640)
    rgb = np.asarray(Image.fromarray(image.pixels_rgb).resize((80, 60), Image.Resampling.BILINEAR), np.float32)
    found = to_model_input(image, replace(SMALL, resize="pillow"))
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), (rgb[:, :, ::-1] - np.float32([1, 2, 3])) / 2)


def test_torchvisions_resize_is_torchs():
    image = picture(83, 111)
    conventions = replace(SMALL, resize="torchvision", channel_order="rgb")
    pixels = (
        torch.from_numpy(image.pixels_rgb.copy()).permute(2, 0, 1).float() - torch.tensor([1, 2, 3])[:, None, None]
    ) / 2
    expected = torch.nn.functional.interpolate(
        pixels[None], scale_factor=60 / 83, mode="bilinear", recompute_scale_factor=True, align_corners=False
    )[0]
    torch.testing.assert_close(to_model_input(image, conventions), expected, rtol=0, atol=1e-3)
