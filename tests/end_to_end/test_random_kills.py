"""Two hundred times `kill -9` at random instants, five in a row before each run that may end: nothing is lost.

`VINCULUM_KILLS` sets another number.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from annotations.toyworld.world import write_toy_world

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("VINCULUM_KILLS", "200"))
IN_A_ROW = 5
GIVE_UP_SECONDS = 240
WORKERS = ("ray::ShardWorker", "ray::AlignWorker", "RayTrainWorker")
VICTIMS = ("driver", "worker", "raylet", "gcs_server", "all")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One command line that is killed."""

    module: str
    words: str
    share: float
    """How much of all kills it gets."""


_STEPS = "--steps 12 --checkpoint-every 2 --log-every 1 --batch-size 8 --device cpu"
LINES = {
    "regions": Line(
        module="pipeline.cli", words="extract --images world/images --weights toyworld --shard-size 2", share=0.5
    ),
    "sentences": Line(
        module="pipeline.cli",
        words="align --regions whole/regions --annotations gqa=world/gqa coco-captions=world/coco "
        "--vectors world/vectors/toyworld_vectors.txt --shard-size 40",
        share=0.3,
    ),
    "run": Line(
        module="training.cli",
        words=f"pretrain --regions whole/regions --sentences whole/sentences {_STEPS}",
        share=0.2,
    ),
}
"""By what each makes; each reads what those before have made."""


class Victims:
    """A folder in which commands are started and killed."""

    def __init__(self, place: Path) -> None:
        write_toy_world(place / "world", num_images=16, seed=0)
        self.place = place
        self.seconds: dict[str, float] = {}
        for made in LINES:
            started = time.monotonic()
            assert self.start(made, f"whole/{made}").wait(GIVE_UP_SECONDS) == 0, self.log(made)
            self.seconds[made] = time.monotonic() - started

    def start(self, made: str, out: str) -> subprocess.Popen[bytes]:
        line = LINES[made]
        command = [sys.executable, "-m", line.module, *line.words.split(), "--out", out]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with (self.place / f"{made}.log").open("a") as log:
            return subprocess.Popen(
                command, cwd=self.place, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
            )

    def log(self, made: str) -> str:
        return (self.place / f"{made}.log").read_text()[-3000:]

    def kill(self, made: str, out: str, victim: str, seconds: float) -> str:
        """Start the command and kill the victim so long after; returns what was killed and how the command ended.

        Empty where the command had ended before, or its victim had not begun.
        """
        process = self.start(made, out)
        started = time.monotonic()
        until = started + seconds
        family = {}
        while time.monotonic() < until and process.poll() is None:
            family |= {each.pid: each for each in _descendants(process.pid)}
            time.sleep(0.05)
        family |= {each.pid: each for each in _descendants(process.pid)}
        if process.poll() is not None:
            self.seconds[made] = time.monotonic() - started  # it takes less than it did when all was cold
            return ""
        killed = _chosen(victim, process.pid, family)
        for pid in killed:
            _kill(pid)
        status = process.wait(GIVE_UP_SECONDS)
        _end(family.values())
        return f"{victim}, exit {status}" if killed else ""

    def content(self, out: str) -> dict[str, bytes]:
        """Return the bytes that two runs have in common, by file name."""
        files = sorted(path for path in (self.place / out).rglob("*") if path.is_file())
        return {
            path.relative_to(self.place / out).as_posix(): path.read_bytes()
            for path in files
            if path.name.startswith("shard-") or path.name in ("manifest.json", "index.arrow", "model.safetensors")
        }


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _chosen(victim: str, driver: int, family: dict[int, psutil.Process]) -> list[int]:
    if victim == "driver":
        return [driver]
    if victim == "all":
        return [driver, *family]
    names = WORKERS if victim == "worker" else (victim,)
    return [pid for pid, each in family.items() if any(name in _title(each) for name in names)][:1]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _end(family) -> None:
    """All that the command started has ended; Ray's agents, which look for their raylet now and then, are helped."""
    _, alive = psutil.wait_procs(family, timeout=2)
    for each in alive:
        _kill(each.pid)


@pytest.fixture(scope="module")
def victims(tmp_path_factory):
    return Victims(tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize("made", LINES)
def test_killed_at_random_instants_nothing_is_lost_and_the_bytes_are_those_of_an_undisturbed_run(victims, made):
    generator = random.Random(made)
    wanted = round(KILLS * LINES[made].share)
    whole = victims.content(f"whole/{made}")
    ends: Counter[str] = Counter()
    while ends.total() < wanted:
        out = f"{made}-{ends.total()}"
        for _ in range(IN_A_ROW):
            seconds = generator.uniform(0.5, victims.seconds[made])
            if end := victims.kill(made, out, generator.choice(VICTIMS), seconds):
                ends[end] += 1
        assert victims.start(made, out).wait(GIVE_UP_SECONDS) == 0, victims.log(made)
        assert victims.content(out) == whole
        shutil.rmtree(victims.place / out)
    print(f"{made}: {ends.total()} kills: " + "; ".join(f"{count} x {end}" for end, count in sorted(ends.items())))
