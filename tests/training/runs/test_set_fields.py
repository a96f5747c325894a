"""`--set FIELD=VALUE`: what it changes is recorded; what is no field, or no value of one, is refused by name."""

from dataclasses import replace

import pytest

from stores.errors import StoreError
from tests.training.learnable_runs import learnable_stores, tiny_preset
from tests.training.task_stores import make_task_run, task_stores
from training.cli import main
from training.execution.finetune import FinetuneOptions, prepare_finetuning
from training.execution.pretrain import Overrides, prepare
from training.runs.folder import open_run
from training.runs.recipes import as_json
from training.runs.set_fields import FieldError, with_fields


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return learnable_stores(tmp_path_factory.mktemp("stores") / "joined")


@pytest.fixture(scope="module")
def begun(stores, tmp_path_factory):
    return prepared(stores, tmp_path_factory.mktemp("run") / "run")


def prepared(stores, out, *fields, **overrides):
    regions, sentences = stores
    asked = Overrides(fields=fields, **overrides)
    return prepare(tiny_preset(), regions=regions, sentences=sentences, out=out, overrides=asked)


def at(recipe, path):
    found = as_json(recipe)
    for name in path.split("."):
        found = found[name]
    return found


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("objectives.matching.weight", "2", 2.0),
        ("objectives.masked_words.weight", "0.5", 0.5),
        ("objectives.question_answering", "null", None),
        ("optimization.schedule", "steps", "steps"),
        ("optimization.clip", "1.5", 1.5),
        ("batches.mask_words", "0.3", 0.3),
        ("encoder.dropout", "0", 0.0),
    ],
)
def test_a_field_that_is_set_is_recorded_and_nothing_else_changes(stores, begun, tmp_path, field, value, expected):
    run = prepared(stores, tmp_path / "run", f"{field}={value}")
    found = open_run(run.folder).recipe
    assert at(found, field) == expected != at(begun.recipe, field)
    assert with_fields(begun.recipe, [f"{field}={value}"]) == found


def test_an_objective_that_is_off_is_switched_on_and_then_set(stores, tmp_path):
    run = prepared(
        stores, tmp_path / "run", "objectives.optimal_transport={}", "objectives.optimal_transport.weight=0.5"
    )
    assert run.recipe.objectives.optimal_transport.weight == 0.5
    assert run.recipe.objectives.optimal_transport.beta == 0.5


def test_what_no_objective_learns_from_goes_as_with_an_ablation(stores, tmp_path):
    run = prepared(stores, tmp_path / "run", "objectives.masked_regions=null")
    assert run.recipe.batches.mask_regions == 0
    with pytest.raises(FieldError, match=r"mask_regions=0.5: this recipe has 0.0 there, since the objective"):
        prepared(stores, tmp_path / "other", "objectives.masked_regions=null", "batches.mask_regions=0.5")


def test_a_run_goes_on_with_what_was_set_and_is_refused_without(stores, tmp_path):
    first = prepared(stores, tmp_path / "run", "objectives.matching.weight=2")
    assert prepared(stores, tmp_path / "run", "objectives.matching.weight=2").recipe == first.recipe
    with pytest.raises(StoreError, match=r"objectives\.matching\.weight was 2\.0"):
        prepared(stores, tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("objectives.matching", ["'objectives.matching'", "expected FIELD=VALUE"]),
        ("objectives.matchin.weight=2", ["objectives has no 'matchin'", "did you mean matching?"]),
        ("objectives.matching.wait=2", ["objectives.matching has no 'wait'", "did you mean weight?"]),
        ("speed=2", ["a recipe has no 'speed'"]),
        ("objectives.matching.weight=much", ["weight=much", "should be a valid number"]),
        ("objectives.matching.weight=true", ["weight=true", "should be a valid number"]),
        ("objectives.matching.weight=-1", ["matching: weight is -1.0, expected 0 or more"]),
        ("objectives.matching={'weight': 2}", ["should be an object"]),
        ('objectives.optimal_transport={"bet": 2}', ["no objectives.optimal_transport.bet"]),
        ("objectives.ranking.weight=2", ["objectives.ranking is off", "--set objectives.ranking={}"]),
        ("batches.mask_words.share=1", ["batches.mask_words is 0.15, which has no fields"]),
        ("batches.mask_words=1.5", ["mask_words is 1.5, expected a share from 0 to 1"]),
        ("batches.max_pieces=2.5", ["max_pieces=2.5", "integer"]),
        ("optimization.schedule=steep", ["schedule=steep", "'linear'"]),
        ("encoder.dropout=7", ["no model has these values", "dropout"]),
        ("encoder.num_heads=3", ["no model has these values"]),
        ("encoder.kind=single-stream", ["encoder.kind cannot be set", "the preset decides it"]),
        ("sizes.vocab_size=7", ["sizes cannot be set"]),
        ("data.regions=x", ["data cannot be set"]),
        ("batch_size=7", ["use --batch-size"]),
        ("num_steps=7", ["use --steps"]),
        ("seed=7", ["use --seed"]),
        ("precision=float32", ["use --precision"]),
    ],
)
def test_what_is_no_field_or_no_value_ends_with_status_1_before_a_run_is_begun(
    stores, begun, tmp_path, capsys, text, words
):
    with pytest.raises(FieldError) as refused:
        with_fields(begun.recipe, [text])
    for word in words:
        assert word in str(refused.value)


def test_the_command_ends_with_status_1_and_begins_no_run(stores, tmp_path, capsys):
    regions, sentences = stores
    data = ["--regions", str(regions), "--sentences", str(sentences), "--out", str(tmp_path / "run")]
    more = ["--sources", "vqa-v2", "--batch-size", "4", "--set", "objectives.matching.weight=2"]
    assert main(["pretrain", "--preset", "toy", *data, *more, "--set", "objectives.matching.wait=2"]) == 1
    assert "did you mean weight?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_fields_of_a_task_are_set_alike(tmp_path):
    regions, sentences = task_stores(tmp_path / "stores")
    start = make_task_run(tmp_path / "start").folder

    def prepared(*fields):
        options = FinetuneOptions(batch_size=4, fields=fields)
        out = tmp_path / "out"
        return prepare_finetuning("gqa", start, regions=regions, sentences=sentences, out=out, options=options)

    run = prepared("objectives.question_answering.weight=3", "optimization.ema=0.5")
    assert run.recipe.objectives.question_answering.weight == 3
    assert run.recipe.optimization == replace(run.recipe.optimization, ema=0.5)
    with pytest.raises(FieldError, match="expected from 0 to below 1"):
        prepared("optimization.ema=1.5")
