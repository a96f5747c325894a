"""Batch norms of fixed statistics as part of the convolutions before them: fewer passes over memory and roundings."""

from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.utils import fuse_conv_bn_weights


def fold_norms(network: nn.Module) -> None:
    """Every batch norm right behind a convolution is part of it, to the same outputs but for roundings.

    Right behind: registered next after it in one module, as in torchvision's networks and ours, or as the
    convolution's own `norm`, as in detectron2's. Norms without running statistics stay.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _is_fixed(norm := getattr(module, "norm", None)):
            _fold(module, norm)
            module.register_module("norm", None)
        for (_, conv), (name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and _is_fixed(norm):
                _fold(conv, norm)
                setattr(module, name, nn.Identity())


def _is_fixed(norm: object) -> bool:
    return getattr(norm, "running_mean", None) is not None


def _fold(conv: nn.Conv2d, norm: Any) -> None:
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
