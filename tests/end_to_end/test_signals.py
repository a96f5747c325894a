"""SIGTERM and Ctrl-C end every command in order: with shells' status, one line, and a store or run that goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from annotations.toyworld.world import write_toy_world
from pipeline.cli import main
from tests.training.learnable_runs import learnable_stores

BIN = Path(__file__).parents[2] / "bin"
GIVE_UP_SECONDS = 240
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NUMBERS = pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])


def stop(command, number, *, when, log):
    """Start a command, send it the signal as soon as `when` is true, and return how it ended."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)], stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        started = time.monotonic()
        while not when(log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() - started < GIVE_UP_SECONDS
            time.sleep(0.05)
        process.send_signal(number)
        return process.wait(GIVE_UP_SECONDS)


def last_line(log):
    assert "Traceback" not in log.read_text() and "***" not in log.read_text()
    return log.read_text().splitlines()[-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("signals")
    write_toy_world(place, num_images=40, seed=0)
    return place


@NUMBERS
def test_extract_is_stopped_and_goes_on(world, tmp_path, number, status):
    out, log = tmp_path / "regions", tmp_path / "log"
    command = [BIN / "vinculum", "extract", "--images", world / "images", "--weights", "toyworld"]
    command += ["--shard-size", "4", "--out", out]
    assert stop(command, number, when=lambda text: "shard-00000" in text, log=log) == status
    assert last_line(log) == "vinculum: stopped; run the same command again to go on"
    assert main([*map(str, command[1:])]) == 0


@NUMBERS
def test_align_is_stopped_and_leaves_nothing_before_its_first_shard(world, tmp_path, number, status):
    out, log = tmp_path / "sentences", tmp_path / "log"
    command = [BIN / "vinculum", "align", "--images", world / "images", "--annotations", f"gqa={world / 'gqa'}"]
    command += ["--ids", "visual-genome", "--out", out]
    assert stop(command, number, when=lambda text: "aligning on" in text, log=log) == status
    assert last_line(log) == "vinculum: stopped; run the same command again to go on"
    assert not out.exists()


@NUMBERS
def test_pretrain_is_stopped(tmp_path, number, status):
    regions, sentences = learnable_stores(tmp_path / "stores", num_images=24)
    out, log = tmp_path / "run", tmp_path / "log"
    command = [BIN / "vinculum-train", "pretrain", "--preset", "toy", "--regions", regions, "--sentences", sentences]
    command += ["--steps", "100000", "--batch-size", "8", "--log-every", "1", "--out", out]
    assert stop(command, number, when=lambda text: "step 3 " in text, log=log) == status
    assert "asked to stop" in log.read_text()
    assert last_line(log) == "vinculum-train: stopped; run the same command again to go on"
    assert not (out / "stop-requested").exists()


@NUMBERS
def test_a_command_without_workers_is_stopped(tmp_path, number, status):
    log = tmp_path / "log"
    command = [BIN / "vinculum", "toyworld", "--images", "100000", "--out", tmp_path / "world"]
    assert stop(command, number, when=lambda text: any((tmp_path / "world").rglob("*.jpg")), log=log) == status
    assert last_line(log) == "vinculum: stopped; run the same command again to go on"
