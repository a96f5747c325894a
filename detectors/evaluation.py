"""How good a detector is: average precision over its classes and attributes, as pycocotools computes it.

What is scored is what bottom-up-attention's public evaluation scores: of an image the 400 strongest (box, class) pairs,
after NMS within each class; attributes at the gold boxes, with the class predicted there.

Axes: G gold boxes, R regions, C classes with background in row 0, A attributes with "none" in row 0, N found.
"""

import contextlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from detectors.conventions import Conventions
from detectors.gold_boxes import GoldBoxes, GoldImage
from detectors.inputs.model import scale_of_boxes, to_model_input
from detectors.networks.faster_rcnn import FasterRCNNNetwork
from detectors.records import DecodedImage
from detectors.training import scale_of_gold


@dataclass(frozen=True, kw_only=True)
class EvaluationRules:
    """Which detections are scored; the defaults are bottom-up-attention's, detectron2 has 0.5, 100 and 0.05."""

    evaluation_nms: float = 0.3
    """IoU above which a box suppresses weaker ones of its class before scoring."""
    detections_per_image: int = 400
    """Number of an image's strongest boxes, of all classes together, that are scored."""
    min_score: float = 0.0
    """Score below which boxes are not scored."""

    def __post_init__(self) -> None:
        if self.detections_per_image < 1:
            raise ValueError(f"detections_per_image is {self.detections_per_image}, expected 1 or more")
        for name in ("evaluation_nms", "min_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a share from 0 to 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Boxes with a class or an attribute, gold or detected, of any number of images: 28 bytes each."""

    images: NDArray[np.int32]
    """int32 [N]; the image's number."""
    rows: NDArray[np.int32]
    """int32 [N]; class_id or attribute_id, + 1."""
    scores: NDArray[np.float32]
    """float32 [N]; 1 where gold."""
    boxes_xyxy: NDArray[np.float32]
    """float32 [N, 4]; pixels."""

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return all that is in the parts; there is at least one."""
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What a detector makes of any number of images."""

    objects: Found
    """Detected boxes with their class."""
    attributes: Found
    """Gold boxes with the attributes told there."""
    num_right: int
    """Gold boxes whose likeliest attribute is one of theirs ..."""
    num_described: int
    """... of those that have any."""

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return all that is in the parts."""
        return cls(
            objects=Found.join([_nothing(), *(each.objects for each in parts)]),
            attributes=Found.join([_nothing(), *(each.attributes for each in parts)]),
            num_right=sum(each.num_right for each in parts),
            num_described=sum(each.num_described for each in parts),
        )


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How well one class or attribute is found."""

    num_boxes: int
    """Gold ones."""
    ap_50: float
    """Average precision at IoU .5."""
    ap_50_95: float
    """The same, averaged over IoU .5, .55 ... .95."""


@dataclass(frozen=True, kw_only=True)
class DetectorScores:
    """Means over what pycocotools says of every class and attribute that has a gold box; others count nowhere."""

    map_50: float
    """Mean over classes of average precision at IoU .5; each class weighs alike."""
    weighted_map_50: float
    """The same, each class weighing as much as it has gold boxes."""
    map_50_95: float
    """As map_50, averaged over IoU .5, .55 ... .95."""
    attribute_map_50: float
    """As map_50, of the attributes told at gold boxes; nan without any."""
    weighted_attribute_map_50: float
    attribute_accuracy: float
    """Share of gold boxes with attributes whose likeliest attribute is one of theirs; class predicted, box given."""
    num_classes: int
    """Number of classes that have a gold box."""
    num_attributes: int
    """Number of attributes that have a gold box."""
    num_images: int
    num_boxes: int


@torch.inference_mode()
def look_at(
    network: FasterRCNNNetwork, number: int, image: GoldImage, decoded: DecodedImage, conventions: Conventions,
    rules: EvaluationRules,
) -> Seen:  # fmt: skip
    """Return what a network, in training or inference form, makes of image `number`."""
    device = next(network.parameters()).device
    inputs_B3HW = to_model_input(decoded, conventions)[None].to(device, network.trunk_dtype)
    map_BCHW = network.feature_map(inputs_B3HW.contiguous(memory_format=torch.channels_last))
    scale_4 = scale_of_boxes(decoded.height, decoded.width, conventions)
    (proposals,) = network.propose(inputs_B3HW, map_BCHW, [float(scale_4.min())], at_least=1)
    logits_RC, deltas_RC4 = network.classify(network.region_features(map_BCHW, [proposals]))
    size = (int(inputs_B3HW.shape[2]), int(inputs_B3HW.shape[3]))
    boxes_RC4 = network.box_coder.decode(deltas_RC4, [proposals])
    boxes_N4, scores_N, rows_N = strongest(clip_boxes_to_image(boxes_RC4, size), logits_RC.softmax(dim=1), rules)
    objects = _found(number, rows_N, scores_N, boxes_N4.cpu().numpy() / scale_of_gold(image, decoded, conventions))
    if not network.architecture.num_attributes:
        return Seen(objects=objects, attributes=_nothing(), num_right=0, num_described=0)
    gold_G4 = torch.from_numpy(image.boxes_xyxy * scale_of_gold(image, decoded, conventions)).to(device)
    features_GD = network.region_features(map_BCHW, [gold_G4])
    class_rows_G = network.classify(features_GD)[0].argmax(dim=1)
    logits_GA = network.attribute_logits(features_GD, class_rows_G)
    best_G = (logits_GA[:, 1:].argmax(dim=1) + 1).tolist()
    if conventions.attribute_none == "left-out":
        logits_GA = logits_GA.index_fill(1, torch.zeros(1, dtype=torch.int64, device=device), -math.inf)
    scores_GA = logits_GA.softmax(dim=1)[:, 1:]
    scores_N, order = scores_GA.flatten().topk(min(rules.detections_per_image, scores_GA.numel()))
    boxes_N4 = image.boxes_xyxy[(order // scores_GA.shape[1]).cpu().numpy()]
    return Seen(
        objects=objects,
        attributes=_found(number, order % scores_GA.shape[1] + 1, scores_N, boxes_N4),
        num_right=sum(best in rows for best, rows in zip(best_G, image.attribute_rows, strict=True)),
        num_described=sum(map(bool, image.attribute_rows)),
    )


def strongest(boxes_RC4: Tensor, scores_RC: Tensor, rules: EvaluationRules) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and class rows that survive NMS within their class, strongest first, as many as are scored.

    NMS decides a box from stronger ones alone, so the strongest few thousand of R x C pairs settle it: the result is
    that of all of them.
    """
    num_rows = scores_RC.shape[1] - 1
    scores_P, order_P = scores_RC[:, 1:].flatten().sort(descending=True, stable=True)
    num_pairs = int((scores_P > rules.min_score).sum()) if rules.min_score > 0 else len(scores_P)
    prefix = 4 * rules.detections_per_image
    while True:
        order, scores = order_P[: min(prefix, num_pairs)], scores_P[: min(prefix, num_pairs)]
        region, row = order // num_rows, order % num_rows + 1
        boxes = boxes_RC4[region, row]
        kept = batched_nms(boxes, scores, row, rules.evaluation_nms)[: rules.detections_per_image]
        if len(kept) == rules.detections_per_image or prefix >= num_pairs:
            return boxes[kept], scores[kept], row[kept]
        prefix *= 2


def gold_of(gold: GoldBoxes, numbers: Iterable[int]) -> tuple[Found, Found]:
    """Return the gold boxes of these images with their classes, and those with attributes, once for each."""
    objects, attributes = [_nothing()], [_nothing()]
    for number in numbers:
        image = gold.image(number)
        objects.append(_found(number, image.class_rows, np.ones(len(image.class_rows)), image.boxes_xyxy))
        pairs = [(box, row) for box, rows in enumerate(image.attribute_rows) for row in rows]
        boxes, rows = np.array(pairs, np.int32).reshape(-1, 2).T
        attributes.append(_found(number, rows, np.ones(len(rows)), image.boxes_xyxy[boxes]))
    return Found.join(objects), Found.join(attributes)


def average_precision(gold: Found, found: Found, rows: Iterable[int], *, per_image: int = 400) -> dict[int, Precision]:
    """Return what pycocotools says of each of these rows that has a gold box.

    pycocotools keeps something for every pair of an image and a class, 8,000,000 for Visual Genome: so it is asked for
    one class at a time, with the images that have something of it. The others change nothing.
    """
    gold_of_row, found_of_row = _by_row(gold), _by_row(found)
    return {
        row: _precision_of_one(gold, gold_of_row[row], found, found_of_row.get(row, np.zeros(0, np.int64)), per_image)
        for row in rows
        if row in gold_of_row
    }


def summarise(
    objects: Mapping[int, Precision], attributes: Mapping[int, Precision], seen: Seen, *, num_images: int
) -> DetectorScores:
    """Return the means over classes and attributes."""
    return DetectorScores(
        map_50=_mean([each.ap_50 for each in objects.values()]),
        weighted_map_50=_weighted(objects),
        map_50_95=_mean([each.ap_50_95 for each in objects.values()]),
        attribute_map_50=_mean([each.ap_50 for each in attributes.values()]),
        weighted_attribute_map_50=_weighted(attributes),
        attribute_accuracy=seen.num_right / seen.num_described if seen.num_described else math.nan,
        num_classes=len(objects),
        num_attributes=len(attributes),
        num_images=num_images,
        num_boxes=sum(each.num_boxes for each in objects.values()),
    )


def table(precisions: Mapping[int, Precision], names: Sequence[str]) -> str:
    """Return a line for each class or attribute of the vocabulary: name, gold boxes, AP@.5, AP@.5:.95."""
    lines = ["name\tgold boxes\tAP@.5\tAP@.5:.95"]
    for row, name in enumerate(names, start=1):
        if row in precisions:
            each = precisions[row]
            lines.append(f"{name}\t{each.num_boxes}\t{each.ap_50:.4f}\t{each.ap_50_95:.4f}")
        else:
            lines.append(f"{name}\t0\t\t")
    return "\n".join(lines) + "\n"


def _precision_of_one(
    gold: Found, gold_at: NDArray[np.int64], found: Found, found_at: NDArray[np.int64], per_image: int
) -> Precision:
    truth, boxes = COCO(), _corner_and_size(gold.boxes_xyxy[gold_at])
    images = np.union1d(gold.images[gold_at], found.images[found_at])
    truth.dataset = {
        "info": {},
        "images": [{"id": int(number)} for number in images],
        "annotations": [
            {"id": number, "image_id": int(image), "category_id": 1, "iscrowd": 0, "bbox": box, "area": box[2] * box[3]}
            for number, (image, box) in enumerate(zip(gold.images[gold_at], boxes.tolist(), strict=True), start=1)
        ],
        "categories": [{"id": 1}],
    }
    if not len(found_at):
        return Precision(num_boxes=len(gold_at), ap_50=0.0, ap_50_95=0.0)
    detections = [
        {"image_id": int(image), "category_id": 1, "bbox": box, "score": float(score)}
        for image, score, box in zip(
            found.images[found_at],
            found.scores[found_at],
            _corner_and_size(found.boxes_xyxy[found_at]).tolist(),
            strict=True,
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.params.maxDets = [per_image]
        evaluation.evaluate()
        evaluation.accumulate()
    precision_TS = evaluation.eval["precision"][:, :, 0, 0, 0]  # IoU thresholds x recalls
    return Precision(num_boxes=len(gold_at), ap_50=float(precision_TS[0].mean()), ap_50_95=float(precision_TS.mean()))


def _by_row(found: Found) -> dict[int, NDArray[np.int64]]:
    """Return where each class or attribute stands, in their order."""
    order = np.argsort(found.rows, kind="stable")
    rows, starts = np.unique(found.rows[order], return_index=True)
    return dict(zip(rows.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


def _corner_and_size(boxes_N4: NDArray[np.float32]) -> NDArray[np.float64]:
    boxes = boxes_N4.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _found(number: int, rows: Tensor | NDArray, scores: Tensor | NDArray, boxes: NDArray) -> Found:
    return Found(
        images=np.full(len(rows), number, np.int32),
        rows=np.asarray(torch.as_tensor(rows).cpu(), np.int32),
        scores=np.asarray(torch.as_tensor(scores).float().cpu(), np.float32),
        boxes_xyxy=np.asarray(boxes, np.float32).reshape(-1, 4),
    )


def _nothing() -> Found:
    return _found(0, np.zeros(0), np.zeros(0), np.zeros((0, 4)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _weighted(precisions: Mapping[int, Precision]) -> float:
    num_boxes = sum(each.num_boxes for each in precisions.values())
    return sum(each.num_boxes * each.ap_50 for each in precisions.values()) / num_boxes if num_boxes else math.nan
