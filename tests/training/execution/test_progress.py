"""What a run tells: metrics.jsonl, TensorBoard's curves, and lines for people."""

import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from annotations.guards.drops import DataError
from training.execution.loop import StepReport
from training.execution.progress import MetricsLog, progress_line, read_metrics, showing

CPU = torch.device("cpu")
NO_MODEL = torch.nn.Identity()


def report(step, *, loss=None, seconds=0.5):
    return StepReport(
        step=step,
        terms={"masked_words": float(step), "matching": 0.5},
        loss=float(step if loss is None else loss),
        gradient_norm=2.0 * step,
        learning_rate=step / 100,
        num_pairs=8,
        seconds=seconds,
    )


def tell(folder, steps, *, first=0, every=1, num_ranks=1, waited=0.1):
    with MetricsLog(folder, first=first, every=every, device=CPU, num_ranks=num_ranks, model=NO_MODEL) as log:
        for step in steps:
            log.add(report(step), waited)


def steps_of(folder):
    return [line["step"] for line in read_metrics(folder)]


def test_a_line_has_the_means_of_the_steps_since_the_last(tmp_path):
    tell(tmp_path, range(1, 7), every=3, num_ranks=2)
    first, second = read_metrics(tmp_path)
    assert (first["step"], second["step"]) == (3, 6)
    assert first["loss"] == 2
    assert second["terms"] == {"masked_words": 5, "matching": 0.5}
    assert second["gradient_norm"] == 10
    assert second["learning_rate"] == 0.06
    assert second["samples_per_second"] == pytest.approx(2 * 24 / 1.5)
    assert second["data_wait_share"] == pytest.approx(0.2)
    assert 10 < second["memory_mb"] < 100_000
    assert abs(second["time"] - time.time()) < 60


def test_a_run_that_fails_tells_what_it_had_not_told_yet(tmp_path):
    with (
        pytest.raises(RuntimeError),
        MetricsLog(tmp_path, first=0, every=10, device=CPU, num_ranks=1, model=NO_MODEL) as log,
    ):
        log.add(report(1), 0)
        log.add(report(2), 0)
        raise RuntimeError
    assert steps_of(tmp_path) == [2]


def test_lines_after_the_step_from_which_a_run_goes_on_are_gone(tmp_path):
    tell(tmp_path, range(1, 9))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')  # it was killed here
    tell(tmp_path, range(5, 7), first=4)
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_a_line_that_is_not_finished_is_not_read(tmp_path):
    tell(tmp_path, [1, 2])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')
    assert steps_of(tmp_path) == [1, 2]
    assert read_metrics(tmp_path / "nothing") == []


def test_numbers_that_are_not_finite_are_lines_too(tmp_path):
    with MetricsLog(tmp_path, first=0, every=1, device=CPU, num_ranks=1, model=NO_MODEL) as log:
        log.add(report(1, loss=float("inf")), 0)
    assert read_metrics(tmp_path)[0]["loss"] == float("inf")


def test_tensorboard_reads_the_curves_and_forgets_what_was_taken_back(tmp_path):
    tell(tmp_path, range(1, 9))
    time.sleep(1.1)  # its files are named by the second
    tell(tmp_path, range(5, 7), first=4)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {
        "loss",
        "gradient_norm",
        "learning_rate",
        "terms/masked_words",
        "data_wait_share",
        "samples_per_second",
    } <= (set(events.Tags()["scalars"]))
    assert "time" not in events.Tags()["scalars"]
    assert [(each.step, each.value) for each in events.Scalars("loss")] == [(step, step) for step in range(1, 7)]
    assert events.Scalars("terms/matching")[0].value == 0.5


def test_a_line_for_people_says_terms_speed_waiting_and_memory():
    line = {
        "step": 120,
        "loss": 3.14159,
        "terms": {"masked_words": 2.5, "matching": 0.6415},
        "samples_per_second": 812.4,
        "data_wait_share": 0.0123,
        "memory_mb": 2345.0,
    }
    assert progress_line(line) == (
        "step 120  loss 3.142  masked_words 2.500  matching 0.641  812 samples/s  waiting 1.2%  2.3 GB"
    )


def shown(capsys):
    return [line.split("  ")[0] for line in capsys.readouterr().err.splitlines() if line]


def test_what_a_run_writes_meanwhile_is_shown_and_nothing_twice(tmp_path, capsys):
    tell(tmp_path, range(1, 4))
    with showing(tmp_path, num_steps=8):
        tell(tmp_path, range(3, 7), first=2)  # step 3 was shown by the run before
        time.sleep(0.8)
        tell(tmp_path, range(5, 9), first=4)  # its ranks were started anew
    assert shown(capsys) == ["step 4", "step 5", "step 6", "step 7", "step 8"]


@pytest.mark.parametrize("damaged", [b"{", b"[]", b'{"step": 2}', b"\xff", b'{"step": 2, "loss": "x", "terms": {}}'])
def test_a_damaged_line_is_named_and_once_it_is_taken_out_the_rest_is_read(damaged, tmp_path):
    whole = b'{"step": %d, "loss": 1.0, "terms": {}}\n'
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(whole % 1 + damaged + b"\n" + whole % 3 + b'{"step": 4, "lo')
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2: found .*; take this line out"):
        read_metrics(tmp_path)
    path.write_bytes(path.read_bytes().replace(damaged + b"\n", b"", 1) if damaged != b"{" else whole % 1 + whole % 3)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 3]
