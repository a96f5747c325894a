"""Prepared images of one shape as the batch that a model takes, on its device.

Axes: B images, H W pixels of the model's input.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from detectors.records import PreparedImage


def by_shape(images: Iterable[PreparedImage]) -> list[list[PreparedImage]]:
    """Return the images whose inputs have one shape together, in the order in which each shape comes first."""
    alike: dict[tuple[int, ...], list[PreparedImage]] = {}
    for image in images:
        alike.setdefault(tuple(image.model_input.shape), []).append(image)
    return list(alike.values())


def batch_on(device: torch.device, images: Sequence[PreparedImage]) -> Tensor:
    """Return the model inputs in their own dtype, [B, 3, H, W], channels last, as images lie in memory.

    The copy to a GPU is asynchronous, for which host memory is pinned: kernels are asked for while it is under way,
    and whatever turns the pixels into another dtype or order does so there.
    """
    is_gpu = device.type == "cuda"
    first = images[0].model_input
    held_B3HW = torch.empty(
        (len(images), *first.shape), dtype=first.dtype, memory_format=torch.channels_last, pin_memory=is_gpu
    )
    torch.stack([image.model_input for image in images], out=held_B3HW)
    return held_B3HW.to(device, non_blocking=is_gpu)
