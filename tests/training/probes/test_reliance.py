"""The copy test: a loss term with and without the sentences, on the same hidden regions."""

from dataclasses import replace

import pytest
import torch

from stores.errors import StoreError
from tests.training.builders import SHAPE, SINGLE_STREAM, SIZES, make_batch, take_pair
from training.model import build_new
from training.objectives.catalog import NO_OBJECTIVES
from training.objectives.masked_regions import MaskedRegionsOptions
from training.probes.reliance import reliance_on_text, without_text

GUESSING = replace(NO_OBJECTIVES, masked_regions=MaskedRegionsOptions(labels="masked_only"))


@pytest.fixture(autouse=True)
def frozen():
    with torch.no_grad():
        yield


def random_model(shape):
    model = build_new(shape, GUESSING, SIZES, seed=0)
    torch.manual_seed(0)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


def test_nothing_but_the_special_pieces_is_left_and_images_stay():
    batch = make_batch(num_pieces=(5, 7, 3))
    left = without_text(batch)
    assert left.input_ids.tolist() == [[1, 2]] * 3
    assert left.text_mask.all() and left.text_mask.shape == (3, 2)
    assert left.masked_words is left.alignment is left.grounding is left.phrase_pairs is None
    assert left.features is batch.features and left.masked_regions is batch.masked_regions


@pytest.mark.parametrize("shape", [SHAPE, SINGLE_STREAM])
def test_the_term_is_that_of_the_batch_as_it_is_and_of_sentences_without_words(shape):
    model, batch = random_model(shape), make_batch(num_pieces=(5, 7, 3))
    found = reliance_on_text(model, [batch, batch], term="region_features")
    assert found.with_text == pytest.approx(float(model(batch)["region_features"]), rel=1e-6)
    silent = replace(batch, input_ids=torch.tensor([[1, 2, 9]] * 3), text_mask=torch.tensor([[True, True, False]] * 3))
    assert found.without_text == pytest.approx(float(model(silent)["region_features"]), rel=1e-6)
    assert found.difference == found.without_text - found.with_text != 0


def test_a_model_that_does_not_hear_the_text_has_no_reliance():
    model = random_model(SHAPE)
    for layer in model.encoder.cross_layers:
        layer.cross_attention.query_key_value.weight[16:] = 0  # values are what is heard
        layer.cross_attention.query_key_value.bias[16:] = 0
    assert reliance_on_text(
        model, [make_batch(num_pieces=(5, 7, 3))], term="region_features"
    ).difference == pytest.approx(0, abs=1e-6)


def test_a_term_that_there_is_not_and_no_batch_are_refused():
    model = random_model(SINGLE_STREAM)
    with pytest.raises(ValueError, match="'masked_tokens': no objective of this model has it"):
        reliance_on_text(model, [take_pair(make_batch(num_pieces=(5, 7, 3)), 0)], term="masked_tokens")
    with pytest.raises(StoreError, match="no batch"):
        reliance_on_text(model, [], term="region_features")
