"""`vinculum-train`: what its help says, and how it ends."""

import json
import re

import pytest

from stores.programs.commands import command_class
from tests.help_texts import WIDE, printed_help, require_plain_texts
from tests.training.task_stores import make_task_run, task_stores
from training.cli import COMMANDS, PROGRAM, main
from training.runs.presets import PRESETS


def test_help_lists_every_command_and_says_what_it_does(capsys, monkeypatch):
    text = "\n".join(printed_help(main, [], WIDE, capsys, monkeypatch))
    assert "Train on what vinculum prepares." in text
    for command in COMMANDS:
        assert re.search(rf"^• {command}\s+[A-Z].*\.$", text, re.MULTILINE), command


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_says_what_a_command_does_and_shows_an_example_that_parses(command, capsys, monkeypatch):
    lines = printed_help(main, [command], WIDE, capsys, monkeypatch)
    assert [line for line in lines if re.fullmatch(r"[A-Z].*\.", line)]
    (example,) = [line for line in lines if line.startswith("vinculum-train ")]
    _, name, *arguments = example.split()
    assert name == command
    parsed = PROGRAM.parse([name, *arguments])
    assert type(parsed) is command_class(COMMANDS[command])


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_says_of_every_option_in_plain_sentences_what_it_does(command, capsys, monkeypatch):
    require_plain_texts(main, command, capsys, monkeypatch)


def test_help_of_pretrain_names_every_preset(capsys, monkeypatch):
    text = " ".join(printed_help(main, ["pretrain"], WIDE, capsys, monkeypatch))
    assert all(re.search(rf"\b{name}[,.]", text) for name in PRESETS)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["evaluat"],
        ["evaluate", "--run", "run"],
        ["finetune", "--task", "vcr", "--start", "a", "--regions", "b", "--sentences", "c", "--out", "d"],
        ["probe", "--run", "a", "--regions", "b", "--sentences", "c", "--num-steps", "many"],
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err


def test_options_of_the_linear_probe_are_options_of_the_command():
    given = ["--run", "a", "--regions", "b", "--sentences", "c"]
    arguments = ["probe", *given, "--num-steps", "7", "--learning-rate", "0.5", "--seed", "3"]
    parsed = PROGRAM.parse(arguments)
    assert (parsed.probe.num_steps, parsed.probe.learning_rate, parsed.probe.seed) == (7, 0.5, 3)


def test_an_error_is_a_line_that_names_the_thing_and_the_status_is_1(tmp_path, capsys):
    arguments = ["evaluate", "--run", tmp_path / "run", "--regions", tmp_path, "--sentences", tmp_path]
    assert main([str(each) for each in arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"vinculum-train: {tmp_path / 'run'}: no checkpoint there")
    assert "Traceback" not in said.err


def test_the_last_line_is_the_summary_and_the_status_is_0(tmp_path, capsys):
    regions, sentences = task_stores(tmp_path / "stores")
    run = make_task_run(tmp_path / "run", task="nlvr2", answers=("False", "True"))
    arguments = ["evaluate", "--run", run.folder, "--regions", regions, "--sentences", sentences, "--json"]
    assert main([str(each) for each in arguments]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["accuracy"]["of"] == 12
