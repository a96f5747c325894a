"""States after each layer: those of an encoder that ends there, of both encoders, only where they are asked for."""

from dataclasses import replace

import pytest
import torch

from tests.training.builders import SHAPE, SINGLE_STREAM, make_batch


@pytest.mark.parametrize(
    ("shape", "shorter"),
    [(SHAPE, {"num_cross_layers": 1}), (replace(SINGLE_STREAM, end_token=True), {"num_layers": 1})],
    ids=["two streams", "one stream"],
)
def test_states_after_a_layer_are_those_of_an_encoder_that_ends_there(shape, shorter):
    encoder, batch = shape.build().eval(), make_batch()
    outputs = encoder(batch, keep_states=True)
    assert tuple(outputs.states) == encoder.meeting_layers
    shorter_encoder = replace(shape, **shorter).build().eval()
    shorter_encoder.load_state_dict(encoder.state_dict(), strict=False)
    ended = shorter_encoder(batch)
    for found, expected in (
        (outputs.states[encoder.meeting_layers[0]], ended),
        (outputs.states[encoder.meeting_layers[-1]], outputs),
    ):
        torch.testing.assert_close(found, (expected.text, expected.regions), rtol=0, atol=0)
    assert encoder(batch).states == {}
