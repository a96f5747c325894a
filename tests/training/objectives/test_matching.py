"""Matching: two scores, of which the second says that the sentence belongs to the image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from tests.training.builders import SIZES, make_batch, make_outputs
from training.objectives.matching import MatchingObjective, MatchingOptions


@pytest.fixture
def head():
    torch.manual_seed(0)
    return MatchingObjective(MatchingOptions(), SIZES).double()


def test_the_loss_is_the_mean_surprise_over_all_pairs(head):
    batch = replace(make_batch(), is_matched=torch.tensor([True, False, True]))
    outputs = make_outputs(batch, dtype=torch.float64)
    scores = head.decoder(outputs.pooled).detach().numpy()
    expected = -log_softmax(scores, axis=1)[[0, 1, 2], [1, 0, 1]].mean()
    assert head(outputs, batch)["matching"].item() == pytest.approx(expected, abs=1e-6)


def test_the_second_score_is_that_of_a_match(head):
    torch.nn.init.zeros_(head.decoder.weight)
    head.decoder.bias.data = torch.tensor([0.0, 3.0], dtype=torch.float64)
    batch = make_batch()
    outputs = make_outputs(batch, dtype=torch.float64)
    assert head(outputs, batch)["matching"].item() == pytest.approx(np.log1p(np.exp(-3)), abs=1e-6)
    unmatched = replace(batch, is_matched=~batch.is_matched)
    assert head(outputs, unmatched)["matching"].item() == pytest.approx(3 + np.log1p(np.exp(-3)), abs=1e-6)


def test_a_head_that_knows_nothing_is_one_bit_from_the_truth(head):
    torch.nn.init.zeros_(head.decoder.weight)
    torch.nn.init.zeros_(head.decoder.bias)
    batch = make_batch()
    assert head(make_outputs(batch, dtype=torch.float64), batch)["matching"].item() == pytest.approx(np.log(2))


def test_words_and_regions_are_not_looked_at(head):
    batch = make_batch()
    outputs = make_outputs(batch, dtype=torch.float64)
    head(outputs, batch)["matching"].backward()
    assert outputs.pooled.grad.any(1).all()
    assert outputs.text.grad is None and outputs.regions.grad is None
