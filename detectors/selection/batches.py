"""Selection for a batch of images: by the walk one after the other, or, where their scores lie on a GPU, all at once.

A walk over (box, class) pairs on the host costs a GPU the copies of all scores, 2 MB an image, and its time meanwhile.
On the device the strongest pairs of every image are decided at once, with what the walk relies on: a pair's fate
depends only on stronger pairs of its class. Where they do not settle an image, the walk does.

Axes: B images, R boxes, C classes without background, K strongest pairs of an image.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import box_iou

from detectors.selection.regions import Selection, SelectionRules, reached_unrelaxed, select_regions

NUM_PAIRS = 2048
"""What is decided on the device; comparing each with each takes 4 MB an image. 36 boxes of a picture whose many
proposals share few classes take some 1000."""


def select_batch(
    boxes: Sequence[Tensor], scores: Sequence[Tensor], rules: SelectionRules, *, at_once: bool
) -> list[Selection]:
    """Return what `select_regions` gives for each image's boxes, float32 [R, 4], and scores, float32 [R, C].

    Args:
        at_once: all images together; the result is the same, a GPU is faster so and a CPU slower.

    Raises:
        RecordError: an image has fewer than `min_boxes` boxes.
    """
    settled = decide_strongest(boxes, scores, rules, NUM_PAIRS) if at_once else [None] * len(boxes)
    return [
        selection or select_regions(boxes_R4.cpu().numpy(), scores_RC.cpu().numpy(), rules)
        for boxes_R4, scores_RC, selection in zip(boxes, scores, settled, strict=True)
    ]


def decide_strongest(
    boxes: Sequence[Tensor], scores: Sequence[Tensor], rules: SelectionRules, num_pairs: int
) -> list[Selection | None]:
    """Return each image's selection, or None where it takes more than its strongest pairs, or relaxed NMS, to tell."""
    boxes_BR4 = pad_sequence(list(boxes), batch_first=True)
    scores_BRC = pad_sequence(list(scores), batch_first=True, padding_value=-torch.inf)  # what fills up is no survivor
    if not scores_BRC.numel():
        return [None] * len(boxes)
    strongest = scores_BRC.flatten(1).sort(dim=1, descending=True, stable=True)  # ties by box, then class
    scores_BK, pairs_BK = strongest.values[:, :num_pairs], strongest.indices[:, :num_pairs]
    box_BK, class_BK = pairs_BK // scores_BRC.shape[2], pairs_BK % scores_BRC.shape[2]
    overlaps_BRR = box_iou(boxes_BR4, boxes_BR4).double() > rules.nms_threshold
    images_B11 = torch.arange(len(boxes), device=box_BK.device)[:, None, None]
    overlaps_BKK = overlaps_BRR[images_B11, box_BK[:, :, None], box_BK[:, None, :]]
    survives_BK = _survivors(overlaps_BKK & (class_BK[:, :, None] == class_BK[:, None, :]))
    best_BR = scores_BRC.new_full(scores_BRC.shape[:2], -torch.inf)
    best_BR = best_BR.scatter_reduce(1, box_BK, scores_BK.where(survives_BK, -torch.inf), "amax")
    confidences_BR, order_BR = best_BR.sort(dim=1, descending=True, stable=True)

    num_survivors_B = (best_BR > -torch.inf).sum(dim=1)
    num_confident_B = (best_BR.double() >= rules.confidence).sum(dim=1)
    # Further down nothing is kept: there are enough already, or it is too weak, or it is not there.
    is_whole_B = (num_survivors_B >= rules.max_boxes) | (scores_BK[:, -1].double() < rules.confidence)
    is_settled_B = (num_survivors_B >= rules.min_boxes) & (is_whole_B | (num_pairs >= scores_BRC[0].numel()))
    num_kept_B = num_confident_B.clamp(rules.min_boxes, rules.max_boxes).where(is_settled_B, 0)
    order, confidences = order_BR.cpu().numpy(), confidences_BR.cpu().numpy()
    return [
        _first(order[image, :count], confidences[image, :count], rules) if count else None
        for image, count in enumerate(num_kept_B.tolist())
    ]


def _first(indices: NDArray[np.int64], confidences: NDArray[np.float32], rules: SelectionRules) -> Selection:
    return Selection(indices=indices, confidences=confidences, reached=reached_unrelaxed(confidences, rules))


def _survivors(suppresses_BKK: Tensor) -> Tensor:
    """Return bool [B, K]: what greedy NMS keeps of pairs by falling score, each of which may suppress later ones.

    From all kept, each round asks again which are suppressed by one that is kept. The first pair is right from the
    beginning, every round settles at least one more, and when nothing changes all are; chains are short.
    """
    suppresses_BKK = suppresses_BKK.triu(1)
    kept_BK = suppresses_BKK.new_ones(suppresses_BKK.shape[:2])
    while True:
        again_BK = ~(suppresses_BKK & kept_BK[:, :, None]).any(dim=1)
        if torch.equal(again_BK, kept_BK):
            return kept_BK
        kept_BK = again_BK
