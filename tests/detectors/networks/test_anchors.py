"""Anchors against the tables of the codes they come from."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from detectors.networks.anchors import AnchorGrid, caffe_anchors, exact_anchors, rounded_anchors

PY_FASTER_RCNN = [
    [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199],
    [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263],
    [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359],
]  # fmt: skip
"""Of scales 8, 16 and 32, as its documentation prints them."""


def test_caffes_anchors_are_those_that_its_documentation_prints():
    assert [list(each) for each in caffe_anchors((8, 16, 32))] == PY_FASTER_RCNN


def test_exact_anchors_have_the_area_of_their_size_and_the_ratio_they_are_for():
    table = np.array(exact_anchors((64, 128, 256, 512)))
    width, height = table[:, 2] - table[:, 0], table[:, 3] - table[:, 1]
    np.testing.assert_allclose(width * height, np.repeat([64, 128, 256, 512], 3) ** 2)
    np.testing.assert_allclose(height / width, [0.5, 1, 2] * 4)
    np.testing.assert_allclose(table[:, :2] + table[:, 2:], 0, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(160, 240), (150, 230)])
def test_floored_strides_are_torchvisions(height, width):
    images = torch.zeros(2, 3, height, width)
    cells = torch.zeros(2, 8, -(-height // 16), -(-width // 16))
    listed = ImageList(images, [(height, width)] * 2)
    theirs = AnchorGenerator(((32, 64),), ((0.5, 1.0, 2.0),))(listed, [cells])
    ours = AnchorGrid(rounded_anchors((32, 64)), "floored", 16)(listed, [cells])
    for mine, yours in zip(ours, theirs, strict=True):
        assert torch.equal(mine, yours)


def test_exact_strides_leave_every_cell_where_its_pixels_are():
    # 600 pixels are 37.5 cells: a stride of 600 // 38 = 15 would put the last row 37 pixels too high.
    listed = ImageList(torch.zeros(1, 3, 600, 800), [(600, 800)])
    (anchors,) = AnchorGrid(exact_anchors((64,), (1.0,)), "exact", 16)(listed, [torch.zeros(1, 8, 38, 50)])
    assert anchors.view(38, 50, 4)[37, 49].tolist() == [49 * 16 - 32, 37 * 16 - 32, 49 * 16 + 32, 37 * 16 + 32]
