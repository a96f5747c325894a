"""What a GPU decides for a batch at once against the walk, image by image; the same operators run here on the CPU."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.records import RecordError
from detectors.selection.batches import NUM_PAIRS, decide_strongest, select_batch
from detectors.selection.regions import SelectionRules, select_regions

RULES = st.sampled_from(
    [SelectionRules(), SelectionRules(min_boxes=10, max_boxes=100), SelectionRules(min_boxes=3, max_boxes=12)]
)


def random_image(generator, num_boxes, num_classes, extent, sharpness, ties):
    corner, size = generator.uniform(0, extent, (num_boxes, 2)), generator.uniform(0, extent / 2, (num_boxes, 2))
    boxes = torch.from_numpy(np.concatenate([corner, corner + size], axis=1).astype(np.float32))
    scores = torch.from_numpy(generator.normal(size=(num_boxes, num_classes)).astype(np.float32) * sharpness).softmax(1)
    return (boxes.round(decimals=-1), scores.round(decimals=1)) if ties else (boxes, scores)


def the_walk(boxes, scores, rules):
    return select_regions(boxes.numpy(), scores.numpy(), rules)


def same(found, expected):
    return (found.indices.tolist(), found.confidences.tolist(), found.reached) == (
        expected.indices.tolist(),
        expected.confidences.tolist(),
        expected.reached,
    )


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(36, 90), min_size=1, max_size=4),
    num_classes=st.sampled_from([1, 2, 7, 40]),
    extent=st.sampled_from([20.0, 100.0, 1000.0]),
    sharpness=st.sampled_from([0.0, 0.01, 1.0, 5.0, 20.0]),
    ties=st.booleans(),
    rules=RULES,
    nms_threshold=st.sampled_from([0.1, 0.3, 0.5, 1.0]),
    confidence=st.sampled_from([0.0, 0.1, 0.2, 0.7, 1.0]),
    num_pairs=st.sampled_from([1, 30, 100, 500, 10_000]),
)
def test_what_is_decided_at_once_is_what_the_walk_decides(
    seed, sizes, num_classes, extent, sharpness, ties, rules, nms_threshold, confidence, num_pairs
):
    rules = SelectionRules(
        min_boxes=rules.min_boxes, max_boxes=rules.max_boxes, nms_threshold=nms_threshold, confidence=confidence
    )
    generator = np.random.default_rng(seed)
    images = [random_image(generator, size, num_classes, extent, sharpness, ties) for size in sizes]
    boxes, scores = zip(*images, strict=True)
    for found, image in zip(decide_strongest(boxes, scores, rules, num_pairs), images, strict=True):
        expected = the_walk(*image, rules)
        if found is not None:
            assert same(found, expected)
        elif num_pairs >= max(sizes) * num_classes:  # all pairs were seen: only a relaxed NMS is left to the walk
            assert expected.reached.startswith("relaxed-")


@pytest.mark.parametrize("sharpness", [0.01, 1.0, 6.0])
@pytest.mark.parametrize("rules", [SelectionRules(), SelectionRules(min_boxes=10, max_boxes=100)])
def test_at_full_size_the_strongest_pairs_settle_every_image(sharpness, rules):
    generator = np.random.default_rng(0)
    images = [random_image(generator, size, 1600, 800.0, sharpness, ties=False) for size in (300, 280)]
    boxes, scores = zip(*images, strict=True)
    found = decide_strongest(boxes, scores, rules, NUM_PAIRS)
    assert all(same(one, the_walk(*image, rules)) for one, image in zip(found, images, strict=True))


def test_a_chain_of_suppressions_is_followed_to_its_end():
    """Each of forty boxes overlaps the next by half: the first suppresses the second, which so spares the third ..."""
    left = torch.arange(40) * 30.0
    boxes = torch.stack([left, torch.zeros(40), left + 90, torch.full((40,), 90.0)], dim=1)
    scores = torch.linspace(0.9, 0.3, 40)[:, None]
    rules = SelectionRules(min_boxes=20, max_boxes=20)
    (found,) = decide_strongest([boxes], [scores], rules, 40)
    assert found is not None and found.indices.tolist() == list(range(0, 40, 2))


def test_what_the_strongest_pairs_do_not_settle_the_walk_does():
    generator = np.random.default_rng(1)
    spread = random_image(generator, 60, 5, 1000.0, 1.0, ties=False)
    boxes, scores = [spread[0][:1].repeat(60, 1), spread[0]], [spread[1]] * 2
    assert [found is None for found in decide_strongest(boxes, scores, SelectionRules(), NUM_PAIRS)] == [True, False]
    together = select_batch(boxes, scores, SelectionRules(), at_once=True)
    apart = select_batch(boxes, scores, SelectionRules(), at_once=False)
    assert all(same(found, expected) for found, expected in zip(together, apart, strict=True))
    assert together[0].reached == "relaxed-1.0"


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("num_boxes", [0, 35])
def test_too_few_boxes_for_the_promise_are_refused(num_boxes, at_once):
    boxes, scores = [torch.zeros(num_boxes, 4)], [torch.zeros(num_boxes, 3)]
    with pytest.raises(RecordError, match=f"{num_boxes} boxes were proposed, expected at least 36"):
        select_batch(boxes, scores, SelectionRules(), at_once=at_once)
