"""The two-stream encoder: its embeddings by hand, how it begins, and that padding and order change nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.training.builders import SHAPE, make_batch, pad_batch, permute_regions, take_pair
from training.model import num_parameters
from training.models.embeddings import TextEmbedding
from training.models.two_stream import CrossLayer, RegionEmbedding, TwoStreamEncoder, TwoStreamShape

TABLES = ("word", "position", "segment")


def build_encoder(**options):
    """Weights larger than those of a new encoder, so that a mistake shows."""
    torch.manual_seed(0)
    encoder = TwoStreamEncoder(replace(SHAPE, **options))
    for name, weight in encoder.named_parameters():
        if not name.endswith("norm.weight"):
            nn.init.normal_(weight, std=0.5)
    return encoder.double().eval()


def test_a_region_is_embedded_as_in_the_worked_example():
    embedding = RegionEmbedding(replace(SHAPE, feature_dim=2, hidden_size=4)).double()
    embedding.feature.weight.data = torch.tensor([[1, 0], [0, 1], [1, 1], [1, -1]], dtype=torch.float64)
    embedding.box.weight.data = torch.eye(4, dtype=torch.float64)
    for linear in (embedding.feature, embedding.box):
        nn.init.zeros_(linear.bias)
    feature = torch.tensor([[[1, 2]]], dtype=torch.float64)
    box = torch.tensor([[[0.1, 0.2, 0.5, 0.6]]], dtype=torch.float64)
    expected = [-0.690854, -0.110257, 0.955411, -0.154300]
    assert embedding(feature, box)[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_word_piece_is_the_norm_of_word_and_position_and_segment():
    embedding = TextEmbedding(vocab_size=20, hidden_size=8, max_positions=5, num_segments=2, dropout=0.0).double()
    word, position, segment = (getattr(embedding, name).weight.detach().numpy() for name in TABLES)
    for place, piece in enumerate([1, 17, 2]):
        summed = word[piece] + position[place] + segment[0]
        expected = (summed - summed.mean()) / np.sqrt(summed.var() + 1e-12)
        assert embedding(torch.tensor([[1, 17, 2]]))[0, place].tolist() == pytest.approx(expected, abs=1e-9)


def test_an_encoder_begins_as_bert_does():
    torch.manual_seed(0)
    encoder = TwoStreamEncoder(replace(SHAPE, vocab_size=500, hidden_size=64, intermediate_size=256, feature_dim=64))
    for name, part in encoder.named_modules():
        if isinstance(part, nn.LayerNorm):
            assert (part.weight == 1).all() and not part.bias.any(), name
        if isinstance(part, nn.Linear):
            assert not part.bias.any(), name
        if isinstance(part, nn.Linear | nn.Embedding) and part.weight.numel() > 4000:
            assert part.weight.mean().item() == pytest.approx(0, abs=0.002), name
            assert part.weight.std().item() == pytest.approx(0.02, rel=0.05), name


def test_it_has_as_many_weights_as_lxmert():
    with torch.device("meta"):
        assert num_parameters(TwoStreamEncoder(TwoStreamShape())) == 207_936_768
        assert num_parameters(CrossLayer(TwoStreamShape())) == 16_539_648


@pytest.mark.parametrize("frozen", [True, False])
def test_first_rows_are_learnt_unless_they_are_frozen(frozen):
    encoder, batch = build_encoder(freeze_first_rows=frozen), make_batch()
    assert (batch.input_ids == 0).any()
    outputs = encoder(batch)
    (outputs.text.sin().sum() + outputs.regions.sin().sum()).backward()
    gradients = {name: getattr(encoder.text_embedding, name).weight.grad for name in TABLES}
    assert gradients["position"][0].any() == (not frozen)
    assert gradients["segment"][0].any() == (not frozen)
    assert not frozen or not gradients["word"][0].any()
    assert gradients["word"][1].any() and gradients["position"][1].any()


def test_frozen_rows_are_drawn_like_all_others():
    assert TwoStreamEncoder(replace(SHAPE, freeze_first_rows=True)).text_embedding.position.weight[0].any()


@pytest.mark.parametrize("more", [{"pieces": 3}, {"regions": 4}, {"pieces": 1, "regions": 1}])
def test_padding_changes_nothing_that_is_there(more):
    encoder, batch = build_encoder(), make_batch()
    expected, found = encoder(batch), encoder(pad_batch(batch, **more))
    assert torch.allclose(found.pooled, expected.pooled, rtol=0, atol=1e-6)
    for name, mask in (("text", batch.text_mask), ("regions", batch.region_mask)):
        states = getattr(found, name)[:, : mask.shape[1]]
        assert torch.allclose(states[mask], getattr(expected, name)[mask], rtol=0, atol=1e-6)


def test_pairs_of_unequal_lengths_come_out_as_one_by_one():
    encoder, batch = build_encoder(), make_batch(num_pieces=[5, 7, 3, 4], num_regions=[4, 1, 6, 3])
    together = encoder(batch)
    for row in range(4):
        alone = encoder(take_pair(batch, row))
        assert torch.allclose(alone.pooled[0], together.pooled[row], rtol=0, atol=1e-6)
        for name, mask in (("text", batch.text_mask), ("regions", batch.region_mask)):
            expected = getattr(together, name)[row, mask[row]]
            assert torch.allclose(getattr(alone, name)[0], expected, rtol=0, atol=1e-6)


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(6)))
def test_regions_are_a_set(order):
    encoder, batch = build_encoder(), make_batch(num_regions=[6, 6, 6])
    expected, found = encoder(batch), encoder(permute_regions(batch, order))
    assert torch.allclose(found.regions, expected.regions[:, order], rtol=0, atol=1e-9)
    assert torch.allclose(found.text, expected.text, rtol=0, atol=1e-9)


def test_words_are_a_sequence():
    encoder, batch = build_encoder(), take_pair(make_batch(), 1)
    turned = encoder(replace(batch, input_ids=batch.input_ids.flip(1)))
    assert not torch.allclose(turned.text.flip(1), encoder(batch).text, atol=1e-2)


def test_both_streams_hear_of_each_other():
    encoder, batch = build_encoder(), make_batch()
    expected = encoder(batch)
    other_image = encoder(replace(batch, features=batch.features + batch.region_mask[:, :, None]))
    assert not torch.allclose(other_image.pooled, expected.pooled, atol=1e-3)
    other_word = encoder(replace(batch, input_ids=batch.input_ids.index_fill(1, torch.tensor([2]), 9)))
    assert not torch.allclose(other_word.regions, expected.regions, atol=1e-3)


def test_the_word_embeddings_are_the_encoders_own():
    encoder = build_encoder()
    assert encoder(make_batch()).word_embeddings is encoder.text_embedding.word.weight


def test_asking_for_attentions_changes_no_result():
    encoder, batch = build_encoder(), make_batch()
    plain, tapped = encoder(batch), encoder(batch, encoder.tap_names)
    assert not plain.taps
    assert torch.allclose(tapped.text, plain.text, rtol=0, atol=1e-9)
    assert torch.allclose(tapped.regions, plain.regions, rtol=0, atol=1e-9)
    assert torch.allclose(tapped.pooled, plain.pooled, rtol=0, atol=1e-9)


def test_an_attention_is_a_distribution_over_the_keys_that_are_there():
    encoder, batch = build_encoder(), make_batch()
    taps = encoder(batch, encoder.tap_names).taps
    masks = {"text": batch.text_mask, "regions": batch.region_mask}
    masks |= {"text_to_regions": batch.region_mask, "regions_to_text": batch.text_mask}
    assert tuple(taps) == encoder.tap_names
    assert len(taps) == 2 + 1 + 2 * 4
    for name, tap in taps.items():
        keys = masks[[part for part in name.split(".") if part in masks][-1]]
        assert torch.allclose(tap.probs.sum(3), torch.ones(()).double())
        assert not tap.probs.masked_select(~keys[:, None, None]).any(), name
        assert torch.equal(tap.probs, tap.scores.softmax(3)) and torch.equal(tap.probs_dropped, tap.probs)
    assert taps["cross.1.text_to_regions"].probs.shape == (3, 2, 7, 6)
    assert taps["cross.1.regions_to_text"].probs.shape == (3, 2, 6, 7)


def test_an_attention_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"taps \['cross\.2\.text', 'speech\.0'\].*expected some of text\.0, text\.1"):
        build_encoder()(make_batch(), ["text.0", "speech.0", "cross.2.text"])


def test_heads_must_share_the_hidden_size():
    with pytest.raises(ValueError, match="hidden size 8 is no multiple of 3 heads"):
        TwoStreamEncoder(replace(SHAPE, num_heads=3))


def test_an_image_without_regions_leaves_finite_numbers():
    encoder = build_encoder()
    batch = make_batch()
    outputs = encoder(replace(batch, region_mask=batch.region_mask & torch.tensor([[True], [False], [True]])))
    assert outputs.text.isfinite().all() and outputs.regions.isfinite().all()


def test_half_precision_comes_close():
    encoder, batch = build_encoder().float(), make_batch()
    expected = encoder(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(batch)
    for name, mask in (("text", batch.text_mask), ("regions", batch.region_mask)):
        difference = (getattr(found, name) - getattr(expected, name))[mask].abs()
        assert difference.mean() < 0.05, name
