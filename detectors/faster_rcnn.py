"""Faster R-CNN as a detector: decoded images in, exactly 36 regions (or 10 to 100) with their features out.

Axes: B images, H W pixels of the model's input, R regions or proposals, D feature_dim, C classes, A attributes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.conventions import Conventions
from detectors.inputs.batch import batch_on
from detectors.inputs.model import scale_of_boxes, to_model_input
from detectors.networks.network import RegionNetwork
from detectors.networks.proposals import LAST_PIXEL
from detectors.records import DecodedImage, PreparedImage, RecordError, RegionFeatures, as_float16
from detectors.selection.batches import select_batch
from detectors.selection.regions import Selection, SelectionRules
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
            "precision": self._precision(),
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
        by_kind: dict[tuple[Any, ...], list[int]] = {}
        for index, image in enumerate(images):
            kind = (tuple(image.model_input.shape), image.given_boxes_xyxy is None)
            by_kind.setdefault(kind, []).append(index)
        found: dict[int, RegionFeatures] = {}
        for indices in by_kind.values():
            group = [images[index] for index in indices]
            found.update(zip(indices, self._detect_alike(group), strict=True))
        return [found[index] for index in range(len(images))]

    def _detect_alike(self, images: Sequence[PreparedImage]) -> list[RegionFeatures]:
        """Return the regions of images whose inputs have one shape, and whose boxes all are given or all to be found.

        What is for the host is copied once for all of them: a copy waits for the device.
        """
        inputs_B3HW = batch_on(self.device, images).to(self.network.trunk_dtype, memory_format=torch.channels_last)
        map_BCHW = self.network.feature_map(inputs_B3HW)
        given = [image.given_boxes_xyxy for image in images if image.given_boxes_xyxy is not None]
        if given:
            boxes = [torch.from_numpy(each * self._scale(image)) for each, image in zip(given, images, strict=True)]
            boxes = [each.to(self.device) for each in boxes]
        else:
            scales = [float(self._scale(image).min()) for image in images]
            boxes = self.network.propose(inputs_B3HW, map_BCHW, scales, self.min_boxes)
        features_RD = self.network.region_features(map_BCHW, boxes)
        self._require_finite(images, map_BCHW, features_RD.split([len(each) for each in boxes]))
        logits_RC, deltas_RC4 = self.network.classify(features_RD)
        scores_RC = logits_RC.softmax(dim=1)
        if given:
            return self._records(images, given, ["given"] * len(images), features_RD, scores_RC)
        if self.conventions.boxes == "regressed":
            boxes = self._refine(inputs_B3HW, boxes, scores_RC, deltas_RC4)
        return self._keep(images, self._in_images(images, boxes), features_RD, scores_RC)

    def _keep(
        self, images: Sequence[PreparedImage], boxes: Sequence[Tensor], features_RD: Tensor, scores_RC: Tensor
    ) -> list[RegionFeatures]:
        """Return the regions that selection leaves of each image's boxes, cut at its border."""
        selections = self._select(boxes, scores_RC)
        counts = [len(each.indices) for each in selections]
        firsts = np.cumsum([0, *(len(each) for each in boxes[:-1])])
        rows = np.concatenate([first + each.indices for first, each in zip(firsts, selections, strict=True)])
        kept_R = torch.from_numpy(rows).to(self.device)
        kept = _parts(torch.cat(list(boxes))[kept_R].cpu().numpy(), counts)
        limits = [np.array([image.image_width, image.image_height] * 2, np.float32) for image in images]
        inside = [np.minimum(boxes_R4, limits_4) for boxes_R4, limits_4 in zip(kept, limits, strict=True)]
        reached = [each.reached for each in selections]
        return self._records(images, inside, reached, features_RD[kept_R], scores_RC[kept_R])

    def _scale(self, image: PreparedImage) -> NDArray[np.float32]:
        """Return what multiplies x1, y1, x2, y2 of the image to give those of the model's input."""
        return scale_of_boxes(image.image_height, image.image_width, self.conventions)

    def _in_images(self, images: Sequence[PreparedImage], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Return the boxes in pixels of the images instead of the model's inputs."""
        scales_B4 = torch.from_numpy(np.stack([self._scale(image) for image in images])).to(self.device)
        return [boxes_R4 / scale_4 for boxes_R4, scale_4 in zip(boxes, scales_B4, strict=True)]

    def _records(
        self,
        images: Sequence[PreparedImage],
        boxes: Sequence[NDArray[np.float32]],
        reached: Sequence[str],
        features_RD: Tensor,
        scores_RC: Tensor,
    ) -> list[RegionFeatures]:
        """Return the images' regions; rows of features and scores are those of the boxes, image after image."""
        class_scores_R, class_ids_R = scores_RC[:, 1:].max(dim=1)
        attribute_scores_R, attribute_ids_R = self._attributes(features_RD, scores_RC)
        columns = (features_RD, class_ids_R.int(), class_scores_R, attribute_ids_R.int(), attribute_scores_R)
        counts = [len(each) for each in boxes]
        parts = zip(*(_parts(column.cpu().numpy(), counts) for column in columns), strict=True)
        return [
            RegionFeatures(
                image_id=image.image_id,
                image_width=image.image_width,
                image_height=image.image_height,
                boxes_xyxy=boxes_xyxy,
                features=as_float16(image.image_id, features),
                class_ids=class_ids,
                class_scores=class_scores,
                attribute_ids=attribute_ids,
                attribute_scores=attribute_scores,
                selection=how,
            )
            for image, boxes_xyxy, how, (features, class_ids, class_scores, attribute_ids, attribute_scores) in zip(
                images, boxes, reached, parts, strict=True
            )
        ]

    def _select(self, boxes: Sequence[Tensor], scores_RC: Tensor) -> list[Selection]:
        if self.conventions.extents == "inclusive":
            boxes = [each + each.new_tensor(LAST_PIXEL) for each in boxes]
        foreground_RC = scores_RC[:, 1:]
        if self.conventions.nms == "best-class":
            foreground_RC = foreground_RC.amax(dim=1, keepdim=True)
        scores = foreground_RC.split([len(each) for each in boxes])
        return select_batch(boxes, scores, self._rules(), at_once=self.device.type == "cuda")

    def _attributes(self, features_RD: Tensor, scores_RC: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability and id of each region's likeliest attribute; 0 and -1 where the weights tell none."""
        # As in bottom-up-attention, the attribute is conditioned on the likeliest row, be it background.
        logits_RA = self.network.attributes(features_RD, scores_RC.argmax(dim=1))
        if logits_RA is None:
            return scores_RC.new_zeros(len(features_RD)), scores_RC.new_full((len(features_RD),), -1)
        if self.conventions.attribute_none == "left-out":
            scores_R, ids_R = logits_RA[:, 1:].softmax(dim=1).max(dim=1)
        else:
            scores_R, ids_R = logits_RA.softmax(dim=1)[:, 1:].max(dim=1)
        return scores_R, ids_R

    def _refine(
        self, inputs_B3HW: Tensor, boxes: Sequence[Tensor], scores_RC: Tensor, deltas_RC4: Tensor
    ) -> list[Tensor]:
        """Return the proposals moved by the deltas of their best class, inside the model's input."""
        best_R = scores_RC[:, 1:].argmax(dim=1) + 1
        deltas_R4 = deltas_RC4.view(len(best_R), -1, 4)[torch.arange(len(best_R), device=self.device), best_R]
        refined_R4 = self.network.refine(torch.cat(list(boxes)), deltas_R4)
        height, width = inputs_B3HW.shape[2:]
        limits_4 = refined_R4.new_tensor([width, height, width, height])
        return list(refined_R4.clamp(min=0).minimum(limits_4).split([len(each) for each in boxes]))

    def _require_finite(self, images: Sequence[PreparedImage], map_BCHW: Any, features: Sequence[Tensor]) -> None:
        """Raise RecordError for an image whose numbers left the trunk's format; nothing could be ranked by them.

        Of float16, which holds no more than 65504, the maps are asked too: RoIPool passes over what is no number.
        """
        is_finite_B = torch.stack([each.isfinite().all() for each in features])
        if self.network.trunk_dtype == torch.float16:
            for each in map_BCHW.values() if isinstance(map_BCHW, Mapping) else [map_BCHW]:
                is_finite_B &= each.isfinite().flatten(1).all(dim=1)
        for image, is_finite in zip(images, is_finite_B.tolist(), strict=True):
            if not is_finite:
                raise RecordError(
                    f"image {image.image_id!r}: numbers of the network pass what {self._precision()} holds; expected "
                    "--precision bfloat16 or float32, and the weights' own channel order and means"
                )

    def _precision(self) -> str:
        return str(self.network.trunk_dtype).removeprefix("torch.")

    def _rules(self) -> SelectionRules:
        return SelectionRules(
            min_boxes=self.min_boxes,
            max_boxes=self.max_boxes,
            nms_threshold=self.conventions.nms_threshold,
            confidence=self.conventions.confidence,
        )


def _parts(rows: NDArray[Any], counts: Sequence[int]) -> list[NDArray[Any]]:
    """Return so many rows of each image, image after image."""
    return np.split(rows, np.cumsum(counts)[:-1])
