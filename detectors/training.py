"""Training a Faster R-CNN with attributes on annotated boxes, with torchvision's matching, sampling and losses.

Axes: B images, G gold boxes of one image, R regions, A attributes with "none" in row 0.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss

from detectors.conventions import Conventions
from detectors.faster_rcnn_network import FasterRCNNNetwork
from detectors.images import decode_image
from detectors.model_input import scale_of_boxes, scaled_sides, to_model_input


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldImage:
    """One annotated image as the network's rows; the pixels stay on disk."""

    path: Path
    image_id: str
    image_width: int
    image_height: int
    boxes_xyxy: NDArray[np.float32]
    """float32 [G, 4]; pixels."""
    class_rows: NDArray[np.int64]
    """int64 [G]; class_id + 1, for row 0 is background."""
    attribute_rows: tuple[tuple[int, ...], ...]
    """For each gold box its attribute_id + 1, none or several."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How long and how fast the detector learns."""

    steps: int = 3000
    """Optimizer steps."""
    batch_size: int = 8
    """Images a step; all of one shape."""
    learning_rate: float = 1e-3
    """Peak of AdamW's learning rate: linear warm-up over a twentieth of the steps, then half a cosine to zero."""
    weight_decay: float = 1e-4
    """Decoupled, as AdamW has it."""
    regions_per_image: int = 64
    """Proposals sampled an image."""
    positive_fraction: float = 0.5
    """At most this share of them on objects."""
    attribute_weight: float = 0.5
    """Weight of the attribute loss beside torchvision's four."""
    flip: float = 0.5
    """Share of images mirrored left to right."""
    seed: int = 0
    """Of the first weights, the order of images and what is sampled."""
    threads: int = 2
    """Threads that decode images."""


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """What one step gave, for the progress line."""

    step: int
    losses: dict[str, float]
    images_per_second: float


class TrainingError(RuntimeError):
    """Training can not go on; the message says at which step and on which images."""


def roi_heads(network: FasterRCNNNetwork, regions_per_image: int = 64, positive_fraction: float = 0.5) -> RoIHeads:
    """Return torchvision's matching, sampling and per-class post-processing, for the network's boxes."""
    heads = RoIHeads(
        box_roi_pool=None,
        box_head=None,
        box_predictor=None,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=regions_per_image,
        positive_fraction=positive_fraction,
        bbox_reg_weights=network.conventions.box_weights,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=100,
    )
    heads.box_coder = network.box_coder
    return heads


def train(
    network: FasterRCNNNetwork,
    images: Sequence[GoldImage],
    conventions: Conventions,
    options: TrainingOptions,
    on_step: Callable[[TrainingStep], None],
) -> None:
    """Train the network in place; the same seed, images and thread count give the same weights.

    Raises TrainingError when a loss is not finite.
    """
    torch.manual_seed(options.seed)
    heads = roi_heads(network, options.regions_per_image, options.positive_fraction)
    network.train().requires_grad_(True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, options.steps))
    started = time.monotonic()
    batches = _batches(images, conventions, options, network.architecture.num_attributes + 1)
    for step, (batch, inputs_B3HW, targets) in enumerate(batches, start=1):
        losses = compute_losses(network, heads, inputs_B3HW, targets)
        losses["attribute"] = losses["attribute"] * options.attribute_weight
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            ids = [image.image_id for image in batch]
            raise TrainingError(f"step {step}: losses are { {n: x.item() for n, x in losses.items()} } on images {ids}")
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        rate = step * options.batch_size / (time.monotonic() - started)
        on_step(TrainingStep(step=step, losses={n: x.item() for n, x in losses.items()}, images_per_second=rate))
    network.eval()


def compute_losses(
    network: FasterRCNNNetwork, heads: RoIHeads, inputs_B3HW: Tensor, targets: list[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the proposal, class, box and attribute losses of one batch, each a scalar."""
    map_BCHW = network.feature_map(inputs_B3HW)
    sizes = [(int(inputs_B3HW.shape[2]), int(inputs_B3HW.shape[3]))] * len(inputs_B3HW)
    proposed, losses = network.proposals(ImageList(inputs_B3HW, sizes), {"res4": map_BCHW}, targets)
    sampled, gold_index, labels, deltas = heads.select_training_samples(proposed, targets)
    features_RD = network.region_features(map_BCHW, sampled)
    logits_RC, deltas_RC4 = network.classify(features_RD)
    loss_class, loss_box = fastrcnn_loss(logits_RC, deltas_RC4, labels, deltas)
    attributes_RA = torch.cat([target["attributes"][index] for target, index in zip(targets, gold_index, strict=True)])
    loss_attribute = _attribute_loss(network, features_RD, torch.cat(labels), attributes_RA)
    return {
        "objectness": losses["loss_objectness"],
        "proposal_box": losses["loss_rpn_box_reg"],
        "class": loss_class,
        "box": loss_box,
        "attribute": loss_attribute,
    }


def _attribute_loss(network: FasterRCNNNetwork, features_RD: Tensor, labels_R: Tensor, attributes_RA: Tensor) -> Tensor:
    """Return the cross-entropy to the even distribution over each object's attributes, given its gold class."""
    supervised = (labels_R > 0) & (attributes_RA.sum(dim=1) > 0)
    logits_RA = network.attribute_logits(features_RD[supervised], labels_R[supervised])
    wanted_RA = attributes_RA[supervised] / attributes_RA[supervised].sum(dim=1, keepdim=True)
    return -(wanted_RA * logits_RA.log_softmax(dim=1)).sum() / max(len(logits_RA), 1)


def _learning_rate(step: int, steps: int) -> float:
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _batches(
    images: Sequence[GoldImage], conventions: Conventions, options: TrainingOptions, num_attribute_rows: int
) -> Iterator[tuple[list[GoldImage], Tensor, list[dict[str, Tensor]]]]:
    """Yield `steps` batches, decoding ahead on threads."""
    generator = np.random.default_rng(options.seed)
    order = _batch_order(images, conventions, options.batch_size, generator)
    with ThreadPoolExecutor(options.threads) as threads:

        def load(image: GoldImage, flip: bool) -> tuple[Tensor, dict[str, Tensor]]:
            return _load(image, flip, conventions, num_attribute_rows)

        def submit() -> tuple[list[GoldImage], Iterator[tuple[Tensor, dict[str, Tensor]]]]:
            batch = next(order)
            flips = generator.random(len(batch)) < options.flip
            return batch, threads.map(load, batch, flips.tolist())

        pending = [submit() for _ in range(min(4, options.steps))]
        for step in range(options.steps):
            batch, loading = pending.pop(0)
            loaded = list(loading)
            if step + len(pending) + 1 < options.steps:
                pending.append(submit())
            inputs_B3HW = torch.stack([pixels for pixels, _ in loaded]).contiguous(memory_format=torch.channels_last)
            yield batch, inputs_B3HW, [target for _, target in loaded]


def _batch_order(
    images: Sequence[GoldImage], conventions: Conventions, batch_size: int, generator: np.random.Generator
) -> Iterator[list[GoldImage]]:
    """Yield batches for ever, epoch after epoch; each of images whose inputs have one shape."""
    by_shape: dict[tuple[int, int], list[GoldImage]] = {}
    for image in images:
        shape = scaled_sides(image.image_height, image.image_width, conventions)
        by_shape.setdefault(shape, []).append(image)
    while True:
        epoch = []
        for group in by_shape.values():
            shuffled = [group[index] for index in generator.permutation(len(group))]
            epoch += [shuffled[start : start + batch_size] for start in range(0, len(shuffled), batch_size)]
        yield from (epoch[index] for index in generator.permutation(len(epoch)))


def _load(
    image: GoldImage, flip: bool, conventions: Conventions, num_attribute_rows: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the model's input and its target in the input's pixels."""
    decoded = decode_image(image.image_id, image.path.read_bytes())
    pixels = to_model_input(decoded, conventions)
    boxes = torch.from_numpy(image.boxes_xyxy * scale_of_boxes(decoded.height, decoded.width, conventions))
    if flip:
        width = pixels.shape[2]
        pixels = pixels.flip(2)
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    attributes = torch.zeros(len(boxes), num_attribute_rows)
    for gold, rows in enumerate(image.attribute_rows):
        attributes[gold, list(rows)] = 1.0
    return pixels, {"boxes": boxes, "labels": torch.from_numpy(image.class_rows), "attributes": attributes}
