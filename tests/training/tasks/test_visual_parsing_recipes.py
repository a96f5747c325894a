"""How the paper fine-tunes a visual parser: epochs, batches, and when the learning rate falls."""

import pytest
from torch import nn

from training.data.batches import BatchOptions
from training.runs.optimizers import Optimization, make_optimizer, set_learning_rate
from training.runs.presets import find_preset
from training.tasks.catalog import find_task


def rates_of(optimization, epochs, asked):
    """Return the learning rate at the beginning of these epochs, over the peak."""
    weights = nn.Linear(1, 1)
    optimizer = make_optimizer(weights, optimization)
    return [set_learning_rate(optimizer, optimization, epoch, epochs) / optimization.learning_rate for epoch in asked]


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "falls"),
    [
        ("vqa-v2", 100, 512, {64: 1, 65: 0.1, 75: 0.01}),
        ("nlvr2", 80, 512, {59: 1, 60: 1 / 2, 65: 1 / 4, 70: 1 / 8, 75: 1 / 16, 78: 1 / 32, 79: 1 / 64}),
        ("snli-ve", 25, 512, {14: 1, 15: 0.1, 20: 0.01, 23: 0.001}),
        ("retrieval", 10, 32, {4: 1, 5: 0.5, 9: 0.5}),
    ],
)
def test_each_task_is_learnt_as_the_paper_says(name, epochs, batch_size, falls):
    task = find_task(name, "visual-parsing")
    assert (task.epochs, task.batch_size, task.num_steps, task.learning_rate) == (epochs, batch_size, None, 5e-5)
    optimization = Optimization(learning_rate=task.learning_rate, **task.optimization)
    assert rates_of(optimization, epochs, falls) == pytest.approx(list(falls.values()))


def test_retrieval_is_matching_with_captions_of_the_same_batch():
    task = find_task("retrieval", "visual-parsing")
    assert task.objectives.ranking is None
    assert task.objectives.matching is not None
    assert not task.objectives.matching.pooled
    assert task.batches == BatchOptions(mismatch=0.5)


def test_pre_training_is_the_paper_s():
    preset = find_preset("visual-parsing")
    optimization = preset.optimization
    assert (preset.epochs, preset.batch_size * 4) == (40, 2048)
    assert (optimization.learning_rate, optimization.learning_rate * optimization.trunk_scale) == (5e-5, 5e-6)
    assert optimization.warmup_steps == 500
    steps_an_epoch = 400
    asked = [250, 500, 24 * steps_an_epoch, 25 * steps_an_epoch, 35 * steps_an_epoch]
    assert rates_of(optimization, 40 * steps_an_epoch, asked) == pytest.approx([0.5, 1, 1, 0.1, 0.01])
    assert preset.objectives.masked_tokens.weight == 0.01
    assert preset.objectives.optimal_transport.weight == 0.1
    assert not preset.objectives.optimal_transport.special_pieces
    small, toy = find_preset("visual-parsing-small"), find_preset("toy-visual-parsing")
    assert [each.encoder.trunk.side**2 for each in (preset, small, toy)] == [144, 49, 36]
    assert [each.encoder.num_layers for each in (preset, small, toy)] == [12, 3, 3]
