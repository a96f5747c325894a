"""Folded networks against themselves before, with norms that do something."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.ops import FrozenBatchNorm2d

from detectors.networks.folding import fold_norms
from detectors.weights.torchvision_fpn import BUILDERS, PYRAMID, TorchvisionPyramid

NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


def lively(network):
    """Norms that leave everything as it is would hide a mistake."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, NORMS):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(std=0.1)
    return network.eval().requires_grad_(False)


def cosine(one, other):
    return nn.functional.cosine_similarity(one.flatten().double(), other.flatten().double(), dim=0).item()


@pytest.mark.parametrize("norm_layer", NORMS)
def test_a_folded_resnet_gives_what_it_gave_and_has_no_norm_left(norm_layer):
    network = lively(resnet50(norm_layer=norm_layer))
    images = torch.randn(1, 3, 64, 64)
    expected = network(images)
    fold_norms(network)
    assert not any(isinstance(module, NORMS) for module in network.modules())
    assert cosine(network(images), expected) > 1 - 1e-9


def test_a_norm_of_the_convolution_itself_is_folded_as_detectron2_has_it():
    class WithNorm(nn.Conv2d):
        def __init__(self):
            super().__init__(3, 5, 3)
            self.norm = nn.BatchNorm2d(5)

        def forward(self, images):
            found = super().forward(images)
            return found if self.norm is None else self.norm(found)

    network = lively(nn.Sequential(WithNorm(), nn.ReLU()))
    images = torch.randn(2, 3, 8, 8)
    expected = network(images)
    fold_norms(network)
    assert network[0].norm is None
    torch.testing.assert_close(network(images), expected)


def test_norms_of_the_batch_and_norms_elsewhere_stay():
    of_groups = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))
    of_batch = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    before = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    for network in (of_groups, of_batch, before):
        names = [type(module) for module in network]
        fold_norms(network)
        assert [type(module) for module in network] == names


@pytest.mark.parametrize("variant", BUILDERS)
def test_a_folded_pyramid_in_bfloat16_is_nearer_to_float32_than_one_with_its_norms(variant):
    images = torch.randn(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    boxes = [torch.tensor([[0.0, 0.0, 150.0, 120.0], [10.0, 20.0, 60.0, 90.0], [80.0, 8.0, 120.0, 40.0]])]
    network = lively(TorchvisionPyramid(variant, 7, PYRAMID))
    folded, exact = (deepcopy(network) for _ in range(2))
    expected = network.region_features(network.feature_map(images), boxes)
    network.model.backbone.to(torch.bfloat16)
    rounded = network.region_features(network.feature_map(images.bfloat16()), boxes)
    folded.optimise(torch.bfloat16, torch.device("cpu"))
    found = folded.region_features(folded.feature_map(images.bfloat16()), boxes)
    assert cosine(found, expected) > cosine(rounded, expected) > 0.999
    exact.optimise(torch.float32, torch.device("cpu"))
    assert cosine(exact.region_features(exact.feature_map(images), boxes), expected) > 1 - 1e-9
