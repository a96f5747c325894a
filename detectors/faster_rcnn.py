"""Faster R-CNN as a detector: decoded images in, exactly 36 regions (or 10 to 100) with their features out.

Axes: B images, H W pixels of the model's input, R regions or proposals, D feature_dim, C classes, A attributes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.conventions import Conventions
from detectors.model_input import scale_of_boxes, to_model_input
from detectors.proposals import LAST_PIXEL
from detectors.records import DecodedImage, PreparedImage, RecordError, RegionFeatures
from detectors.region_network import RegionNetwork
from detectors.region_selection import Selection, SelectionRules, select_regions
from detectors.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class FasterRCNNDetector:
    """A network with its conventions and vocabulary, on one device."""

    network: RegionNetwork
    """In inference form; see its `optimise`."""
    conventions: Conventions
    vocabulary: Vocabulary
    weights: dict[str, str]
    """Name of the weights and, for a file, its SHA-256."""
    min_boxes: int = 36
    max_boxes: int = 36
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        self._rules()  # an impossible threshold ends a run before it starts, not at its first image

    def describe(self) -> dict[str, Any]:
        """Return everything that decides the output, in JSON types."""
        return {
            "weights": self.weights,
            "architecture": self.network.describe(),
            "conventions": asdict(self.conventions),
            "min_boxes": self.min_boxes,
            "max_boxes": self.max_boxes,
            "precision": str(self.network.trunk_dtype).removeprefix("torch."),
            "vocabulary": asdict(self.vocabulary),
            "class_background": "row 0 of the network, removed from class_ids",
            "attribute_none": "row 0 of the network, removed from attribute_ids",
            "box_order": "falling confidence",
        }

    def prepare(self, image: DecodedImage) -> PreparedImage:
        """Return the image resized and normalised as the weights want it: float32 [3, H, W]."""
        return PreparedImage(
            image_id=image.image_id,
            image_width=image.width,
            image_height=image.height,
            model_input=to_model_input(image, self.conventions),
            given_boxes_xyxy=image.given_boxes_xyxy,
        )

    @torch.inference_mode()
    def detect(self, images: Sequence[PreparedImage]) -> list[RegionFeatures]:
        """Return each image's regions, in order.

        Only images whose inputs have one shape share a pass through the trunk: padding to a common size would change
        what the convolutions see at the border, and with it boxes and features.
        """
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_shape.setdefault(tuple(image.model_input.shape), []).append(index)
        found: dict[int, RegionFeatures] = {}
        for indices in by_shape.values():
            group = [images[index] for index in indices]
            found.update(zip(indices, self._detect_one_shape(group), strict=True))
        return [found[index] for index in range(len(images))]

    def _detect_one_shape(self, images: Sequence[PreparedImage]) -> list[RegionFeatures]:
        inputs_B3HW = torch.stack([image.model_input for image in images])
        inputs_B3HW = inputs_B3HW.to(self.device, self.network.trunk_dtype, memory_format=torch.channels_last)
        map_BCHW = self.network.feature_map(inputs_B3HW)
        boxes = self._boxes_to_pool(images, inputs_B3HW, map_BCHW)
        features_RD = self.network.region_features(map_BCHW, boxes)
        logits_RC, deltas_RC4 = self.network.classify(features_RD)
        counts = [len(each) for each in boxes]
        parts = zip(
            images, boxes, features_RD.split(counts), logits_RC.split(counts), deltas_RC4.split(counts), strict=True
        )
        return [self._regions(*part) for part in parts]

    def _boxes_to_pool(self, images: Sequence[PreparedImage], inputs_B3HW: Tensor, map_BCHW: Tensor) -> list[Tensor]:
        """Return each image's given boxes, or the network's proposals; pixels of the model's input."""
        given = [self._given_boxes(image) for image in images]
        if all(boxes is not None for boxes in given):
            return [boxes for boxes in given if boxes is not None]
        scales = [float(self._scale(image).min()) for image in images]
        proposed = self.network.propose(inputs_B3HW, map_BCHW, scales, self.min_boxes)
        return [other if boxes is None else boxes for boxes, other in zip(given, proposed, strict=True)]

    def _given_boxes(self, image: PreparedImage) -> Tensor | None:
        if image.given_boxes_xyxy is None:
            return None
        return torch.from_numpy(image.given_boxes_xyxy * self._scale(image)).to(self.device)

    def _scale(self, image: PreparedImage) -> NDArray[np.float32]:
        """Return what multiplies x1, y1, x2, y2 of the image to give those of the model's input."""
        return scale_of_boxes(image.image_height, image.image_width, self.conventions)

    def _regions(
        self, image: PreparedImage, boxes_R4: Tensor, features_RD: Tensor, logits_RC: Tensor, deltas_RC4: Tensor
    ) -> RegionFeatures:
        scores_RC = logits_RC.softmax(dim=1)
        if self.conventions.boxes == "regressed" and image.given_boxes_xyxy is None:
            boxes_R4 = self._refine(image, boxes_R4, scores_RC, deltas_RC4)
        boxes_xyxy = np.divide(boxes_R4.cpu().numpy(), self._scale(image), dtype=np.float32)
        if image.given_boxes_xyxy is None:
            selection = self._select(boxes_xyxy, scores_RC[:, 1:].cpu().numpy())
            kept, reached = torch.from_numpy(selection.indices).to(self.device), selection.reached
            limits = np.array([image.image_width, image.image_height] * 2, np.float32)
            boxes_xyxy = np.minimum(boxes_xyxy[selection.indices], limits)
        else:
            kept, reached = torch.arange(len(boxes_R4), device=self.device), "given"
            boxes_xyxy = image.given_boxes_xyxy
        features_RD, scores_RC = features_RD[kept], scores_RC[kept]
        class_scores_R, class_ids_R = scores_RC[:, 1:].max(dim=1)
        attribute_ids, attribute_scores = self._attributes(features_RD, scores_RC)
        return RegionFeatures(
            image_id=image.image_id,
            image_width=image.image_width,
            image_height=image.image_height,
            boxes_xyxy=boxes_xyxy,
            features=_as_float16(image.image_id, features_RD),
            class_ids=class_ids_R.cpu().numpy().astype(np.int32),
            class_scores=class_scores_R.cpu().numpy(),
            attribute_ids=attribute_ids,
            attribute_scores=attribute_scores,
            selection=reached,
        )

    def _select(self, boxes_xyxy: NDArray[np.float32], foreground_RC: NDArray[np.float32]) -> Selection:
        if self.conventions.extents == "inclusive":
            boxes_xyxy = boxes_xyxy + np.array(LAST_PIXEL, np.float32)
        if self.conventions.nms == "best-class":
            foreground_RC = foreground_RC.max(axis=1, keepdims=True)
        return select_regions(boxes_xyxy, foreground_RC, self._rules())

    def _attributes(self, features_RD: Tensor, scores_RC: Tensor) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return each region's likeliest attribute and its probability; -1 and 0 where the weights tell none."""
        # As in bottom-up-attention, the attribute is conditioned on the likeliest row, be it background.
        logits_RA = self.network.attributes(features_RD, scores_RC.argmax(dim=1))
        if logits_RA is None:
            return np.full(len(features_RD), -1, np.int32), np.zeros(len(features_RD), np.float32)
        if self.conventions.attribute_none == "left-out":
            scores_R, ids_R = logits_RA[:, 1:].softmax(dim=1).max(dim=1)
        else:
            scores_R, ids_R = logits_RA.softmax(dim=1)[:, 1:].max(dim=1)
        return ids_R.cpu().numpy().astype(np.int32), scores_R.cpu().numpy()

    def _refine(self, image: PreparedImage, boxes_R4: Tensor, scores_RC: Tensor, deltas_RC4: Tensor) -> Tensor:
        """Return the proposals moved by the deltas of their best class, inside the model's input."""
        best_R = scores_RC[:, 1:].argmax(dim=1) + 1
        deltas_R4 = deltas_RC4.view(len(boxes_R4), -1, 4)[torch.arange(len(boxes_R4), device=self.device), best_R]
        refined = self.network.refine(boxes_R4, deltas_R4)
        height, width = image.model_input.shape[1:]
        limits = refined.new_tensor([width, height, width, height])
        return refined.clamp(min=0).minimum(limits)

    def _rules(self) -> SelectionRules:
        return SelectionRules(
            min_boxes=self.min_boxes,
            max_boxes=self.max_boxes,
            nms_threshold=self.conventions.nms_threshold,
            confidence=self.conventions.confidence,
        )


def _as_float16(image_id: str, features_RD: Tensor) -> NDArray[np.float16]:
    features = features_RD.cpu().numpy()
    with np.errstate(over="ignore"):  # told below, with the image's name
        half = features.astype(np.float16)
    if not np.isfinite(half).all():
        raise RecordError(
            f"image {image_id!r}: features reach {np.abs(features).max():g}, more than float16 holds (65504); "
            "are these the weights' own channel order and means?"
        )
    return half
