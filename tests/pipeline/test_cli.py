import importlib.util
import json
import re
import subprocess
import sys

import pytest

from annotations.datasets.catalog import DATA_SETS
from pipeline.cli import COMMANDS, PROGRAM, main
from stores.programs.commands import command_class
from tests.help_texts import WIDE, printed_help, require_plain_texts
from tests.stores.builders import make_regions, make_store

NOWHERE = ("--address", "127.0.0.1:1")
"""Were Ray asked before the settings are judged, it would complain of this address."""


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/7.jpg").write_bytes(b"")
    return tmp_path / "photos"


def refused(capsys, photos, *arguments):
    """Run extract, which must end with an error and leave nothing behind; return what it said."""
    out = photos.parent / "regions"
    given = ("extract", "--images", str(photos), "--weights", "toyworld", "--out", str(out), *NOWHERE)
    assert main([*given, *map(str, arguments)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("vinculum: ")
    assert "Traceback" not in said.err
    assert not out.exists()
    return said.err


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_says_what_a_command_does_and_shows_an_example_that_parses(command, capsys, monkeypatch):
    lines = printed_help(main, [command], WIDE, capsys, monkeypatch)
    assert [line for line in lines if re.fullmatch(r"[A-Z].*\.", line)]
    (example,) = [line for line in lines if line.startswith("vinculum ")]
    parsed = PROGRAM.parse(example.split()[1:])
    assert type(parsed) is command_class(COMMANDS[command])


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_says_of_every_option_in_plain_sentences_what_it_does(command, capsys, monkeypatch):
    require_plain_texts(main, command, capsys, monkeypatch)


def test_help_of_align_names_every_data_set(capsys, monkeypatch):
    text = " ".join(printed_help(main, ["align"], WIDE, capsys, monkeypatch))
    assert all(re.search(rf"\b{name}[,.]", text) for name in DATA_SETS)


def test_extract_documents_every_option_of_the_design(capsys, monkeypatch):
    text = "\n".join(printed_help(main, ["extract"], WIDE, capsys, monkeypatch))
    for option in (
        *("--images", "--out", "--weights", "--detector", "--store", "--num-boxes", "--min-boxes", "--max-boxes"),
        *("--boxes", "--convention", "--shard-size", "--batch-size", "--retry-quarantine", "--address", "--json"),
    ):
        assert f"\n{option}" in text
    assert "(default: 512)" in text
    assert "by default 36" in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["extrakt"],
        ["extract", "--images", "photos"],
        ["extract", "--images", "photos", "--weights", "toyworld", "--out", "x", "--detector", "yolo"],
        ["extract", "--images", "photos", "--weights", "toyworld", "--out", "x", "--shard-size", "many"],
        ["extract", "--images", "photos", "--weights", "toyworld", "--out", "x", "--no-such-option"],
        ["verify"],
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--convention", "colour=red"], ["colour", "short_side"]),
        (["--convention", "short_side=tall"], ["short_side", "tall"]),
        (["--convention", "nms_threshold=7"], ["NMS threshold is 7", "at most 1"]),
        (["--convention", "boxes"], ["boxes", "NAME=VALUE"]),
        (["--weights", "/nowhere/weights.safetensors"], ["/nowhere/weights.safetensors", "toyworld", "random:SEED"]),
        (["--weights", "random:zero"], ["random:zero", "random:0"]),
        (["--vocabulary", "/nowhere"], ["/nowhere"]),
        (["--boxes", "/nowhere/boxes.json"], ["/nowhere/boxes.json", "No such file"]),
        (["--num-boxes", "0"], ["--num-boxes is 0", "at least 1"]),
        (["--num-boxes", "5", "--min-boxes", "3"], ["--num-boxes", "alone"]),
        (["--min-boxes", "10"], ["--max-boxes", "together"]),
        (["--min-boxes", "10", "--max-boxes", "9"], ["--min-boxes 10", "--max-boxes 9"]),
        (["--boxes", "given.json", "--num-boxes", "36"], ["--num-boxes", "--boxes gives them"]),
        (["--keep-attention"], ["'faster-rcnn'", "--keep-attention", "swin without --boxes"]),
        (["--config", "coco.yaml"], ["'faster-rcnn'", "--config", "detectron2"]),
        (["--precision", "float16", "--device", "cpu"], ["'float16' on a CPU", "bfloat16 or float32"]),
        (["--shard-size", "0"], ["--shard-size is 0"]),
        (["--batch-size", "-1"], ["--batch-size is -1"]),
        (["--workers", "0"], ["--workers is 0"]),
        (["--images", "/nowhere/photos"], ["/nowhere/photos", "no such file or folder"]),
        (["--images", "nosuch://bucket"], ["nosuch"]),
        (["--images"], ["--images"]),
    ],
)
def test_a_bad_setting_ends_extract_before_anything_starts(capsys, photos, arguments, words):
    message = refused(capsys, photos, *arguments)
    for word in words:
        assert word in message


def test_a_grid_has_no_conventions_of_regions(capsys, photos):
    message = refused(capsys, photos, "--detector", "swin", "--weights", "random:0", "--convention", "boxes=raw")
    assert "'swin' gives a grid: it has no --convention" in message


@pytest.mark.parametrize("limits", [("--num-boxes", "36"), ("--min-boxes", "10", "--max-boxes", "100")])
@pytest.mark.parametrize("detector", ["swin", "vision-tower"])
def test_a_grid_has_no_number_of_regions(capsys, photos, detector, limits):
    message = refused(capsys, photos, "--detector", detector, "--weights", "random:0", *limits)
    assert f"{detector} gives a grid, expected none of" in message


def test_a_url_whose_library_is_not_installed_says_what_to_install(capsys, photos):
    if importlib.util.find_spec("gcsfs") is None:
        assert "install gcsfs" in refused(capsys, photos, "--images", "gs://photos")


def test_a_url_of_a_protocol_that_interprets_files_is_refused(capsys, photos):
    message = refused(capsys, photos, "--images", f"zip://*.jpg::file://{photos}/all.zip")
    assert "'::' chains file systems, expected one plain URL" in message


def test_a_cluster_that_does_not_answer_is_told_at_once(photos, capsys):
    out = photos.parent / "regions"
    arguments = ("extract", "--images", str(photos), "--weights", "toyworld", "--out", str(out), *NOWHERE)
    assert main(arguments) == 1
    assert "--address 127.0.0.1:1: no Ray cluster answers" in capsys.readouterr().err


def test_the_json_summary_is_the_last_line(tmp_path, capsys):
    make_store(tmp_path, [[make_regions("a", num_boxes=3)]])
    assert main(["verify", str(tmp_path), "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == [f"{tmp_path}: whole"]
    counts = {"num_shards": 1, "num_planned": 1, "num_read": 1}
    assert json.loads(last) == {"store": str(tmp_path), "damages": [], "state": "whole", **counts}


def test_a_damaged_store_exits_with_1(tmp_path, capsys):
    make_store(tmp_path, [[make_regions("a", num_boxes=3)]])
    (tmp_path / "shard-00000.arrow").unlink()
    assert main(["verify", str(tmp_path)]) == 1
    assert "shard-00000.arrow" in capsys.readouterr().out


def test_a_store_that_is_not_there_is_told_in_one_line(tmp_path, capsys):
    for command in ("verify", "repair", "inspect"):
        assert main([command, str(tmp_path / "absent")]) == 1
        assert "absent" in capsys.readouterr().err


def test_the_module_runs_as_a_program():
    ran = subprocess.run([sys.executable, "-m", "pipeline.cli"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "extract" in ran.stderr
