"""`vinculum-train pretrain --dry-run`: steps and bytes as the run will have them, and nothing is written."""

import json

import pytest

from tests.training.learnable_runs import learnable_stores, tiny_preset
from training.cli import main
from training.execution.outlook import outlook
from training.execution.pretrain import Overrides, prepare
from training.model import num_parameters
from training.runs.checkpoints import list_checkpoints, save_checkpoint
from training.runs.folder import look_ahead
from training.weights.ours import build_model


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return learnable_stores(tmp_path_factory.mktemp("stores") / "joined")


def told(capsys, stores, out, *more):
    regions, sentences = stores
    data = ["--regions", str(regions), "--sentences", str(sentences), "--out", str(out)]
    asked = ["--sources", "vqa-v2", "--batch-size", "4", "--steps", "30", "--dry-run", "--json"]
    status = main(["pretrain", "--preset", "toy", *data, *asked, *more])
    return status, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_new_run_has_all_its_steps_left_and_no_folder(stores, tmp_path, capsys):
    status, summary = told(capsys, stores, tmp_path / "run")
    assert status == 0
    assert (summary["steps"], summary["steps_done"], summary["steps_left"]) == (30, 0, 30)
    assert summary["bytes"] == summary["weights"] * 12 * 2  # of two checkpoints
    assert not list(tmp_path.iterdir())


def test_of_a_run_that_was_begun_only_the_rest_is_left(stores, tmp_path):
    regions, sentences = stores
    asked = {"regions": regions, "sentences": sentences, "out": tmp_path / "run", "overrides": Overrides(num_steps=30)}
    run = prepare(tiny_preset(), **asked)
    save_checkpoint(run.folder, step=20, model=build_model(run), optimizer=None)
    before = sorted((path, path.stat().st_mtime_ns) for path in run.folder.rglob("*"))
    found = outlook(prepare(tiny_preset(), **asked, begin=look_ahead), keep=2)
    assert (found["steps"], found["steps_done"], found["steps_left"]) == (30, 20, 10)
    assert found["weights"] == num_parameters(build_model(run))
    assert sorted((path, path.stat().st_mtime_ns) for path in run.folder.rglob("*")) == before
    assert len(list_checkpoints(run.folder)) == 1


def test_another_recipe_is_refused_as_by_a_run(stores, tmp_path, capsys):
    regions, sentences = stores
    prepare(
        tiny_preset(), regions=regions, sentences=sentences, out=tmp_path / "run", overrides=Overrides(num_steps=30)
    )
    status, summary = told(capsys, stores, tmp_path / "run")
    assert status == 1
    assert "use a new --out, or the options that the run has" in summary["error"]
