"""Question answering: only pairs that have an answer in the table count."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from tests.training.builders import SIZES, make_batch, make_outputs
from training.objectives.question_answering import QuestionAnsweringObjective, QuestionAnsweringOptions


@pytest.fixture
def head():
    torch.manual_seed(0)
    return QuestionAnsweringObjective(QuestionAnsweringOptions(), SIZES).double()


def test_the_loss_is_the_mean_surprise_over_the_pairs_that_have_an_answer(head):
    batch = replace(make_batch(), answer_ids=torch.tensor([4, -100, 6]))
    outputs = make_outputs(batch, dtype=torch.float64)
    scores = head.head(outputs.pooled).detach().numpy()
    expected = -log_softmax(scores, axis=1)[[0, 2], [4, 6]].mean()
    assert head(outputs, batch)["question_answering"].item() == pytest.approx(expected, abs=1e-6)


def test_a_pair_without_an_answer_contributes_exactly_nothing(head):
    batch = replace(make_batch(), answer_ids=torch.tensor([4, -100, 6]))
    outputs = make_outputs(batch, dtype=torch.float64)
    loss = head(outputs, batch)["question_answering"]
    loss.backward()
    assert outputs.pooled.grad.any(1).tolist() == [True, False, True]
    elsewhere = outputs.pooled.detach().index_fill(0, torch.tensor([1]), 3.0)
    assert head(replace(outputs, pooled=elsewhere), batch)["question_answering"] == loss


def test_a_head_that_knows_nothing_is_as_surprised_by_every_answer(head):
    torch.nn.init.zeros_(head.head.decoder.weight)
    torch.nn.init.zeros_(head.head.decoder.bias)
    batch = make_batch()
    loss = head(make_outputs(batch, dtype=torch.float64), batch)["question_answering"]
    assert loss.item() == pytest.approx(np.log(7), abs=1e-6)


def test_the_head_is_twice_as_wide_as_the_encoder(head):
    shapes = {name: list(weight.shape) for name, weight in head.head.named_parameters() if weight.ndim == 2}
    assert shapes == {"dense.weight": [16, 8], "decoder.weight": [7, 16]}
