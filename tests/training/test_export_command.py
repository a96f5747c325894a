"""From a run's folder to a folder that transformers loads."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer, LxmertForPreTraining

from annotations.answers import AnswerVocabulary
from annotations.drops import DataError
from stores.errors import StoreError
from tests.training.builders import SHAPE, SIZES
from training.batches import BatchOptions
from training.checkpoints import save_checkpoint
from training.export_command import ExportCommand
from training.model import num_parameters
from training.objectives.catalog import Objectives
from training.optimizers import Optimization
from training.recipes import Recipe
from training.runs import begin_run
from training.tokenizer import train_tokenizer
from training.weights import build_model

TOKENIZER = train_tokenizer(["a red cube", "a green ball"], vocab_size=30)
RECIPE = Recipe(
    task="pretraining",
    encoder=replace(SHAPE, vocab_size=TOKENIZER.vocab_size),
    sizes=replace(SIZES, vocab_size=TOKENIZER.vocab_size, num_answers=2),
    objectives=Objectives(),
    batches=BatchOptions(max_pieces=SHAPE.max_positions),
    optimization=Optimization(),
    sources=("toyworld",),
    batch_size=4,
    num_steps=2,
    precision="float32",
    seed=0,
    data={},
)


def make_run(folder, recipe=RECIPE):
    """Begin a run with two checkpoints, whose weights of matching are all their number; return it with its model."""
    run = begin_run(folder, recipe, TOKENIZER, AnswerVocabulary(answers=("red", "green")))
    model = build_model(run)
    for step in (1, 2):
        if recipe.task == "pretraining":
            torch.nn.init.constant_(model.objectives["matching"].decoder.weight, step)
        average = {name: tensor + 1 for name, tensor in model.state_dict().items()}
        save_checkpoint(folder, step=step, model=model, optimizer=None, average=average)
    return folder, model


@pytest.mark.parametrize(
    ("place", "average", "expected"), [("", False, 2), ("checkpoints/step-00000001", False, 1), ("", True, 3)]
)
def test_a_run_or_a_checkpoint_of_it_loads_in_transformers(tmp_path, place, average, expected):
    run, model = make_run(tmp_path / "run")
    out = tmp_path / "out"
    summary = ExportCommand(source=run / place, out=out, average=average).run()
    assert summary == {"out": str(out), "parameters": num_parameters(model)}
    loaded = LxmertForPreTraining.from_pretrained(out)
    assert loaded.cls.seq_relationship.weight.unique().tolist() == [expected]
    assert len(AutoTokenizer.from_pretrained(out)) == TOKENIZER.vocab_size


def test_a_run_of_another_task_is_refused(tmp_path):
    run, _ = make_run(tmp_path / "run", replace(RECIPE, task="gqa"))
    with pytest.raises(DataError, match="a run of 'gqa', expected one of pre-training"):
        ExportCommand(source=run, out=tmp_path / "out").run()


@pytest.mark.parametrize("place", ["", "checkpoints/step-00000002"])
def test_a_run_is_not_written_over(tmp_path, place):
    run, _ = make_run(tmp_path / "run")
    with pytest.raises(DataError, match="whose own weights would go; give another --out"):
        ExportCommand(source=run, out=run / place).run()


def test_a_folder_without_a_run_is_said_so(tmp_path):
    with pytest.raises((StoreError, DataError), match="no checkpoint there"):
        ExportCommand(source=tmp_path, out=tmp_path / "out").run()
