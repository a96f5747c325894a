"""Every command line that a text shows is understood by its program, also where it needs a cluster or a download."""

import re
import shlex

import pytest

from pipeline.cli import PROGRAM
from tests.test_house_rules import ROOT, TEXTS
from training.cli import PROGRAM as TRAINING

PROGRAMS = {"vinculum": PROGRAM, "vinculum-train": TRAINING}


def shown_commands(text):
    """Return the command lines of our programs in the fences of a text, continued lines joined."""
    for fence in re.findall(r"^```(?:sh|text)\n(.*?)^```", text.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n\s*", " ", fence).splitlines():
            found = re.search(r"(?:^|-- |/)(vinculum(?:-train)? .*)", line)
            if found:
                yield shlex.split(found[1], comments=True)


SHOWN = [
    pytest.param(words, id=f"{text.parent.relative_to(ROOT)}-{' '.join(words[:2])}-{number}")
    for text in TEXTS
    for number, words in enumerate(shown_commands(text))
]


def test_the_texts_show_many_commands():
    assert len(SHOWN) > 40


@pytest.mark.parametrize("words", SHOWN)
def test_a_command_that_a_text_shows_is_understood(words):
    program, *arguments = words
    command = PROGRAMS[program].parse(arguments)
    assert callable(command.run)
