"""The four blocks of attention, of one map and of four, and choices of layers and heads."""

from dataclasses import fields, replace

import pytest
import torch

from tests.training.builders import SHAPE, SINGLE_STREAM, make_batch, make_outputs
from training.models.blocks import Blocks, blocks_of, chosen_heads, chosen_layers, split

NAMES = [each.name for each in fields(Blocks)]
SIDES = {"text": ("text", "text"), "text_to_regions": ("text", "regions")}
SIDES |= {"regions_to_text": ("regions", "text"), "regions": ("regions", "regions")}


def tapped(shape):
    torch.manual_seed(0)
    encoder = shape.build().double().eval()
    batch = make_batch()
    return encoder, batch, encoder(batch, encoder.tap_names)


@pytest.mark.parametrize("end_token", [False, True])
@pytest.mark.parametrize("kind", ["scores", "probs", "probs_dropped"])
def test_blocks_of_one_stream_are_cut_out_of_its_map(end_token, kind):
    encoder, _, outputs = tapped(replace(SINGLE_STREAM, end_token=end_token))
    places = {"text": range(7), "regions": range(7, 13)}
    for layer in encoder.meeting_layers:
        joint, blocks = getattr(outputs.taps[layer], kind), blocks_of(outputs, layer, kind)
        assert joint.shape[2:] == (13 + end_token, 13 + end_token)
        for name, (queries, keys) in SIDES.items():
            assert torch.equal(getattr(blocks, name), joint[:, :, list(places[queries])][..., list(places[keys])])
            assert getattr(blocks, name).data_ptr() >= joint.data_ptr()
        assert torch.equal(split(joint, outputs).regions_to_text, blocks.regions_to_text)


def test_a_row_of_one_stream_sums_to_one_over_words_and_regions_and_the_end():
    _, batch, outputs = tapped(SINGLE_STREAM)
    blocks = blocks_of(outputs, "joint.1")
    sums = blocks.text.sum(3) + blocks.text_to_regions.sum(3)
    assert torch.allclose(sums, torch.ones_like(sums))
    assert not blocks.text_to_regions.masked_select(~batch.region_mask[:, None, None]).any()
    assert not blocks.regions_to_text.masked_select(~batch.text_mask[:, None, None]).any()
    assert (blocks_of(tapped(replace(SINGLE_STREAM, end_token=True))[2], "joint.1").regions.sum(3) < 1).all()


@pytest.mark.parametrize("kind", ["scores", "probs"])
def test_blocks_of_two_streams_are_their_four_attentions(kind):
    encoder, _, outputs = tapped(SHAPE)
    for layer in encoder.meeting_layers:
        blocks = blocks_of(outputs, layer, kind)
        for name in NAMES:
            assert getattr(blocks, name) is getattr(outputs.taps[f"{layer}.{name}"], kind)


@pytest.mark.parametrize("shape", [SHAPE, SINGLE_STREAM], ids=["two streams", "one stream"])
def test_the_taps_that_a_layer_names_are_enough_for_its_blocks(shape):
    encoder = shape.build().eval()
    for layer in encoder.meeting_layers:
        outputs = encoder(make_batch(), encoder.taps_of(layer))
        assert outputs.layers == encoder.meeting_layers
        assert set(outputs.taps) == set(encoder.taps_of(layer))
        assert [getattr(blocks_of(outputs, layer), name).shape for name in NAMES] == [
            (3, 2, 7, 7),
            (3, 2, 7, 6),
            (3, 2, 6, 7),
            (3, 2, 6, 6),
        ]


def test_layers_are_chosen_by_number_from_the_first_or_the_last():
    layers = ("a", "b", "c")
    assert chosen_layers(layers, "all") == layers
    assert chosen_layers(layers, "last") == ("c",)
    assert chosen_layers(layers, (0, -1, 1)) == ("a", "c", "b")
    assert chosen_layers(layers, ()) == ()


@pytest.mark.parametrize(("choice", "wrong"), [((0, 3), r"\[3\]"), ((-4, 2, 5), r"\[-4, 5\]")])
def test_a_layer_that_there_is_not_is_refused(choice, wrong):
    with pytest.raises(ValueError, match=rf"layers {wrong}: no such layers, the encoder has 3, counted from 0"):
        chosen_layers(("a", "b", "c"), choice)


def test_heads_are_chosen_by_number():
    attention = make_outputs(make_batch()).taps["joint.0"].probs
    assert chosen_heads(attention, None) is attention
    assert torch.equal(chosen_heads(attention, (1,)), attention[:, 1:])
    assert torch.equal(chosen_heads(attention, (1, 0)), attention.flip(1))
    with pytest.raises(ValueError, match=r"heads \[2, -1\]: no such heads, the encoder has 2, counted from 0"):
        chosen_heads(attention, (0, 2, -1))
