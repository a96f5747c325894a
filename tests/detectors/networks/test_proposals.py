"""Caffe's filter of proposals, against the plain loop of its rule."""

import numpy as np
import pytest
import torch

from detectors.networks.proposals import InclusiveBoxCoder, ProposalHead, Proposals, box_coder


def rule(boxes, scores, size, scale, *, before, after, threshold):
    """bottom-up-attention's proposal layer as one reads it: clip, drop what is small, sort, cut, NMS, cut."""
    height, width = size
    boxes = boxes.copy()
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width - 1)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height - 1)
    kept = [
        index
        for index, (x1, y1, x2, y2) in enumerate(boxes)
        if x2 > x1 and y2 > y1 and min(x2 - x1 + 1, y2 - y1 + 1) > 16 * scale
    ]
    queue = sorted(kept, key=lambda index: -scores[index])[:before]
    chosen = []
    while queue and len(chosen) < after:
        best, *queue = queue
        chosen.append(best)
        queue = [other for other in queue if iou(boxes[best], boxes[other]) <= threshold]
    return boxes[chosen]


def iou(one, other):
    def area(box):
        return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)

    inside = np.maximum(0, np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]) + 1).prod()
    return inside / (area(one) + area(other) - inside)


@pytest.mark.parametrize("scale", [0.5, 1.25, 2.0])
def test_caffes_proposals_are_those_of_its_rule(scale):
    generator = np.random.default_rng(0)
    corner = generator.uniform(-40, 280, (600, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(2, 160, (600, 2))], axis=1).astype(np.float32)
    scores = generator.permutation(600).astype(np.float32)
    proposals = Proposals(
        torch.nn.Identity(), ProposalHead(4, 4, 1), extents="inclusive", before_nms=300, after_nms=40, nms_threshold=0.5
    ).eval()
    found = proposals._as_caffe(torch.from_numpy(boxes), torch.from_numpy(scores), (300, 320), scale, 36)
    expected = rule(boxes, scores, (300, 320), scale, before=300, after=40, threshold=0.5)
    assert len(expected) == 40
    np.testing.assert_array_equal(found.numpy(), expected)


def test_an_image_of_few_pixels_has_its_proposals_all_the_same():
    proposals = Proposals(
        torch.nn.Identity(), ProposalHead(4, 4, 1), extents="inclusive", before_nms=300, after_nms=40, nms_threshold=0.5
    ).eval()
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(60, 1)
    assert len(proposals._as_caffe(boxes, torch.rand(60), (10, 10), 1.0, 36)) == 36


def test_inclusive_boxes_are_decoded_as_caffe_decodes_them():
    boxes = torch.tensor([[10.0, 20.0, 29.0, 59.0]])
    deltas = torch.tensor([[0.1, -0.2, 0.3, 0.0]])
    (found,) = InclusiveBoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(deltas, boxes)
    width, height = 20 * np.exp(0.3), 40.0  # of 10 to 29 and 20 to 59, ends counted
    x, y = 20 + 0.1 * 20, 40 - 0.2 * 40
    np.testing.assert_allclose(found, [x - width / 2, y - height / 2, x + width / 2, y + height / 2], rtol=1e-6)


def test_no_delta_is_no_move_in_training_either():
    coder = box_coder("inclusive", (1.0, 1.0, 1.0, 1.0))
    boxes = torch.tensor([[10.0, 20.0, 29.0, 59.0]])
    assert coder.encode_single(boxes, boxes).tolist() == [[0.0, 0.0, 0.0, 0.0]]
