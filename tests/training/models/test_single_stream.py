"""The single-stream encoder: embeddings by hand, transformers' BERT with the same weights, and what changes nothing.

Axes: B pairs, L word pieces, R regions, T places of the sequence, E hidden size.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertModel

from tests.training.builders import SINGLE_STREAM, make_batch, pad_batch, permute_regions, take_pair
from training.model import num_parameters
from training.models.single_stream import RegionEmbedding, SingleStreamEncoder, SingleStreamShape, seven_numbers

VL_BERT = {"end_token": True, "region_positions": True, "num_segments": 3}
variants = pytest.mark.parametrize(
    "options", [{}, {"end_token": True}, VL_BERT], ids=["UNITER", "end token", "VL-BERT"]
)


def build_encoder(**options):
    """Weights larger than those of a new encoder, so that a mistake shows."""
    torch.manual_seed(0)
    encoder = SingleStreamEncoder(replace(SINGLE_STREAM, **options))
    for name, weight in encoder.named_parameters():
        if not name.endswith("norm.weight"):
            nn.init.normal_(weight, std=0.5)
    return encoder.double().eval()


def unmasked_batch(**counts):
    return replace(make_batch(**counts), masked_regions=None)


def sequence_of(encoder, batch):
    """The embedded sequence [B, T, E], as the first layer gets it."""
    seen = []
    hook = encoder.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoder(batch)
    hook.remove()
    return seen[0].detach().numpy()


def normed(row):
    return (row - row.mean()) / np.sqrt(row.var() + 1e-12)


def table(encoder, name):
    return getattr(encoder.text_embedding, name).weight.detach().numpy()


# embeddings


def test_a_box_is_seven_numbers():
    boxes = torch.tensor([[[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1]]], dtype=torch.float64)
    first, whole = seven_numbers(boxes)[0].tolist()
    assert first == pytest.approx([0.1, 0.2, 0.5, 0.9, 0.4, 0.7, 0.28], abs=1e-12)
    assert whole == [0, 0, 1, 1, 1, 1, 1]


def test_a_region_is_the_norm_of_its_feature_and_its_box_and_the_segment():
    embedding = RegionEmbedding(replace(SINGLE_STREAM, feature_dim=2, hidden_size=4)).double()
    embedding.feature.weight.data = torch.tensor([[1, 0], [0, 1], [1, 1], [1, -1]], dtype=torch.float64)
    embedding.box.weight.data = torch.eye(7, dtype=torch.float64)[[0, 4, 5, 6]]
    for linear in (embedding.feature, embedding.box):
        nn.init.zeros_(linear.bias)
    batch = replace(
        unmasked_batch(num_pieces=[3], num_regions=[1]),
        features=torch.tensor([[[1, 2]]], dtype=torch.float64),
        boxes=torch.tensor([[[0.1, 0.2, 0.5, 0.6]]], dtype=torch.float64),
    )
    segment = torch.tensor([0.5, 0, 0, -0.5], dtype=torch.float64)
    feature, box = normed(np.array([1, 2, 3, -1])), normed(np.array([0.1, 0.4, 0.4, 0.16]))
    assert feature.tolist() == pytest.approx([-0.169031, 0.507093, 1.183216, -1.521278], abs=1e-6)
    assert box.tolist() == pytest.approx([-1.207407, 0.987878, 0.987878, -0.768350], abs=1e-6)
    expected = [-0.445249, 0.759477, 1.102961, -1.417189]
    assert normed(feature + box + segment.numpy()).tolist() == pytest.approx(expected, abs=1e-6)
    assert embedding(batch, segment)[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_words_have_their_places_and_regions_the_last_segment_and_none():
    encoder, batch = build_encoder(num_segments=3), unmasked_batch()
    segments = torch.tensor([[0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0, 0]])
    found = sequence_of(encoder, replace(batch, segment_ids=segments))
    word, position, segment = (table(encoder, name) for name in ("word", "position", "segment"))
    for row in range(3):
        for place in range(7):
            summed = word[batch.input_ids[row, place]] + position[place] + segment[segments[row, place]]
            gain, bias = (getattr(encoder.text_embedding.norm, name).detach().numpy() for name in ("weight", "bias"))
            assert found[row, place] == pytest.approx(normed(summed) * gain + bias, abs=1e-9)
    regions = encoder.region_embedding(batch, encoder.text_embedding.segment.weight[2]).detach().numpy()
    assert found[:, 7:] == pytest.approx(regions, abs=1e-12)


def test_all_regions_have_the_position_after_the_text_and_the_end_token_the_next():
    encoder, batch = build_encoder(**VL_BERT), unmasked_batch()
    found = sequence_of(encoder, batch)
    assert found.shape == (3, 7 + 6 + 1, 8)
    position, segment = (getattr(encoder.text_embedding, name).weight for name in ("position", "segment"))
    for row, length in enumerate((5, 7, 4)):
        alone = replace(take_pair(batch, row))
        regions = encoder.region_embedding(alone, segment[2] + position[length])[0]
        assert found[row, 7 : 7 + regions.shape[0]] == pytest.approx(regions.detach().numpy(), abs=1e-12)
        end = encoder.text_embedding.norm(encoder.end + segment[2] + position[length + 1])
        assert found[row, 13] == pytest.approx(end.detach().numpy(), abs=1e-12)


def test_the_blank_vector_is_added_to_blanked_regions_only():
    encoder, batch = build_encoder(), make_batch()
    is_blanked = torch.tensor([True, False, True, True, False, True, False])
    positions = batch.masked_regions.positions
    assert positions.tolist() == [0, 2, 6, 8, 10, 12, 14]
    batch = replace(batch, masked_regions=replace(batch.masked_regions, is_blanked=is_blanked))
    shown = (
        batch.features.flatten(0, 1)
        .double()
        .index_add(0, positions[is_blanked], encoder.region_embedding.blank.expand(4, -1))
    )
    by_hand = replace(batch, features=shown.view(3, 6, 6), masked_regions=None)
    assert sequence_of(encoder, batch) == pytest.approx(sequence_of(encoder, by_hand), abs=1e-12)
    encoder(batch).text.sum().backward()
    assert encoder.region_embedding.blank.grad.any()


def test_an_image_of_blank_regions_only_is_finite_and_learns():
    encoder = SingleStreamEncoder(SINGLE_STREAM)
    batch = make_batch(num_regions=[1, 1, 1])
    outputs = encoder(batch)
    outputs.pooled.sin().sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in encoder.parameters())


# how it begins


def test_an_encoder_begins_as_bert_does():
    torch.manual_seed(0)
    sizes = {"vocab_size": 500, "hidden_size": 64, "intermediate_size": 256, "feature_dim": 6000, "end_token": True}
    encoder = SingleStreamEncoder(replace(SINGLE_STREAM, **sizes))
    for name, weight in encoder.named_parameters():
        if name.endswith("norm.weight"):
            assert (weight == 1).all(), name
        elif name.endswith(".bias"):
            assert not weight.any(), name
        elif weight.numel() > 4000:
            assert weight.mean().item() == pytest.approx(0, abs=0.002), name
            assert weight.std().item() == pytest.approx(0.02, rel=0.05), name
    assert encoder.end.any()


def test_it_has_as_many_weights_as_uniter():
    """109 898 752 in the public code, 2048 of them a row that is never anything but 0."""
    with torch.device("meta"):
        assert num_parameters(SingleStreamEncoder(SingleStreamShape(vocab_size=28996))) == 109_898_752 - 2048


# transformers' BERT


def theirs(encoder):
    """Transformers' BERT with the encoder's weights; given embedded sequences, it takes them as they are."""
    shape = encoder.shape
    model = BertModel(
        BertConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            intermediate_size=shape.intermediate_size,
            max_position_embeddings=shape.max_positions,
            type_vocab_size=shape.num_segments,
        ),
        add_pooling_layer=True,
    )
    model.set_attn_implementation("eager")
    weights, embedding = {}, encoder.text_embedding
    for name, ours in (("word", embedding.word), ("position", embedding.position), ("token_type", embedding.segment)):
        weights[f"embeddings.{name}_embeddings.weight"] = ours.weight
    modules = {"embeddings.LayerNorm": embedding.norm, "pooler.dense": encoder.pooler}
    for number, layer in enumerate(encoder.layers):
        to = f"encoder.layer.{number}"
        projected = layer.self_attention.attention.query_key_value
        for part in ("weight", "bias"):
            for name, values in zip(("query", "key", "value"), getattr(projected, part).chunk(3), strict=True):
                weights[f"{to}.attention.self.{name}.{part}"] = values
        modules[f"{to}.attention.output.dense"] = layer.self_attention.output.dense
        modules[f"{to}.attention.output.LayerNorm"] = layer.self_attention.output.norm
        modules[f"{to}.intermediate.dense"] = layer.feed_forward.dense
        modules[f"{to}.output.dense"] = layer.feed_forward.output.dense
        modules[f"{to}.output.LayerNorm"] = layer.feed_forward.output.norm
    for name, module in modules.items():
        weights |= {f"{name}.{part}": values for part, values in module.named_parameters()}
    model.load_state_dict(weights)
    return model.double().eval()


@torch.no_grad()
@variants
def test_from_the_same_sequence_it_computes_what_transformers_bert_does(options):
    encoder, batch = build_encoder(num_layers=3, **options), make_batch()
    bert = theirs(encoder)
    for name in ("word", "position", "token_type"):
        nn.init.zeros_(getattr(bert.embeddings, f"{name}_embeddings").weight)
    bert.embeddings.LayerNorm = nn.Identity()
    ends = [torch.ones(3, 1, dtype=torch.bool)] if options.get("end_token") else []
    mask = torch.cat([batch.text_mask, batch.region_mask, *ends], 1)
    expected = bert(
        inputs_embeds=torch.from_numpy(sequence_of(encoder, batch)), attention_mask=mask.long(), output_attentions=True
    )
    found = encoder(batch, encoder.tap_names)
    states = torch.cat([found.text, found.regions], 1)
    assert torch.allclose(states, expected.last_hidden_state[:, :13], rtol=0, atol=1e-9)
    assert torch.allclose(found.pooled, expected.pooler_output, rtol=0, atol=1e-9)
    for name, probs in zip(encoder.tap_names, expected.attentions, strict=True):
        assert torch.allclose(found.taps[name].probs, probs, rtol=0, atol=1e-9), name


@torch.no_grad()
def test_text_alone_is_what_transformers_bert_makes_of_it():
    encoder, batch = build_encoder(), unmasked_batch()
    found = encoder(replace(batch, region_mask=torch.zeros_like(batch.region_mask)))
    expected = theirs(encoder)(input_ids=batch.input_ids, attention_mask=batch.text_mask.long()).last_hidden_state
    assert torch.allclose(found.text, expected, rtol=0, atol=1e-9)


# what changes nothing


@variants
@pytest.mark.parametrize("more", [{"pieces": 3}, {"regions": 4}, {"pieces": 1, "regions": 1}])
def test_padding_changes_nothing_that_is_there(options, more):
    encoder, batch = build_encoder(**options), make_batch()
    expected, found = encoder(batch), encoder(pad_batch(batch, **more))
    assert torch.allclose(found.pooled, expected.pooled, rtol=0, atol=1e-9)
    for name, mask in (("text", batch.text_mask), ("regions", batch.region_mask)):
        states = getattr(found, name)[:, : mask.shape[1]]
        assert torch.allclose(states[mask], getattr(expected, name)[mask], rtol=0, atol=1e-9)


@variants
def test_pairs_of_unequal_lengths_come_out_as_one_by_one(options):
    encoder, batch = build_encoder(**options), unmasked_batch(num_pieces=[5, 7, 3, 4], num_regions=[4, 1, 6, 3])
    together = encoder(batch, encoder.tap_names)
    for row in range(4):
        alone = encoder(take_pair(batch, row), encoder.tap_names)
        assert torch.allclose(alone.pooled[0], together.pooled[row], rtol=0, atol=1e-9)
        for name, mask in (("text", batch.text_mask), ("regions", batch.region_mask)):
            assert torch.allclose(getattr(alone, name)[0], getattr(together, name)[row, mask[row]], rtol=0, atol=1e-9)
        ends = [torch.ones(1, dtype=torch.bool)] if options else []
        there = torch.cat([batch.text_mask[row], batch.region_mask[row], *ends])
        for name in encoder.tap_names:
            expected = together.taps[name].probs[row][:, there][:, :, there]
            assert torch.allclose(alone.taps[name].probs[0], expected, rtol=0, atol=1e-9)


@variants
@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(6)))
def test_regions_are_a_set(options, order):
    encoder, batch = build_encoder(**options), make_batch(num_regions=[6, 6, 6])
    expected, found = encoder(batch), encoder(permute_regions(batch, order))
    assert torch.allclose(found.regions, expected.regions[:, order], rtol=0, atol=1e-9)
    assert torch.allclose(found.text, expected.text, rtol=0, atol=1e-9)


def test_words_are_a_sequence_and_hear_of_regions_as_these_do_of_them():
    encoder, batch = build_encoder(), take_pair(make_batch(), 1)
    expected = encoder(batch)
    turned = encoder(replace(batch, input_ids=batch.input_ids.flip(1)))
    assert not torch.allclose(turned.text.flip(1), expected.text, atol=1e-2)
    other_image = encoder(replace(batch, features=batch.features + 1))
    assert not torch.allclose(other_image.pooled, expected.pooled, atol=1e-3)
    other_word = encoder(replace(batch, input_ids=batch.input_ids.index_fill(1, torch.tensor([2]), 9)))
    assert not torch.allclose(other_word.regions, expected.regions, atol=1e-3)


def test_the_end_token_is_heard_of():
    encoder, batch = build_encoder(**VL_BERT), make_batch()
    encoder(batch).pooled.sum().backward()
    assert encoder.end.grad.any()
    assert "end" not in dict(build_encoder().named_parameters())


# attention


@variants
def test_asking_for_attentions_changes_no_result(options):
    encoder, batch = build_encoder(**options), make_batch()
    plain, tapped = encoder(batch), encoder(batch, encoder.tap_names)
    assert not plain.taps and tuple(tapped.taps) == encoder.tap_names == encoder.meeting_layers == (
        "joint.0",
        "joint.1",
    )
    for name in ("text", "regions", "pooled"):
        assert torch.allclose(getattr(tapped, name), getattr(plain, name), rtol=0, atol=1e-9)
    assert set(encoder(batch, ["joint.1"]).taps) == {"joint.1"}


@variants
def test_an_attention_is_a_distribution_over_the_places_that_are_there(options):
    encoder, batch = build_encoder(**options), make_batch()
    ends = [torch.ones(3, 1, dtype=torch.bool)] if options else []
    keys = torch.cat([batch.text_mask, batch.region_mask, *ends], 1)
    for tap in encoder(batch, encoder.tap_names).taps.values():
        assert tap.probs.shape == (3, 2, keys.shape[1], keys.shape[1])
        assert torch.allclose(tap.probs.sum(3), torch.ones(()).double())
        assert not tap.probs.masked_select(~keys[:, None, None]).any()
        assert torch.equal(tap.probs, tap.scores.softmax(3)) and torch.equal(tap.probs_dropped, tap.probs)


def test_dropped_attention_is_what_is_dropped_and_the_rest_larger():
    encoder, batch = build_encoder(attention_dropout=0.5).train(), make_batch()
    tap = encoder(batch, encoder.tap_names).taps["joint.0"]
    kept = tap.probs_dropped != 0
    assert 0.3 < kept[tap.probs != 0].double().mean() < 0.7
    assert torch.allclose(tap.probs_dropped[kept], 2 * tap.probs[kept])


def test_an_attention_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"taps \['cross\.0\.text', 'joint\.2'\].*expected some of joint\.0, joint\.1"):
        build_encoder()(make_batch(), ["joint.0", "joint.2", "cross.0.text"])


# numbers that are there


@variants
def test_an_image_without_regions_leaves_finite_numbers_and_the_text_as_it_is_alone(options):
    encoder, batch = build_encoder(**options), unmasked_batch()
    outputs = encoder(replace(batch, region_mask=batch.region_mask & torch.tensor([[True], [False], [True]])))
    assert outputs.text.isfinite().all() and outputs.regions.isfinite().all()
    alone = take_pair(replace(batch, region_mask=torch.zeros_like(batch.region_mask)), 1)
    assert alone.features.shape[1] == 0
    assert torch.allclose(encoder(alone).text[0], outputs.text[1], rtol=0, atol=1e-9)


def test_half_precision_comes_close():
    encoder, batch = build_encoder(**VL_BERT).float(), make_batch()
    expected = encoder(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(batch)
    for name, mask in (("text", batch.text_mask), ("regions", batch.region_mask)):
        difference = (getattr(found, name) - getattr(expected, name))[mask].abs()
        assert difference.mean() < 0.05, name
