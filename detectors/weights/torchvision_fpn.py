"""torchvision's own Faster R-CNNs with a feature pyramid, as a network that the detector asks for regions.

Axes: B images, H W pixels of the model's input, R regions, D feature_dim, C classes with background in row 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.image_list import ImageList

from detectors.conventions import IMAGENET, Conventions, override
from detectors.networks.folding import fold_norms
from detectors.vocabulary import Vocabulary
from detectors.weights.coco_names import COCO_IDS
from detectors.weights.published import Published, load_under_their_names

PYRAMID = replace(
    IMAGENET, resize="torchvision", short_side=800, long_side=1333, boxes="regressed", nms_threshold=0.5,
    pooling="align", pooling_size=7, rpn_before_nms=1000, rpn_after_nms=1000,
)  # fmt: skip
"""What torchvision's own transform does."""

MULTIPLE = 32  # the pyramid's sides are filled up with zeros to multiples of it


class TorchvisionPyramid(nn.Module):
    """A `fasterrcnn_resnet50_fpn`, whose regions' features are its box head's last layer."""

    def __init__(self, variant: str, num_classes: int, conventions: Conventions) -> None:
        super().__init__()
        self.variant, self.num_classes, self.conventions = variant, num_classes, conventions
        self.model = BUILDERS[variant](
            weights=None,
            weights_backbone=None,
            num_classes=num_classes + 1,
            rpn_pre_nms_top_n_test=conventions.rpn_before_nms,
            rpn_post_nms_top_n_test=conventions.rpn_after_nms,
            rpn_nms_thresh=conventions.rpn_nms_threshold,
        )
        if variant == "fasterrcnn_resnet50_fpn":  # as torchvision does where it loads these weights
            overwrite_eps(self.model, 0.0)
        self.feature_dim: int = self.model.roi_heads.box_predictor.cls_score.in_features

    @property
    def trunk_dtype(self) -> torch.dtype:
        return next(self.model.backbone.parameters()).dtype

    def describe(self) -> dict[str, Any]:
        return {"name": self.variant, "num_classes": self.num_classes}

    def feature_map(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.model.backbone(_filled_up(images_B3HW))
        return {level: each.float() for level, each in maps.items()}

    def propose(
        self, images_B3HW: Tensor, maps: Mapping[str, Tensor], scales: Sequence[float], at_least: int
    ) -> list[Tensor]:
        sizes = [(int(images_B3HW.shape[2]), int(images_B3HW.shape[3]))] * len(images_B3HW)
        boxes, _ = self.model.rpn(ImageList(_filled_up(images_B3HW), sizes), dict(maps))
        return list(boxes)

    def region_features(self, maps: Mapping[str, Tensor], boxes: list[Tensor]) -> Tensor:
        heads = self.model.roi_heads
        # How large an image is decides nothing but the ratio of its maps, which are powers of two.
        height, width = (side * 4 for side in maps["0"].shape[2:])
        pooled = heads.box_roi_pool(dict(maps), boxes, [(height, width)] * len(boxes))
        features: Tensor = heads.box_head(pooled)
        return features

    def classify(self, features_RD: Tensor) -> tuple[Tensor, Tensor]:
        logits_RC, deltas_RC4 = self.model.roi_heads.box_predictor(features_RD)
        return logits_RC, deltas_RC4

    def refine(self, boxes_R4: Tensor, deltas_R4: Tensor) -> Tensor:
        refined: Tensor = self.model.roi_heads.box_coder.decode_single(deltas_R4, boxes_R4)
        return refined

    def attributes(self, features_RD: Tensor, class_rows_R: Tensor) -> None:
        """There are none."""

    def optimise(self, dtype: torch.dtype, device: torch.device) -> None:
        """Batch norms are folded and the pyramid runs in `dtype`, channels last.

        Proposals and heads stay float32, as boxes are ranked by what they give.
        """
        fold_norms(self.model)
        self.eval().requires_grad_(False).to(device)
        self.model.backbone.to(dtype).to(memory_format=torch.channels_last)


OF_ITS_OWN = frozenset(
    {"pooling", "pooling_size", "res5", "stride_in", "stem_pooling", "anchor_stride", "extents", "box_weights"}
)
"""Conventions that the code of torchvision decides."""

BUILDERS = {
    "fasterrcnn_resnet50_fpn": fasterrcnn_resnet50_fpn,
    "fasterrcnn_resnet50_fpn_v2": fasterrcnn_resnet50_fpn_v2,
}


def is_torchvision_pyramid(tensors: Mapping[str, Tensor]) -> bool:
    return "backbone.body.layer1.0.conv1.weight" in tensors and "roi_heads.box_predictor.cls_score.weight" in tensors


def read_torchvision_pyramid(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any], overrides: Mapping[str, str]
) -> Published:
    """Return the network of torchvision's tensors; of those for COCO, with the names of its 90 ids.

    Raises:
        LayoutError: tensors are missing, left over or of another shape.
    """
    variant = "fasterrcnn_resnet50_fpn_v2" if "roi_heads.box_head.0.0.weight" in tensors else "fasterrcnn_resnet50_fpn"
    conventions = override(replace(PYRAMID, **settings), overrides, fixed=OF_ITS_OWN)
    num_classes = len(tensors["roi_heads.box_predictor.cls_score.weight"]) - 1
    network = TorchvisionPyramid(variant, num_classes, conventions)
    load_under_their_names(network.model, tensors)
    return Published(
        layout=f"torchvision {variant}",
        network=network,
        conventions=conventions,
        num_classes=num_classes,
        num_attributes=0,
        vocabulary=Vocabulary(classes=COCO_IDS, attributes=()) if num_classes == len(COCO_IDS) else None,
    )


def _filled_up(images_B3HW: Tensor) -> Tensor:
    height, width = images_B3HW.shape[2:]
    below, right = (math.ceil(side / MULTIPLE) * MULTIPLE - side for side in (height, width))
    return nn.functional.pad(images_B3HW, (0, right, 0, below))
