"""Every `sh` and `python` block of every README, run as it stands, in order, in one folder.

The first README's blocks make a toy world, its stores and a run; those of the rooms go on from there.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from stores.sentence_reading import open_sentences
from tests.end_to_end.installation import OURS, ROOT

FIRST = ROOT / "README.md"
ROOMS = sorted(path for room in OURS for path in (ROOT / room).rglob("README.md"))


def blocks(readme):
    return re.findall(r"^```(sh|python)\n(.*?)^```", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


ROOM_BLOCKS = [
    pytest.param(*block, id=f"{path.parent.relative_to(ROOT)}-{number}")
    for path in ROOMS
    for number, block in enumerate(blocks(path))
]


@dataclass
class Walk:
    """The first README's blocks in one folder, each run once, when it is asked for."""

    folder: Path
    done: list[subprocess.CompletedProcess] = field(default_factory=list)

    def to(self, number):
        for block in blocks(FIRST)[len(self.done) : number + 1]:
            self.done.append(self.run(*block))
        return self.done[number]

    def run(self, language, text):
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return Walk(tmp_path_factory.mktemp("readme"))


def test_the_readmes_show_commands():
    assert sum(language == "sh" for language, _ in blocks(FIRST)) == 3
    assert len(ROOM_BLOCKS) >= 10


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(len(blocks(FIRST))))
def test_a_block_of_the_first_readme_runs(walk, number):
    done = walk.to(number)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("language", "text"), ROOM_BLOCKS)
def test_a_block_of_a_rooms_readme_runs(walk, language, text):
    before = walk.to(len(blocks(FIRST)) - 1)
    assert before.returncode == 0, before.stderr[-2000:]
    done = walk.run(language, text)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.timeout(900)
def test_the_first_readmes_picture_can_be_drawn(walk):
    assert walk.to(len(blocks(FIRST)) - 1).returncode == 0
    with open_sentences(walk.folder / "sentences") as store:
        chosen = next(each.sentence.sentence_id for each in store if each.sentence.source == "flickr30k-entities")
    drawing = "python", str(ROOT / "docs/words.py"), "--demo", ".", "--sentence", chosen, "--out", "words.png"
    drawn = walk.run("sh", shlex.join(drawing))
    assert drawn.returncode == 0, drawn.stderr
    with Image.open(walk.folder / "words.png") as ours, Image.open(ROOT / "docs/words.png") as kept:
        assert ours.width > 2 * ours.height and len(ours.getcolors()) > 100
        assert kept.width > 2 * kept.height
    assert (ROOT / "docs/words.png").stat().st_size < 200_000
