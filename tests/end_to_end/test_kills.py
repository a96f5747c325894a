"""`kill -9` of the driver, of a worker and of Ray itself, at random instants; run again, the bytes are the same."""

import json
import operator
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from annotations.toyworld.world import write_toy_world

ROOT = Path(__file__).parents[2]
AGENTS = ("Agent", "dashboard/agent.py", "runtime_env/agent/main.py")
"""By the titles that they give themselves, and by what is run until they do."""
GIVE_UP_SECONDS = 120
VICTIMS = {"worker": "ray::ShardWorker", "raylet": "raylet/raylet", "gcs": "gcs_server"}


class Extraction:
    """One toy world, and extractions of it as a user would start them."""

    def __init__(self, place):
        write_toy_world(place / "world", num_images=24, seed=0)
        self.place = place
        started = time.monotonic()
        assert self.run("undisturbed") == 0
        self.seconds = time.monotonic() - started

    def start(self, out):
        command = [sys.executable, "-m", "pipeline.cli", "extract", "--images", self.place / "world/images"]
        command += ["--weights", "toyworld", "--shard-size", "3", "--out", self.place / out]
        log = (self.place / f"{out}.log").open("a")
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, out):
        return self.start(out).wait(GIVE_UP_SECONDS)

    def kill(self, out, victim, instant):
        """Kill `victim` when `instant(seconds)` says so; return the run's exit status, and whether it was there."""
        process = self.start(out)
        family = {}
        started = time.monotonic()
        while not instant(time.monotonic() - started) and process.poll() is None:
            family |= {each.pid: each for each in _descendants(process.pid)}
            time.sleep(0.05)
        pid = process.pid if victim == "driver" else _find(process.pid, VICTIMS[victim])
        if pid is not None and process.poll() is None:
            os.kill(pid, signal.SIGKILL)
        family |= {each.pid: each for each in _descendants(process.pid)}
        status = process.wait(GIVE_UP_SECONDS)
        left = _who_stays(family.values())
        assert not left, f"{victim} killed: {left} live on"
        return status, pid is not None

    def files(self, out):
        kept = sorted(path for path in (self.place / out).iterdir() if path.name != "run.jsonl")
        return {path.name: path.read_bytes() for path in kept}


def _descendants(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _who_stays(family):
    """Return the command lines of those who do not end in half a minute, in which one that was starting has started.

    Ray's two agents look for their raylet now and then, and end by themselves a minute or so later.
    """
    until = time.monotonic() + 30
    while True:
        left = [told for each in family if (told := _told(each)) and not any(part.endswith(AGENTS) for part in told)]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.5)


def _told(process):
    """Return a process's command line, which is a title of its own choice once it has one; empty if it has ended."""
    try:
        return process.cmdline() if process.is_running() else []
    except psutil.NoSuchProcess:
        return []


def _find(pid, text):
    for each in _descendants(pid):
        try:
            if text in " ".join(each.cmdline()):
                return each.pid
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return None


@pytest.fixture(scope="module")
def extraction(tmp_path_factory):
    return Extraction(tmp_path_factory.mktemp("kills"))


def kill_and_run_again(extraction, out, victim, instant):
    status, found = extraction.kill(out, victim, instant)
    log = (extraction.place / f"{out}.log").read_text()
    if victim == "worker" and found:
        assert status == 0, log[-2000:]
    if victim == "driver":
        assert status in (-signal.SIGKILL, 0)
    assert extraction.run(out) == 0, (extraction.place / f"{out}.log").read_text()[-2000:]
    files = extraction.files(out)
    assert [name for name in files if name.endswith(".tmp")] == []
    assert files == extraction.files("undisturbed")
    return status, found


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "victim", ["worker", *(pytest.param(each, marks=pytest.mark.slow) for each in ("driver", "raylet", "gcs"))]
)
def test_killed_half_way_and_run_again_the_bytes_are_those_of_an_undisturbed_run(extraction, victim):
    out = extraction.place / f"once-{victim}"
    _, found = kill_and_run_again(extraction, out.name, victim, lambda seconds: len(list(out.glob("shard-*"))) >= 3)
    assert found


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_retry_killed_before_its_manifest_leaves_features_that_stay_though_the_photographs_go(extraction):
    place, out = extraction.place, extraction.place / "retried"
    photographs = place / "photographs"
    photographs.mkdir()
    for path in sorted((place / "world/images").iterdir())[:6]:
        shutil.copy(path, photographs)
    broken = min(photographs.iterdir())
    whole = broken.read_bytes()
    broken.write_bytes(b"no photograph")
    run = partial(_start_on, photographs, out)
    assert run().wait(GIVE_UP_SECONDS) == 3
    (shard,) = out.glob("shard-*")
    before, manifest = shard.stat().st_ino, (out / "manifest.json").read_bytes()
    broken.write_bytes(whole)

    driver = run("--retry-quarantine", "--changed", "redo")
    until = time.monotonic() + GIVE_UP_SECONDS
    while shard.stat().st_ino == before and time.monotonic() < until:
        time.sleep(0.002)
    driver.send_signal(signal.SIGKILL)
    driver.wait(GIVE_UP_SECONDS)
    made = shard.read_bytes()
    assert shard.stat().st_ino != before
    assert json.loads((out / "manifest.json").read_text())["shards"] == json.loads(manifest)["shards"]

    for path in sorted(photographs.iterdir())[1:]:
        path.unlink()
    assert run().wait(GIVE_UP_SECONDS) == 0, (place / "retried.log").read_text()[-2000:]
    assert shard.read_bytes() == made
    (entry,) = json.loads((out / "manifest.json").read_text())["shards"]
    assert (entry["rows"], entry["failures"]) == (6, [])


def _start_on(images, out, *options):
    command = [sys.executable, "-m", "pipeline.cli", "extract", "--images", images, "--weights", "toyworld"]
    log = out.with_suffix(".log").open("a")
    command += ["--out", out, *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_twenty_random_instants_the_bytes_are_the_same(extraction):
    generator = random.Random(0)
    for number in range(20):
        victim = generator.choice(["driver", *VICTIMS])
        wanted = generator.uniform(0, extraction.seconds)
        status, found = kill_and_run_again(extraction, f"random-{number}", victim, partial(operator.lt, wanted))
        print(f"{number}: {victim} after {wanted:.1f} s: {'killed' if found else 'not there yet'}, exit {status}")
