"""What every logged figure in the table promises."""

import json
import math

import pytest
import torch

from training.execution.loop import StepReport
from training.execution.progress import MetricsLog, progress_line, read_metrics
from training.logged.catalog import LOGGED


@pytest.fixture
def lines(tmp_path):
    """Two lines of three steps each."""
    model = torch.nn.Linear(3, 2)
    with MetricsLog(tmp_path, first=0, every=3, device=torch.device("cpu"), num_ranks=2, model=model) as log:
        for step in range(1, 7):
            log.add(
                StepReport(
                    step=step,
                    terms={"matching": 0.5},
                    loss=0.5,
                    gradient_norm=1.5,
                    learning_rate=0.01,
                    num_pairs=8,
                    seconds=0.5,
                    skipped_images=(f"{step}.jpg: cut short",),
                ),
                0.1,
            )
    return read_metrics(tmp_path)


@pytest.mark.parametrize("name", LOGGED)
def test_every_line_has_the_figure_as_a_finite_number(name, lines):
    assert len(lines) == 2
    for line in lines:
        assert math.isfinite(line[name])
        assert json.loads(json.dumps(line[name])) == line[name]


@pytest.mark.parametrize("name", LOGGED)
def test_a_terminal_shows_it_as_it_says_and_does_without_it_in_an_older_run(name, lines):
    told = LOGGED[name].told(lines[0][name])
    assert told in progress_line(lines[0])
    assert progress_line({key: value for key, value in lines[0].items() if key != name})
