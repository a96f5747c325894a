"""What every encoder in the table promises, whatever its own sizes are."""

from dataclasses import asdict

import pytest
import torch
from pydantic import TypeAdapter

from tests.training.builders import make_batch, pad_batch
from training.models.catalog import ENCODERS, EncoderShape
from training.report.tables import describe_encoder

every_encoder = pytest.mark.parametrize("name", ENCODERS)

FEW_LAYERS = {
    "two-stream": {"num_text_layers": 1, "num_region_layers": 1, "num_cross_layers": 2},
    "single-stream": {"num_layers": 2},
    "visual-parser": {"num_layers": 2},
}


def shape_of(name):
    return ENCODERS[name](
        vocab_size=30,
        feature_dim=6,
        hidden_size=8,
        intermediate_size=16,
        num_heads=2,
        max_positions=16,
        dropout=0.0,
        attention_dropout=0.0,
        **FEW_LAYERS.get(name, {}),
    )


def build(name):
    torch.manual_seed(0)
    return shape_of(name).build().eval()


@every_encoder
def test_a_recipe_keeps_its_shape_under_its_name_in_the_table(name):
    shape = shape_of(name)
    assert shape.kind == name
    assert TypeAdapter(EncoderShape).validate_python(asdict(shape)) == shape
    assert shape.max_pieces > 0
    assert "width 8, 2 heads" in describe_encoder(shape)


@every_encoder
def test_words_and_regions_and_the_pair_have_states(name):
    batch = make_batch()
    outputs = build(name)(batch)
    (size, length), width = batch.text_mask.shape, batch.region_mask.shape[1]
    assert outputs.text.shape == (size, length, 8)
    assert outputs.regions.shape == (size, width, 8)
    assert outputs.pooled.shape == (size, 8)
    assert outputs.taps == {} and outputs.states == {}


@every_encoder
def test_attentions_and_states_are_there_where_they_are_asked_for(name):
    encoder = build(name)
    assert {tap for layer in encoder.meeting_layers for tap in encoder.taps_of(layer)} <= set(encoder.tap_names)
    outputs = encoder(make_batch(), encoder.tap_names, keep_states=True)
    assert tuple(outputs.taps) == encoder.tap_names
    assert tuple(outputs.states) == encoder.meeting_layers
    with pytest.raises(ValueError, match="no-such-tap"):
        encoder(make_batch(), ["no-such-tap"])


@every_encoder
def test_padding_changes_no_state(name):
    encoder, batch = build(name), make_batch()
    expected, found = encoder(batch), encoder(pad_batch(batch, regions=3, pieces=2))
    length, width = batch.text_mask.shape[1], batch.region_mask.shape[1]
    for one, other, mask in (
        (expected.text, found.text[:, :length], batch.text_mask),
        (expected.regions, found.regions[:, :width], batch.region_mask),
    ):
        torch.testing.assert_close(other[mask], one[mask], atol=1e-5, rtol=1e-4)


@every_encoder
def test_every_weight_learns(name):
    encoder = build(name)
    outputs = encoder(make_batch())
    (outputs.text.square().sum() + outputs.regions.square().sum() + outputs.pooled.square().sum()).backward()
    unused = [each for each, weight in encoder.named_parameters() if weight.grad is None]
    assert len(unused) < len(list(encoder.parameters())) / 4, unused
