"""From a run's folder to a folder that transformers loads, or that is imported again."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from transformers import AutoTokenizer, BertModel, LxmertForPreTraining

from annotations.answers import AnswerVocabulary
from annotations.guards.drops import DataError
from stores.errors import DamagedFileError, StoreError
from tests.training.builders import SHAPE, SINGLE_STREAM, SIZES
from training.commands.export_weights import ExportCommand
from training.commands.import_weights import ImportCommand
from training.data.batches import BatchOptions
from training.data.tokenizer import train_tokenizer
from training.model import num_parameters
from training.objectives.catalog import Objectives
from training.objectives.word_object_alignment import AlignmentOptions
from training.runs.checkpoints import save_checkpoint
from training.runs.folder import begin_run
from training.runs.optimizers import Optimization
from training.runs.recipes import Recipe
from training.weights.layouts import published_model
from training.weights.ours import build_model, load_model
from training.weights.published import read_published

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
    assert summary == {"out": str(out), "layout": "lxmert", "parameters": num_parameters(model)}
    loaded = LxmertForPreTraining.from_pretrained(out)
    assert loaded.cls.seq_relationship.weight.unique().tolist() == [expected]
    assert len(AutoTokenizer.from_pretrained(out)) == TOKENIZER.vocab_size


SINGLE = replace(RECIPE, encoder=replace(SINGLE_STREAM, vocab_size=TOKENIZER.vocab_size))


@pytest.mark.parametrize(
    ("recipe", "layout"),
    [(SINGLE, None), (replace(SINGLE, encoder=replace(SINGLE.encoder, end_token=True)), None), (RECIPE, "vinculum")],
    ids=["single stream", "end token", "two streams"],
)
def test_what_goes_out_whole_comes_back_bit_for_bit(tmp_path, recipe, layout):
    objectives = replace(recipe.objectives, word_object_alignment=AlignmentOptions())
    folder, _ = make_run(tmp_path / "run", replace(recipe, objectives=objectives))
    summary = ExportCommand(source=folder, out=tmp_path / "out", layout=layout).run()
    assert summary["layout"] == "vinculum"
    ImportCommand(source=str(tmp_path / "out"), out=tmp_path / "b").run()  # tokenizer and answers lie beside
    (first, model), (second, back) = load_model(folder), load_model(tmp_path / "b")
    assert (back.encoder.shape, back.options, back.sizes) == (model.encoder.shape, model.options, model.sizes)
    assert list(back.state_dict()) == list(model.state_dict())
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert second.answers == first.answers
    assert second.tokenizer.backend.to_str() == first.tokenizer.backend.to_str()


def test_the_text_side_goes_out_as_bert(tmp_path):
    folder, model = make_run(tmp_path / "run", SINGLE)
    assert ExportCommand(source=folder, out=tmp_path / "out", layout="bert").run()["layout"] == "bert"
    loaded = BertModel.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded.pooler.dense.weight, model.encoder.pooler.weight)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == TOKENIZER.vocab_size


@pytest.mark.parametrize(
    ("recipe", "layout", "message"),
    [
        (SINGLE, "lxmert", "single-stream encoder: LXMERT has no place for it, expected a two-stream one"),
        (RECIPE, "bert", "two-stream encoder: BERT has no place for it, expected a single-stream one"),
    ],
)
def test_a_layout_that_has_no_place_for_an_encoder_is_refused(tmp_path, recipe, layout, message):
    folder, _ = make_run(tmp_path / "run", recipe)
    with pytest.raises(DataError, match=message):
        ExportCommand(source=folder, out=tmp_path / "out", layout=layout).run()
    assert not (tmp_path / "out").exists()


def damage_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json: the file: Invalid JSON"),
        (
            lambda folder: damage_config(folder, model_type="bert"),
            r"config\.json: model_type: Input should be 'vinculum'",
        ),
        (lambda folder: damage_config(folder, encoder={"kind": "three-stream"}), r"config\.json: encoder: Input tag"),
        (lambda folder: damage_config(folder, sizes={**asdict(SINGLE.sizes), "num_answers": 3}), "of another shape: "),
        (lambda folder: damage_config(folder, sizes={**asdict(SINGLE.sizes), "num_answers": -3}), "describes no model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), r"model\.safetensors: damaged"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, damage, message):
    folder, _ = make_run(tmp_path / "run", SINGLE)
    ExportCommand(source=folder, out=tmp_path / "out").run()
    damage(tmp_path / "out")
    with pytest.raises(DamagedFileError, match="bring a whole copy"):
        read_published(tmp_path / "out")
    (tmp_path / "out/digests.json").unlink()  # as older versions wrote none
    with pytest.raises(DataError, match=message):
        published_model(read_published(tmp_path / "out"))


def test_weights_of_ours_without_their_config_are_refused(tmp_path):
    folder, _ = make_run(tmp_path / "run", SINGLE)
    ExportCommand(source=folder, out=tmp_path / "out").run()
    (tmp_path / "out/config.json").unlink()
    with pytest.raises(DataError, match=r"config\.json: no such file, expected it beside the weights"):
        published_model(read_published(tmp_path / "out/model.safetensors"))


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


def test_lxmert_comes_back_with_its_tokenizer_and_answers(tmp_path):
    folder, _ = make_run(tmp_path / "run")
    ExportCommand(source=folder, out=tmp_path / "out").run()
    ImportCommand(source=str(tmp_path / "out"), out=tmp_path / "back").run()
    (first, _), (second, _) = load_model(folder), load_model(tmp_path / "back")
    assert second.answers == first.answers
    assert second.tokenizer.backend.to_str() == first.tokenizer.backend.to_str()


def test_an_average_that_no_run_keeps_is_no_damage(tmp_path):
    folder, model = make_run(tmp_path / "run")
    other = save_checkpoint(folder, step=99, model=model, optimizer=None)
    with pytest.raises(StoreError, match="keeps no moving average of the weights; leave --average out"):
        load_model(other.folder, average=True)
