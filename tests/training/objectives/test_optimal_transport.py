"""Optimal transport: the specification's worked numbers, POT's exact distances, and what padding and gradients do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.builders import SHAPE, SINGLE_STREAM, SIZES, make_batch, make_outputs
from training.model import build_new
from training.objectives.catalog import NO_OBJECTIVES
from training.objectives.optimal_transport import (
    OptimalTransport,
    OptimalTransportOptions,
    cosine_costs,
    transport_distance,
    transport_plan,
)

THIRDS = torch.tensor([[[0, 1, 0.5], [1, 0, 0.5]]], dtype=torch.float64)
ANGLES = torch.tensor([[[0, 0.4, 1], [1, 0.2, 0]]], dtype=torch.float64)


def whole(costs):
    """Masks without padding."""
    size, length, width = costs.shape
    return torch.ones(size, length, dtype=torch.bool), torch.ones(size, width, dtype=torch.bool)


def distance(costs, **options):
    return transport_distance(costs, *whole(costs), **options)


def random_costs(length, width, seed, dtype=torch.float64):
    """1 - cosine of random unit vectors."""
    draw = torch.Generator().manual_seed(seed)
    text, regions = (
        F.normalize(torch.randn(1, n, 64, generator=draw, dtype=dtype), dim=2).double() for n in (length, width)
    )
    return 1 - text @ regions.transpose(1, 2)


def head_of(**options):
    return OptimalTransport(OptimalTransportOptions(**options), SIZES)


# the worked numbers


def test_the_plan_of_the_first_worked_example_is_exact():
    plan = transport_plan(THIRDS, *whole(THIRDS))
    assert plan.dtype == torch.float64
    assert plan[0].tolist() == [pytest.approx([1 / 3, 0, 1 / 6]), pytest.approx([0, 1 / 3, 1 / 6])]
    assert distance(THIRDS).item() == pytest.approx(1 / 6, abs=1e-12)


@pytest.mark.parametrize(
    ("num_iterations", "expected", "digits"),
    [(50, 0.1000003, 1e-7), (10, 0.100296, 1e-6), (2, 0.105178, 1e-6), (1, 0.174539, 1e-6)],
)
def test_the_distance_of_the_second_worked_example_falls_with_iterations(num_iterations, expected, digits):
    assert distance(ANGLES, num_iterations=num_iterations).item() == pytest.approx(expected, abs=digits)


def test_costs_are_one_less_the_cosine():
    text, regions = torch.tensor([[[2.0, 0], [0, 3]]]), torch.tensor([[[1.0, 0], [0.6, 0.8], [0, 5]]])
    assert cosine_costs(text, regions)[0].flatten().tolist() == pytest.approx(ANGLES.flatten().tolist())


def test_states_of_no_length_cost_one_and_have_a_finite_gradient():
    text = torch.zeros(1, 2, 3, requires_grad=True)
    costs = cosine_costs(text, torch.ones(1, 4, 3))
    costs.sum().backward()
    assert costs.unique().tolist() == [1] and text.grad.isfinite().all()


# the exact distance


@pytest.mark.parametrize(("num_iterations", "tolerance"), [(50, 0.01), (200, 0.0005)])
@pytest.mark.parametrize(("length", "width"), [(20, 36), (8, 12)])
def test_the_distance_is_close_to_the_exact_one(length, width, num_iterations, tolerance):
    ot = pytest.importorskip("ot", reason="POT, the oracle of optimal transport, is not installed")
    costs = torch.cat([random_costs(length, width, seed) for seed in range(20)])
    exact = [ot.emd2(np.full(length, 1 / length), np.full(width, 1 / width), each.numpy()) for each in costs]
    for found in (
        distance(costs, num_iterations=num_iterations),
        distance(costs.float(), num_iterations=num_iterations),
    ):
        assert found.tolist() == pytest.approx(exact, rel=tolerance)


@pytest.mark.parametrize("num_iterations", [1, 50])
def test_words_send_exactly_their_share_and_regions_get_about_theirs(num_iterations):
    costs = random_costs(20, 36, 0)
    plan = transport_plan(costs, *whole(costs), num_iterations=num_iterations)
    assert plan.sum(2)[0].numpy() == pytest.approx(1 / 20, rel=1e-12)
    if num_iterations == 50:
        assert plan.sum(1)[0].numpy() == pytest.approx(1 / 36, rel=0.01)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_words_and_regions_may_change_places(length, width, seed):
    """Up to the little that is missing to the best plan."""
    costs = random_costs(length, width, seed)
    turned = distance(costs.transpose(1, 2), num_iterations=200)
    assert turned.item() == pytest.approx(distance(costs, num_iterations=200).item(), rel=0.01, abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(5)), st.permutations(range(7)))
def test_a_plan_does_not_know_the_order_of_words_and_regions(words, regions):
    costs = random_costs(5, 7, 0)
    turned = transport_plan(costs[:, words][:, :, regions], *whole(costs))
    assert torch.allclose(turned, transport_plan(costs, *whole(costs))[:, words][:, :, regions], atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 12])
def test_a_set_is_at_no_distance_from_itself(size):
    states = torch.randn(1, size, 64, generator=torch.Generator().manual_seed(0))
    assert distance(cosine_costs(states, states[:, torch.randperm(size)])).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("scale", [0, 1e-30, 1e3, 1e6, 1e30])
def test_extreme_costs_stay_finite(scale):
    costs = scale * torch.cat([THIRDS, ANGLES]).float()
    plan = transport_plan(costs, *whole(costs))
    assert plan.isfinite().all() and plan.sum(2).flatten().tolist() == pytest.approx([0.5] * 4)
    assert distance(costs).isfinite().all()


# padding


def test_a_padded_batch_has_the_plans_of_its_pairs_alone():
    sizes = [(2, 3), (5, 1), (1, 7), (4, 4)]
    costs, text_mask = torch.full((4, 6, 8), 0.3, dtype=torch.float64), torch.zeros(4, 6, dtype=torch.bool)
    region_mask = torch.zeros(4, 8, dtype=torch.bool)
    for row, (length, width) in enumerate(sizes):
        costs[row, :length, :width] = random_costs(length, width, row)[0]
        text_mask[row, :length], region_mask[row, :width] = True, True
    plans = transport_plan(costs, text_mask, region_mask)
    distances = transport_distance(costs, text_mask, region_mask)
    for row, (length, width) in enumerate(sizes):
        alone = random_costs(length, width, row)
        assert torch.allclose(plans[row, :length, :width], transport_plan(alone, *whole(alone))[0], atol=1e-12)
        assert distances[row].item() == pytest.approx(distance(alone).item(), abs=1e-12)
    assert not plans[~(text_mask[:, :, None] & region_mask[:, None])].any()


@pytest.mark.parametrize(("length", "width"), [(0, 3), (2, 0), (0, 0)])
def test_a_pair_without_a_word_or_a_region_costs_nothing(length, width):
    text_mask, region_mask = (torch.arange(2) < length)[None], (torch.arange(3) < width)[None]
    costs = THIRDS.clone().requires_grad_()
    lone = transport_distance(costs, text_mask, region_mask)
    lone.sum().backward()
    assert lone.tolist() == [0] and not costs.grad.any()


# gradients


def test_the_gradient_goes_through_the_costs_and_not_through_the_plan():
    costs = ANGLES.clone().requires_grad_()
    distance(costs).sum().backward()
    assert torch.equal(costs.grad, transport_plan(ANGLES, *whole(ANGLES)))


# the objective


def test_pairs_that_match_are_pulled_together_and_others_apart():
    """Distances .1, .3 of pairs that match and .5 of one that does not give -.1 / 3, with its weight -.003333."""
    batch = replace(make_batch(num_pieces=[3] * 3, num_regions=[1] * 3), is_matched=torch.tensor([True, True, False]))
    text = torch.zeros(3, 3, 8)
    text[:, 1, 0] = cosines = torch.tensor([0.9, 0.7, 0.5])
    text[:, 1, 1] = (1 - cosines**2).sqrt()
    outputs = replace(make_outputs(batch), text=text, regions=torch.eye(8)[None, :1].expand(3, -1, -1))
    found = head_of()(outputs, batch)["optimal_transport"]
    assert found.item() * OptimalTransportOptions().weight == pytest.approx(-0.003333, abs=1e-6)


def test_the_ends_of_a_sentence_are_carried_only_if_asked_for():
    batch = make_batch(num_pieces=[5], num_regions=[4])
    outputs = make_outputs(batch)
    costs = cosine_costs(outputs.text, outputs.regions)
    without, with_them = (head_of(special_pieces=asked)(outputs, batch)["optimal_transport"] for asked in (False, True))
    assert without.item() == pytest.approx(distance(costs[:, 1:4]).item(), rel=1e-5)
    assert with_them.item() == pytest.approx(distance(costs).item(), rel=1e-5)


def test_half_precision_changes_nothing_of_given_states():
    batch = make_batch()
    outputs = make_outputs(batch)
    expected = head_of()(outputs, batch)["optimal_transport"]
    with torch.autocast("cpu", torch.bfloat16):
        found = head_of()(outputs, batch)["optimal_transport"]
    assert found.dtype == torch.float32 and found == expected


@pytest.mark.parametrize("shape", [SHAPE, SINGLE_STREAM], ids=["two-stream", "single-stream"])
def test_every_encoder_learns_from_it(shape):
    model = build_new(shape, replace(NO_OBJECTIVES, optimal_transport=OptimalTransportOptions()), SIZES, seed=0)
    model(make_batch())["optimal_transport"].backward()
    for part in (model.encoder.text_embedding, model.encoder.region_embedding):
        assert any(weight.grad is not None and weight.grad.any() for weight in part.parameters())


@pytest.mark.parametrize("options", [{"beta": 0}, {"num_iterations": 0}])
def test_a_plan_without_steps_is_refused(options):
    with pytest.raises(ValueError, match=r"beta .* iterations, expected"):
        OptimalTransportOptions(**options)
