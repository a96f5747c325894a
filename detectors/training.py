"""Training a Faster R-CNN with attributes on annotated boxes, with torchvision's matching, sampling and losses.

Axes: B images, G gold boxes of one image, R regions, A attributes with "none" in row 0.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss

from detectors.conventions import Conventions
from detectors.gold_boxes import GoldImage
from detectors.inputs.model import scale_of_boxes, to_model_input
from detectors.networks.faster_rcnn import FasterRCNNNetwork
from detectors.records import DecodedImage

Target = dict[str, Tensor]
"""`boxes` float32 [G, 4] in the input's pixels, `labels` int64 [G], `attributes` float32 [G, A] of zeros and ones."""

STAGES = ("stem", "res2", "res3", "res4", "res5")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What is learnt from an image."""

    regions_per_image: int = 64
    """Number of proposals that are sampled from an image."""
    positive_fraction: float = 0.5
    """Largest share of the sampled proposals that lie on objects."""
    attribute_weight: float = 0.5
    """Weight of the attribute loss beside torchvision's four losses."""
    flip: float = 0.5
    """Share of images that are mirrored left to right."""
    frozen_stages: int | None = None
    """Number of the ResNet's stages, from its stem on, that stay as they begin.
    By default stem and res2 do with --init, as in detectron2, and none without."""

    def __post_init__(self) -> None:
        if self.regions_per_image < 1:
            raise ValueError(f"regions_per_image is {self.regions_per_image}, expected 1 or more")
        if not 0 <= (self.frozen_stages or 0) <= len(STAGES):
            raise ValueError(f"frozen_stages is {self.frozen_stages}, expected 0 to {len(STAGES)}")
        for name in ("positive_fraction", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a share from 0 to 1")


class Examples(Protocol):
    """Images with their gold boxes."""

    @property
    def inputs(self) -> Tensor:
        """float32 [B, 3, H, W]; zeros right and below of images that are smaller."""

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """[B]; height and width without these zeros."""

    def targets(self) -> list[Target]:
        """Return the gold boxes of each image."""


class LearningDetector(nn.Module):
    """A network that maps inputs and targets to named losses; `weights` says how they are added up."""

    def __init__(self, network: FasterRCNNNetwork, options: TrainingOptions, *, bfloat16: bool = False) -> None:
        super().__init__()
        self.network = network
        self._heads = roi_heads(network, options.regions_per_image, options.positive_fraction)
        self._bfloat16 = bfloat16
        self.weights = {"objectness": 1.0, "proposal_box": 1.0, "class": 1.0, "box": 1.0}
        if network.architecture.num_attributes:
            self.weights["attribute"] = options.attribute_weight
        network.requires_grad_(True).to(memory_format=torch.channels_last)
        for name in STAGES[: options.frozen_stages or 0]:
            getattr(network, name).requires_grad_(False)

    def forward(self, examples: Examples) -> dict[str, Tensor]:
        """Return the proposal, class, box and attribute losses of one batch, each a scalar."""
        network, targets = self.network, examples.targets()
        inputs_B3HW = examples.inputs.contiguous(memory_format=torch.channels_last)
        with self._trunk_precision(inputs_B3HW.device):
            map_BCHW = network.feature_map(inputs_B3HW)
        # Anchors have the map's format, and bfloat16 knows no odd number of pixels above 256.
        proposed, losses = network.proposals(
            ImageList(inputs_B3HW, list(examples.sizes)), {"res4": map_BCHW.float()}, targets
        )
        sampled, gold_index, labels, deltas = self._heads.select_training_samples(proposed, targets)
        with self._trunk_precision(inputs_B3HW.device):
            features_RD = network.region_features(map_BCHW, sampled)
        logits_RC, deltas_RC4 = network.classify(features_RD)
        loss_class, loss_box = fastrcnn_loss(logits_RC, deltas_RC4, labels, deltas)
        terms = {
            "objectness": losses["loss_objectness"],
            "proposal_box": losses["loss_rpn_box_reg"],
            "class": loss_class,
            "box": loss_box,
        }
        if "attribute" in self.weights:
            gold = [target["attributes"][index] for target, index in zip(targets, gold_index, strict=True)]
            terms["attribute"] = _attribute_loss(network, features_RD, torch.cat(labels), torch.cat(gold))
        return terms

    def _trunk_precision(self, device: torch.device) -> AbstractContextManager[object]:
        return torch.autocast(device.type, dtype=torch.bfloat16) if self._bfloat16 else nullcontext()


def roi_heads(network: FasterRCNNNetwork, regions_per_image: int, positive_fraction: float) -> RoIHeads:
    """Return torchvision's matching and sampling, for the network's boxes."""
    heads = RoIHeads(
        box_roi_pool=None,
        box_head=None,
        box_predictor=None,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=regions_per_image,
        positive_fraction=positive_fraction,
        bbox_reg_weights=network.conventions.box_weights,
        score_thresh=0.0,
        nms_thresh=0.3,
        detections_per_img=1,
    )
    heads.box_coder = network.box_coder
    return heads


def scale_of_gold(image: GoldImage, decoded: DecodedImage, conventions: Conventions) -> NDArray[np.float32]:
    """Return what multiplies gold boxes to give those of the model's input; the file may be a copy of another size."""
    copy = np.array([decoded.width / image.image_width, decoded.height / image.image_height] * 2, np.float32)
    return copy * scale_of_boxes(decoded.height, decoded.width, conventions)


def to_example(
    image: GoldImage, decoded: DecodedImage, conventions: Conventions, *, flip: bool, num_attributes: int
) -> tuple[Tensor, Target]:
    """Return the model's input, float32 [3, H, W], and its target; with `flip` both mirrored left to right."""
    pixels = to_model_input(decoded, conventions)
    boxes = torch.from_numpy(image.boxes_xyxy * scale_of_gold(image, decoded, conventions))
    if flip:
        width = pixels.shape[2]
        pixels = pixels.flip(2)
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    attributes = torch.zeros(len(boxes), num_attributes + 1)
    for gold, rows in enumerate(image.attribute_rows):
        attributes[gold, list(rows)] = 1.0
    return pixels, {"boxes": boxes, "labels": torch.from_numpy(image.class_rows).long(), "attributes": attributes}


def _attribute_loss(network: FasterRCNNNetwork, features_RD: Tensor, labels_R: Tensor, attributes_RA: Tensor) -> Tensor:
    """Return the cross-entropy to the even distribution over each object's attributes, given its gold class."""
    supervised = (labels_R > 0) & (attributes_RA.sum(dim=1) > 0)
    logits_RA = network.attribute_logits(features_RD[supervised], labels_R[supervised])
    wanted_RA = attributes_RA[supervised] / attributes_RA[supervised].sum(dim=1, keepdim=True)
    return -(wanted_RA * logits_RA.log_softmax(dim=1)).sum() / max(len(logits_RA), 1)
