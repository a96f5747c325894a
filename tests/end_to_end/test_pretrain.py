"""`vinculum-train pretrain` on a real Ray: killed anywhere and run again, its curve is that of an undisturbed run."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stores.atomic import locked
from stores.manifest import Manifest, write_manifest
from tests.training.learnable_runs import curve, learnable_stores
from training.cli import main
from training.runs.checkpoints import latest_checkpoint, list_checkpoints

ROOT = Path(__file__).parents[2]
GIVE_UP_SECONDS = 240
pytestmark = pytest.mark.timeout(900)
STEPS, CHECKPOINT_EVERY = 40, 5
OPTIONS = ("--preset", "toy", "--batch-size", "8", "--steps", str(STEPS), "--log-every", "1")
OPTIONS += ("--checkpoint-every", str(CHECKPOINT_EVERY), "--json")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Threads gain nothing on so small a network, and wait for each other on a busy machine."""


class Pretraining:
    """Small stores, and pre-training on them as a user would start it."""

    def __init__(self, place):
        self.place = place
        self.regions, self.sentences = learnable_stores(place / "stores", num_images=24)

    def arguments(self, out, *more):
        return ["pretrain", "--regions", self.regions, "--sentences", self.sentences, "--out", out, *OPTIONS, *more]

    def start(self, out, *more):
        command = [sys.executable, "-m", "training.cli", *self.arguments(out, *more)]
        log = self.log(out).open("a")
        environment = os.environ | ONE_THREAD
        return subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
        )

    def log(self, out):
        return self.place / f"{out.name}.log"

    def finish(self, process, out):
        status = process.wait(GIVE_UP_SECONDS)
        assert status == 0, self.log(out).read_text()[-3000:]


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory):
    return Pretraining(tmp_path_factory.mktemp("pretraining"))


def wait_until(happened, process):
    started = time.monotonic()
    while not happened():
        assert process.poll() is None, f"it ended with status {process.returncode}"
        assert time.monotonic() - started < GIVE_UP_SECONDS
        time.sleep(0.002)


def steps_done(run):
    return max((each.step for each in list_checkpoints(run)), default=0)


def descendants(process):
    return psutil.Process(process.pid).children(recursive=True)


def kill_all(process):
    """Kill the command and all that it started, Ray included, at once."""
    family = [*descendants(process), psutil.Process(process.pid)]
    for each in family:
        each.kill()
    psutil.wait_procs(family, timeout=30)
    process.wait(30)


def worker_of(process):
    """Return Ray's process that trains."""
    for each in descendants(process):
        try:
            if "RayTrainWorker" in " ".join(each.cmdline()):
                return each
        except psutil.NoSuchProcess:
            continue
    return None


@pytest.fixture(scope="module")
def undisturbed(pretraining):
    out = pretraining.place / "undisturbed"
    pretraining.finish(pretraining.start(out), out)
    return out


def amid_a_checkpoint(run):
    return list(run.glob("checkpoints/.step-*.tmp/*"))


def weights(run):
    return (latest_checkpoint(run).folder / "model.safetensors").read_bytes()


def test_a_run_leaves_its_curve_its_checkpoints_and_a_summary_and_nothing_of_ray(pretraining, undisturbed):
    lines = curve(undisturbed)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert sorted(path.name for path in undisturbed.iterdir()) == [
        "answers.json",
        "checkpoints",
        "digests.json",
        "metrics.jsonl",
        "recipe.json",
        "tensorboard",
        "tokenizer.json",
    ]
    told = pretraining.log(undisturbed).read_text().splitlines()
    assert json.loads(told[-1])["step"] == STEPS
    assert any(re.match(r"step 40  loss \d", line) for line in told)


def test_run_again_there_is_nothing_to_do(pretraining, undisturbed, capsys):
    before = weights(undisturbed)
    started = time.monotonic()
    assert main([str(each) for each in pretraining.arguments(undisturbed)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["step"] == STEPS
    assert weights(undisturbed) == before
    assert time.monotonic() - started < 10  # Ray alone takes longer


def same(out, undisturbed):
    assert curve(out) == curve(undisturbed)
    assert weights(out) == weights(undisturbed)
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step-00000035", "step-00000040"]


def test_killed_with_all_of_ray_amid_a_checkpoint_and_run_again_its_curve_is_that_of_an_undisturbed_run(
    pretraining, undisturbed
):
    out = pretraining.place / "killed"
    process = pretraining.start(out)
    wait_until(lambda: steps_done(out) >= 5 and amid_a_checkpoint(out), process)
    kill_all(process)
    pretraining.finish(pretraining.start(out), out)
    same(out, undisturbed)


LOST = r"lost workers: rank 0: The actor is dead because its worker process .*; they start anew from step (\d+)\n"


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_anew_and_ctrl_c_leaves_a_run_that_goes_on(pretraining, undisturbed):
    out = pretraining.place / "worker-killed"
    process = pretraining.start(out)
    wait_until(lambda: steps_done(out) >= 5, process)
    worker_of(process).kill()
    wait_until(lambda: "they start anew" in pretraining.log(out).read_text(), process)
    (told,) = re.findall(LOST, pretraining.log(out).read_text())
    assert int(told) >= 5
    wait_until(lambda: steps_done(out) >= int(told) + 5, process)

    process.send_signal(signal.SIGINT)
    assert process.wait(GIVE_UP_SECONDS) == 130
    last = pretraining.log(out).read_text().splitlines()[-1]
    assert last == "vinculum-train: stopped; run the same command again to go on"
    assert "Traceback" not in pretraining.log(out).read_text()
    assert not (out / "ray").exists()

    pretraining.finish(pretraining.start(out), out)
    same(out, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_random_instants_and_amid_a_checkpoint_the_curve_is_the_same(pretraining, undisturbed):
    generator = random.Random(0)
    for number in range(6):
        out = pretraining.place / f"random-{number}"
        process = pretraining.start(out)
        if number < 3:  # amid the write of a checkpoint
            wait_until(lambda out=out: amid_a_checkpoint(out), process)
        else:
            step = generator.randrange(1, STEPS)
            wait_until(lambda out=out, step=step: steps_done(out) >= step, process)
        kill_all(process)
        print(f"{number}: killed with {sorted(path.name for path in (out / 'checkpoints').iterdir())}")
        pretraining.finish(pretraining.start(out), out)
        same(out, undisturbed)


@pytest.mark.slow
def test_two_workers_have_the_curve_of_one_that_takes_two_parts(pretraining):
    one, two = pretraining.place / "parts", pretraining.place / "workers"
    pretraining.finish(pretraining.start(one, "--accumulation", "2", "--steps", "8"), one)
    pretraining.finish(pretraining.start(two, "--workers", "2", "--steps", "8"), two)
    for a, b in zip(curve(one), curve(two), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


@pytest.mark.slow
def test_a_worker_that_is_lost_again_and_again_is_given_up_with_the_reason(pretraining):
    out = pretraining.place / "lost"
    process = pretraining.start(out, "--checkpoint-every", "1000", "--steps", "100000")
    for lost in range(1, 5):
        wait_until(lambda: worker_of(process), process)
        time.sleep(1)
        worker_of(process).kill()
        if lost < 4:
            wait_until(
                lambda lost=lost: pretraining.log(out).read_text().count("they start anew from step 0") == lost, process
            )
    assert process.wait(GIVE_UP_SECONDS) == 130
    last = pretraining.log(out).read_text().splitlines()[-1]
    assert last.startswith("vinculum-train: workers were lost 4 times: ")
    assert last.endswith("; run again to go on from step 0")


def refused(pretraining, capsys, out, *more, regions=None, sentences=None):
    """Return the one line with which a run ends that cannot be."""
    given = ["--regions", regions or pretraining.regions, "--sentences", sentences or pretraining.sentences]
    arguments = ["pretrain", *given, "--out", out, *OPTIONS, *more]
    assert main([str(each) for each in arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("vinculum-train: ")


def test_what_can_not_be_trained_is_said_in_one_line_before_anything_starts(pretraining, undisturbed, tmp_path, capsys):
    def say(*more, **stores):
        out = tmp_path / "run"
        line = refused(pretraining, capsys, out, *more, **stores)
        assert not (out / "recipe.json").exists()
        return line

    assert "preset 'lxmrt': no such preset, expected one of lxmert, word-object-alignment, uniter" in say(
        "--preset", "lxmrt"
    )
    assert "ablation 'none' of toy: none such, expected one of no-vision, " in say("--ablation", "none")
    assert "batch size 8 cannot be divided among 3 workers in 1 parts each; expected a multiple of 3" in say(
        "--workers", "3"
    )
    assert "batch size 49 of 48 sentences; expected from 1 to that number" in say("--batch-size", "49")
    assert "1 workers in 0 parts each, expected at least one of both" in say("--accumulation", "0")
    assert "num_steps is 0, expected 1 or more" in say("--steps", "0")
    assert "sentences of nlvr2; it has those of coco-captions, vqa-v2" in say("--sources", "nlvr2")
    assert "nowhere is not there, expected a store" in say(regions=tmp_path / "nowhere")

    other = learnable_stores(tmp_path / "other", num_images=24, configuration={"weights": "random:1"})
    assert "their words point at other boxes" in say(regions=other[0])
    empty = tmp_path / "empty"
    empty.mkdir()
    manifest = json.loads((pretraining.sentences / "manifest.json").read_text())
    write_manifest(empty, Manifest(content="sentences", store="arrow", configuration=manifest["configuration"]))
    assert f"{empty} holds no sentence, expected at least one; see vinculum align" in say(sentences=empty)
    assert "is a store of regions, expected one of sentences" in say(sentences=pretraining.regions)


def test_another_recipe_in_the_folder_is_refused_with_both_values(pretraining, undisturbed, capsys):
    line = refused(pretraining, capsys, undisturbed, "--batch-size", "16", "--seed", "1")
    assert "batch_size was 8, this run has 16; seed was 0, this run has 1; use a new --out" in line


def unfinished(undisturbed, out):
    """Make `out` the undisturbed run five steps before its end."""
    shutil.copytree(undisturbed, out)
    shutil.rmtree(latest_checkpoint(out).folder)


@pytest.mark.slow
def test_what_only_a_worker_can_find_is_said_in_one_line_and_not_tried_again(pretraining, undisturbed, tmp_path):
    out = tmp_path / "damaged"
    unfinished(undisturbed, out)
    path = latest_checkpoint(out).folder / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    assert pretraining.start(out).wait(GIVE_UP_SECONDS) == 1
    (told,) = pretraining.log(out).read_text().splitlines()
    assert told.startswith(f"vinculum-train: {path}: SHA-256 ")
    assert told.endswith("remove this checkpoint, and the run goes on from the one before, or begins again")


def test_two_processes_do_not_train_one_run(pretraining, undisturbed, tmp_path, capsys):
    out = tmp_path / "twice"
    unfinished(undisturbed, out)
    with locked(out):
        assert "another run owns this store" in refused(pretraining, capsys, out)
