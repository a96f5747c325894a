"""The pooling that CPUs use against torchvision's operators."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align, roi_pool

from detectors.networks.roi_pooling import pool_rois


def random_rois(generator, count, num_images, height, width):
    image = torch.randint(num_images, (count, 1), generator=generator).float()
    corners = torch.rand(count, 4, generator=generator) * torch.tensor([width, height, width, height]) * 18 - 16
    low, high = corners[:, :2].minimum(corners[:, 2:]), corners[:, :2].maximum(corners[:, 2:])
    return torch.cat([image, low, high], dim=1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    num_images=st.integers(1, 3),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    size=st.sampled_from([1, 7, 14]),
)
def test_roi_pool_is_torchvisions_to_the_last_bit(seed, num_images, height, width, size):
    generator = torch.Generator().manual_seed(seed)
    feature_map = torch.randn(num_images, 5, height, width, generator=generator)
    rois = random_rois(generator, 30, num_images, height, width)
    expected = roi_pool(feature_map, rois, size, 1 / 16)
    chunks = pool_rois(feature_map, rois, pooling="pool", size=size, scale=1 / 16, at_once=7)
    assert torch.equal(torch.cat([chunk.clone() for chunk in chunks]), expected)


@pytest.mark.parametrize("pooling", ["pool", "align"])
def test_channels_last_bfloat16_maps_give_channels_last_bfloat16_bins(pooling):
    generator = torch.Generator().manual_seed(0)
    feature_map = torch.randn(2, 8, 20, 30, generator=generator).bfloat16().to(memory_format=torch.channels_last)
    rois = random_rois(generator, 50, 2, 20, 30)
    operator = {"pool": roi_pool, "align": roi_align}[pooling]
    (pooled,) = pool_rois(feature_map, rois, pooling=pooling, size=14, scale=1 / 16, at_once=50)
    assert pooled.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pooled, operator(feature_map.float(), rois, 14, 1 / 16).bfloat16())


@pytest.mark.parametrize("pooling", ["pool", "align"])
def test_where_gradients_are_wanted_they_flow(pooling):
    feature_map = torch.randn(1, 3, 8, 8, requires_grad=True)
    rois = torch.tensor([[0.0, 0.0, 0.0, 100.0, 100.0]])
    (pooled,) = pool_rois(feature_map, rois, pooling=pooling, size=7, scale=1 / 16, at_once=1)
    pooled.sum().backward()
    assert feature_map.grad is not None and feature_map.grad.abs().sum() > 0
