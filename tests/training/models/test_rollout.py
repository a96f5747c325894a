"""Attention rollout: the specification's matrices, a loop over layers and places, and what must always hold.

Axes: B pairs, N heads, T places of the sequence.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.builders import SHAPE, SINGLE_STREAM, make_batch, make_outputs, take_pair
from training.models.rollout import roll_out, rollout_of

FIRST = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]]], dtype=torch.float64)
SECOND = torch.tensor([[[0.4, 0.4, 0.2], [0.25, 0.5, 0.25], [0.1, 0.3, 0.6]]], dtype=torch.float64)


def assert_rows(found, expected):
    for row, numbers in zip(found.tolist(), expected, strict=True):
        assert row == pytest.approx(numbers, abs=1e-9)


def by_loops(attention):
    """The same, place by place, of numpy matrices [T, T], one for each layer."""
    rolled = []
    for layer in attention:
        size = len(layer)
        kept = [[(layer[i, j] + (i == j)) / (layer[i].sum() + 1) for j in range(size)] for i in range(size)]
        if rolled:
            kept = [[sum(kept[i][k] * rolled[-1][k][j] for k in range(size)) for j in range(size)] for i in range(size)]
        rolled.append(kept)
    return rolled


def test_the_worked_matrices():
    first, second = roll_out([FIRST, SECOND])
    assert_rows(first[0], [[0.75, 0.15, 0.1], [0.05, 0.8, 0.15], [0.1, 0.1, 0.8]])
    assert_rows(second[0], [[0.545, 0.275, 0.18], [0.14375, 0.63125, 0.225], [0.125, 0.2075, 0.6675]])


def test_a_later_layer_stands_on_the_left():
    wrong_order = roll_out([SECOND, FIRST])[1][0]
    assert wrong_order[0].tolist() == pytest.approx([0.54875, 0.2775, 0.17375], abs=1e-9)
    assert roll_out([FIRST, SECOND])[1][0, 0].tolist() != pytest.approx(wrong_order[0].tolist(), abs=1e-3)


def test_a_row_that_dropout_left_without_a_part_sums_to_one_again():
    dropped = torch.tensor([[[0, 0.3, 0.2], [0, 0, 0], [0, 0, 0]]], dtype=torch.float64) / 0.9
    (found,) = roll_out([dropped])
    assert_rows(found[0], [[0.642857142857, 0.214285714286, 0.142857142857], [0, 1, 0], [0, 0, 1]])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 6), num_layers=st.integers(1, 5))
def test_it_is_what_loops_give_and_its_rows_sum_to_one(seed, size, num_layers):
    attention = np.random.default_rng(seed).dirichlet(np.full(size, 0.3), (num_layers, size))
    found = roll_out(torch.from_numpy(attention)[:, None])
    assert np.array(by_loops(attention)) == pytest.approx(torch.cat(found).numpy(), abs=1e-12)
    assert torch.cat(found).sum(2).numpy() == pytest.approx(1, abs=1e-12)


def test_heads_are_averaged_first_all_of_them_or_some():
    outputs = make_outputs(make_batch(), dtype=torch.float64, num_layers=3)
    probs = [outputs.taps[layer].probs for layer in outputs.layers]
    for heads, averaged in ((None, [each.mean(1) for each in probs]), ((1,), [each[:, 1] for each in probs])):
        for found, expected in zip(rollout_of(outputs, heads=heads), roll_out(averaged), strict=True):
            assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"heads \[2\]: no such heads, the encoder has 2"):
        rollout_of(outputs, heads=(0, 2))


def test_only_as_many_layers_are_rolled_out_as_are_asked_for():
    outputs = make_outputs(make_batch(), num_layers=3)
    assert len(rollout_of(outputs)) == 3
    two = rollout_of(replace(outputs, taps={"joint.0": outputs.taps["joint.0"]}), num_layers=1)
    assert torch.equal(two[0], rollout_of(outputs)[0])


def test_dropped_attention_is_rolled_out_where_it_is_asked_for():
    outputs = make_outputs(make_batch(), num_layers=1)
    tap = replace(outputs.taps["joint.0"], probs_dropped=torch.zeros_like(outputs.taps["joint.0"].probs))
    (found,) = rollout_of(replace(outputs, taps={"joint.0": tap}), kind="probs_dropped")
    assert torch.equal(found[0], torch.eye(found.shape[1]))


def test_half_precision_is_rolled_out_in_single_precision():
    outputs = make_outputs(make_batch(), dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = rollout_of(outputs)
    assert {each.dtype for each in found} == {torch.float32}
    assert found[1].sum(2).detach().numpy() == pytest.approx(1, abs=1e-6)


def test_nothing_comes_from_padding_and_a_pair_has_the_rollout_that_it_has_alone():
    torch.manual_seed(0)
    encoder = replace(SINGLE_STREAM, end_token=True).build().double().eval()
    for weight in encoder.layers.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    batch = replace(make_batch(), masked_regions=None)
    together = rollout_of(encoder(batch, encoder.tap_names))
    there_BT = torch.cat([batch.text_mask, batch.region_mask, torch.ones(3, 1, dtype=torch.bool)], 1)
    for row in range(3):
        there = there_BT[row]
        alone = rollout_of(encoder(take_pair(batch, row), encoder.tap_names))
        for one, all_of_them in zip(alone, together, strict=True):
            assert not all_of_them[row, there][:, ~there].any()
            assert torch.allclose(one[0], all_of_them[row, there][:, there], rtol=0, atol=1e-9)


def test_two_streams_have_no_rollout():
    encoder = SHAPE.build()
    with pytest.raises(
        ValueError, match=r"no joint attention of cross\.0, cross\.1, expected .* single-stream encoder"
    ):
        rollout_of(encoder(make_batch(), encoder.tap_names))
