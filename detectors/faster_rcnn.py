"""Faster R-CNN as a detector: decoded images in, exactly 36 regions (or 10 to 100) with their features out.

Axes: B images, H W pixels of the model's input, R regions or proposals, D feature_dim, C classes, A attributes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.faster_rcnn_network import FasterRCNNNetwork, NetworkConventions
from detectors.images import fit_sides
from detectors.records import DecodedImage, PreparedImage, RecordError, RegionFeatures
from detectors.region_selection import SelectionRules, select_regions
from detectors.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Conventions(NetworkConventions):
    """How an image becomes the network's input, and its output regions; stored with the weights."""

    short_side: int = 600
    """Pixels the shorter side is scaled to ..."""
    long_side: int = 1000
    """... unless the longer side would pass this."""
    channel_order: Literal["bgr", "rgb"] = "bgr"
    pixel_means: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
    """Subtracted from 0..255 values, in channel order."""
    pixel_stds: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divides what is left, in channel order."""
    boxes: Literal["raw", "regressed"] = "raw"
    """Proposals as pooled (bottom-up-attention), or refined by the deltas of their best class."""
    nms_threshold: float = SelectionRules.nms_threshold
    """Per-class NMS of the kept regions."""
    confidence: float = SelectionRules.confidence
    """Regions at or above this class probability are kept beyond the minimum."""


@dataclass(frozen=True, kw_only=True)
class FasterRCNNDetector:
    """A network with its conventions and vocabulary, on one device."""

    network: FasterRCNNNetwork
    """In inference form; see `optimise_for_inference`."""
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
            "architecture": asdict(self.network.architecture),
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
        proposed = self.network.propose(inputs_B3HW, map_BCHW)
        return [other if boxes is None else boxes for boxes, other in zip(given, proposed, strict=True)]

    def _given_boxes(self, image: PreparedImage) -> Tensor | None:
        if image.given_boxes_xyxy is None:
            return None
        return torch.from_numpy(image.given_boxes_xyxy * self._scale(image)).to(self.device)

    def _scale(self, image: PreparedImage) -> NDArray[np.float32]:
        """Return what multiplies x1, y1, x2, y2 of the image to give those of the model's input."""
        height, width = image.model_input.shape[1:]
        return np.array([width / image.image_width, height / image.image_height] * 2, np.float32)

    def _regions(
        self, image: PreparedImage, boxes_R4: Tensor, features_RD: Tensor, logits_RC: Tensor, deltas_RC4: Tensor
    ) -> RegionFeatures:
        scores_RC = logits_RC.softmax(dim=1)
        if self.conventions.boxes == "regressed" and image.given_boxes_xyxy is None:
            boxes_R4 = self._refine(image, boxes_R4, scores_RC, deltas_RC4)
        boxes_xyxy = boxes_R4.cpu().numpy()
        if image.given_boxes_xyxy is None:
            foreground_RC = scores_RC[:, 1:].cpu().numpy()
            selection = select_regions(boxes_xyxy, foreground_RC, self._rules())
            kept, reached = torch.from_numpy(selection.indices).to(self.device), selection.reached
            limits = np.array([image.image_width, image.image_height] * 2, np.float32)
            boxes_xyxy = np.minimum(boxes_xyxy[selection.indices] / self._scale(image), limits)
        else:
            kept, reached = torch.arange(len(boxes_R4), device=self.device), "given"
            boxes_xyxy = image.given_boxes_xyxy
        features_RD, scores_RC = features_RD[kept], scores_RC[kept]
        class_scores_R, class_ids_R = scores_RC[:, 1:].max(dim=1)
        # As in bottom-up-attention, the attribute is conditioned on the likeliest row, be it background.
        attributes_RA = self.network.attribute_logits(features_RD, scores_RC.argmax(dim=1)).softmax(dim=1)
        attribute_scores_R, attribute_ids_R = attributes_RA[:, 1:].max(dim=1)
        return RegionFeatures(
            image_id=image.image_id,
            image_width=image.image_width,
            image_height=image.image_height,
            boxes_xyxy=boxes_xyxy,
            features=_as_float16(image.image_id, features_RD),
            class_ids=class_ids_R.cpu().numpy().astype(np.int32),
            class_scores=class_scores_R.cpu().numpy(),
            attribute_ids=attribute_ids_R.cpu().numpy().astype(np.int32),
            attribute_scores=attribute_scores_R.cpu().numpy(),
            selection=reached,
        )

    def _refine(self, image: PreparedImage, boxes_R4: Tensor, scores_RC: Tensor, deltas_RC4: Tensor) -> Tensor:
        """Return the proposals moved by the deltas of their best class, inside the model's input."""
        best_R = scores_RC[:, 1:].argmax(dim=1) + 1
        deltas_R4 = deltas_RC4.view(len(boxes_R4), -1, 4)[torch.arange(len(boxes_R4), device=self.device), best_R]
        refined = self.network.box_coder.decode_single(deltas_R4, boxes_R4)
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


def to_model_input(image: DecodedImage, conventions: Conventions) -> Tensor:
    """Return float32 [3, H, W]: channels ordered, means subtracted, then scaled, in that order as in Caffe."""
    height, width = fit_sides(
        image.height, image.width, short_side=conventions.short_side, long_side=conventions.long_side
    )
    pixels = image.pixels_rgb if conventions.channel_order == "rgb" else image.pixels_rgb[:, :, ::-1]
    normalised = pixels.astype(np.float32) - np.array(conventions.pixel_means, np.float32)
    normalised /= np.array(conventions.pixel_stds, np.float32)
    resized = cv2.resize(normalised, (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(resized).permute(2, 0, 1)


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
