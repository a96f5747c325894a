"""Evaluation: whole sets through pycocotools, precision by hand, NMS of all pairs, and what a network finds."""

import contextlib
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torchvision.ops import batched_nms, box_iou

from detectors.evaluation import (
    EvaluationRules,
    Found,
    Precision,
    Seen,
    average_precision,
    gold_of,
    look_at,
    strongest,
    summarise,
    table,
)
from detectors.gold_boxes import GoldBoxes
from detectors.networks.faster_rcnn import FasterRCNNNetwork
from tests.detectors.squares import CONVENTIONS, TINY, square


def found(rows):
    """Rows are image, class, score and a box."""
    columns = np.array(rows, np.float64).reshape(-1, 7)
    return Found(
        images=columns[:, 0].astype(np.int32),
        rows=columns[:, 1].astype(np.int32),
        scores=columns[:, 2].astype(np.float32),
        boxes_xyxy=columns[:, 3:].astype(np.float32),
    )


def random_boxes(rng, count, *, num_images, num_classes):
    corner = rng.integers(0, 6, (count, 2)) * 10
    return np.column_stack(
        [
            rng.integers(0, num_images, count),
            rng.integers(1, num_classes + 1, count),
            rng.permutation(count) / count,  # no two alike: ties are nobody's promise
            corner,
            corner + rng.integers(1, 4, (count, 2)) * 10,
        ]
    )


def test_two_of_three_boxes_with_a_wrong_one_between_have_the_worked_precision():
    gold = found([[0, 1, 1, 0, 0, 10, 10], [1, 1, 1, 0, 0, 10, 10], [2, 1, 1, 0, 0, 10, 10]])
    hits = found([[0, 1, 0.9, 0, 0, 10, 10], [1, 1, 0.8, 50, 50, 60, 60], [1, 1, 0.7, 0, 0, 10, 6]])
    each = average_precision(gold, hits, [1])[1]
    # Of 101 recalls 34 are reached at precision 1, 33 more at 2/3; the last box overlaps by .6.
    assert each.ap_50 == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)
    # It counts at IoU .5, .55 and .6; above, one box of three is found.
    assert each.ap_50_95 == pytest.approx((3 * each.ap_50 + 7 * 34 / 101) / 10)
    assert each.num_boxes == 3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_class_by_class_it_is_what_pycocotools_says_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    gold, hits = (found(random_boxes(rng, count, num_images=4, num_classes=3)) for count in (12, 30))
    whole = of_pycocotools(gold, hits)
    ours = average_precision(gold, hits, range(1, 4))
    assert ours.keys() == whole.keys()
    for row, (ap_50, ap_50_95) in whole.items():
        assert ours[row].ap_50 == pytest.approx(ap_50)
        assert ours[row].ap_50_95 == pytest.approx(ap_50_95)


def of_pycocotools(gold, hits):
    """Return what it says of each class that has gold boxes, asked once for all."""

    def entries(boxes):
        for at, (x1, y1, x2, y2) in enumerate(boxes.boxes_xyxy.tolist()):
            image, row = int(boxes.images[at]), int(boxes.rows[at])
            yield {"image_id": image, "category_id": row, "bbox": [x1, y1, x2 - x1, y2 - y1]}

    truth = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(4)],
            "categories": [{"id": row} for row in range(1, 4)],
            "annotations": [
                {**each, "id": at, "iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]}
                for at, each in enumerate(entries(gold), start=1)
            ],
        }
        truth.createIndex()
        detections = [{**each, "score": float(hits.scores[at])} for at, each in enumerate(entries(hits))]
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return {
        row: (precision[0, :, at].mean(), precision[:, :, at].mean())
        for at, row in enumerate(range(1, 4))
        if (precision[:, :, at] > -1).all()
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_at_half_overlap_it_is_precision_as_pascal_voc_counts_it_but_for_101_recalls(seed):
    rng = np.random.default_rng(seed)
    gold, hits = (found(random_boxes(rng, count, num_images=3, num_classes=1)) for count in (6, 15))
    assert average_precision(gold, hits, [1])[1].ap_50 == pytest.approx(by_hand(gold, hits))


def by_hand(gold, hits):
    """Walk detections by falling score; each takes the free gold box that it overlaps most, from one half on."""
    taken, right = set(), []
    for at in np.argsort(-hits.scores):
        free = [box for box in np.flatnonzero(gold.images == hits.images[at]) if box not in taken]
        overlaps = box_iou(*(torch.from_numpy(each) for each in (hits.boxes_xyxy[at][None], gold.boxes_xyxy[free])))
        candidates = list(zip(overlaps[0].tolist(), free, strict=True))
        overlap, box = max(candidates, default=(0.0, -1))
        right.append(overlap >= 0.5)
        if right[-1]:
            taken.add(box)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    recall = np.cumsum(right) / len(gold.rows)
    return np.mean([precision[recall >= level].max(initial=0) for level in np.linspace(0, 1, 101)])


def test_a_class_that_is_never_found_has_no_precision_and_one_without_gold_boxes_counts_nowhere():
    gold, hits = found([[0, 2, 1, 0, 0, 10, 10]]), found([[0, 3, 0.9, 0, 0, 10, 10]])
    assert average_precision(gold, hits, range(1, 5)) == {2: Precision(num_boxes=1, ap_50=0.0, ap_50_95=0.0)}
    assert average_precision(found([]), hits, range(1, 5)) == {}


def test_means_weigh_classes_alike_or_by_their_gold_boxes():
    classes = {1: Precision(num_boxes=30, ap_50=0.8, ap_50_95=0.4), 5: Precision(num_boxes=10, ap_50=0.2, ap_50_95=0.1)}
    seen = Seen(objects=found([]), attributes=found([]), num_right=3, num_described=4)
    scores = summarise(classes, {}, seen, num_images=7)
    assert (scores.map_50, scores.weighted_map_50, scores.map_50_95) == pytest.approx((0.5, 0.65, 0.25))
    assert (scores.num_classes, scores.num_boxes, scores.num_images) == (2, 40, 7)
    assert scores.attribute_accuracy == 0.75
    assert math.isnan(scores.attribute_map_50)
    assert table(classes, ["dog,puppy", "cat"]).splitlines() == [
        "name\tgold boxes\tAP@.5\tAP@.5:.95",
        "dog,puppy\t30\t0.8000\t0.4000",
        "cat\t0\t\t",
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05]), st.sampled_from([1, 5, 40, 400]))
def test_the_strongest_pairs_are_those_of_nms_over_all_pairs(seed, min_score, wanted):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 40, (20, 6, 2), generator=generator).float()
    boxes_RC4 = torch.cat([corners, corners + torch.randint(1, 40, (20, 6, 2), generator=generator)], dim=2)
    scores_RC = torch.rand(20, 6, generator=generator).softmax(dim=1)
    rules = EvaluationRules(detections_per_image=wanted, min_score=min_score)
    boxes, scores, rows = strongest(boxes_RC4, scores_RC, rules)

    pairs = [(r, c) for r in range(20) for c in range(1, 6) if scores_RC[r, c] > min_score]
    region, row = torch.tensor(pairs).T
    kept = batched_nms(boxes_RC4[region, row], scores_RC[region, row], row, 0.3)[:wanted]
    assert torch.equal(scores, scores_RC[region, row][kept])
    assert torch.equal(boxes, boxes_RC4[region, row][kept])
    assert torch.equal(rows, row[kept])


def gold_squares(numbers):
    """Return the gold boxes of some pictures with one square each."""
    images = [square(number)[0] for number in numbers]
    attributes = [each.attribute_rows[0] for each in images]
    return GoldBoxes(
        image_ids=np.array([each.image_id for each in images]),
        sides=np.array([[each.image_width, each.image_height] for each in images], np.int32),
        is_val=np.ones(len(images), np.bool_),
        first_box=np.arange(len(images) + 1),
        boxes_xyxy=np.concatenate([each.boxes_xyxy for each in images]),
        class_rows=np.concatenate([each.class_rows for each in images]),
        first_attribute=np.cumsum([0, *map(len, attributes)]),
        attribute_rows=np.array([row for rows in attributes for row in rows], np.int32),
    )


def a_network(conventions=CONVENTIONS, silent=False):
    torch.manual_seed(0)
    network = FasterRCNNNetwork(TINY, conventions, nn.BatchNorm2d).eval()
    with torch.no_grad():
        network.cls_score.bias[0] = 50.0 if silent else 0.0
        network.attr_score.bias[2] = 50.0
    return network


CAFFE = replace(CONVENTIONS, extents="inclusive", resize="caffe", stem_pooling="caffe", stride_in="1x1")
"""As published weights of bottom-up-attention want to be applied."""


@pytest.mark.parametrize("conventions", [CONVENTIONS, CAFFE], ids=["ours", "published"])
def test_what_a_network_makes_of_an_image_lies_in_the_annotated_pixels(conventions):
    gold, decoded = square(0)
    rules = EvaluationRules(detections_per_image=10)
    seen = look_at(a_network(conventions), 7, gold, decoded, conventions, rules)
    assert set(seen.objects.images.tolist()) == {7}
    assert len(seen.objects.rows) <= 10
    assert (np.diff(seen.objects.scores) <= 0).all()
    assert seen.objects.boxes_xyxy.min() >= 0
    assert seen.objects.boxes_xyxy[:, 2].max() <= 128
    np.testing.assert_array_equal(seen.attributes.boxes_xyxy, np.repeat(gold.boxes_xyxy, 2, axis=0))
    assert seen.attributes.rows.tolist() == [2, 1]
    assert (seen.num_right, seen.num_described) == (1, 1)


def test_attributes_are_ranked_beside_none_or_without_it_as_the_weights_want():
    gold, decoded = square(0)
    network, rules = a_network(), EvaluationRules()
    with torch.no_grad():
        network.attr_score.bias[0] = 50.0
    left_out = replace(CONVENTIONS, attribute_none="left-out")
    beside, alone = (look_at(network, 0, gold, decoded, each, rules).attributes for each in (CONVENTIONS, left_out))
    assert beside.scores.sum() < 0.9
    assert alone.scores.sum() == pytest.approx(1)


def test_a_detector_that_finds_nothing_above_the_limit_scores_nothing():
    gold, decoded = square(0)
    seen = look_at(a_network(silent=True), 0, gold, decoded, CONVENTIONS, EvaluationRules(min_score=0.05))
    assert len(seen.objects.rows) == 0
    objects, _ = gold_of(gold_squares([0]), [0])
    assert average_precision(objects, seen.objects, [1, 2])[1].ap_50 == 0


def test_gold_boxes_are_listed_with_their_classes_and_once_for_each_attribute():
    objects, attributes = gold_of(gold_squares([0, 1, 2]), [1, 2])
    assert objects.images.tolist() == [1, 2]
    assert objects.rows.tolist() == [2, 1]
    assert attributes.images.tolist() == [2]
    assert attributes.rows.tolist() == [2]
    np.testing.assert_array_equal(attributes.boxes_xyxy, square(2)[0].boxes_xyxy)


def test_gold_boxes_are_stored_and_read_and_anything_else_is_refused(tmp_path):
    gold = gold_squares([0, 1, 2])
    gold.save(tmp_path / "gold.npz")
    again = GoldBoxes.load(tmp_path / "gold.npz")
    assert len(again) == 3
    assert again.image(2).attribute_rows == ((2,),)
    np.testing.assert_array_equal(again.image(1).boxes_xyxy, square(1)[0].boxes_xyxy)
    np.savez(tmp_path / "other.npz", boxes=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz: not the gold boxes"):
        GoldBoxes.load(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"sides of gold boxes has shape \(3,\), expected \(3, 2\)"):
        replace(gold, sides=np.zeros(3, np.int32))
