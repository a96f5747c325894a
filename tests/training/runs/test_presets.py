"""Presets and ablations: each builds, and an ablation changes one thing."""

from dataclasses import asdict, replace

import pytest
import torch

from annotations.guards.drops import DataError
from stores.errors import StoreError
from stores.manifest import differences
from tests.training.learnable_runs import learnable_stores, tiny_preset
from training.data.order import OrderError
from training.execution.pretrain import Overrides, prepare
from training.model import Model, num_parameters
from training.objectives.sizes import Sizes
from training.runs.presets import PRESETS, find_preset

NAMES = [(name, ablation) for name, preset in PRESETS.items() for ablation in (None, *preset.ablations)]


@pytest.mark.parametrize(("name", "ablation"), NAMES, ids=str)
def test_every_preset_and_ablation_builds_a_model_and_says_what_it_is(name, ablation):
    preset = find_preset(name, ablation)
    sizes = Sizes(
        hidden_size=preset.encoder.hidden_size,
        vocab_size=preset.encoder.vocab_size,
        feature_dim=preset.encoder.feature_dim,
        num_classes=1600,
        num_attributes=400,
        num_answers=9500,
    )
    with torch.device("meta"):
        model = Model(preset.encoder, preset.objectives, sizes)
    terms = [term for head in model.objectives.values() for term in head.terms]
    assert terms
    assert sorted(model.weights(0, num_steps=1, epoch=10)) == sorted(terms)
    assert min(model.weights(0, num_steps=1, epoch=10).values()) > 0
    assert preset.command.startswith("vinculum-train ")
    assert preset.hardware
    assert preset.expected


def test_lxmert_has_as_many_weights_as_published():
    preset = find_preset("lxmert")
    sizes = Sizes(
        hidden_size=768, vocab_size=30522, feature_dim=2048, num_classes=1600, num_attributes=400, num_answers=9500
    )
    with torch.device("meta"):
        model = Model(preset.encoder, preset.objectives, sizes)
    assert num_parameters(model.encoder) == 207_936_768
    assert num_parameters(model) == 228_051_752


def changed(name, ablation):
    """Return the options in which an ablation differs from its preset."""
    whole, part = asdict(find_preset(name)), asdict(find_preset(name, ablation))
    for each in (whole, part):
        del each["ablations"]
    return {line.split(" was ")[0] for line in differences("", whole, part)}


@pytest.mark.parametrize("name", ["lxmert", "word-object-alignment", "toy"])
def test_an_ablation_of_an_objective_leaves_its_other_options_as_the_preset_has_them(name):
    assert changed(name, "no-features") == {"objectives.masked_regions.features"}
    assert changed(name, "no-labels") == {"objectives.masked_regions.classes", "objectives.masked_regions.attributes"}
    assert changed(name, "late-question-answering") == {"objectives.question_answering.from_epoch"}
    assert changed(name, "no-vision") == {"objectives.masked_regions"}
    assert changed(name, "no-matching") == {"objectives.matching", "batches.mismatch"}


@pytest.mark.parametrize("name", ["word-object-alignment", "toy"])
def test_an_ablation_of_targets_changes_the_targets_alone(name):
    assert changed(name, "permuted") == {"batches.targets.permuted"}
    assert changed(name, "position-only") == {"batches.targets.combination", "batches.targets.at_most_k"}
    assert changed(name, "share-0.3") == {"batches.targets.share"}
    assert changed(name, "literal-paper") == {
        "batches.targets.combination",
        "objectives.word_object_alignment.decoder",
        "objectives.word_object_alignment.topk_on",
    }


def test_names_that_there_are_not_list_those_that_there_are():
    with pytest.raises(
        ValueError, match="'lxmer': no such preset, expected one of lxmert, word-object-alignment, uniter"
    ):
        find_preset("lxmer")
    with pytest.raises(ValueError, match=r"'no-alignmnt' of toy: none such, expected one of .*no-alignment"):
        find_preset("toy", "no-alignmnt")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return learnable_stores(tmp_path_factory.mktemp("presets"), num_images=8)


def prepared(stores, out, preset=None, **overrides):
    regions, sentences = stores
    preset = preset or tiny_preset()
    return prepare(preset, regions=regions, sentences=sentences, out=out, overrides=Overrides(**overrides)).recipe


def test_a_recipe_takes_its_sizes_from_the_data(stores, tmp_path):
    recipe = prepared(stores, tmp_path)
    assert recipe.sources == ("coco-captions", "vqa-v2")
    assert (recipe.sizes.feature_dim, recipe.sizes.num_classes, recipe.sizes.num_attributes) == (8, 4, 4)
    assert 1 < recipe.sizes.num_answers <= 4
    assert recipe.encoder.feature_dim == 8
    assert recipe.encoder.vocab_size == recipe.sizes.vocab_size < 200


def test_captions_alone_have_no_answers_to_learn(stores, tmp_path):
    recipe = prepared(stores, tmp_path, sources=("coco-captions",))
    assert recipe.objectives.question_answering is None
    assert recipe.objectives.matching is not None


def test_what_no_objective_asks_for_is_not_made(stores, tmp_path):
    assert prepared(stores, tmp_path / "a", tiny_preset("no-alignment")).batches.targets is None
    assert prepared(stores, tmp_path / "v", tiny_preset("no-vision")).batches.mask_regions == 0


@pytest.mark.parametrize(
    ("overrides", "num_steps"),
    [
        ({}, 12),
        ({"num_steps": 3}, 3),
        ({"epochs": 2}, 4),
        ({"epochs": 0.5}, 1),
        ({"epochs": 2, "num_steps": 3}, 3),
        ({"epochs": 1, "batch_size": 4}, 4),
    ],
)
def test_steps_are_what_is_asked_for_or_as_many_as_epochs_have(overrides, num_steps, stores, tmp_path):
    assert prepared(stores, tmp_path, **overrides).num_steps == num_steps


def test_a_preset_without_steps_has_its_epochs(stores, tmp_path):
    assert prepared(stores, tmp_path, replace(tiny_preset(), num_steps=None, epochs=3)).num_steps == 6


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        ({"batch_size": 17}, OrderError, "batch size 17 of 16 sentences"),
        ({"batch_size": 0}, ValueError, "batch_size is 0, expected 1 or more"),
        ({"num_steps": 0}, ValueError, "num_steps is 0, expected 1 or more"),
        ({"epochs": 0}, ValueError, "num_steps is 0, expected 1 or more"),
        ({"seed": -1}, ValueError, "seed is -1, expected 0 or more"),
        ({"learning_rate": -1.0}, ValueError, "learning rate is -1.0"),
        ({"sources": ("gqa",)}, StoreError, "has no sentences of gqa; it has those of coco-captions, vqa-v2"),
        ({"tokenizer": "/nowhere"}, DataError, "tokenizer '/nowhere'"),
    ],
)
def test_a_setting_that_can_not_be_is_refused_before_a_run_is_begun(overrides, error, says, stores, tmp_path):
    with pytest.raises(error, match=says):
        prepared(stores, tmp_path / "run", **overrides)
    assert not (tmp_path / "run/recipe.json").exists()


def test_a_preset_of_other_sources_than_the_store_has_names_both(stores, tmp_path):
    with pytest.raises(StoreError, match="has sentences of coco-captions, vqa-v2, but the preset learns from gqa"):
        prepared(stores, tmp_path, replace(tiny_preset(), sources=("gqa",)))


def test_a_run_that_goes_on_has_the_tokenizer_and_answers_with_which_it_began(stores, tmp_path):
    first = prepared(stores, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert prepared(stores, tmp_path) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_store_that_has_got_more_sentences_is_another_one(stores, tmp_path):
    prepared(stores, tmp_path / "run")
    (tmp_path / "grown").mkdir()
    grown = learnable_stores(tmp_path / "grown", num_images=10)
    with pytest.raises(StoreError, match=r"data\.sentences was"):
        prepared(grown, tmp_path / "run")
