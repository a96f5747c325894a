"""The Faster R-CNN network of bottom-up-attention, put together from torchvision's parts.

ResNet to its fourth stage (stride 16) -> region proposals -> RoI pooling -> fifth stage -> mean: one feature vector a
region, from which class, box refinement and attribute are read (Anderson et al., CVPR 2018, section 3.1).

Axes: B images, R regions, D feature_dim, C classes with background in row 0, A attributes with "none" in row 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_weights
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d, clip_boxes_to_image, nms, remove_small_boxes

from detectors.roi_pooling import pool_rois

STRIDE = 16  # pixels of the model's input per cell of the feature map that regions are pooled from
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
ROIS_AT_ONCE = 100  # bounds the pooled tensor: 100 x 1024 x 14 x 14 floats are 80 MB
ANCHOR_RATIOS = (0.5, 1.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What decides the network's tensors; stored with the weights."""

    blocks: tuple[int, int, int, int] = (3, 4, 23, 3)
    """Bottleneck blocks a stage; the default is ResNet-101."""
    width_per_group: int = 64
    """Width of the bottlenecks; the output of the fifth stage is 2048 whatever the width."""
    num_classes: int = 1600
    """Without background."""
    num_attributes: int = 400
    """Without "none"."""
    rpn_channels: int = 512
    anchor_sizes: tuple[int, ...] = (64, 128, 256, 512)
    """Pixels of the model's input; bottom-up-attention's scales 4, 8, 16, 32 times the stride."""
    class_embedding_dim: int = 256
    attribute_hidden_dim: int = 512


@dataclass(frozen=True, kw_only=True)
class NetworkConventions:
    """How the same tensors are applied; stored with the weights, for a network trained one way fails in another."""

    pooling: Literal["pool", "align"] = "pool"
    """RoIPool as in bottom-up-attention, or RoIAlign."""
    pooling_size: int = 14
    """Bins a side."""
    res5: Literal["stride", "dilation"] = "stride"
    """The fifth stage halves the bins, or keeps them and dilates its 3x3 kernels by 2."""
    stride_in: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck has the stride: 3x3 as torchvision's weights want, 1x1 as Caffe's."""
    stem_pooling: Literal["torchvision", "caffe"] = "torchvision"
    """Padding 1, or no padding and sizes rounded up."""
    rpn_before_nms: int = 6000
    """Anchors that enter the proposals' NMS, by objectness."""
    rpn_after_nms: int = 300
    """Proposals that leave it."""
    rpn_nms_threshold: float = 0.7


class ProposalHead(nn.Module):
    """Objectness and box deltas of every anchor; as torchvision's RPNHead, with a hidden width of its own."""

    def __init__(self, in_channels: int, hidden_channels: int, num_anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, hidden_channels, 3, padding=1)
        self.objectness = nn.Conv2d(hidden_channels, num_anchors, 1)
        self.deltas = nn.Conv2d(hidden_channels, num_anchors * 4, 1)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        # The two outputs are float32 whatever the trunk is: proposals are ranked by them.
        hidden = [F.relu(self.conv(each.to(self.conv.weight.dtype))).to(self.objectness.weight.dtype) for each in maps]
        return [self.objectness(each) for each in hidden], [self.deltas(each) for each in hidden]


class Proposals(RegionProposalNetwork):
    """torchvision's proposal network, with an inference NMS that stops when it has enough and never gives too few."""

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        if self.training:
            return super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)
        kept = [
            self._filter_one(boxes, scores, shape)
            for boxes, scores, shape in zip(
                proposals, objectness.reshape(len(proposals), -1), image_shapes, strict=True
            )
        ]
        return [boxes for boxes, _ in kept], [scores for _, scores in kept]

    def _filter_one(self, boxes: Tensor, scores: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        scores, order = scores.sort(descending=True, stable=True)
        strongest = order[: self.pre_nms_top_n()]
        boxes, scores = clip_boxes_to_image(boxes[strongest], shape), scores[: len(strongest)]
        large = remove_small_boxes(boxes, self.min_size)
        boxes, scores = boxes[large], scores[large]
        kept = _first_survivors(boxes, scores, self.nms_thresh, self.post_nms_top_n())
        return boxes[kept], scores[kept]


def _first_survivors(boxes: Tensor, scores: Tensor, threshold: float, wanted: int) -> Tensor:
    """Return the indices of the first `wanted` NMS survivors of boxes sorted by falling score.

    Greedy NMS decides a box from stronger boxes alone, so a prefix that has enough survivors settles them. Where all
    boxes leave too few, the strongest suppressed ones follow: 36 regions are promised for the smallest image too.
    """
    prefix = 4 * wanted
    while True:
        kept = nms(boxes[:prefix], scores[:prefix], threshold)
        if len(kept) >= wanted or prefix >= len(boxes):
            break
        prefix *= 2
    if len(kept) < wanted:
        suppressed = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
        suppressed[kept] = False
        kept = torch.cat([kept, suppressed.nonzero().flatten()])
    return kept[:wanted]


class FasterRCNNNetwork(nn.Module):
    """Maps, proposals, region features and the three predictions, each a method that `detect` and training call."""

    def __init__(
        self,
        architecture: Architecture,
        conventions: NetworkConventions,
        norm_layer: Callable[..., nn.Module] = FrozenBatchNorm2d,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.conventions = conventions
        resnet = ResNet(
            Bottleneck,
            list(architecture.blocks),
            width_per_group=architecture.width_per_group,
            norm_layer=norm_layer,
        )
        apply_conventions(resnet, conventions)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.res2, self.res3, self.res4, self.res5 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4
        map_channels, self.feature_dim = 256 * Bottleneck.expansion, 512 * Bottleneck.expansion
        num_anchors = len(architecture.anchor_sizes) * len(ANCHOR_RATIOS)
        self.proposals = Proposals(
            AnchorGenerator((architecture.anchor_sizes,), (ANCHOR_RATIOS,)),
            ProposalHead(map_channels, architecture.rpn_channels, num_anchors),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2000, "testing": conventions.rpn_before_nms},
            post_nms_top_n={"training": 300, "testing": conventions.rpn_after_nms},
            nms_thresh=conventions.rpn_nms_threshold,
        )
        self.box_coder = BoxCoder(BOX_WEIGHTS)
        classes, attributes = architecture.num_classes + 1, architecture.num_attributes + 1
        self.cls_score = nn.Linear(self.feature_dim, classes)
        self.bbox_pred = nn.Linear(self.feature_dim, classes * 4)
        self.cls_embedding = nn.Embedding(classes, architecture.class_embedding_dim)
        self.fc_attr = nn.Linear(self.feature_dim + architecture.class_embedding_dim, architecture.attribute_hidden_dim)
        self.attr_score = nn.Linear(architecture.attribute_hidden_dim, attributes)

    @property
    def trunk_dtype(self) -> torch.dtype:
        return next(self.stem.parameters()).dtype

    def feature_map(self, images_B3HW: Tensor) -> Tensor:
        """Return the fourth stage's map, [B, 1024, H / 16, W / 16]."""
        return self.res4(self.res3(self.res2(self.stem(images_B3HW))))

    def propose(self, images_B3HW: Tensor, map_BCHW: Tensor) -> list[Tensor]:
        """Return each image's proposals, float32 [R, 4], strongest first; pixels of the model's input."""
        sizes = [(int(images_B3HW.shape[2]), int(images_B3HW.shape[3]))] * len(images_B3HW)
        boxes, _ = self.proposals(ImageList(images_B3HW, sizes), {"res4": map_BCHW})
        return list(boxes)

    def region_features(self, map_BCHW: Tensor, boxes: list[Tensor]) -> Tensor:
        """Return float32 [all R, D] for the boxes of each image, image after image."""
        rois = torch.cat([F.pad(each, (1, 0), value=float(index)) for index, each in enumerate(boxes)])
        if not len(rois):
            return rois.new_zeros((0, self.feature_dim))
        chunks = pool_rois(
            map_BCHW,
            rois,
            pooling=self.conventions.pooling,
            size=self.conventions.pooling_size,
            scale=1 / STRIDE,
            at_once=ROIS_AT_ONCE,
        )
        return torch.cat([self.res5(pooled).float().mean(dim=(2, 3)) for pooled in chunks])

    def classify(self, features_RD: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits [R, C] and box deltas [R, C * 4]."""
        return self.cls_score(features_RD), self.bbox_pred(features_RD)

    def attribute_logits(self, features_RD: Tensor, class_rows_R: Tensor) -> Tensor:
        """Return attribute logits [R, A], conditioned on the embedding of each region's class row."""
        joined = torch.cat([features_RD, self.cls_embedding(class_rows_R)], dim=1)
        return self.attr_score(F.relu(self.fc_attr(joined)))


def apply_conventions(resnet: ResNet, conventions: NetworkConventions) -> None:
    """Set strides, dilation and stem pooling; the weights' shapes stay as they are."""
    if conventions.stem_pooling == "caffe":
        resnet.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
    if conventions.stride_in == "1x1":
        for stage in (resnet.layer2, resnet.layer3, resnet.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = stage[0].conv2.stride, (1, 1)
    if conventions.res5 == "dilation":
        first = resnet.layer4[0]
        first.conv1.stride = first.conv2.stride = first.downsample[0].stride = (1, 1)
        for block in resnet.layer4:
            block.conv2.dilation = block.conv2.padding = (2, 2)


def optimise_for_inference(network: FasterRCNNNetwork, dtype: torch.dtype, device: torch.device) -> FasterRCNNNetwork:
    """Fold the batch norms, set channels-last, and move trunk and proposal convolution to `dtype`; in place.

    Class, box and attribute layers stay float32: they are small, and regions are ranked by what they give.
    """
    for block in (module for module in network.modules() if isinstance(module, Bottleneck)):
        for number in (1, 2, 3):
            _fold(block, f"conv{number}", f"bn{number}")
        if block.downsample is not None:
            _fold(block.downsample, "0", "1")
    _fold(network.stem, "0", "1")
    network.eval().requires_grad_(False).to(device)
    for part in (network.stem, network.res2, network.res3, network.res4, network.res5, network.proposals.head.conv):
        part.to(dtype).to(memory_format=torch.channels_last)
    return network


def _fold(owner: nn.Module, conv_name: str, norm_name: str) -> None:
    """Replace a convolution and its frozen norm by one convolution with a bias."""
    conv, norm = getattr(owner, conv_name), getattr(owner, norm_name)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    setattr(owner, norm_name, nn.Identity())
