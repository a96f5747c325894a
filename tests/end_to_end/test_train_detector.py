"""`vinculum-train detector` on a real Ray: killed anywhere and run again, its curve is that of an undisturbed run."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from annotations.toyworld.world import write_toy_world
from detectors.weights.files import read_weights
from tests.training.learnable_runs import curve
from training.cli import main
from training.runs.checkpoints import list_checkpoints

ROOT = Path(__file__).parents[2]
GIVE_UP_SECONDS = 600
pytestmark = pytest.mark.timeout(1800)
STEPS = 12
OPTIONS = ("--batch-size", "2", "--regions-per-image", "8", "--detections-per-image", "20")
OPTIONS += ("--min-score", "0.05", "--log-every", "1", "--checkpoint-every", "2", "--steps", str(STEPS), "--json")


class Training:
    """A small world, and a detector that learns it as a user would start it."""

    def __init__(self, place):
        self.place = place
        write_toy_world(place / "world", num_images=12, seed=3)

    def arguments(self, out, *more):
        world = self.place / "world"
        given = ["--annotations", world / "visual_genome", "--images", world / "images", "--out", out]
        size = () if "--init" in more else ("--size", "small")
        return [str(each) for each in ("detector", *given, *size, *OPTIONS, *more)]

    def start(self, out, *more):
        command = [sys.executable, "-m", "training.cli", *self.arguments(out, *more)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with self.log(out).open("a") as log:
            return subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
            )

    def log(self, out):
        return self.place / f"{out.name}.log"

    def finish(self, out, *more):
        status = self.start(out, *more).wait(GIVE_UP_SECONDS)
        assert status == 0, self.log(out).read_text()[-3000:]
        return json.loads(self.log(out).read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    return Training(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def undisturbed(training):
    out = training.place / "undisturbed"
    training.finish(out)
    return out


def wait_until(happened, process):
    started = time.monotonic()
    while not happened():
        assert process.poll() is None, f"it ended with status {process.returncode}"
        assert time.monotonic() - started < GIVE_UP_SECONDS
        time.sleep(0.01)


def steps_done(run):
    return max((each.step for each in list_checkpoints(run)), default=0)


def family_of(process):
    return [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]


def workers_of(process):
    return [each for each in family_of(process) if "RayTrainWorker" in " ".join(each.cmdline())]


def same(out, undisturbed):
    assert curve(out) == curve(undisturbed)
    mine, theirs = (load_file(run / "detector.safetensors") for run in (out, undisturbed))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert (out / "scores.json").read_text() == (undisturbed / "scores.json").read_text()


def test_the_command_goes_from_annotations_to_weights_that_load_and_does_nothing_twice(training, capsys):
    out = training.place / "short"
    arguments = training.arguments(out, "--steps", "2")
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    weights = read_weights(str(out / "detector.safetensors"), {})
    assert weights.identity["sha256"] == summary["sha256"]
    assert len(weights.vocabulary.classes) == 18
    assert summary["num_images"] == 2
    assert sorted(path.name for path in out.iterdir()) == [
        "attributes.tsv", "checkpoints", "classes.tsv", "detector.safetensors", "digests.json", "gold.npz",
        "metrics.jsonl", "recipe.json", "scores.json", "scores.jsonl", "tensorboard",
    ]  # fmt: skip

    started = time.monotonic()
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == summary
    assert time.monotonic() - started < 10  # Ray alone takes longer

    assert main(training.arguments(out, "--steps", "2", "--learning-rate", "0.5")) == 1
    says = capsys.readouterr().err
    assert "optimization.learning_rate was 0.001, this run has 0.5; use a new --out" in says
    assert len(says.splitlines()) == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            ["--workers", "3"],
            "batch size 2 cannot be divided among 3 workers in 1 parts each; expected a multiple of 3",
        ),
        (["--steps", "0"], "0 steps of weights that are noise; expected --init"),
        (["--batch-size", "99"], "batch size 99 of 10 images; expected from 1 to that number"),
        (["--frozen-stages", "6"], "frozen_stages is 6, expected 0 to 5"),
        (["--evaluation-nms", "3"], "evaluation_nms is 3.0, expected a share from 0 to 1"),
        (["--init", "nowhere.bin"], "no such file"),
        (["--init", "toyworld", "--size", "small"], "--size small: the network is that of --init toyworld"),
        (["--checkpoint-every", "0"], "checkpoint_every is 0, expected 1 or more"),
    ],
)
def test_what_can_not_be_trained_is_said_in_one_line_before_anything_starts(more, says, training, tmp_path, capsys):
    assert main(training.arguments(tmp_path / "run", *more)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "run/recipe.json").exists()


@pytest.mark.slow
def test_weights_are_measured_as_they_are_by_any_rules(training, capsys):
    arguments = training.arguments(training.place / "measured", "--init", "toyworld", "--steps", "0")
    scores = []
    for detections in ("20", "1"):
        assert main([*arguments, "--detections-per-image", detections]) == 0
        scores.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert scores[0]["map_50"] > 0.6
    assert scores[1]["map_50"] < scores[0]["map_50"]


@pytest.mark.slow
def test_killed_with_all_of_ray_and_run_again_its_curve_is_that_of_an_undisturbed_run(training, undisturbed):
    out = training.place / "killed"
    for step in (2, 6):
        process = training.start(out)
        wait_until(lambda step=step: steps_done(out) >= step, process)
        family = family_of(process)
        for each in family:
            each.kill()
        psutil.wait_procs(family, timeout=30)
        process.wait(30)
    training.finish(out)
    same(out, undisturbed)


@pytest.mark.slow
def test_a_rank_that_is_killed_is_started_anew_and_two_ranks_have_the_curve_of_one_in_two_parts(training):
    one, two = training.place / "parts", training.place / "ranks"
    training.finish(one, "--accumulation", "2", "--steps", "8")
    process = training.start(two, "--workers", "2", "--steps", "8", "--evaluate-every", "4")
    wait_until(lambda: steps_done(two) >= 2, process)
    workers_of(process)[-1].kill()
    assert process.wait(GIVE_UP_SECONDS) == 0, training.log(two).read_text()[-3000:]
    assert re.search("lost workers: .*; they start anew from step [2-8]", training.log(two).read_text())
    assert [json.loads(line)["step"] for line in (two / "scores.jsonl").read_text().splitlines()] == [4]
    for a, b in zip(curve(one), curve(two), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


@pytest.mark.slow
def test_two_ranks_measure_what_one_measures(training):
    alone, together = training.place / "alone", training.place / "together"
    measure = ("--init", "toyworld", "--steps", "0")
    assert training.finish(alone, *measure) | {"out": ""} == training.finish(together, *measure, "--workers", "2") | {
        "out": ""
    }


@pytest.mark.slow
def test_the_full_vocabulary_of_visual_genome_trains_goes_on_and_loads(training):
    world, folder = training.place / "world/visual_genome", training.place / "vocabulary"
    folder.mkdir()
    for name, count in (("objects_vocab.txt", 1600), ("attributes_vocab.txt", 400)):
        known = (world / name).read_text().splitlines()
        lines = [f"thing {number},stuff {number}" for number in range(count - len(known))] + known
        (folder / name).write_text("\n".join(lines))
    out = training.place / "full"
    training.finish(out, "--vocabulary", str(folder), "--steps", "4", "--preset", "bottom-up-attention")
    for name in ("detector.safetensors", "scores.json"):
        (out / name).unlink()
    newest = max(list_checkpoints(out), key=lambda each: each.step).folder
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    before = curve(out)
    summary = training.finish(out, "--vocabulary", str(folder), "--steps", "4", "--preset", "bottom-up-attention")
    assert curve(out) == before
    assert summary["num_classes"] <= 18
    weights = read_weights(str(out / "detector.safetensors"), {})
    assert (weights.num_classes, weights.num_attributes) == (1600, 400)
    assert weights.vocabulary.classes[0] == "thing 0,stuff 0"
    assert len((out / "classes.tsv").read_text().splitlines()) == 1601
