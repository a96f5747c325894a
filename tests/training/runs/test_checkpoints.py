"""Checkpoints: whole or not there, and nothing that they hold is executed."""

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from stores.errors import DamagedFileError, StoreError
from training.runs.checkpoints import (
    latest_checkpoint,
    list_checkpoints,
    load_optimizer,
    load_weights,
    read_tensors,
    save_checkpoint,
)
from training.runs.optimizers import Optimization, make_optimizer

ROOT = Path(__file__).parents[3]


def a_model(width=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width))


def learn(model, optimizer, steps=1):
    for step in range(steps):
        model(torch.full((2, 4), step + 1.0)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def trained(name="bert-adam", steps=3):
    model = a_model()
    optimizer = make_optimizer(model, Optimization(optimizer=name, learning_rate=0.1))
    learn(model, optimizer, steps)
    return model, optimizer


def save(run, step, **more):
    model, optimizer = trained()
    return save_checkpoint(run, step=step, model=model, optimizer=optimizer, **more)


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.mark.parametrize("name", ["bert-adam", "adamw"])
def test_what_is_saved_comes_back_and_learns_on_as_if_nothing_had_been(name, tmp_path):
    model, optimizer = trained(name)
    average = {key: value + 1 for key, value in model.state_dict().items()}
    save_checkpoint(tmp_path, step=3, model=model, optimizer=optimizer, average=average)

    checkpoint = latest_checkpoint(tmp_path)
    again = a_model(seed=1)
    fresh = make_optimizer(again, Optimization(optimizer=name, learning_rate=0.1))
    load_weights(checkpoint, again)
    load_optimizer(checkpoint, again, fresh)
    assert checkpoint.step == 3
    learn(model, optimizer, 2)
    learn(again, fresh, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))

    load_weights(checkpoint, again, average=True)
    assert all(torch.equal(again.state_dict()[key], value) for key, value in average.items())


def test_a_weight_that_has_had_no_gradient_yet_goes_on_without_state(tmp_path):
    model = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    optimizer = make_optimizer(model, Optimization(optimizer="adamw"))
    model[0](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path, step=1, model=model, optimizer=optimizer)
    fresh = make_optimizer(model, Optimization(optimizer="adamw"))
    load_optimizer(latest_checkpoint(tmp_path), model, fresh)
    assert set(fresh.state) == set(model[0].parameters())


def test_the_weights_below_a_prefix_are_those_of_a_part(tmp_path):
    model = nn.ModuleDict({"encoder": a_model(), "head": nn.Linear(3, 1)})
    save_checkpoint(tmp_path, step=1, model=model, optimizer=None)
    encoder = a_model(seed=1)
    load_weights(latest_checkpoint(tmp_path), encoder, prefix="encoder.")
    assert torch.equal(encoder[0].weight, model["encoder"][0].weight)


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 10, 3000):
        save(tmp_path, step)
    assert [each.step for each in list_checkpoints(tmp_path)] == [10, 3000]
    save(tmp_path, 3001, keep=1)
    assert names(tmp_path) == ["step-00003001"]


def test_a_step_that_is_saved_again_is_the_later_one(tmp_path):
    save(tmp_path, 5)
    model = a_model(seed=7)
    save_checkpoint(tmp_path, step=5, model=model, optimizer=None)
    again = a_model()
    load_weights(latest_checkpoint(tmp_path), again)
    assert torch.equal(again[0].weight, model[0].weight)
    assert names(tmp_path) == ["step-00000005"]


def test_a_checkpoint_can_be_named_itself_also_when_it_was_moved(tmp_path):
    moved = save(tmp_path / "run", 7).folder.rename(tmp_path / "best")
    assert latest_checkpoint(moved).step == 7


def test_where_there_is_none_it_is_said_what_was_expected(tmp_path):
    (tmp_path / "checkpoints/step-00000005.bad").mkdir(parents=True)
    with pytest.raises(StoreError, match=re.escape("checkpoints/step-... or a checkpoint")):
        latest_checkpoint(tmp_path)


SAVE_TWO = """
import resource, signal, sys
from pathlib import Path
import torch
from training.runs.checkpoints import save_checkpoint
run = Path(sys.argv[1])
save_checkpoint(run, step=1, model=torch.nn.Linear(2, 2), optimizer=None)
if sys.argv[2] == "limit":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(run, step=2, model=torch.nn.Linear(1000, 1000), optimizer=None)
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("fault", ["limit", "full"])
def test_a_write_that_fails_half_way_leaves_the_checkpoint_before_and_nothing_else(fault, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    if fault == "full" and (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", run], capture_output=True).returncode
    ):
        pytest.skip("a small disk can only be made by root")
    try:
        done = subprocess.run(
            [sys.executable, "-c", SAVE_TWO, run, fault], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert re.search(r"step-00000002 cannot be written: .*(No space left|File too large)", done.stdout), done
        assert "the checkpoints before are whole" in done.stdout
        assert names(run) == ["step-00000001"]
        load_weights(latest_checkpoint(run), nn.Linear(2, 2))
    finally:
        if fault == "full":
            subprocess.run(["umount", run], check=False)


SAVE_FOR_EVER = """
import itertools, sys
from pathlib import Path
import torch
from training.runs.checkpoints import save_checkpoint
model = torch.nn.Linear(500, 500)
print("begun", flush=True)
for step in itertools.count(1):
    torch.nn.init.constant_(model.weight, step)
    save_checkpoint(Path(sys.argv[1]), step=step, model=model, optimizer=None)
"""


def test_a_writer_that_is_killed_leaves_whole_checkpoints_and_the_next_one_cleans_up(tmp_path):
    model = nn.Linear(500, 500)
    for number in range(3):
        writer = subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, tmp_path], stdout=subprocess.PIPE, cwd=ROOT)
        writer.stdout.readline()
        time.sleep(0.05 + 0.013 * number)  # amid whatever it does then
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        for checkpoint in list_checkpoints(tmp_path):
            load_weights(checkpoint, model)
            assert (model.weight == checkpoint.step).all()
    (tmp_path / "checkpoints/.step-00000009.tmp").mkdir(exist_ok=True)
    (tmp_path / "checkpoints/.step-00000008.old.tmp").mkdir(exist_ok=True)
    save_checkpoint(tmp_path, step=10**6, model=model, optimizer=None, keep=1)
    assert names(tmp_path) == ["step-01000000"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "missing"])
def test_a_damaged_file_is_named_with_what_to_do(damage, name, tmp_path):
    path = save(tmp_path, 1).folder / name
    content = bytearray(path.read_bytes())
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "flip":
            content[-3] ^= 1
            path.write_bytes(content)
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
    with pytest.raises(DamagedFileError) as refusal:
        model, optimizer = trained()
        load_weights(latest_checkpoint(tmp_path), model)
        load_optimizer(latest_checkpoint(tmp_path), model, optimizer)
    assert str(path) in str(refusal.value)
    assert "remove this checkpoint, and the run goes on from the one before" in str(refusal.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": "1", "sha256": {}}', '{"sha256": {}}'])
def test_a_damaged_state_is_named(content, tmp_path):
    checkpoint = save(tmp_path, 1)
    (checkpoint.folder / "state.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"state\.json"):
        load_weights(checkpoint, a_model())


def test_weights_of_another_network_are_named_with_their_shapes(tmp_path):
    checkpoint = save(tmp_path, 1)
    with pytest.raises(DamagedFileError) as refusal:
        load_weights(checkpoint, nn.Sequential(nn.Linear(4, 5), nn.Identity(), nn.Linear(5, 1)))
    says = str(refusal.value)
    assert "2.weight is missing" in says
    assert "1.bias is left over" in says
    assert "0.bias is [3], expected [5]" in says
    assert says.endswith("use a checkpoint of the same recipe")


@pytest.mark.parametrize(
    "other", [nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5)), nn.Linear(4, 3)], ids=["wide", "one"]
)
def test_the_optimizer_of_another_network_is_refused(other, tmp_path):
    checkpoint = save(tmp_path, 1)
    with pytest.raises(DamagedFileError, match="another network"):
        load_optimizer(checkpoint, other, make_optimizer(other, Optimization()))


class Trap:
    """What a pickle runs when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("forged", [False, True], ids=["", "with its checksum"])
def test_a_pickle_is_refused_and_not_run(forged, name, writer, tmp_path):
    checkpoint, mark = save(tmp_path, 1), tmp_path / "it ran"
    path = checkpoint.folder / name
    if writer == "torch":
        torch.save({"weight": Trap(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(mark)))
    if forged:
        state = json.loads((checkpoint.folder / "state.json").read_text())
        state["sha256"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
        del state["checksum"]  # as older versions wrote none
        (checkpoint.folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(DamagedFileError, match="expected safetensors" if forged else "SHA-256"):
        read_tensors(path)
    assert not mark.exists()


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.json").write_text(f'{{"seed": "{name}"}}')
        save_checkpoint(tmp_path / name, step=2, model=torch.nn.Linear(2, 2), optimizer=None)
    (checkpoint,) = list_checkpoints(tmp_path / "one")
    load_weights(checkpoint, torch.nn.Linear(2, 2))
    shutil.rmtree(checkpoint.folder)
    shutil.copytree(tmp_path / "other/checkpoints/step-00000002", checkpoint.folder)
    with pytest.raises(DamagedFileError, match=r"a checkpoint of recipe .*, expected its run's"):
        load_weights(checkpoint, torch.nn.Linear(2, 2))
