"""`--quiet` and `--verbose`: what is printed while a command works; its log on disk has everything either way."""

import io
import json
import threading

import pytest

from pipeline.cli import main as vinculum
from pipeline.cluster.notices import Notice
from pipeline.extraction.progress import RunLog
from stores.programs.volume import Volume, is_quiet, shows_bar
from tests.stores.interchange.foreign_files import lxmert_line
from training.cli import PROGRAM


class Terminal(io.StringIO):
    def isatty(self):
        return True


def convert(tmp_path, *more):
    source = tmp_path / "features.tsv"
    source.write_bytes(b"".join(lxmert_line(name) for name in (b"a", b"b")))
    return vinculum(["convert", "--source", str(source), "--out", str(tmp_path / "regions"), "--json", *more])


@pytest.mark.parametrize(("more", "shards"), [((), 2), (("--verbose",), 2), (("--quiet",), 0)])
def test_a_quiet_command_prints_its_summary_alone_and_logs_everything(tmp_path, capsys, more, shards):
    assert convert(tmp_path, "--shard-size", "1", *more) == 0
    said = capsys.readouterr()
    assert said.err.count("shard-0000") == shards
    assert (said.err == "") == (not shards)
    assert json.loads(said.out.splitlines()[-1])["num_images"] == 2
    events = [json.loads(line)["event"] for line in (tmp_path / "regions/run.jsonl").read_text().splitlines()]
    assert events.count("shard") == 2
    assert not is_quiet()  # for whoever runs the next command in this process


def test_a_quiet_command_still_says_what_is_wrong(tmp_path, capsys):
    assert convert(tmp_path, "--quiet", "--from", "butd-tsv") == 1
    assert "looks like lxmert-tsv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("volume", "is_bar"), [(Volume(), True), (Volume(verbose=True), False), (Volume(quiet=True), False)]
)
def test_a_terminal_has_a_bar_unless_lines_or_nothing_are_asked_for(tmp_path, volume, is_bar):
    stream = Terminal()
    with volume.applied(), RunLog(tmp_path, num_shards=1, num_images=2, num_ignored=0, stream=stream) as log:
        log.tell(Notice(text="a worker has come"))
        assert shows_bar(stream) == is_bar
    assert ("2" in stream.getvalue()) == is_bar  # of the bar
    assert ("a worker has come" in stream.getvalue()) == (not volume.quiet)
    assert not shows_bar(io.StringIO())


def test_what_is_asked_for_holds_in_threads_that_show_progress():
    found = []
    with Volume(quiet=True).applied():
        thread = threading.Thread(target=lambda: found.append(is_quiet()))
        thread.start()
        thread.join()
    assert found == [True]


@pytest.mark.parametrize("command", ["extract", "align", "convert"])
def test_both_at_once_are_refused_before_anything_starts(command, capsys):
    needs = {
        "extract": ["--images", "x", "--weights", "random:0", "--out", "y"],
        "align": ["--annotations", "gqa=x", "--out", "y"],
        "convert": ["--source", "x", "--out", "y"],
    }
    assert vinculum([command, *needs[command], "--quiet", "--verbose"]) == 1
    assert "vinculum: --quiet and --verbose: expected one of the two" in capsys.readouterr().err


def test_commands_that_train_take_both_options():
    data = ["--sentences", "s", "--out", "o"]
    assert PROGRAM.parse(["pretrain", *data, "--quiet"]).volume == Volume(quiet=True)
    assert PROGRAM.parse(["finetune", "--task", "gqa", "--start", "r", *data, "--verbose"]).volume.verbose
    assert PROGRAM.parse(["detector", "--annotations", "a", "--images", "i", "--out", "o", "--quiet"]).volume.quiet
    assert PROGRAM.parse(["experiment", *data, "--quiet"]).volume.quiet
