"""The Faster R-CNN network of bottom-up-attention, put together from torchvision's parts.

ResNet to its fourth stage (stride 16) -> region proposals -> RoI pooling -> fifth stage -> mean: one feature vector a
region, from which class, box refinement and attribute are read (Anderson et al., CVPR 2018, section 3.1).

Axes: B images, R regions, D feature_dim, C classes with background in row 0, A attributes with "none" in row 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from annotations.guards.shown import shown
from detectors.networks.anchors import AnchorGrid, Anchors, rounded_anchors
from detectors.networks.folding import fold_norms
from detectors.networks.proposals import Extents, ProposalHead, Proposals, box_coder
from detectors.networks.roi_pooling import Pooling, pool_rois

ANCHORS = rounded_anchors((64, 128, 256, 512))
STRIDE = 16  # pixels of the model's input per cell of the feature map that regions are pooled from
ROIS_AT_ONCE = 100  # bounds the pooled tensor: 100 x 1024 x 14 x 14 floats are 80 MB

MAX_BLOCKS, MAX_WIDTH = 100, 1 << 16


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
    """Without "none"; 0 where the weights tell none."""
    rpn_channels: int = 512
    anchors: Anchors = ANCHORS
    """Sizes are bottom-up-attention's scales 4, 8, 16, 32 times the stride."""
    class_embedding_dim: int = 256
    attribute_hidden_dim: int = 512

    def __post_init__(self) -> None:
        """A file may claim any size, and a network of it takes the memory before its tensors are looked at."""
        sizes = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("blocks", "anchors")}
        sizes |= {f"blocks of stage {stage}": count for stage, count in enumerate(self.blocks, start=2)}
        for name, size in sizes.items():
            most = MAX_BLOCKS if name.startswith("blocks") else MAX_WIDTH
            if type(size) is not int or not 0 <= size <= most:
                raise ValueError(f"{name} is {shown(size)}, expected a whole number up to {most}")


@dataclass(frozen=True, kw_only=True)
class NetworkConventions:
    """How the same tensors are applied; stored with the weights, for a network trained one way fails in another."""

    pooling: Pooling = "pool"
    """RoIPool as in bottom-up-attention, RoIAlign, or RoIAlign shifted by half a cell (detectron2's ROIAlignV2)."""
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
    anchor_stride: Literal["exact", "floored"] = "exact"
    """Anchors every 16 pixels, or as torchvision lays them: the input's side over the map's, rounded down."""
    extents: Extents = "continuous"
    """Where boxes end: as numbers are, or on their last pixel, as in Caffe, so that a width is x2 - x1 + 1; then the
    filter of proposals is Caffe's too."""
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    """What the regions' box deltas are multiples of."""


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
        self.proposals = Proposals(
            AnchorGrid(architecture.anchors, conventions.anchor_stride, STRIDE),
            ProposalHead(map_channels, architecture.rpn_channels, len(architecture.anchors)),
            extents=conventions.extents,
            before_nms=conventions.rpn_before_nms,
            after_nms=conventions.rpn_after_nms,
            nms_threshold=conventions.rpn_nms_threshold,
        )
        self.box_coder = box_coder(conventions.extents, conventions.box_weights)
        classes, attributes = architecture.num_classes + 1, architecture.num_attributes + 1
        self.cls_score = nn.Linear(self.feature_dim, classes)
        self.bbox_pred = nn.Linear(self.feature_dim, classes * 4)
        if architecture.num_attributes:
            hidden, embedded = architecture.attribute_hidden_dim, architecture.class_embedding_dim
            self.cls_embedding = nn.Embedding(classes, embedded)
            self.fc_attr = nn.Linear(self.feature_dim + embedded, hidden)
            self.attr_score = nn.Linear(hidden, attributes)

    def describe(self) -> dict[str, Any]:
        """Return what decides the tensors, in JSON types."""
        return asdict(self.architecture)

    @property
    def trunk_dtype(self) -> torch.dtype:
        return next(self.stem.parameters()).dtype

    def feature_map(self, images_B3HW: Tensor) -> Tensor:
        """Return the fourth stage's map, [B, 1024, H / 16, W / 16]."""
        return self.res4(self.res3(self.res2(self.stem(images_B3HW))))

    def propose(self, images_B3HW: Tensor, map_BCHW: Tensor, scales: Sequence[float], at_least: int) -> list[Tensor]:
        """Return each image's proposals, float32 [R, 4], strongest first; pixels of the model's input.

        Args:
            scales: pixels of the input per pixel of the image.
            at_least: so many where there are as many anchors, even if NMS would leave fewer.
        """
        sizes = [(int(images_B3HW.shape[2]), int(images_B3HW.shape[3]))] * len(images_B3HW)
        return self.proposals.strongest(ImageList(images_B3HW, sizes), map_BCHW, scales, at_least)

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

    def refine(self, boxes_R4: Tensor, deltas_R4: Tensor) -> Tensor:
        """Return the boxes that the deltas make of them, wherever they then end."""
        return self.box_coder.decode_single(deltas_R4, boxes_R4)

    def attributes(self, features_RD: Tensor, class_rows_R: Tensor) -> Tensor | None:
        """Return attribute logits [R, A]; None where the weights tell no attributes."""
        return self.attribute_logits(features_RD, class_rows_R) if self.architecture.num_attributes else None

    def attribute_logits(self, features_RD: Tensor, class_rows_R: Tensor) -> Tensor:
        """Return attribute logits [R, A], conditioned on the embedding of each region's class row."""
        joined = torch.cat([features_RD, self.cls_embedding(class_rows_R)], dim=1)
        return self.attr_score(F.relu(self.fc_attr(joined)))

    def optimise(self, dtype: torch.dtype, device: torch.device) -> None:
        """Batch norms are folded, memory is channels-last, and trunk and proposal convolution are in `dtype`.

        Class, box and attribute layers stay float32: they are small, and regions are ranked by what they give.
        """
        fold_norms(self)
        self.eval().requires_grad_(False).to(device)
        for part in (self.stem, self.res2, self.res3, self.res4, self.res5, self.proposals.head.conv):
            part.to(dtype).to(memory_format=torch.channels_last)


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
