"""Presets of detectors: the public models' schedules, as their files have them."""

import pytest
import torch
from torch import nn

from training.detector.recipe import PRESETS, optimization_of
from training.runs.optimizers import make_optimizer, set_learning_rate


def rate(name, step):
    preset = PRESETS[name]
    optimizer = make_optimizer(nn.Linear(2, 2), preset.optimization)
    return set_learning_rate(optimizer, preset.optimization, step, preset.num_steps)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("bottom-up-attention", {0: 1e-3, 349_999: 1e-3, 350_000: 1e-4, 379_999: 1e-4}),
        ("detectron2", {0: 0, 500: 0.005, 1000: 0.01, 119_999: 0.01, 120_000: 1e-3, 159_999: 1e-3, 160_000: 1e-4}),
        ("adamw", {0: 0, 150: 1e-3, 1575: 5e-4, 3000: 0}),
    ],
)
def test_a_preset_has_the_learning_rates_of_its_model(name, rates):
    assert {step: rate(name, step) for step in rates} == {step: pytest.approx(each) for step, each in rates.items()}


def test_the_public_models_learn_by_sgd_with_momentum():
    for name, decay in (("bottom-up-attention", 5e-4), ("detectron2", 1e-4)):
        optimizer = make_optimizer(nn.Linear(2, 2), PRESETS[name].optimization)
        assert isinstance(optimizer, torch.optim.SGD)
        assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
        assert [group["weight_decay"] for group in optimizer.param_groups] == [decay, 0.0]


def test_what_is_asked_for_goes_before_the_preset():
    asked = optimization_of(PRESETS["detectron2"], learning_rate=0.5, weight_decay=None)
    assert (asked.learning_rate, asked.weight_decay, asked.schedule) == (0.5, 1e-4, "steps")
    assert optimization_of(PRESETS["detectron2"], learning_rate=None, weight_decay=0.0).weight_decay == 0.0
