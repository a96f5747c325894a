"""Masked visual tokens: the squared distance, summed over cells and numbers, over the number of pairs."""

from dataclasses import replace

import pytest
import torch

from tests.training.builders import SIZES, make_batch, make_outputs
from training.objectives.masked_tokens import MaskedTokensObjective, MaskedTokensOptions
from training.records import HiddenTokens


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


def test_an_encoder_that_hides_nothing_is_refused():
    batch = make_batch()
    head = MaskedTokensObjective(MaskedTokensOptions(), SIZES)
    with pytest.raises(ValueError, match="the encoder hides nothing, expected one with visual tokens"):
        head(replace(make_outputs(batch), hidden_tokens=None), batch)
