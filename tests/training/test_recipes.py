"""Recipes and the folders of runs: what is written comes back, and nothing is guessed or read past."""

import json
from dataclasses import replace

import pytest

from annotations.answers import AnswerVocabulary
from annotations.drops import DataError
from stores.errors import StoreError
from training.batches import BatchOptions
from training.models.single_stream import SingleStreamShape
from training.models.two_stream import TwoStreamShape
from training.objectives.attention_supervision import AttentionSupervisionOptions
from training.objectives.catalog import Objectives
from training.objectives.sizes import Sizes
from training.presets import PRESETS, find_preset
from training.recipes import Recipe, read_recipe, write_recipe
from training.runs import begin_run, open_run
from training.tokenizer import train_tokenizer

SIZES = Sizes(hidden_size=64, vocab_size=30, feature_dim=8, num_classes=4, num_attributes=4, num_answers=2)
NAMES = [(name, ablation) for name, preset in PRESETS.items() for ablation in (None, *preset.ablations)]


def recipe_of(name="toy", ablation=None, **changes):
    preset = find_preset(name, ablation)
    recipe = Recipe(
        task="pretraining",
        encoder=preset.encoder,
        sizes=SIZES,
        objectives=preset.objectives,
        batches=preset.batches,
        optimization=preset.optimization,
        sources=("vqa-v2", "gqa"),
        batch_size=preset.batch_size,
        num_steps=10,
        precision=preset.precision,
        seed=0,
        data={"regions": "abc", "sentences": "def"},
    )
    return replace(recipe, **changes)


@pytest.mark.parametrize(("name", "ablation"), NAMES, ids=str)
def test_a_recipe_of_any_preset_and_ablation_is_read_as_it_was_written(name, ablation, tmp_path):
    recipe = recipe_of(name, ablation)
    write_recipe(tmp_path, recipe)
    assert read_recipe(tmp_path) == recipe


def edit(folder, change):
    path = folder / "recipe.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda it: it["encoder"].update(num_layers=3), "encoder.num_layers was 3, this run has absent"),
        (lambda it: it["batches"].pop("mask_words"), "batches.mask_words was absent, this run has 0.0"),
        (lambda it: it.pop("seed"), "seed: Field required"),
        (lambda it: it.update(batch_size="many"), "batch_size: .*integer"),
        (lambda it: it.update(batch_size="64"), "batch_size was '64', this run has 64"),
        (lambda it: it["optimization"].update(schedule="sudden"), "optimization.schedule: .*'linear'"),
        (lambda it: it.update(num_steps=0), "num_steps is 0, expected 1 or more"),
        (lambda it: it["batches"].update(max_pieces=65), "max_pieces is 65, expected at most 64"),
    ],
)
def test_a_recipe_with_a_field_too_many_too_few_or_wrong_is_refused_by_its_name(change, says, tmp_path):
    write_recipe(tmp_path, recipe_of())
    edit(tmp_path, change)
    with pytest.raises(DataError, match=says) as refusal:
        read_recipe(tmp_path)
    assert str(tmp_path / "recipe.json") in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x04pickle", b"null"])
def test_what_is_no_recipe_is_refused(content, tmp_path):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(DataError, match=r"expected a recipe"):
        read_recipe(tmp_path)


def test_a_folder_without_a_recipe_is_no_run(tmp_path):
    with pytest.raises(DataError, match="no such file, expected the folder of a run; see vinculum-train pretrain"):
        open_run(tmp_path)


@pytest.mark.parametrize(("field", "value"), [("batch_size", 0), ("num_steps", 0), ("seed", -1)])
def test_a_number_out_of_its_range_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}, expected"):
        recipe_of(**{field: value})


def test_sentences_longer_than_the_encoder_can_read_are_refused():
    with pytest.raises(ValueError, match="max_pieces is 24, expected at most 16, for which the encoder has positions"):
        recipe_of(encoder=TwoStreamShape(max_positions=16), batches=BatchOptions(max_pieces=24))


def test_two_streams_have_no_rollout_to_supervise():
    objectives = Objectives(attention_supervision=AttentionSupervisionOptions(mode="semi-direct"))
    recipe_of(encoder=SingleStreamShape(), objectives=objectives)
    with pytest.raises(ValueError, match="semi-direct, but a two-stream encoder has no attention rollout"):
        recipe_of(encoder=TwoStreamShape(), objectives=objectives)


TEXTS = ["a red dog", "a blue tree"]
ANSWERS = AnswerVocabulary(answers=("red", "blue"))


def begin(folder, *, texts=TEXTS, answers=ANSWERS, **changes):
    tokenizer = train_tokenizer(texts, vocab_size=60)
    sizes = replace(SIZES, vocab_size=tokenizer.vocab_size)
    return begin_run(folder, recipe_of(sizes=sizes, **changes), tokenizer, answers)


def test_a_run_that_is_begun_is_opened_as_it_is(tmp_path):
    begun = begin(tmp_path)
    for run in (open_run(tmp_path), begin(tmp_path)):
        assert run.recipe == begun.recipe
        assert run.answers.answers == ("red", "blue")
        assert run.tokenizer.encode(["a red tree"], max_pieces=9)[0].ids.tolist() == (
            begun.tokenizer.encode(["a red tree"], max_pieces=9)[0].ids.tolist()
        )


def test_another_recipe_in_the_folder_is_refused_with_both_values(tmp_path):
    begin(tmp_path)
    with pytest.raises(StoreError) as refusal:
        begin(tmp_path, batch_size=32, sources=("gqa",))
    says = str(refusal.value)
    assert "batch_size was 64, this run has 32" in says
    assert "sources had 2 entries, this run has 1" in says
    assert says.endswith("use a new --out, or the options that the run has")


def test_another_tokenizer_of_as_many_pieces_is_refused(tmp_path):
    begin(tmp_path)
    with pytest.raises(StoreError, match="the tokenizer was another one"):
        begin(tmp_path, texts=["a reb dog", "a dlue tree"])


def test_another_table_of_as_many_answers_is_refused(tmp_path):
    begin(tmp_path)
    with pytest.raises(StoreError, match="the table of answers was another one"):
        begin(tmp_path, answers=AnswerVocabulary(answers=("blue", "red")))


def test_a_tokenizer_that_does_not_fit_the_recipe_is_refused(tmp_path):
    run = begin(tmp_path)
    train_tokenizer(["something else altogether"], vocab_size=60).save(tmp_path)
    with pytest.raises(DataError, match=f"expected {run.recipe.sizes.vocab_size} as the recipe says"):
        open_run(tmp_path)
