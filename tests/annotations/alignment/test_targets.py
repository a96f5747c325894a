"""Targets from criteria: the specification's worked numbers, and what must hold for any numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, rel_entr

from annotations.alignment.targets import combine
from annotations.boxes import pairwise_iou

GOLD = [[10, 10, 50, 50]]
REGIONS = [[10, 10, 50, 50], [20, 20, 60, 60], [40, 10, 90, 50], [60, 60, 90, 90], [0, 0, 100, 100]]
IOU = pairwise_iou(GOLD, REGIONS)
SEMANTIC = 0.75 * np.array([[1, 0.8, 0.33129457, 0, -0.6]]) + 0.25 * np.array([[0.6, 0.6, 0, 0, 0]])
PREDICTION = np.array([2, 1, 0, -1, 0.5])

criteria = arrays(np.float64, (3, 6), elements=st.floats(0, 1, allow_subnormal=False))
similarities = arrays(np.float64, (3, 6), elements=st.floats(-1, 1, allow_subnormal=False))


def kl_to_prediction(targets):
    return rel_entr(targets, np.exp(log_softmax(PREDICTION))).sum()


def test_the_code_variant_gives_the_worked_example():
    made = combine(IOU, SEMANTIC)
    assert made.targets.dtype == np.float64
    assert made.targets[0] == pytest.approx([0.447769, 0.319631, 0.232600, 0, 0], abs=1e-6)
    assert made.supervised.tolist() == [True]
    assert kl_to_prediction(made.targets[0]) == pytest.approx(0.295697, abs=1e-6)


def test_the_paper_variant_gives_the_worked_example():
    made = combine(IOU, SEMANTIC, combination="paper")
    assert made.targets[0] == pytest.approx([0.535308, 0.314244, 0.102724, 0, 0.047724], abs=1e-6)
    assert made.targets.sum() == pytest.approx(1, abs=1e-12)
    assert kl_to_prediction(made.targets[0]) == pytest.approx(0.088469, abs=1e-6)
    floored = np.maximum(made.targets[0], 1e-12)
    assert rel_entr(np.exp(log_softmax(PREDICTION)), floored).sum() == pytest.approx(0.715243, abs=1e-6)


def test_a_paper_target_can_be_cut_to_the_regions_predicted():
    """Support {0, 1, 4} of the prediction; what `pred_restricted` trains on."""
    target = combine(IOU, SEMANTIC, combination="paper").targets[0]
    support = np.argsort(-PREDICTION)[:3]
    assert sorted(support) == [0, 1, 4]
    assert target[support].sum() == pytest.approx(0.897276, abs=1e-6)
    assert target[[0, 1, 4]] / target[support].sum() == pytest.approx([0.596593, 0.350220, 0.053188], abs=1e-6)


def test_a_word_that_no_region_overlaps_is_supervised_by_meaning_alone():
    made = combine(np.zeros((1, 5)), SEMANTIC)
    assert made.targets[0] == pytest.approx([0.367882, 0.346935, 0.285183, 0, 0], abs=1e-6)
    assert made.supervised.tolist() == [True]
    assert combine(np.zeros((1, 5)), SEMANTIC, combination="paper").targets.sum() == pytest.approx(1)
    assert combine(np.zeros((1, 5)), SEMANTIC, require_iou=0.1).supervised.tolist() == [False]


def test_a_word_without_a_vector_is_supervised_by_place_alone():
    made = combine(IOU, np.zeros((1, 5)))
    assert made.supervised.tolist() == [True]
    assert made.targets[0].argmax() == 0
    assert combine(IOU, np.full((1, 5), -0.3), combination="paper").targets[0] == pytest.approx(IOU[0] / IOU.sum())


@pytest.mark.parametrize("combination", ["code", "paper", "position-only", "semantic-only"])
def test_a_word_that_nothing_is_known_of_is_not_supervised(combination):
    made = combine(np.zeros((2, 5)), np.zeros((2, 5)), combination=combination)
    assert made.supervised.tolist() == [False, False]
    assert np.isfinite(made.targets).all()


def test_ties_with_the_last_region_kept_are_kept_too():
    made = combine([[0.5, 0.5, 0.5, 0.5, 0.1]], np.zeros((1, 5)))
    assert made.targets[0] == pytest.approx([0.25, 0.25, 0.25, 0.25, 0])


@pytest.mark.parametrize("combination", ["position-only", "semantic-only"])
@given(criteria, st.integers(1, 7))
def test_one_criterion_alone_never_keeps_more_than_k_regions_nor_one_that_it_says_nothing_of(
    combination, criterion, top_k
):
    """Real rows are mostly zeros, and ties among these would spread a word over all regions."""
    criterion = np.where(criterion < 0.7, 0, np.round(criterion, 1))
    given = {"position-only": (criterion, 1 - criterion), "semantic-only": (1 - criterion, criterion)}[combination]
    made = combine(*given, combination=combination, top_k=top_k)
    kept = made.targets > 0
    assert (kept.sum(axis=1) == np.minimum(top_k, (criterion > 0).sum(axis=1))).all()
    assert not (kept & (criterion <= 0)).any()
    assert (made.supervised == (criterion > 0).any(axis=1)).all()
    ours = np.sort(np.where(kept, criterion, 0), axis=1)[:, ::-1]
    assert (ours[:, :top_k] == np.sort(criterion, axis=1)[:, ::-1][:, :top_k]).all()


def test_one_region_that_overlaps_has_all_of_the_word():
    """Before, 35 regions that do not overlap shared it."""
    position = np.array([[0.6, *[0] * 35]])
    assert combine(position, position * 0, combination="position-only").targets[0].tolist() == [1, *[0] * 35]
    as_before = combine(position, position * 0, combination="position-only", at_most_k=False).targets[0]
    assert (as_before > 0).all()
    assert (combine(position, position * 0).targets[0] > 0).all()  # the public code


def test_one_criterion_alone_ignores_the_other():
    position = combine(IOU, SEMANTIC, combination="position-only")
    assert position.targets == pytest.approx(combine(IOU, -SEMANTIC, combination="position-only").targets)
    assert position.targets[0].argmax() == 0
    semantic = combine(IOU, SEMANTIC, combination="semantic-only")
    assert semantic.targets == pytest.approx(combine(IOU[:, ::-1], SEMANTIC, combination="semantic-only").targets)


def test_the_gate_counts_positive_kept_scores():
    weak = [[0, 0, 0, 0, 1]], [[-1, -1, -1, -1, -1]]
    assert combine(*weak).supervised.tolist() == [True]
    assert combine(*weak, min_support=0.9).supervised.tolist() == [False]


def test_float32_stays_float32():
    assert combine(IOU.astype(np.float16), SEMANTIC.astype(np.float16)).targets.dtype == np.float32


@pytest.mark.parametrize(
    ("position", "semantic", "options", "message"),
    [
        (np.zeros((2, 5)), np.zeros((2, 4)), {}, r"semantic \[2, 4\]"),
        (np.zeros(5), np.zeros(5), {}, "expected all three"),
        (np.zeros((1, 5)), np.zeros((1, 5)), {"top_k": 0}, "top_k is 0"),
    ],
)
def test_impossible_input_is_refused(position, semantic, options, message):
    with pytest.raises(ValueError, match=message):
        combine(position, semantic, **options)


def test_no_words_and_no_regions_are_legal():
    assert combine(np.zeros((0, 5)), np.zeros((0, 5))).targets.shape == (0, 5)
    made = combine(np.zeros((2, 0)), np.zeros((2, 0)))
    assert made.targets.shape == (2, 0)
    assert made.supervised.tolist() == [False, False]


@given(criteria, similarities, st.sampled_from(["code", "paper", "position-only", "semantic-only"]), st.integers(1, 7))
def test_a_target_is_a_distribution(position, semantic, combination, top_k):
    made = combine(position, semantic, combination=combination, top_k=top_k)
    assert (made.targets >= 0).all()
    assert made.targets.sum(axis=1)[made.supervised] == pytest.approx(1)
    if combination == "code" and top_k == 3:
        kept = np.sort(made.targets, axis=1)[:, ::-1]
        three = (kept[:, 3] == 0) & (np.minimum(position, semantic).min(axis=1) >= 0)
        assert (kept[three, 0] <= np.e / (np.e + 2) + 1e-9).all()


@given(criteria, similarities, st.sampled_from(["code", "paper", "position-only", "semantic-only"]))
def test_padding_changes_nothing(position, semantic, combination):
    padded = [np.pad(each, ((0, 0), (0, 4)), constant_values=0.77) for each in (position, semantic)]
    made = combine(position, semantic, combination=combination)
    there = np.arange(10) < np.full((3, 1), 6)
    with_padding = combine(*padded, combination=combination, is_region=there)
    assert with_padding.targets[:, :6] == pytest.approx(made.targets, abs=1e-12)
    assert not with_padding.targets[:, 6:].any()
    assert with_padding.supervised.tolist() == made.supervised.tolist()


@given(criteria, similarities, st.permutations(range(6)))
def test_the_order_of_regions_does_not_matter(position, semantic, order):
    made, turned = combine(position, semantic), combine(position[:, order], semantic[:, order])
    assert turned.targets == pytest.approx(made.targets[:, order], abs=1e-9)
