"""`vinculum-train presets` and `tasks`: every entry of their tables, with what it is and what it costs."""

import json

import pytest

from training.cli import main
from training.runs.presets import PRESETS
from training.tasks.catalog import TASKS


def printed(capsys, *arguments):
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_the_table_of_presets_has_a_line_for_each(capsys):
    lines = printed(capsys, "presets").splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:-1]] == list(PRESETS)
    assert "228.1 M" in lines[2] and "256 sentences" in lines[2] and "20 epochs" in lines[2]


def test_the_table_of_tasks_has_a_line_for_each(capsys):
    lines = printed(capsys, "tasks").splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:-1]] == list(TASKS)


def test_the_machine_readable_line_has_ablations_and_variants(capsys):
    presets = json.loads(printed(capsys, "presets", "--json").splitlines()[-1])["presets"]
    assert {name: each["ablations"] for name, each in presets.items()} == {
        name: list(preset.ablations) for name, preset in PRESETS.items()
    }
    assert presets["lxmert"]["weights"] == 228_051_752
    tasks = json.loads(printed(capsys, "tasks", "--json").splitlines()[-1])["tasks"]
    assert {name: each["variants"] for name, each in tasks.items()} == {
        name: list(task.variants) for name, task in TASKS.items()
    }


def test_one_is_described_in_full_as_the_last_line_of_the_table_says(capsys):
    told = printed(capsys, "presets", "--preset", "uniter")
    assert "hard-labels" in told and "16 V100" in told and PRESETS["uniter"].command in told
    assert "swapped" in printed(capsys, "tasks", "--task", "retrieval")


@pytest.mark.parametrize(
    ("arguments", "known"), [(("presets", "--preset", "x"), PRESETS), (("tasks", "--task", "x"), TASKS)]
)
def test_an_unknown_one_lists_those_that_there_are(arguments, known, capsys):
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert all(name in told for name in known)


@pytest.mark.parametrize("table", [PRESETS, TASKS])
def test_every_entry_says_what_it_is_in_a_sentence_of_its_own(table):
    told = [each.about for each in table.values()]
    assert all(about and about[0].isupper() and about.endswith(".") for about in told)
    assert len(set(told)) == len(told)
