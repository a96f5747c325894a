"""Masked visual tokens: the squared distance, summed over cells and numbers, over the number of pairs."""

from dataclasses import replace

import pytest
import torch

from tests.training.builders import SIZES, make_batch, make_outputs
from training.batch import HiddenTokens
from training.objectives.masked_tokens import MaskedTokensObjective, MaskedTokensOptions


def loss_of(guesses, tokens, *, num_images):
    """Return the loss of a head whose guesses are these, of the first cells of each image in turn."""
    head = MaskedTokensObjective(MaskedTokensOptions(), SIZES)
    head.transform = head.decoder = torch.nn.Identity()
    batch = make_batch(num_pieces=[4] * num_images, num_regions=[3] * num_images)
    positions = torch.tensor([number % num_images * 3 + number // num_images for number in range(len(tokens))])
    regions = torch.zeros(num_images * 3, 2).index_copy(0, positions, torch.tensor(guesses))
    outputs = replace(
        make_outputs(batch),
        regions=regions.view(num_images, 3, 2),
        hidden_tokens=HiddenTokens(positions=positions, tokens=torch.tensor(tokens)),
    )
    return head(outputs, batch)["masked_tokens"].item()


GUESSES, TOKENS = [[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]]


def test_the_worked_number():
    """v = (1, 0), (0, 2), r = (.5, .5), (0, 1): .5 + 1 = 1.5; times .01 = .015."""
    loss = loss_of(GUESSES, TOKENS, num_images=1)
    assert loss == pytest.approx(1.5)
    assert MaskedTokensOptions().weight * loss == pytest.approx(0.015)


def test_it_is_a_mean_over_images():
    assert loss_of(GUESSES, TOKENS, num_images=2) == pytest.approx(0.75)


def test_the_head_is_a_linear_a_gelu_a_norm_and_a_linear():
    head = MaskedTokensObjective(MaskedTokensOptions(), SIZES)
    torch.manual_seed(0)
    batch = make_batch()
    outputs = make_outputs(batch)
    states = outputs.regions.flatten(0, 1)[outputs.hidden_tokens.positions]
    gelu = torch.nn.functional.gelu(head.transform.dense(states))
    guessed = head.decoder(torch.nn.functional.layer_norm(gelu, (8,), eps=1e-12))
    expected = (outputs.hidden_tokens.tokens - guessed).square().sum() / 3
    torch.testing.assert_close(head(outputs, batch)["masked_tokens"], expected)


def outputs_of(batch):
    """Return outputs whose hidden tokens are of every pair."""
    torch.manual_seed(0)
    width = batch.region_mask.shape[1]
    positions = torch.arange(len(batch)) * width + 1
    outputs = make_outputs(batch)
    return replace(outputs, hidden_tokens=HiddenTokens(positions=positions, tokens=torch.randn(len(batch), 8)))


def test_false_captions_have_no_part_in_it_and_true_ones_all():
    """States of an image's cells follow its sentence; those beside a false one are another here."""
    batch = make_batch(num_pieces=[4] * 4, num_regions=[3] * 4)
    batch = replace(batch, is_matched=torch.tensor([True, False, True, False]))
    outputs, terms = outputs_of(batch), {}
    for changed in (None, *range(4)):
        regions = outputs.regions.clone()
        if changed is not None:
            regions[changed] += 1 + torch.arange(8)
        for matched_only in (True, False):
            torch.manual_seed(0)
            head = MaskedTokensObjective(MaskedTokensOptions(matched_only=matched_only), SIZES)
            terms[changed, matched_only] = head(replace(outputs, regions=regions), batch)["masked_tokens"].item()
    assert [terms[row, True] == terms[None, True] for row in range(4)] == [False, True, False, True]
    assert [terms[row, False] == terms[None, False] for row in range(4)] == [False] * 4


def test_a_mean_over_pairs_that_match_is_that_of_these_pairs_alone():
    batch = make_batch(num_pieces=[4] * 4, num_regions=[3] * 4)
    outputs = outputs_of(batch)
    torch.manual_seed(0)
    head = MaskedTokensObjective(MaskedTokensOptions(matched_only=True), SIZES)
    both = head(outputs, replace(batch, is_matched=torch.tensor([True, False, True, False])))["masked_tokens"]
    alone = []
    for row in (0, 2):
        only = replace(batch, is_matched=torch.arange(4) == row)
        alone.append(head(outputs, only)["masked_tokens"])
    torch.testing.assert_close(both, sum(alone) / 2)
    assert head(outputs, replace(batch, is_matched=torch.zeros(4, dtype=torch.bool)))["masked_tokens"] == 0


def test_an_encoder_that_hides_nothing_is_refused():
    batch = make_batch()
    head = MaskedTokensObjective(MaskedTokensOptions(), SIZES)
    with pytest.raises(ValueError, match="the encoder hides nothing, expected one with visual tokens"):
        head(replace(make_outputs(batch), hidden_tokens=None), batch)
