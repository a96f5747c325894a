"""No file, whatever happened to it, brings down who reads it: a result, or an error of ours, of one line.

Seconds by default; `VINCULUM_FUZZ=2000` reads so many damaged files for each reader.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import READERS

EXAMPLES = int(os.environ.get("VINCULUM_FUZZ", "10"))


@pytest.mark.timeout(120 + 5 * EXAMPLES)
@pytest.mark.parametrize("room", READERS)
def test_a_damaged_file_is_read_or_refused_in_bounded_time_and_memory(room):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.subject", room, str(EXAMPLES)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    place, *found = ran.stdout.splitlines()
    reading = sorted(path.name for path in Path(place).glob("*"))
    shutil.rmtree(place, ignore_errors=True)
    assert not found, "\n".join(json.dumps(json.loads(line), indent=1) for line in found)
    ended = signal.Signals(-ran.returncode).name if ran.returncode < 0 else str(ran.returncode)
    assert ran.returncode == 0, f"reading {reading} ended with {ended}: {ran.stderr[-2000:]}"


def test_every_data_set_and_every_format_is_read():
    from annotations.datasets.catalog import DATA_SETS
    from stores.interchange.catalog import FORMATS

    assert DATA_SETS.keys() <= READERS["annotations"].keys()
    assert {f"features of {name}" for name in FORMATS} <= READERS["stores"].keys()
