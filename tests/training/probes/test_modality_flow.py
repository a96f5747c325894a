"""Inter-modality flow: the specification's matrices and its table, a loop over places, and what must always hold."""

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.builders import SHAPE, SINGLE_STREAM, make_batch, make_outputs, take_pair
from training.batch import AttentionTap, EncoderOutputs
from training.models.two_stream import CROSS_TAPS
from training.probes.modality_flow import crossing, modality_flow, uniform_flow

FIRST = [[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]]
SECOND = [[0.4, 0.4, 0.2], [0.25, 0.5, 0.25], [0.1, 0.3, 0.6]]


@pytest.fixture(autouse=True)
def frozen():
    with torch.no_grad():
        yield


def tapped(maps, *, num_pieces):
    """Return outputs of one pair whose layers have these maps [T, T] of one head, the first pieces words."""
    probs = [torch.tensor(each, dtype=torch.float64)[None, None] for each in maps]
    states = torch.zeros(1, probs[0].shape[-1], 1)
    layers = tuple(f"joint.{number}" for number in range(len(maps)))
    return EncoderOutputs(
        text=states[:, :num_pieces],
        regions=states[:, num_pieces:],
        pooled=states[:, 0],
        word_embeddings=states[0],
        layers=layers,
        taps={
            layer: AttentionTap(scores=each.log(), probs=each, probs_dropped=each)
            for layer, each in zip(layers, probs, strict=True)
        },
    )


def there(outputs):
    """Return the masks of outputs without padding."""
    return tuple(torch.ones(states.shape[:2], dtype=torch.bool) for states in (outputs.text, outputs.regions))


def flows(maps, *, num_pieces):
    """Return the flows within and from the input of one pair, layer by layer."""
    outputs = tapped(maps, num_pieces=num_pieces)
    return [(float(flow.within), float(flow.from_input)) for _, flow in modality_flow(outputs, *there(outputs))]


def random_maps(seed, num_layers, size):
    return np.random.default_rng(seed).dirichlet(np.full(size, 0.3), (num_layers, size))


def random_encoder(shape):
    torch.manual_seed(0)
    encoder = shape.build().double().eval()
    for weight in encoder.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return encoder


def by_loops(maps, num_pieces):
    """The same, place by place."""
    rolled, found = None, []
    for attention in maps:
        size = len(attention)
        kept = [[(attention[i][j] + (i == j)) / 2 for j in range(size)] for i in range(size)]
        before = [[float(i == j) for j in range(size)] for i in range(size)] if rolled is None else rolled
        rolled = [[sum(kept[i][k] * before[k][j] for k in range(size)) for j in range(size)] for i in range(size)]
        shares = []
        for each in (kept, rolled):
            inter = sum(each[i][j] for i in range(size) for j in range(size) if (i < num_pieces) != (j < num_pieces))
            intra = sum(each[i][j] for i in range(size) for j in range(size) if (i < num_pieces) == (j < num_pieces))
            assert inter + intra == pytest.approx(size, abs=1e-9)  # the denominator is the number of places
            shares.append(inter / (inter + intra))
        found.append(tuple(shares))
    return found


def test_the_worked_matrices():
    (first, from_first), (second, from_input) = flows([FIRST, SECOND], num_pieces=2)
    assert (first, second, from_input) == pytest.approx((0.15, 0.1416666667, 0.2458333333), abs=1e-9)
    assert from_first == first
    assert 3 * from_input == pytest.approx(0.7375, abs=1e-9)


def test_without_the_identity_the_first_worked_layer_has_twice_as_much():
    raw = crossing(torch.tensor([FIRST]), torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool))
    assert float(raw) == pytest.approx(0.3, abs=1e-7)


@given(seed=st.integers(0, 10**6), size=st.integers(2, 6), num_layers=st.integers(1, 4), data=st.data())
def test_it_is_what_loops_give_and_within_a_layer_at_most_a_half(seed, size, num_layers, data):
    maps = random_maps(seed, num_layers, size)
    num_pieces = data.draw(st.integers(1, size - 1))
    found = flows(maps, num_pieces=num_pieces)
    assert np.array(found) == pytest.approx(np.array(by_loops(maps, num_pieces)), abs=1e-12)
    assert all(0 <= within <= 0.5 for within, _ in found)


@given(seed=st.integers(0, 10**6), num_pieces=st.integers(1, 4), num_regions=st.integers(1, 4))
def test_names_may_be_swapped(seed, num_pieces, num_regions):
    maps = random_maps(seed, 3, num_pieces + num_regions)
    swapped = np.roll(maps, num_regions, (1, 2))
    assert np.array(flows(swapped, num_pieces=num_regions)) == pytest.approx(
        np.array(flows(maps, num_pieces=num_pieces)), abs=1e-12
    )


def test_nothing_flows_between_blocks_that_attend_to_themselves():
    blocks = np.zeros((3, 5, 5))
    blocks[:, :2, :2], blocks[:, 2:, 2:] = random_maps(0, 3, 2), random_maps(1, 3, 3)
    assert flows(blocks, num_pieces=2) == [(0, 0)] * 3


@pytest.mark.parametrize(
    ("num_pieces", "num_regions", "within", "from_input", "limit"),
    [
        (20, 36, 0.2296, 0.4018, 0.4592),
        (20, 49, 0.2058, 0.3602, 0.4117),
        (49, 49, 0.25, 0.4375, 0.5),
        (20, 144, 0.1071, 0.1874, 0.2142),
        (20, 240, 0.071, 0.1243, 0.142),
    ],
)
def test_the_table_of_uniform_attention(num_pieces, num_regions, within, from_input, limit):
    size = num_pieces + num_regions
    outputs = tapped(np.full((3, size, size), 1 / size), num_pieces=num_pieces)
    found = [flow for _, flow in modality_flow(outputs, *there(outputs))]
    assert float(found[2].within) == pytest.approx(within, abs=5e-5)
    assert float(found[2].from_input) == pytest.approx(from_input, abs=5e-5)
    for flow in found:
        assert float(flow.within_uniform) == pytest.approx(float(flow.within), abs=1e-12)
        assert float(flow.from_input_uniform) == pytest.approx(float(flow.from_input), abs=1e-12)
    pieces, regions = torch.tensor([num_pieces]), torch.tensor([num_regions])
    assert float(uniform_flow(pieces, regions, num_layers=60)) == pytest.approx(limit, abs=5e-5)


@pytest.mark.parametrize("shape", [SHAPE, SINGLE_STREAM, replace(SINGLE_STREAM, end_token=True)])
def test_a_pair_has_the_flow_that_it_has_alone_whatever_its_padding(shape):
    encoder, batch = random_encoder(shape), replace(make_batch(), masked_regions=None)
    together = list(modality_flow(encoder(batch, encoder.tap_names), batch.text_mask, batch.region_mask))
    assert [layer for layer, _ in together] == list(encoder.meeting_layers)
    for row in range(3):
        pair = take_pair(batch, row)
        alone = modality_flow(encoder(pair, encoder.tap_names), pair.text_mask, pair.region_mask)
        for (_, of_all), (_, of_one) in zip(together, alone, strict=True):
            for name, figures in vars(of_one).items():
                assert float(figures) == pytest.approx(float(getattr(of_all, name)[row]), abs=1e-12), name


def test_what_flows_is_the_heads_mean_without_the_end_token():
    encoder, batch = random_encoder(replace(SINGLE_STREAM, end_token=True)), make_batch()
    pair = take_pair(batch, 1)
    outputs = encoder(pair, encoder.tap_names)
    maps = []
    for layer in encoder.meeting_layers:
        kept = outputs.taps[layer].probs[0].mean(0)[:-1, :-1]
        maps.append((kept / kept.sum(1, keepdim=True)).tolist())
    found = modality_flow(outputs, pair.text_mask, pair.region_mask)
    assert [(float(flow.within), float(flow.from_input)) for _, flow in found] == pytest.approx(
        [pytest.approx(each, abs=1e-9) for each in by_loops(maps, 7)]
    )


def test_half_of_what_two_streams_take_in_crosses_whatever_their_attention():
    batch = make_batch()
    for seed in range(3):
        outputs = make_outputs(batch, num_streams=2, num_layers=3, seed=seed)
        for _, flow in modality_flow(outputs, batch.text_mask, batch.region_mask):
            for figures in vars(flow).values():
                assert figures.numpy() == pytest.approx(0.5, abs=1e-7)


def test_what_two_streams_take_from_one_another_is_composed_of_both_sub_layers():
    """One word, two regions, by hand: words look at regions, then regions at themselves."""
    rows = {
        "text_to_regions": [[0.5, 0.5]],
        "regions_to_text": [[1.0], [1.0]],
        "text": [[1.0]],
        "regions": [[0.8, 0.2], [0.8, 0.2]],
    }
    probs = {name: torch.tensor(each)[None, None] for name, each in rows.items()}
    assert set(probs) == set(CROSS_TAPS)
    states = torch.zeros(1, 3, 1)
    outputs = EncoderOutputs(
        text=states[:, :1],
        regions=states[:, 1:],
        pooled=states[:, 0],
        word_embeddings=states[0],
        layers=("cross.0",),
        taps={
            f"cross.0.{name}": AttentionTap(scores=each, probs=each, probs_dropped=each) for name, each in probs.items()
        },
    )
    crossed = np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0], [0.5, 0, 0.5]])
    own = np.array([[1, 0, 0], [0, 0.9, 0.1], [0, 0.4, 0.6]])
    expected = own @ crossed
    assert expected[1].tolist() == pytest.approx([0.5, 0.45, 0.05])
    ((_, flow),) = modality_flow(outputs, *there(outputs))
    inter = expected[0, 1:].sum() + expected[1:, 0].sum()
    assert float(flow.within) == pytest.approx(inter / 3, abs=1e-7)


@pytest.mark.parametrize("num_streams", [1, 2])
def test_an_image_without_regions_has_none(num_streams):
    batch = make_batch()
    region_mask = batch.region_mask.clone()
    region_mask[1] = False
    outputs = make_outputs(batch, num_streams=num_streams)
    for _, flow in modality_flow(outputs, batch.text_mask, region_mask):
        for figures in vars(flow).values():
            assert float(figures[1]) == 0 < float(figures[0])


def test_autocast_and_half_precision_leave_products_exact():
    outputs, batch = make_outputs(make_batch(), num_layers=3), make_batch()
    expected = [flow.from_input for _, flow in modality_flow(outputs, batch.text_mask, batch.region_mask)]
    with torch.autocast("cpu", torch.bfloat16):
        found = [flow.from_input for _, flow in modality_flow(outputs, batch.text_mask, batch.region_mask)]
    assert {each.dtype for each in found} == {torch.float64}
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_of_many_layers_only_the_last_ones_products_are_held():
    batch = make_batch()
    outputs = make_outputs(batch, num_layers=8)
    shape = (3, 13, 13)
    held = []
    for _ in modality_flow(outputs, batch.text_mask, batch.region_mask):
        held.append(sum(type(each) is torch.Tensor and each.shape == shape for each in gc.get_objects()))
    assert max(held) <= 2
