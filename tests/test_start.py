"""No command imports what it does not use, and none is imported to be listed."""

import json
import subprocess
import sys

import pytest

from pipeline.cli import COMMANDS, PROGRAM
from pipeline.cli import main as vinculum
from stores.programs.commands import command_class, summary_of
from tests.pipeline.care.test_doctor import make_sentences, say
from tests.stores.builders import make_regions, make_store
from training.cli import COMMANDS as TRAINING_COMMANDS
from training.cli import main as vinculum_train

HEAVY = {"torch", "torchvision", "ray", "transformers", "gensim", "scipy", "cv2"}

RUN = """
import json, sys
from {program} import main
try:
    status = main({arguments!r})
except SystemExit as ended:
    status = ended.code
print(json.dumps([status, sorted(sys.modules)]))
"""


def modules_after(code):
    """Return the exit status and the modules of a new process that has run the code."""
    ran = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    status, modules = json.loads(ran.stdout.splitlines()[-1])
    return status, set(modules)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    make_store(folder / "regions", [[make_regions("a", num_boxes=2)]])
    return {
        "folder": folder,
        "regions": folder / "regions",
        "sentences": make_sentences(folder / "sentences", say("1"), say("2")),
    }


@pytest.mark.parametrize("program", ["pipeline.cli", "training.cli"])
def test_help_imports_no_command(program):
    status, modules = modules_after(RUN.format(program=program, arguments=["--help"]))
    assert status == 0
    assert not modules & HEAVY
    assert not [name for name in modules if name.startswith(("pipeline.commands.", "training.commands."))]


@pytest.mark.parametrize(
    "command",
    [
        "verify {regions}",
        "verify --help",
        "repair {regions}",
        "inspect {regions} --out {folder}/regions.html",
        "inspect {sentences} --regions {regions} --out {folder}/sentences.html",
        "inspect --help",
        "doctor --regions {regions} --sentences {sentences}",
        "doctor --help",
        "convert --source {regions} --to lxmert-tsv --out {folder}/out.tsv",
        "boxes --regions {regions} --out {folder}/boxes.json",
        "demo --help",
        "toyworld --help",
    ],
)
def test_a_command_about_stores_imports_neither_torch_nor_ray(command, stores):
    arguments = command.format(**stores).split()
    status, modules = modules_after(RUN.format(program="pipeline.cli", arguments=arguments))
    assert status == 0
    assert not modules & HEAVY - ({"cv2"} if arguments[0] == "toyworld" else set())  # which draws with it
    imported = {name for name in modules if name.startswith("pipeline.commands.")}
    others = {COMMANDS[name].partition(":")[0] for name in COMMANDS if name != arguments[0]}
    assert not imported & others


def test_reading_a_store_imports_neither_torch_nor_ray(stores):
    code = f"""
import json, sys
from pathlib import Path
from stores.reading import open_store
with open_store(Path({str(stores["regions"])!r})) as records:
    (image_id,) = records.image_ids
    found = records.get(image_id)
print(json.dumps([len(found.features), sorted(sys.modules)]))
"""
    num_rows, modules = modules_after(code)
    assert num_rows == 2
    assert not modules & HEAVY


@pytest.mark.parametrize("place", [*COMMANDS.values(), *TRAINING_COMMANDS.values()])
def test_the_summary_in_the_list_is_how_the_commands_own_help_begins(place):
    own = command_class(place).__doc__
    assert summary_of(place) == " ".join(own.split("\n\n")[0].split())
    assert summary_of(place).endswith(".")


def test_a_place_that_names_nothing_says_so():
    with pytest.raises(ModuleNotFoundError, match=r"pipeline\.commands\.nothing:Nothing: no such module"):
        summary_of("pipeline.commands.nothing:Nothing")
    with pytest.raises(AttributeError, match=r"verify\.py: no class Nothing"):
        summary_of("pipeline.commands.verify:Nothing")


def test_the_command_that_is_named_is_the_one_that_is_parsed(tmp_path):
    command = PROGRAM.parse(["verify", str(tmp_path)])
    assert (type(command), command.store) == (command_class(COMMANDS["verify"]), tmp_path)


@pytest.mark.parametrize(
    ("main", "words"),
    [(vinculum, ["extract", "--retry-quarantine", "doctor"]), (vinculum_train, ["presets", "--loader-workers"])],
)
def test_a_shell_completes_commands_and_their_options(main, words, tmp_path, capsys):
    script = tmp_path / "completion.bash"
    with pytest.raises(SystemExit) as ended:
        main(["--tyro-write-completion", "bash", str(script)])
    assert not ended.value.code
    assert all(word in script.read_text() for word in words)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
