"""One bit of any file that a run, a checkpoint or an export is read from: refused by the file's name, or harmless."""

import json
import os
import shutil
import stat

import numpy as np
import pytest
import torch

from annotations.guards.drops import DataError
from detectors.gold_boxes import GoldBoxes
from stores.errors import DamagedFileError, StoreError
from tests.training.detector_runs import tiny_recipe, tiny_run, write_squares
from tests.training.learnable_runs import begin, learnable_stores, tiny_preset
from tests.training.small_runs import make_run
from training.commands.export_weights import ExportCommand
from training.commands.import_weights import ImportCommand
from training.detector.recipe import open_detector_run
from training.execution.worker import Place, train_run
from training.runs.checkpoints import latest_checkpoint, load_optimizer
from training.runs.folder import open_run
from training.runs.optimizers import make_optimizer
from training.runs.recipes import as_json
from training.weights.ours import load_model

NUM_FLIPS = 200


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one step, with an average of its weights and the optimizer's state."""
    folder = tmp_path_factory.mktemp("trained")
    preset = tiny_preset(num_steps=1)
    task = begin(learnable_stores(folder / "stores"), folder / "run", preset)
    train_run(task, Place())
    return task.run


def opened(folder):
    """Return all that is taken from a run's folder."""
    run, model = load_model(folder)
    optimizer = make_optimizer(model, run.recipe.optimization)
    load_optimizer(latest_checkpoint(folder), model, optimizer)
    tensors = [*model.state_dict().values(), *(each for state in optimizer.state.values() for each in state.values())]
    known = as_json(run.recipe), run.tokenizer.backend.to_str(), run.answers.answers, latest_checkpoint(folder).step
    return json.dumps(known), [each.clone() for each in tensors]


def is_same(found, expected):
    return found[0] == expected[0] and all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))


def flips(path, number, draw):
    """Yield after each of so many flips of one bit, at places spread over the file; afterwards it is as it was."""
    whole = path.read_bytes()
    for place in draw.integers(len(whole), size=number).tolist():
        changed = bytearray(whole)
        changed[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(changed)
        yield
    path.write_bytes(whole)


def refused_or_same(read, path, number):
    """Return how many flips were refused; each of the others changed nothing."""
    expected, num_refused = read(), 0
    for _ in flips(path, number, np.random.default_rng(0)):
        try:
            found = read()
        except (DamagedFileError, DataError, StoreError) as error:
            assert path.name in str(error)
            num_refused += 1
        else:
            assert is_same(found, expected)
    return num_refused


def content_of(folder):
    run = open_run(folder)
    return json.dumps([as_json(run.recipe), run.tokenizer.backend.to_str(), run.answers.answers]), []


@pytest.mark.parametrize("name", ["recipe.json", "tokenizer.json", "answers.json", "digests.json"])
def test_a_flipped_bit_of_a_run_is_refused_by_the_files_name_or_harmless(name, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    num_refused = refused_or_same(lambda: content_of(run), run / name, NUM_FLIPS)
    assert num_refused == NUM_FLIPS or name == "digests.json"


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "optimizer.safetensors"])
def test_a_flipped_bit_of_a_checkpoint_is_refused_by_the_files_name_or_harmless(name, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    num_refused = refused_or_same(lambda: opened(run), latest_checkpoint(run).folder / name, 50)
    assert num_refused == 50 or name == "state.json"


@pytest.mark.parametrize("name", ["recipe.json", "gold.npz"])
def test_a_flipped_bit_of_a_detectors_run_is_refused_by_the_files_name(name, tmp_path):
    write_squares(tmp_path / "squares")
    box = np.array([[1, 2, 30, 40]], np.float32)
    gold = GoldBoxes(
        image_ids=np.array(["0"]),
        sides=np.array([[128, 96]], np.int32),
        is_val=np.array([True]),
        first_box=np.array([0, 1]),
        boxes_xyxy=box,
        class_rows=np.array([1], np.int32),
        first_attribute=np.array([0, 0]),
        attribute_rows=np.empty(0, np.int32),
    )
    run = tiny_run(tmp_path / "run", gold, tiny_recipe(), tmp_path / "squares")
    for _ in flips(run.folder / name, NUM_FLIPS, np.random.default_rng(0)):
        with pytest.raises(DamagedFileError, match=name):
            open_detector_run(run.folder)
    open_detector_run(run.folder)


@pytest.mark.parametrize("name", ["config.json", "answers.json", "tokenizer.json", "model.safetensors"])
def test_a_flipped_bit_of_an_export_is_refused_by_the_files_name(name, tmp_path):
    run, out = make_run(tmp_path / "run", ["a dog"]), tmp_path / "export"
    ExportCommand(source=run, out=out, layout="vinculum").run()
    for _ in flips(out / name, 20, np.random.default_rng(0)):
        with pytest.raises(DamagedFileError, match=name):
            ImportCommand(source=str(out), out=tmp_path / "imported").run()
    ImportCommand(source=str(out), out=tmp_path / "imported").run()


def test_a_run_without_digests_is_opened_and_that_is_said_once(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "digests.json").unlink()
    assert is_same(opened(run), opened(run))
    assert capsys.readouterr().err.count("an older version began it and recorded no digests of its files") == 1


def test_a_checkpoint_of_an_older_version_is_opened(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    state = latest_checkpoint(run).folder / "state.json"
    content = json.loads(state.read_text())
    del content["checksum"]
    state.write_text(json.dumps(content))
    assert is_same(opened(run), opened(trained))


def test_all_files_of_a_run_may_be_read_by_whom_the_umask_says(tmp_path):
    """Safetensors' own files are readable by their owner alone."""
    before = os.umask(0o027)
    try:
        run = make_run(tmp_path / "run", ["a dog"])
        ExportCommand(source=run, out=tmp_path / "export", layout="vinculum").run()
    finally:
        os.umask(before)
    files = [path for folder in (run, tmp_path / "export") for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}
