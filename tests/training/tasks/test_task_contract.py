"""What every task in the table promises, and each of its variants."""

from dataclasses import replace

import pytest
import torch

from annotations.datasets.catalog import DATA_SETS
from tests.training.builders import SINGLE_STREAM, SIZES
from training.model import build_new
from training.tasks.catalog import TASKS, find_task

VARIANTS = [(name, variant) for name, task in TASKS.items() for variant in (None, *task.variants)]
every_variant = pytest.mark.parametrize(("name", "variant"), VARIANTS, ids=str)


@every_variant
def test_what_is_asked_are_sentences_of_data_sets_that_there_are(name, variant):
    task = find_task(name, variant)
    assert set(task.sources) <= DATA_SETS.keys()
    assert task.num_images >= 1 and task.batch_size >= 1
    assert task.num_steps or task.epochs > 0


@every_variant
def test_its_objectives_build_heads_of_which_every_term_has_a_weight(name, variant):
    task = find_task(name, variant)
    shape = replace(SINGLE_STREAM, num_segments=max(2, task.num_segments))
    with torch.device("meta"):
        model = build_new(shape, task.objectives, SIZES, seed=0)
    assert all(weight > 0 for weight in model.weights(9, num_steps=10, epoch=9).values())


@pytest.mark.parametrize("name", TASKS)
def test_it_can_be_measured_and_names_its_variants_where_one_is_not_there(name):
    assert callable(TASKS[name].measure)
    with pytest.raises(
        ValueError, match=f"of {name}: none such, expected one of (none|{'|'.join(TASKS[name].variants)})"
    ):
        find_task(name, "no-such-variant")
