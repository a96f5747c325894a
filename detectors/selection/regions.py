"""Which boxes a Faster R-CNN keeps: per-class NMS, then the strongest 36, or 10 to 100 above a confidence.

The rule is bottom-up-attention's: a box survives if it survives NMS in at least one class, its confidence is its best
surviving class probability, and the boxes of highest confidence are kept. Running NMS once for each of 1600 classes
decides 480,000 (box, class) pairs, nearly all of them far too weak to matter. Here the pairs are visited by falling
score: a pair's fate depends only on stronger pairs of its class, so the walk may stop at the last box that is needed,
and what it has found until then is exactly what the full loop finds.

Axes: R boxes, C classes without background.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from detectors.records import RecordError


@dataclass(frozen=True, kw_only=True)
class SelectionRules:
    """How many boxes are kept, and by which thresholds."""

    min_boxes: int = 36
    """At least this many; the strongest below the confidence fill up."""
    max_boxes: int = 36
    """At most this many."""
    nms_threshold: float = 0.3
    """Per-class NMS drops a box whose IoU with a stronger box of its class is above this."""
    confidence: float = 0.2
    """Boxes at or above this probability are kept even beyond `min_boxes`."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_boxes <= self.max_boxes:
            raise ValueError(f"boxes: min {self.min_boxes}, max {self.max_boxes}; expected 1 <= min <= max")
        if not 0 < self.nms_threshold <= 1:
            raise ValueError(f"NMS threshold is {self.nms_threshold}, expected above 0 and at most 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """The boxes kept in one image, by falling confidence; ties by lower index."""

    indices: NDArray[np.int64]
    """int64 [num_boxes]; rows of the given boxes."""
    confidences: NDArray[np.float32]
    """float32 [num_boxes]; best probability among the classes in which the box survives NMS."""
    reached: str
    """`confident`: all at or above the confidence; `filled`: some below; `relaxed-T`: NMS raised to T for enough."""


def select_regions(boxes_xyxy: NDArray[np.float32], scores_RC: NDArray[np.float32], rules: SelectionRules) -> Selection:
    """Return the boxes to keep; NMS is relaxed by steps of 0.1 while fewer than `min_boxes` survive.

    Raises RecordError when fewer than `min_boxes` boxes are given, whatever the threshold.
    """
    if len(boxes_xyxy) < rules.min_boxes:
        raise RecordError(f"{len(boxes_xyxy)} boxes were proposed, expected at least {rules.min_boxes}")
    corners_R4 = torch.from_numpy(boxes_xyxy)
    iou_RR = box_iou(corners_R4, corners_R4).double().numpy()  # float32's roundings, as torchvision's NMS has them
    for threshold in _relaxing(rules.nms_threshold):
        indices, confidences = _strongest_survivors(scores_RC, iou_RR > threshold, rules)
        if len(indices) >= rules.min_boxes:
            break
    relaxed = f"relaxed-{threshold:.1f}" if threshold > rules.nms_threshold else None
    return Selection(indices=indices, confidences=confidences, reached=relaxed or reached_unrelaxed(confidences, rules))


def reached_unrelaxed(confidences: NDArray[np.float32], rules: SelectionRules) -> str:
    """Return `confident` or `filled`, by the weakest of falling confidences."""
    return "filled" if float(confidences[-1]) < rules.confidence else "confident"


def _relaxing(threshold: float) -> Iterator[float]:
    """Yield the threshold, then every tenth above it; at 1.0 no box suppresses another."""
    yield threshold
    yield from (tenth / 10 for tenth in range(1, 11) if tenth / 10 > threshold)


def _strongest_survivors(
    scores_RC: NDArray[np.float32], overlaps_RR: NDArray[np.bool_], rules: SelectionRules
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return surviving boxes by falling confidence: all confident ones within min and max, else `min_boxes`."""
    overlaps = _row_masks(overlaps_RR)
    suppressed: defaultdict[int, int] = defaultdict(int)  # class -> bit mask of boxes that a kept box overlaps
    survivors: dict[int, float] = {}  # box -> confidence; insertion order is falling confidence
    for box, class_id, score in _falling_pairs(scores_RC, rules.max_boxes):
        if score < rules.confidence and len(survivors) >= rules.min_boxes:
            break
        if suppressed[class_id] >> box & 1:
            continue
        suppressed[class_id] |= overlaps[box]
        if box not in survivors:
            survivors[box] = score
            if len(survivors) == rules.max_boxes:
                break
    return np.array(list(survivors), np.int64), np.array(list(survivors.values()), np.float32)


def _falling_pairs(scores_RC: NDArray[np.float32], wanted: int) -> Iterator[tuple[int, int, float]]:
    """Yield (box, class, score) by falling score, ties by box then class, sorting only as far as is asked for."""
    num_classes = scores_RC.shape[1]
    flat = np.ascontiguousarray(scores_RC).ravel()
    above = np.inf
    for floor in _floors(scores_RC.max(axis=1), wanted):
        block = np.flatnonzero((flat >= floor) & (flat < above))
        block = block[np.argsort(-flat[block], kind="stable")]
        boxes, class_ids = np.divmod(block, num_classes)
        yield from zip(boxes.tolist(), class_ids.tolist(), flat[block].tolist(), strict=True)
        above = floor


def _floors(best_R: NDArray[np.float32], wanted: int) -> Iterator[float]:
    """Yield falling score levels: first one that 2 * wanted boxes reach, then fractions of it, at last everything."""
    level = float(np.sort(best_R)[::-1][min(2 * wanted, len(best_R)) - 1])
    fractions = (level / 4**step for step in range(8))
    yield from chain((level for level in fractions if level > 0), (-np.inf,))


def _row_masks(overlaps_RR: NDArray[np.bool_]) -> Sequence[int]:
    """Return each row as one integer whose bit b is column b, so that marking 300 boxes is one operation."""
    packed = np.packbits(overlaps_RR, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]
