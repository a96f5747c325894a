"""The experiments about attention: every arm is a variant of its task; a trial goes from stores to figures."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from stores.errors import StoreError
from tests.training.experiments.experiment_stores import EXAMPLES, experiment_stores
from tests.training.joined_stores import Spoken, join_stores, make_image
from training.commands.experiment import ExperimentCommand
from training.data.shards import join
from training.execution.evaluation import evaluate
from training.experiments import attention_supervision, congruence, pretrained
from training.experiments.catalog import EXPERIMENTS
from training.experiments.trial import Trial, read_result
from training.probes.linear import ProbeOptions
from training.runs.checkpoints import list_checkpoints
from training.runs.presets import find_preset
from training.tasks.catalog import TASKS
from training.weights.ours import load_model

NAMES = ("attention-supervision", "congruence")
RANKING = replace(pretrained.RANKING, num_steps=3, batch_size=4)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return experiment_stores(tmp_path_factory.mktemp("stores") / "joined")


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Of everything that a trial does before and after what it compares; and a process that keeps its threads."""
    threads, patch = torch.get_num_threads(), pytest.MonkeyPatch()
    transfers = {
        task: replace(options, num_steps=2, batch_size=8) for task, options in attention_supervision.TRANSFERS.items()
    }
    patch.setattr(pretrained, "find_preset", lambda name: replace(find_preset(name), num_steps=3, batch_size=16))
    patch.setattr(pretrained, "RANKING", RANKING)
    patch.setattr(congruence, "RANKING", RANKING)
    patch.setattr(attention_supervision, "TRANSFERS", transfers)
    yield
    patch.undo()
    torch.set_num_threads(threads)


def run(name, arm, stores, out):
    regions, sentences = stores
    trial = Trial(
        experiment=name,
        arm=arm,
        seed=1,
        regions=regions,
        sentences=sentences,
        out=out,
        num_steps=3,
        probe=ProbeOptions(num_steps=4, batch_size=16),
    )
    experiment = EXPERIMENTS[name]
    experiment.prepare(trial)
    experiment.train_base(trial)
    return trial, experiment.run_trial(trial)


@pytest.mark.parametrize(("name", "task"), [("attention-supervision", "vgp"), ("congruence", "retrieval")])
def test_every_arm_is_a_variant_of_the_task_and_the_first_is_the_task_itself(name, task):
    first, *others = EXPERIMENTS[name].arms.values()
    assert first is None
    assert set(others) <= set(TASKS[task].variants)


@pytest.fixture(scope="module")
def ranked(stores, tmp_path_factory):
    out = tmp_path_factory.mktemp("congruence")
    return {arm: run("congruence", arm, stores, out) for arm in ("none", "cacr-raw", "swapped")}


def test_a_trial_of_congruence_measures_swaps_by_relation_retrieval_and_attention(ranked):
    for _, figures in ranked.values():
        assert {"swaps group", "swaps above (of 2) group", "swaps left of (of 2) group"} <= set(figures)
        assert 0 <= figures["swaps pointing"] <= 1
        retrieval = "retrieval flickr30k-entities"
        assert {f"{retrieval} image_retrieval recall_at_1", f"{retrieval} text_retrieval recall_at_10"} <= set(figures)
        for pairs in ("matched", "mismatched"):
            assert figures[f"text entropy {pairs}"] <= 1 + 1e-6
            assert figures[f"congruence text raw {pairs}"] > 0
        assert all(np.isfinite(list(figures.values())))


def test_groups_of_all_relations_are_those_of_the_official_metric(ranked, stores, tmp_path):
    trial, figures = ranked["none"]
    run, model = load_model(trial.folder)
    with join(*stores) as shards:
        official = evaluate(run, model, shards, task_name="winoground", split="test", out=tmp_path)
    for score in ("text", "image", "group"):
        assert figures[f"swaps {score}"] == official[score]["value"]
    by_relation = [value for name, value in figures.items() if name.startswith("swaps") and "(of" in name]
    assert sum(by_relation) * EXAMPLES / 2 == figures["swaps group"] * EXAMPLES


def test_arms_of_a_seed_start_from_the_same_weights_and_learn_something_else(ranked):
    trial, _ = ranked["none"]
    assert [path.name for path in trial.out.glob("base-*")] == ["base-1"]
    states = {arm: load_model(each.folder)[1].state_dict() for arm, (each, _) in ranked.items()}
    for one, other in combinations(states.values(), 2):
        assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_trial_of_attention_supervision_measures_pointing_the_probe_and_what_is_learnt_after(
    stores, tmp_path_factory
):
    trial, figures = run("attention-supervision", "direct", stores, tmp_path_factory.mktemp("supervision"))
    assert {"caption_match", "gqa accuracy", "linear_probe", "pointing chance"} <= set(figures)
    assert {f"pointing attention joint.{layer}" for layer in range(4)} <= set(figures)
    assert {f"pointing rollout joint.{layer}" for layer in range(4)} <= set(figures)
    assert "refcoco refcoco+ val" in figures
    assert figures == read_result(trial.folder)
    assert [path.name for path in trial.out.glob("matching-*")] == ["matching-1"]
    for folder in (trial.folder, trial.folder / "refcoco", trial.folder / "gqa"):
        assert not (list_checkpoints(folder)[-1].folder / "optimizer.safetensors").exists()


@pytest.mark.parametrize("name", NAMES)
def test_stores_without_captions_end_the_command_before_ray_is_asked(name, tmp_path):
    stores = join_stores(tmp_path / "stores", [[make_image("a")]], [[Spoken(text="a cat", image_ids=["a"])]])
    command = ExperimentCommand(
        regions=stores[0], sentences=stores[1], out=tmp_path / "out", name=name, address="127.0.0.1:1", steps=2
    )
    with pytest.raises(StoreError, match="has sentences of captions, but the preset learns from flickr30k-entities"):
        command.run()
