"""What a command costs before it does anything: seconds of one core, and memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.scale import scaled
from tests.stores.builders import make_regions, make_store

BIN = Path(__file__).parent.parent.parent / "bin"
REPEATS = scaled(full=5, tiny=1)
COMMANDS = scaled(
    full=[
        "vinculum --help",
        "vinculum-train --help",
        "vinculum --version",
        "vinculum verify --help",
        "vinculum verify STORE",
        "vinculum inspect STORE --out page.html",
        "vinculum align --help",
        "vinculum extract --help",
        "vinculum-train pretrain --help",
        "vinculum-train presets",
    ],
    tiny=["vinculum --help", "vinculum verify STORE"],
)

MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


@pytest.mark.benchmark
@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_start_costs(command, tmp_path):
    make_store(tmp_path / "store", [[make_regions("a", num_boxes=3)]])
    program, *arguments = command.replace("STORE", "store").split()
    line = [sys.executable, "-c", MEASURE, sys.executable, str(BIN / program), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    costs = []
    for _ in range(REPEATS):
        ran = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
        costs.append(tuple(map(float, ran.stdout.split())))
    seconds, megabytes = min(costs)
    print(f"\n{command}: {seconds:.2f} s of one core, {megabytes:.0f} MB")
