"""The heads of the tasks about two captions and about referring expressions, by hand."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.builders import SIZES, make_batch, make_outputs
from training.batch import Grounding
from training.objectives.caption_match import CaptionMatchObjective, CaptionMatchOptions
from training.objectives.phrase_relations import (
    PhraseRelationsObjective,
    PhraseRelationsOptions,
    compared,
    pooled_phrases,
)
from training.objectives.referring import ReferringObjective, ReferringOptions


def test_two_phrases_are_compared_as_in_the_worked_example():
    one, other = torch.tensor([[1, -2, 0.5]], dtype=torch.float64), torch.tensor([[0, 1, 0.5]], dtype=torch.float64)
    expected = [1, -2, 0.5, 0, 1, 0.5, 0, -2, 0.25, 1, 3, 0]
    assert compared(one, other)[0].tolist() == expected


def test_a_phrase_is_the_largest_value_of_each_dimension_over_its_pieces():
    states = torch.tensor([[[0, 9], [1, -2], [3, -5], [9, 9]]], dtype=torch.float64)
    found = pooled_phrases(states, torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([3, 3]))
    assert found.tolist() == [[3, -2], [3, -5]]


def test_relations_lose_the_mean_cross_entropy_of_those_that_are_known():
    batch = make_batch()
    batch = replace(batch, phrase_pairs=replace(batch.phrase_pairs, relations=torch.tensor([4, -100, 0])))
    torch.manual_seed(0)
    head, outputs = PhraseRelationsObjective(PhraseRelationsOptions(), SIZES), make_outputs(batch)
    log_probs = head.scores(outputs, batch).log_softmax(1)
    loss = head(outputs, batch)["phrase_relations"]
    torch.testing.assert_close(loss, -(log_probs[0, 4] + log_probs[2, 0]) / 2)


def test_a_caption_match_is_a_choice_of_three():
    batch = make_batch()
    torch.manual_seed(0)
    head, outputs = CaptionMatchObjective(CaptionMatchOptions(dropout=0.0), SIZES), make_outputs(batch)
    expected = F.cross_entropy(head.decoder(outputs.pooled), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(head(outputs, batch)["caption_match"], expected)


def grounded(gold):
    """Return a batch of two images with 3 regions each, and whichever of them an expression means."""
    batch = make_batch(num_pieces=(4, 4), num_regions=(3, 3))
    rows = [row for row, each in enumerate(gold) if each]
    shown = torch.zeros(len(rows), 3, dtype=torch.bool)
    for number, row in enumerate(rows):
        shown[number, list(gold[row])] = True
    ones = torch.ones(len(rows), dtype=torch.int64)
    grounding = Grounding(rows=torch.tensor(rows, dtype=torch.int64), starts=ones, ends=ones + 2, gold=shown)
    return replace(batch, grounding=grounding)


@settings(max_examples=20, deadline=None)
@given(first=st.sets(st.integers(0, 2)), second=st.sets(st.integers(0, 2)))
def test_referring_loses_what_goes_to_regions_that_are_not_meant(first, second):
    batch = grounded([first, second])
    torch.manual_seed(0)
    head, outputs = ReferringObjective(ReferringOptions(), SIZES), make_outputs(batch)
    probs = head.decoder(outputs.regions)[:, :, 0].softmax(1)
    losses = [-probs[row, list(gold)].sum().log() for row, gold in enumerate((first, second)) if gold]
    found = head(outputs, batch)["referring"]
    torch.testing.assert_close(found, sum(losses) / max(len(losses), 1) if losses else torch.tensor(0.0))
    found.backward()
    assert outputs.regions.grad.isfinite().all()


def test_an_expression_of_two_phrases_means_what_either_shows():
    batch = grounded([{0}, {1}])
    both = replace(
        batch.grounding,
        rows=torch.tensor([0, 0]),
        gold=torch.tensor([[True, False, False], [False, True, False]]),
    )
    torch.manual_seed(0)
    head, outputs = ReferringObjective(ReferringOptions(), SIZES), make_outputs(batch)
    probs = head.decoder(outputs.regions)[0, :, 0].softmax(0)
    loss = head(outputs, replace(batch, grounding=both))["referring"].item()
    assert loss == pytest.approx(-(probs[0] + probs[1]).log().item(), abs=1e-6)
