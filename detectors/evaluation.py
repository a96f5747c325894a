"""How good a detector is: COCO's average precision over its classes, and attribute accuracy on gold boxes."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from detectors.conventions import Conventions
from detectors.faster_rcnn_network import FasterRCNNNetwork
from detectors.images import decode_image
from detectors.model_input import scale_of_boxes, to_model_input
from detectors.training import GoldImage, roi_heads


@dataclass(frozen=True, kw_only=True)
class DetectorScores:
    """What pycocotools says of the per-class detections, and the attribute head of the gold boxes."""

    map_50: float
    """Mean over classes of average precision at IoU .5, up to 100 detections an image."""
    map_50_95: float
    """The same, averaged over IoU .5, .55 ... .95."""
    attribute_accuracy: float
    """Share of gold boxes with attributes whose likeliest attribute is one of theirs; class predicted, box given."""
    num_images: int
    num_boxes: int


@torch.inference_mode()
def evaluate(network: FasterRCNNNetwork, images: Sequence[GoldImage], conventions: Conventions) -> DetectorScores:
    """Return the scores of a network, in training or inference form, on annotated images."""
    network.eval()
    heads = roi_heads(network)
    detections: list[dict[str, Any]] = []
    hits, supervised = 0, 0
    for number, image in enumerate(images):
        decoded = decode_image(image.image_id, image.path.read_bytes())
        inputs_B3HW = to_model_input(decoded, conventions)[None].to(network.trunk_dtype)
        map_BCHW = network.feature_map(inputs_B3HW.to(memory_format=torch.channels_last))
        scale_4 = torch.from_numpy(scale_of_boxes(decoded.height, decoded.width, conventions))
        proposals = network.propose(inputs_B3HW, map_BCHW, [float(scale_4.min())], at_least=1)
        logits_RC, deltas_RC4 = network.classify(network.region_features(map_BCHW, proposals))
        size = (int(inputs_B3HW.shape[2]), int(inputs_B3HW.shape[3]))
        boxes, scores, labels = heads.postprocess_detections(logits_RC, deltas_RC4, proposals, [size])
        detections += _as_coco(number, boxes[0] / scale_4, scores[0], labels[0])
        correct = _attribute_hits(network, map_BCHW, torch.from_numpy(image.boxes_xyxy) * scale_4, image)
        hits, supervised = hits + sum(correct), supervised + len(correct)
    precision = _average_precision(images, detections)
    return DetectorScores(
        map_50=precision[1],
        map_50_95=precision[0],
        attribute_accuracy=hits / supervised if supervised else float("nan"),
        num_images=len(images),
        num_boxes=sum(len(image.boxes_xyxy) for image in images),
    )


def _attribute_hits(network: FasterRCNNNetwork, map_BCHW: Tensor, boxes_G4: Tensor, image: GoldImage) -> list[bool]:
    features_GD = network.region_features(map_BCHW, [boxes_G4.float()])
    class_rows_G = network.classify(features_GD)[0].argmax(dim=1)
    best_G = network.attribute_logits(features_GD, class_rows_G)[:, 1:].argmax(dim=1) + 1
    return [int(best) in rows for best, rows in zip(best_G, image.attribute_rows, strict=True) if rows]


def _as_coco(number: int, boxes_R4: Tensor, scores_R: Tensor, labels_R: Tensor) -> list[dict[str, Any]]:
    boxes = boxes_R4.numpy()
    corners_and_sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    rows = zip(corners_and_sizes.tolist(), scores_R.tolist(), labels_R.tolist(), strict=True)
    return [{"image_id": number, "category_id": label, "bbox": box, "score": score} for box, score, label in rows]


def _average_precision(images: Sequence[GoldImage], detections: list[dict[str, Any]]) -> list[float]:
    """Return COCOeval's stats: AP at .5:.95, at .5, ...; classes without a gold box are left out."""
    gold: list[dict[str, Any]] = [
        {"image_id": number, "category_id": int(row), "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for number, image in enumerate(images)
        for (x1, y1, x2, y2), row in zip(image.boxes_xyxy.tolist(), image.class_rows, strict=True)
    ]
    for number, entry in enumerate(gold, start=1):
        entry |= {"id": number, "iscrowd": 0, "area": entry["bbox"][2] * entry["bbox"][3]}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its table
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number} for number in range(len(images))],
            "annotations": gold,
            "categories": [{"id": row} for row in sorted({entry["category_id"] for entry in gold})],
        }
        truth.createIndex()
        if not detections:
            return [0.0, 0.0]
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]
