"""The region proposal network: anchors of one map to the boxes that are worth a look (Ren et al., NIPS 2015).

Axes: B images, R boxes of one image, N boxes before and A anchors a cell.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

Extents = Literal["continuous", "inclusive"]

CAFFE_MIN_SIDE = 16  # pixels of the original image; proposals with a narrower side are no candidates

LAST_PIXEL = (0.0, 0.0, 1.0, 1.0)
"""From a box that ends on its last pixel, as in Caffe, to one that ends behind it."""


class InclusiveBoxCoder(BoxCoder):
    """The coder of boxes that end on their last pixel; what it decodes ends behind it, as Caffe's code has it."""

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        return super().decode_single(rel_codes, boxes + boxes.new_tensor(LAST_PIXEL))

    def encode_single(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        one = proposals.new_tensor(LAST_PIXEL)
        return super().encode_single(reference_boxes + one, proposals + one)


def box_coder(extents: Extents, weights: tuple[float, float, float, float]) -> BoxCoder:
    """Return what turns boxes and deltas into boxes: dx, dy in widths and heights, dw, dh as logarithms, by weight."""
    return BoxCoder(weights) if extents == "continuous" else InclusiveBoxCoder(weights)


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
    """torchvision's proposal network to train; to detect, a filter that stops early and never gives too few."""

    def __init__(
        self,
        anchors: nn.Module,
        head: ProposalHead,
        *,
        extents: Extents,
        before_nms: int,
        after_nms: int,
        nms_threshold: float,
    ) -> None:
        super().__init__(
            anchors,
            head,
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2000, "testing": before_nms},
            post_nms_top_n={"training": 300, "testing": after_nms},
            nms_thresh=nms_threshold,
        )
        self.extents = extents
        self.box_coder = box_coder(extents, (1.0, 1.0, 1.0, 1.0))

    def strongest(self, images: ImageList, map_BCHW: Tensor, scales: Sequence[float], at_least: int) -> list[Tensor]:
        """Return each image's proposals, float32 [R, 4], strongest first; pixels of the model's input.

        Args:
            scales: pixels of the input per pixel of the image, by which Caffe measures what is too small.
            at_least: so many where there are as many anchors, even if NMS or size would leave fewer.
        """
        objectness, deltas = self.head([map_BCHW])
        anchors = self.anchor_generator(images, [map_BCHW])
        logits, codes = concat_box_prediction_layers(objectness, deltas)
        boxes_BN4 = self.box_coder.decode(codes, anchors).view(len(anchors), -1, 4)
        logits_BN = logits.view(len(anchors), -1)
        select = self._as_detectron2 if self.extents == "continuous" else self._as_caffe
        return [
            select(boxes, each, size, scale, at_least)
            for boxes, each, size, scale in zip(boxes_BN4, logits_BN, images.image_sizes, scales, strict=True)
        ]

    def _as_detectron2(
        self, boxes_N4: Tensor, logits_N: Tensor, size: tuple[int, int], _: float, at_least: int
    ) -> Tensor:
        """Return the strongest anchors, without those that are empty inside it, as torchvision and detectron2 do."""
        logits, order = logits_N.sort(descending=True, stable=True)
        strongest = order[: self.pre_nms_top_n()]
        boxes, logits = clip_boxes_to_image(boxes_N4[strongest], size), logits[: len(strongest)]
        large = remove_small_boxes(boxes, self.min_size)
        return self._survivors(boxes[large], logits[large], 0.0, at_least)

    def _as_caffe(
        self, boxes_N4: Tensor, logits_N: Tensor, size: tuple[int, int], scale: float, at_least: int
    ) -> Tensor:
        """Return the strongest of the anchors that are large enough inside the image; as bottom-up-attention."""
        height, width = size
        boxes_N4 = clip_boxes_to_image(boxes_N4, (height - 1, width - 1))
        sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
        large = ((sides_N2 > 0) & (sides_N2 + 1 > CAFFE_MIN_SIDE * scale)).all(dim=1)
        large |= large.sum() < at_least  # an image of few pixels; its regions are promised all the same
        boxes, logits = boxes_N4[large], logits_N[large]
        strongest = logits.sort(descending=True, stable=True).indices[: self.pre_nms_top_n()]
        return self._survivors(boxes[strongest], logits[strongest], 1.0, at_least)

    def _survivors(self, boxes: Tensor, logits: Tensor, extent: float, at_least: int) -> Tensor:
        measured = boxes + boxes.new_tensor(LAST_PIXEL) * extent
        return boxes[_first_survivors(measured, logits, self.nms_thresh, self.post_nms_top_n(), at_least)]


def _first_survivors(boxes: Tensor, scores: Tensor, threshold: float, wanted: int, at_least: int) -> Tensor:
    """Return the indices of the first `wanted` NMS survivors of boxes sorted by falling score.

    Greedy NMS decides a box from stronger boxes alone, so a prefix that has enough survivors settles them. Where fewer
    than `at_least` survive, the strongest suppressed ones follow: 36 regions are promised for the smallest image too.
    """
    prefix = 4 * wanted
    while True:
        kept = nms(boxes[:prefix], scores[:prefix], threshold)
        if len(kept) >= wanted or prefix >= len(boxes):
            break
        prefix *= 2
    if len(kept) < at_least:
        suppressed = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
        suppressed[kept] = False
        kept = torch.cat([kept, suppressed.nonzero().flatten()])[:at_least]
    return kept[:wanted]
