"""What the command lines say when something is wrong: subject, found, expected, what to do; one line, no traceback."""

import json

import pytest

from pipeline import cli
from tests.stores.builders import make_regions, make_store
from training import cli as training_cli
from training.runs.recipes import FILE_NAME

EXTRACT = ["extract", "--images", "photos", "--out", "regions", "--address", "127.0.0.1:1"]
ALIGN = ["align", "--regions", "store", "--vectors", "vectors.txt", "--out", "sentences"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with photographs, a store, a file, and what looks like a run with a checkpoint."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/7.jpg").write_bytes(b"")
    (tmp_path / "file").write_text("")
    make_store(tmp_path / "store", [[make_regions("a", num_boxes=3)]])
    (tmp_path / "run/checkpoints/step-00000020").mkdir(parents=True)
    (tmp_path / "run" / FILE_NAME).write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ended(main, arguments):
    try:
        return main(arguments)
    except SystemExit as exit_:
        return exit_.code


@pytest.mark.parametrize(
    ("main", "arguments", "status", "words"),
    [
        (cli.main, ["extrct"], 2, ["vinculum extrct: no such command", "did you mean extract?", "align"]),
        (cli.main, ["photos"], 2, ["vinculum photos: no such command; expected one of demo"]),
        (training_cli.main, ["pretrian", "--out", "x"], 2, ["did you mean pretrain?"]),
        (cli.main, [*EXTRACT, "--weights", "toyworlds"], 1, ["'toyworlds': no such file", "did you mean toyworld?"]),
        (cli.main, [*EXTRACT, "--weights", "toyworld", "--detector", "swin"], 1, ["of faster-rcnn, not of swin"]),
        (
            cli.main,
            ["inspect", "store", "--out", "nowhere/x.html"],
            1,
            ["nowhere/x.html: No such file", "make the folder"],
        ),
        (cli.main, [*ALIGN, "--annotations", "coco-captions"], 1, ["NAME=PATH such as coco-captions=PATH; names are"]),
        (cli.main, [*ALIGN, "--annotations", "coco-caption=file"], 1, ["did you mean coco-captions?"]),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(main, arguments, status, words, capsys):
    assert ended(main, arguments) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and len(said.err) < 700
    assert ".tmp" not in said.err and "Errno" not in said.err
    for word in words:
        assert word in said.err


def test_a_number_that_is_none_is_told_with_an_example(capsys):
    assert ended(cli.main, ["inspect", "store", "--images", "photos"]) == 2
    said = capsys.readouterr().err
    assert "'photos' is no whole number, expected one such as 24" in " ".join(said.replace("│", " ").split())
    assert "invalid literal" not in said


@pytest.mark.parametrize(
    ("main", "arguments"),
    [(cli.main, ["verify", "absent"]), (training_cli.main, ["report", "--runs", "a=absent", "--out", "x.html"])],
)
def test_with_json_an_error_is_the_last_line_too(main, arguments, capsys):
    assert main([*arguments, "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["error"] in said.err
    assert "absent" in said.err


def test_a_checkpoint_in_place_of_a_run_names_the_run(here):
    from annotations.guards.drops import DataError
    from training.runs.folder import open_run

    with pytest.raises(DataError, match=r"this is a checkpoint, give its run, .*/run$"):
        open_run(here / "run/checkpoints/step-00000020")
