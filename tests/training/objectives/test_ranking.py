"""Ranking: the published loss, which pairs are kept for it, and what the head begins with."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.builders import SIZES, make_batch, make_outputs
from training.objectives.matching import MatchingObjective, MatchingOptions
from training.objectives.ranking import RankingObjective, RankingOptions, hardest_rows


def loss_of(scores, group_size, **options):
    """Return the loss of these scores, which the head only passes on."""
    batch = replace(make_batch(num_pieces=[3] * len(scores), num_regions=[1] * len(scores)), group_size=group_size)
    head = RankingObjective(RankingOptions(**options), SIZES).double()
    with torch.no_grad():
        head.decoder.weight.copy_(torch.eye(1, SIZES.hidden_size))
        head.decoder.bias.zero_()
    outputs = make_outputs(batch, dtype=torch.float64)
    pooled = torch.zeros_like(outputs.pooled)
    pooled[:, 0] = torch.tensor(scores)
    return head(replace(outputs, pooled=pooled), batch)["ranking"].item()


def test_the_loss_is_that_of_the_public_code():
    """Scores 1 of the pair that matches, .2 and -.5 of the others: .018775 and 0, mean .009388."""
    assert loss_of([1.0, 0.2], 2) == pytest.approx(0.018775, abs=1e-6)
    assert loss_of([1.0, -0.5], 2) == 0
    assert loss_of([1.0, 0.2, -0.5], 3) == pytest.approx(0.009388, abs=1e-6)


def test_the_loss_is_a_mean_over_all_groups():
    assert loss_of([1.0, 0.2, 1.0, -0.5], 2) == pytest.approx(0.009388, abs=1e-6)
    assert loss_of([0.0] * 6, 3) == pytest.approx(0.2)
    assert loss_of([0.0] * 6, 3, margin=0.5) == pytest.approx(0.5)


def test_pairs_without_groups_are_refused():
    with pytest.raises(ValueError, match="the batch has no groups of pairs, expected a maker of groups"):
        loss_of([1.0, 0.2], 1)
    with pytest.raises(ValueError, match="0 other pairs are kept, expected 1 or more"):
        RankingOptions(kept=0)


def test_the_likeliest_others_are_kept_in_their_order_and_the_first_of_equal_ones():
    scores = torch.tensor([0.0, 5, 1, 7, 2, 9, 3, 3, 3, 3])
    assert hardest_rows(scores, group_size=5, kept=2).tolist() == [0, 1, 3, 5, 6, 7]
    assert hardest_rows(scores, group_size=10, kept=1).tolist() == [0, 5]


@settings(max_examples=30, deadline=None)
@given(
    groups=st.lists(st.lists(st.integers(-3, 3), min_size=6, max_size=6), min_size=1, max_size=4),
    kept=st.integers(1, 5),
)
def test_no_other_that_is_left_out_scores_higher_than_one_that_is_kept(groups, kept):
    scores = torch.tensor(groups, dtype=torch.float32).flatten()
    rows = hardest_rows(scores, group_size=6, kept=kept).view(len(groups), 1 + kept)
    for number, taken in enumerate(rows.tolist()):
        first, *others = taken
        left = set(range(6 * number + 1, 6 * number + 6)) - set(others)
        assert first == 6 * number and len(set(others)) == kept
        assert min(scores[others]) >= max(scores[list(left)], default=-9)


def test_a_head_begins_with_that_of_matching_or_with_another_of_its_own():
    matching = MatchingObjective(MatchingOptions(), SIZES)
    outputs = make_outputs(make_batch())
    both = matching.decoder(outputs.pooled)
    ranking = RankingObjective(RankingOptions(), SIZES)
    ranking.begin_with(matching)
    assert torch.allclose(ranking.scores(outputs), both[:, 1])
    again = RankingObjective(RankingOptions(), SIZES)
    again.begin_with(ranking)
    assert torch.equal(again.decoder.weight, ranking.decoder.weight)
    ranking = RankingObjective(RankingOptions(begin="difference"), SIZES)
    ranking.begin_with(matching)
    assert torch.allclose(ranking.scores(outputs), matching.scores(outputs), atol=1e-6)
    assert torch.allclose(ranking.scores(outputs).sigmoid(), both.softmax(1)[:, 1], atol=1e-6)
