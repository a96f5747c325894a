"""Optimizers and schedules, against the formulas of the papers written as plain loops."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from training.runs.optimizers import Optimization, make_optimizer, set_learning_rate


def a_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 1))


def gradients(model, number):
    draw = torch.Generator().manual_seed(number)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=draw)


def test_one_step_of_bert_adam_by_hand():
    weight = nn.Parameter(torch.tensor([1.0]))
    module = nn.ParameterList([weight])
    optimizer = make_optimizer(module, Optimization(learning_rate=0.1))
    weight.grad = torch.tensor([0.5])
    optimizer.step()
    # m = 0.1 * 0.5, v = 0.001 * 0.25; 1 - 0.1 * (0.05 / (sqrt(0.00025) + 1e-6) + 0.01 * 1)
    assert weight.item() == pytest.approx(0.682792, abs=1e-6)


def test_bert_adam_is_adam_without_bias_correction_that_decays_every_weight():
    options = Optimization(weight_decay=0.1)
    model = a_model()
    optimizer = make_optimizer(model, options)
    expected = [weight.detach().double().numpy().copy() for weight in model.parameters()]
    firsts, seconds = ([np.zeros_like(each) for each in expected] for _ in range(2))
    for step in range(6):
        rate = set_learning_rate(optimizer, options, step, 6)
        gradients(model, step)
        for number, weight in enumerate(model.parameters()):
            gradient = weight.grad.double().numpy()
            firsts[number] = 0.9 * firsts[number] + 0.1 * gradient
            seconds[number] = 0.999 * seconds[number] + 0.001 * gradient**2
            update = firsts[number] / (np.sqrt(seconds[number]) + 1e-6)
            expected[number] -= rate * (update + 0.1 * expected[number])
        optimizer.step()
    for weight, want in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), want, atol=1e-6)


def test_adamw_corrects_its_bias_and_spares_norms_and_biases_from_decay():
    options = Optimization(optimizer="adamw", weight_decay=0.5, epsilon=1e-8, schedule="constant", warmup=0)
    model = a_model()
    optimizer = make_optimizer(model, options)
    expected = [weight.detach().double().numpy().copy() for weight in model.parameters()]
    firsts, seconds = ([np.zeros_like(each) for each in expected] for _ in range(2))
    for step in range(1, 6):
        gradients(model, step)
        for number, weight in enumerate(model.parameters()):
            gradient = weight.grad.double().numpy()
            firsts[number] = 0.9 * firsts[number] + 0.1 * gradient
            seconds[number] = 0.999 * seconds[number] + 0.001 * gradient**2
            update = firsts[number] / (1 - 0.9**step) / (np.sqrt(seconds[number] / (1 - 0.999**step)) + 1e-8)
            decay = 0.5 if weight.ndim > 1 else 0.0
            expected[number] -= 1e-4 * (update + decay * expected[number])
        optimizer.step()
    for weight, want in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), want, atol=1e-6)


@pytest.mark.parametrize("name", ["bert-adam", "adamw"])
def test_the_first_step_of_a_warm_up_leaves_the_weights_as_they_are_but_not_the_moments(name):
    options = Optimization(optimizer=name)
    model = a_model()
    before = copy.deepcopy(model.state_dict())
    optimizer = make_optimizer(model, options)
    assert set_learning_rate(optimizer, options, 0, 100) == 0
    gradients(model, 0)
    optimizer.step()
    assert all(torch.equal(each, before[weight]) for weight, each in model.state_dict().items())
    assert all(state["exp_avg"].any() for state in optimizer.state.values())


def test_sgd_is_plain_momentum_with_decay_on_matrices_alone():
    model = a_model()
    options = Optimization(optimizer="sgd", learning_rate=0.01, betas=(0.9, 0.0), weight_decay=0.5)
    optimizer = make_optimizer(model, options)
    expected = [weight.detach().double().numpy().copy() for weight in model.parameters()]
    moving = [np.zeros_like(each) for each in expected]
    for step in range(1, 5):
        gradients(model, step)
        for number, weight in enumerate(model.parameters()):
            decay = 0.5 if weight.ndim > 1 else 0.0
            moving[number] = 0.9 * moving[number] + weight.grad.double().numpy() + decay * expected[number]
            expected[number] -= 0.01 * moving[number]
        optimizer.step()
    for weight, want in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), want, atol=1e-6)


@pytest.mark.parametrize("name", ["bert-adam", "adamw", "sgd"])
def test_weights_that_are_not_learnt_are_left_alone(name):
    model = a_model()
    model[0].weight.requires_grad_(False)
    optimizer = make_optimizer(model, Optimization(optimizer=name))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 5


def rates(options, shares):
    optimizer = make_optimizer(a_model(), options)
    return [set_learning_rate(optimizer, options, round(share * 1000), 1000) for share in shares]


def test_the_linear_schedule_has_the_worked_values():
    options = Optimization(learning_rate=1.0, warmup=0.05)
    assert rates(options, (0, 0.025, 0.05, 0.5, 1)) == pytest.approx([0, 0.5, 1, 0.5263, 0], abs=1e-4)


def test_the_cosine_schedule_has_the_worked_values():
    options = Optimization(learning_rate=1.0, schedule="cosine", warmup=0.2)
    assert rates(options, (0, 0.1, 0.2, 0.4, 0.6, 1)) == pytest.approx([0, 0.5, 1, 0.8536, 0.5, 0], abs=1e-4)


def test_the_linear_schedule_without_a_warm_up_begins_at_its_peak():
    assert rates(Optimization(learning_rate=1.0, warmup=0), (0, 0.25, 1)) == pytest.approx([1, 0.75, 0])


def test_the_constant_schedule_stays_at_its_peak():
    options = Optimization(learning_rate=2.0, schedule="constant", warmup=0.1)
    assert rates(options, (0, 0.05, 0.1, 0.7, 1)) == pytest.approx([0, 1, 2, 2, 2])


def test_the_schedule_in_steps_falls_at_each_of_its_shares():
    options = Optimization(learning_rate=1.0, schedule="steps", warmup=0.1, step_at=(0.5, 0.75), step_factor=0.1)
    assert rates(options, (0.05, 0.4, 0.5, 0.74, 0.75, 1)) == pytest.approx([0.5, 1, 0.1, 0.1, 0.01, 0.01])


@given(warmup=st.floats(0, 0.99), step=st.integers(0, 2000), num_steps=st.integers(1, 1000))
@settings(max_examples=40, deadline=None)
def test_a_learning_rate_is_never_negative_nor_above_the_peak(warmup, step, num_steps):
    options = Optimization(learning_rate=3.0, warmup=warmup)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    assert 0 <= set_learning_rate(optimizer, options, step, num_steps) <= 3
    assert optimizer.param_groups[0]["lr"] <= 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"warmup": 1.0}, "warm-up is 1.0"),
        ({"learning_rate": -1e-4}, "learning rate is -0.0001"),
        ({"learning_rate": float("nan")}, "learning rate is nan"),
        ({"ema": 1.0}, "decay of the average is 1.0"),
    ],
)
def test_an_option_out_of_its_range_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Optimization(**options)


@pytest.mark.parametrize("name", ["bert-adam", "adamw"])
def test_a_trunk_learns_at_its_own_rate(name):
    model = nn.ModuleDict({"encoder": nn.ModuleDict({"trunk": a_model(), "pooler": nn.Linear(4, 3)})})
    options = Optimization(optimizer=name, learning_rate=0.2, trunk_scale=0.1, schedule="constant", warmup=0.0)
    optimizer = make_optimizer(model, options)
    assert set_learning_rate(optimizer, options, 3, 10) == 0.2
    rates = {weight: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    found = {name: rates[weight] for name, weight in model.named_parameters()}
    assert found == pytest.approx({name: 0.02 if ".trunk." in name else 0.2 for name in found})
    decays = {weight: group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
    spared = 0.01 if name == "bert-adam" else 0.0
    assert {decays[each] for each in model.parameters()} == {0.01, spared}


def test_a_warm_up_can_be_told_in_steps():
    options = Optimization(learning_rate=1.0, schedule="steps", warmup=0.3, warmup_steps=500, step_at=(0.625, 0.875))
    optimizer = make_optimizer(a_model(), options)

    def rates(num_steps, steps):
        return [set_learning_rate(optimizer, options, step, num_steps) for step in steps]

    assert rates(4000, (0, 250, 500, 2499, 2500, 3499, 3500)) == pytest.approx([0, 0.5, 1, 1, 0.1, 0.1, 0.01])
    assert rates(100, (25, 50)) == pytest.approx([0.5, 1])  # half of all at most
