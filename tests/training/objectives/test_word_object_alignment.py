"""Word-object alignment: the specification's worked numbers, SciPy's divergence, and whom gradients reach."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

from annotations.alignment.targets import combine
from annotations.boxes import pairwise_iou
from tests.training.builders import SIZES, make_batch, make_outputs, rows_seen
from training.batch import Alignment
from training.objectives.word_object_alignment import (
    AlignmentOptions,
    WordObjectAlignment,
    dense_divergence,
    highest_regions,
    restricted_divergence,
)

REGIONS = [[10, 10, 50, 50], [20, 20, 60, 60], [40, 10, 90, 50], [60, 60, 90, 90], [0, 0, 100, 100]]
POSITION = pairwise_iou([[10, 10, 50, 50]], REGIONS)
SEMANTIC = 0.75 * np.array([[1, 0.8, 0.33129457, 0, -0.6]]) + 0.25 * np.array([[0.6, 0.6, 0, 0, 0]])
SCORES = torch.tensor([[2, 1, 0, -1, 0.5]], dtype=torch.float64)
PREDICTION = [0.563021, 0.207124, 0.076197, 0.028031, 0.125627]
ALL_FIVE = torch.ones(1, 5, dtype=torch.bool)

CODE_TARGET = torch.from_numpy(combine(POSITION, SEMANTIC).targets)
PAPER_TARGET = torch.from_numpy(combine(POSITION, SEMANTIC, combination="paper").targets)
SOFTMAX_TARGET = torch.from_numpy(softmax(POSITION, 1) + softmax(SEMANTIC, 1)) / 2
"""A third reading of the paper: each criterion is made a distribution by a softmax."""

rows_of_scores = arrays(np.float64, (4, 6), elements=st.floats(-9, 9))
distinct_scores = st.lists(st.integers(-90, 90), min_size=6, max_size=6, unique=True)
rows_of_weights = arrays(np.float64, (4, 6), elements=st.floats(0, 1, allow_subnormal=False))


def build_head(**options):
    torch.manual_seed(0)
    head = WordObjectAlignment(AlignmentOptions(**options), SIZES)
    for weight in head.parameters():
        nn.init.normal_(weight, std=0.5)
    return head.double()


def loss_of(head, outputs, batch):
    return head(outputs, batch)["word_object_alignment"]


def worked_example(target, topk_on):
    """A head, outputs and a batch whose only supervised word scores the regions as the specification's does."""
    head = WordObjectAlignment(AlignmentOptions(topk_on=topk_on), SIZES)
    head.text_decoder, head.region_decoder = nn.Identity(), nn.Identity()
    batch = make_batch(num_pieces=[3], num_regions=[5])
    alignment = Alignment(positions=torch.tensor([1]), targets=target.float(), covers=target > 0.3)
    outputs = make_outputs(batch, dtype=torch.float64)
    text, regions = torch.zeros(1, 3, 8, dtype=torch.float64), torch.zeros(1, 5, 8, dtype=torch.float64)
    text[0, 1, 0], regions[0, :, 0] = np.sqrt(8), SCORES[0]
    return head, replace(outputs, text=text, regions=regions.requires_grad_()), replace(batch, alignment=alignment)


# the worked numbers


def test_the_prediction_is_a_softmax_over_all_regions():
    losses, counted = dense_divergence(SCORES.expand(5, 5), torch.eye(5), ALL_FIVE.expand(5, 5))
    assert (-losses).exp().tolist() == pytest.approx(PREDICTION, abs=1e-6)
    assert counted.all()


def test_read_out_the_prediction_is_a_softmax_over_its_three_highest():
    highest = highest_regions(SCORES, ALL_FIVE)
    assert highest.tolist() == [[True, True, False, False, True]]
    probs = SCORES.masked_fill(~highest, -torch.inf).softmax(1)
    assert probs[0].tolist() == pytest.approx([0.628532, 0.231224, 0, 0, 0.140244], abs=1e-6)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (CODE_TARGET, 0.295697),
        (PAPER_TARGET, 0.088469),
        (SOFTMAX_TARGET, 0.189788),
    ],
    ids=["code", "paper", "softmax"],
)
def test_the_divergence_is_the_worked_one(target, expected):
    losses, _ = dense_divergence(SCORES, target, ALL_FIVE)
    assert losses.dtype == torch.float64
    assert losses.item() == pytest.approx(expected, abs=1e-6)
    assert losses.item() == pytest.approx(rel_entr(target.numpy(), softmax(SCORES.numpy())).sum(), abs=1e-12)


def test_the_divergence_is_that_of_the_prediction_from_the_target():
    """The other direction is another number."""
    floored = PAPER_TARGET.clamp(min=1e-12)
    assert rel_entr(PREDICTION, floored[0].numpy()).sum() == pytest.approx(0.715243, abs=1e-5)
    turned, _ = dense_divergence(floored.log(), torch.tensor([PREDICTION], dtype=torch.float64), ALL_FIVE)
    assert turned.item() == pytest.approx(0.715243, abs=1e-5)


def test_restricted_the_divergence_is_the_worked_one():
    highest = highest_regions(SCORES, ALL_FIVE)
    coverage = PAPER_TARGET[highest].sum()
    assert coverage.item() == pytest.approx(0.897276, abs=1e-6)
    kept = (PAPER_TARGET[highest] / coverage).numpy()
    assert kept == pytest.approx([0.596593, 0.350220, 0.053188], abs=1e-6)
    losses, counted = restricted_divergence(SCORES, PAPER_TARGET, ALL_FIVE)
    assert losses.item() == pytest.approx(0.062720, abs=1e-6)
    assert losses.item() == pytest.approx(rel_entr(kept, softmax(SCORES[highest].numpy())).sum(), abs=1e-12)
    assert counted.tolist() == [True]


@pytest.mark.parametrize(
    ("target", "topk_on", "expected"),
    [
        (CODE_TARGET, "target", 0.295697),
        (PAPER_TARGET, "pred_eval_only", 0.088469),
        (PAPER_TARGET, "pred_restricted", 0.062720),
    ],
)
def test_a_batch_of_the_worked_word_has_its_loss(target, topk_on, expected):
    assert loss_of(*worked_example(target, topk_on)).item() == pytest.approx(expected, abs=1e-6)


def test_a_target_of_three_regions_is_never_sharper_than_e_over_e_plus_two():
    sharpest = combine([[1, 1e-9, 1e-9, 0, 0]], np.zeros((1, 5)), combination="position-only").targets
    assert sharpest.max() == pytest.approx(0.5761169, abs=1e-7)
    reached, _ = dense_divergence(torch.tensor([[1.0, 0, 0, -99, -99]]).double(), torch.from_numpy(sharpest), ALL_FIVE)
    assert reached.item() == pytest.approx(0, abs=1e-7)


# any numbers


@settings(max_examples=30, deadline=None)
@given(rows_of_scores, rows_of_weights, st.lists(st.integers(1, 6), min_size=4, max_size=4))
def test_the_divergence_is_scipys(scores, weights, num_regions):
    there = np.arange(6) < np.array(num_regions)[:, None]
    weights = weights * there
    weights[:, 0] += weights.sum(1) == 0
    targets = weights / weights.sum(1, keepdims=True)
    expected = rel_entr(targets, softmax(np.where(there, scores, -np.inf), axis=1)).sum(1)
    losses, _ = dense_divergence(*map(torch.from_numpy, (scores, targets, there)))
    assert losses.numpy() == pytest.approx(expected, abs=1e-9)
    assert (losses >= -1e-12).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(distinct_scores, min_size=4, max_size=4), rows_of_weights, st.permutations(range(6)))
def test_the_divergences_do_not_know_the_order_of_regions(scores, weights, order):
    """Scores are distinct, for of equal ones any may be the third."""
    scores, weights = np.array(scores) / 10, weights + 1e-3
    scores, targets = torch.from_numpy(scores), torch.from_numpy(weights / weights.sum(1, keepdims=True))
    there = torch.ones(4, 6, dtype=torch.bool)
    for divergence in (dense_divergence, restricted_divergence):
        losses, counted = divergence(scores, targets, there)
        turned, still_counted = divergence(scores[:, order], targets[:, order], there)
        assert turned.numpy() == pytest.approx(losses.numpy(), abs=1e-9)
        assert still_counted.tolist() == counted.tolist()


@pytest.mark.parametrize("divergence", [dense_divergence, restricted_divergence])
def test_gradients_are_the_right_ones(divergence):
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    there = torch.arange(6) < torch.tensor([[6], [4], [2]])
    targets = torch.rand(3, 6, generator=draw, dtype=torch.float64) * there
    targets = targets / targets.sum(1, keepdim=True)
    assert torch.autograd.gradcheck(lambda scores: divergence(scores, targets, there)[0], scores)


@pytest.mark.parametrize(("topk_on", "reached"), [("pred_restricted", [0, 1, 4]), ("target", [0, 1, 2, 3, 4])])
def test_restricted_the_gradient_reaches_three_regions_only(topk_on, reached):
    head, outputs, batch = worked_example(PAPER_TARGET, topk_on)
    loss_of(head, outputs, batch).backward()
    assert outputs.regions.grad[0].any(1).nonzero()[:, 0].tolist() == reached


def test_enormous_scores_and_padding_stay_finite():
    scores = torch.tensor([[1e4, -1e4, 0, 0], [-1e4, -1e4, 1e30, 0]], requires_grad=True)
    there = torch.tensor([[True, True, False, False], [True, True, False, False]])
    targets = torch.tensor([[0, 1.0, 0, 0], [0.5, 0.5, 0, 0]])
    losses, _ = dense_divergence(scores, targets, there)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([2e4, 0])
    assert scores.grad.isfinite().all() and not scores.grad[~there].any()


# the three highest


def test_three_regions_are_kept_even_of_equal_ones():
    assert highest_regions(torch.zeros(1, 5), ALL_FIVE).sum() == 3


def test_padding_is_never_among_the_highest():
    there = torch.tensor([[True, False, False, True, False]])
    assert highest_regions(SCORES, there).tolist() == there.tolist()
    assert highest_regions(SCORES[:, :2], ALL_FIVE[:, :2]).tolist() == [[True, True]]


@pytest.mark.parametrize("little", [0, 9e-7])
def test_a_word_that_is_predicted_all_wrong_does_not_count_when_restricted(little):
    targets = torch.cat([torch.tensor([[little, 0, 1 - little, 0, 0]], dtype=torch.float64), PAPER_TARGET])
    losses, counted = restricted_divergence(SCORES.expand(2, 5), targets, ALL_FIVE.expand(2, 5))
    assert counted.tolist() == [False, True]
    assert losses[0] == 0 and losses[1].item() == pytest.approx(0.062720, abs=1e-6)
    head, outputs, batch = worked_example(targets[:1], "pred_restricted")
    loss = loss_of(head, outputs, batch)
    loss.backward()
    assert loss == 0 and not outputs.regions.grad.any()


# who is supervised


def test_the_loss_is_the_mean_over_supervised_pieces():
    batch, head = make_batch(), build_head()
    outputs = make_outputs(batch, dtype=torch.float64)
    losses = []
    for position, target in zip(batch.alignment.positions.tolist(), batch.alignment.targets, strict=True):
        row, piece = divmod(position, 7)
        num_regions = int(batch.region_mask[row].sum())
        text = head.text_decoder(outputs.text[row, piece]).detach().numpy()
        regions = head.region_decoder(outputs.regions[row, :num_regions]).detach().numpy()
        prediction = np.exp(log_softmax(regions @ text / np.sqrt(256)))
        losses.append(rel_entr(target[:num_regions].numpy(), prediction).sum())
    assert len(losses) == 2 + 3 + 2
    assert loss_of(head, outputs, batch).item() == pytest.approx(np.mean(losses), rel=1e-6)


@pytest.mark.parametrize("topk_on", ["target", "pred_restricted"])
def test_words_that_point_at_nothing_and_pairs_that_do_not_match_contribute_exactly_nothing(topk_on):
    batch, head = make_batch(), build_head(topk_on=topk_on)
    of_matched = batch.alignment.positions // 7 != 1
    kept = {name: values[of_matched] for name, values in vars(batch.alignment).items()}
    batch = replace(batch, is_matched=torch.tensor([True, False, True]), alignment=Alignment(**kept))
    outputs = make_outputs(batch, dtype=torch.float64)
    loss = loss_of(head, outputs, batch)
    loss.backward()
    pointed = torch.zeros(21, dtype=torch.bool).index_fill(0, batch.alignment.positions, True).view(3, 7)
    assert outputs.text.grad.any(2).tolist() == pointed.tolist()
    assert outputs.regions.grad.any(2).any(1).tolist() == [True, False, True]
    elsewhere = outputs.text.detach().masked_fill(~pointed[:, :, None], 3.0)
    other_image = outputs.regions.detach().index_fill(0, torch.tensor([1]), 3.0)
    assert loss_of(head, replace(outputs, text=elsewhere, regions=other_image), batch) == loss


def test_only_supervised_pieces_are_decoded():
    batch, head = make_batch(), build_head()
    decoded = rows_seen(head.text_decoder[0])
    head(make_outputs(batch, dtype=torch.float64), batch)
    assert decoded == [7]


# decoders


@pytest.mark.parametrize("decoder", ["code", "paper"])
def test_scores_are_what_the_loss_is_made_from(decoder):
    batch, head = make_batch(), build_head(decoder=decoder)
    outputs = make_outputs(batch, dtype=torch.float64)
    scores = head.scores(outputs)
    assert scores.shape == (3, 7, 6)
    positions = batch.alignment.positions
    losses, _ = dense_divergence(
        scores.flatten(0, 1)[positions], batch.alignment.targets, batch.region_mask[positions // 7]
    )
    assert loss_of(head, outputs, batch).item() == pytest.approx(losses.mean().item(), rel=1e-6)


def test_the_codes_decoder_widens_twice_then_meets_in_the_joint_size():
    head = build_head(joint_size=5)
    for each in (head.text_decoder, head.region_decoder):
        assert [list(weight.shape) for weight in each.parameters() if weight.ndim == 2] == [[16, 8], [5, 16]]
        assert each(torch.ones(2, 8).double()).shape == (2, 5)


def test_the_codes_decoder_has_no_residual():
    head = build_head()
    nn.init.zeros_(head.text_decoder[3].weight)
    nn.init.zeros_(head.text_decoder[3].bias)
    assert not head.text_decoder(torch.randn(2, 8).double()).any()


def test_the_papers_decoder_has_a_residual_and_a_norm():
    head = build_head(decoder="paper")
    states = torch.randn(2, 8, dtype=torch.float64)
    for each in (head.text_decoder, head.region_decoder):
        assert each(states).shape == (2, 8)
        for weight in (each.output.dense.weight, each.output.dense.bias):
            nn.init.zeros_(weight)
        nn.init.ones_(each.output.norm.weight)
        nn.init.zeros_(each.output.norm.bias)
        assert torch.allclose(each(states), nn.functional.layer_norm(states, (8,), eps=1e-12))
